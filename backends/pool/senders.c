/* Sender contexts made ahead of need: an X25519 key and agreement cost 100 µs that no request
 * should wait for. */
#include <stdlib.h>

#include "backends/pool/pool_impl.h"

enum { SENDERS_MAX = 32, SENDERS_LOW = 16 };

struct senders {
    struct offload *offload;
    struct key_config key;
    struct hpke_public *public, *job_public; /* one a thread (crypto/hpke.h) */
    struct ohttp_client *ready[SENDERS_MAX];
    size_t count;
    bool busy, dropped;
    /* Owned by the job while busy. */
    struct offload_job job;
    struct ohttp_client *made[SENDERS_MAX];
    size_t want, made_count;
};

static void senders_free(struct senders *s)
{
    for (size_t i = 0; i < s->count; i++)
        ohttp_client_free(s->ready[i]);
    hpke_public_free(s->public);
    hpke_public_free(s->job_public);
    free(s);
}

static int sender_make(const struct senders *s, const struct hpke_public *to,
                       struct ohttp_client **out)
{
    enum aead_id aead = s->key.aes_256_gcm ? AEAD_AES_256_GCM : AEAD_CHACHA20_POLY1305;
    return ohttp_client_new(out, &s->key, to, aead);
}

static void job_work(struct offload_job *job)
{
    struct senders *s = CONTAINER(job, struct senders, job);

    for (s->made_count = 0; s->made_count < s->want; s->made_count++)
        if (sender_make(s, s->job_public, &s->made[s->made_count]) < 0)
            return;
}

static void job_done(struct offload_job *job)
{
    struct senders *s = CONTAINER(job, struct senders, job);

    for (size_t i = 0; i < s->made_count; i++)
        s->ready[s->count++] = s->made[i];
    s->busy = false;
    if (s->dropped)
        senders_free(s);
}

static void refill(struct senders *s)
{
    if (s->busy || s->count > SENDERS_LOW)
        return;
    s->want = SENDERS_MAX - s->count;
    s->job = (struct offload_job){.work = job_work, .done = job_done};
    s->busy = offload_submit(s->offload, &s->job) == 0;
}

struct senders *senders_new(struct offload *o, const struct key_config *key)
{
    struct senders *s = mem_zero(sizeof(*s));

    s->offload = o;
    s->key = *key;
    /* The first is made at once: it shows that the key is one to which anything can be sealed. */
    if (hpke_public_from(&s->public, SPAN_OF(key->public_key)) < 0 ||
        hpke_public_from(&s->job_public, SPAN_OF(key->public_key)) < 0 ||
        sender_make(s, s->public, &s->ready[0]) < 0) {
        senders_free(s);
        return NULL;
    }
    s->count = 1;
    refill(s);
    return s;
}

int senders_take(struct senders *s, struct ohttp_client **out)
{
    if (s->count == 0) {
        refill(s);
        return sender_make(s, s->public, out);
    }
    *out = s->ready[--s->count];
    s->ready[s->count] = NULL;
    refill(s);
    return 0;
}

void senders_drop(struct senders *s)
{
    if (!s)
        return;
    s->dropped = true;
    if (!s->busy)
        senders_free(s);
}
