/* One key: its attestation document fetched through the gateway and judged here, in the offload
 * pool, against this client's own policy (attestation.md §5, wire.md §8). */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/encode.h"
#include "base/log.h"
#include "client/core/directory_impl.h"

enum { DOCUMENT_MS = 15000, REFUSED_MS = 20000, STATUS_S = 600, KEYS_MAX = 512 };

static void verify(struct key_entry *k);

/* Owns all it needs: the entry may be forgotten meanwhile. */
struct verify_job {
    struct offload_job job;
    struct key_entry *key; /* NULL: nobody waits any more */
    uint8_t kfp[KFP_LEN];
    struct buf document;
    struct attest_policy *policy;
    struct attest_platform platform;
    bool has_platform;
    struct shared_collateral *collateral; /* NULL: what the document brings */
    struct attest_floor floor;
    struct collateral_cache *cache;
    bool insecure_dev;
    uint64_t now_s;
    struct verified *verified; /* NULL: refused */
    struct attest_verdict verdict;
    const char *refusal;
};

/* ---- In the pool ---- */

static const char *find_config(const struct keyset *ks, const uint8_t kfp[static KFP_LEN],
                               struct key_config *out)
{
    for (size_t i = 0; i < ks->hpke_count; i++)
        if (key_config_parse(out, ks->hpke[i]) == 0 && memcmp(out->kfp, kfp, KFP_LEN) == 0)
            return NULL;
    return "The attestation document is for other keys than the gateway said.";
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* What the verifier accepted, held against what this client asked for. NULL: it is what it wants.
 */
static const char *judge(struct verify_job *j, struct verified *v)
{
    if (v->verdict.env == ATTEST_UNATTESTED)
        return "The worker shows no evidence.";
    if (v->verdict.env == ATTEST_INSECURE_DEV && !j->insecure_dev)
        return "The worker's evidence is for development only.";
    if (keyset_valid_at(&v->keyset, j->now_s) < 0)
        return "The worker's keys are outside their time.";
    const char *why = find_config(&v->keyset, j->kfp, &v->config);
    if (!why && hpke_public_from(&v->public, SPAN_OF(v->config.public_key)) < 0)
        why = "The worker's key is no key.";
    v->until_s = least(least(v->verdict.valid_until, v->keyset.not_after), j->now_s + STATUS_S);
    return why;
}

static void platform_work(struct offload_job *job)
{
    struct verify_job *j = CONTAINER(job, struct verify_job, job);

    j->has_platform =
        attest_document_platform(buf_span(&j->document), j->policy, j->now_s, &j->platform) == 0;
}

static void verify_work(struct offload_job *job)
{
    struct verify_job *j = CONTAINER(job, struct verify_job, job);
    const struct attest_input in = {
        .document = buf_span(&j->document),
        .now_s = j->now_s,
        .policy = j->policy,
        .floor = &j->floor,
        .collateral = j->collateral ? &j->collateral->parts : NULL,
        .cache = j->cache,
    };
    struct verified *v = mem_zero(sizeof(*v));

    v->refs = 1;
    if (attest_verify(&in, &v->keyset, &v->verdict) < 0) {
        j->verdict = v->verdict;
        free(v);
        return;
    }
    j->verdict = v->verdict;
    j->refusal = judge(j, v);
    if (j->refusal)
        verified_unref(v);
    else
        j->verified = v;
}

/* ---- The end of a look ---- */

static void refuse(struct key_entry *k, const char *sentence)
{
    char hex[17];

    hex_encode(hex, span_cut(SPAN_OF(k->kfp), 0, 8));
    snprintf(k->refusal_text, sizeof(k->refusal_text), "%s", sentence);
    k->refusal = k->refusal_text;
    k->again_ms = loop_now(k->directory->client->loop) + REFUSED_MS;
    verified_unref(k->verified);
    k->verified = NULL;
    log_event(LOG_WARN, "worker_refused", "key=%s why=\"%s\"", hex, k->refusal_text);
}

static void finish(struct key_entry *k)
{
    k->busy = false;
    buf_fini(&k->document.body);
    searches_look(k->directory);
}

/* As far as one of its keys is known, it has the errands that it had. */
static struct errands *errands_of(struct directory *d, const uint8_t worker[static SHA256_LEN])
{
    struct errands *e;
    size_t at = 0;
    struct span kfp;
    void *value;

    while (map_next(&d->keys, &at, &kfp, &value)) {
        e = ((struct key_entry *)value)->errands;
        if (!e || memcmp(e->worker, worker, SHA256_LEN) != 0)
            continue;
        e->refs++;
        return e;
    }
    e = mem_zero(sizeof(*e));
    e->refs = 1;
    memcpy(e->worker, worker, SHA256_LEN);
    return e;
}

void key_take_verified(struct key_entry *k, struct verified *v)
{
    char hex[17];

    hex_encode(hex, span_cut(SPAN_OF(k->kfp), 0, 8));
    v->errands = errands_of(k->directory, v->keyset.tls_spki);
    v->errands->refs++;
    errands_unref(k->errands);
    k->errands = v->errands;
    verified_unref(k->verified);
    k->verified = v;
    k->refusal = NULL;
    log_event(LOG_INFO, "worker_verified", "key=%s env=%s measurement=\"%s\" tcb=%s until=%llu",
              hex, attest_env_name(v->verdict.env), v->verdict.measurement,
              tcb_status_name(v->verdict.status), (unsigned long long)v->until_s);
}

static void refuse_verdict(struct key_entry *k, const struct attest_verdict *v)
{
    char text[320];

    snprintf(text, sizeof(text), "%s (%s)%s%s", attest_reason_sentence(v->reason),
             attest_reason_name(v->reason), v->detail[0] ? ": " : "", v->detail);
    refuse(k, text);
}

static void job_free(struct verify_job *j)
{
    if (j->key)
        j->key->job = NULL;
    verified_unref(j->verified);
    shared_collateral_unref(j->collateral);
    buf_fini(&j->document);
    attest_policy_unref(j->policy);
    free(j);
}

/* For a proof of later (cocoonctl receipts verify). */
static void keep_evidence(struct verify_job *j)
{
    buf_take(&j->verified->document, &j->document);
    if (j->collateral)
        collateral_write(&j->collateral->parts, &j->verified->collateral);
}

/* Only what was fetched from the configured source raises the floor. */
static void raise_floor(struct client *c, const struct verify_job *j)
{
    struct attest_floor floor = c->state.floor;
    char why[TRUST_STATE_WHY_LEN];

    if (!j->collateral || !j->collateral->fetched || !attest_floor_raise(&floor, &j->verdict))
        return;
    if (trust_state_raise(&c->state, &floor, why) < 0)
        log_event(LOG_ERROR, "trust_state_unwritten", "why=\"%s\"", why);
}

static void verified(struct key_entry *k, struct verify_job *j)
{
    struct client *c = k->directory->client;

    collaterals_judged(j->collateral, &j->verdict);
    if (j->verdict.reason == ATTEST_OK)
        raise_floor(c, j);
    if (j->verified && c->save_receipts)
        keep_evidence(j);
    if (j->verified)
        key_take_verified(k, verified_ref(j->verified));
    else if (j->refusal)
        refuse(k, j->refusal);
    else
        refuse_verdict(k, &j->verdict);
}

/* By a policy that is not the client's any more. */
static bool is_outdated(const struct verify_job *j)
{
    return j->policy != j->key->directory->client->policy;
}

static void verify_again(struct verify_job *j)
{
    struct key_entry *k = j->key;

    buf_take(&k->document.body, &j->document);
    job_free(j);
    verify(k);
}

static void verify_done(struct offload_job *job)
{
    struct verify_job *j = CONTAINER(job, struct verify_job, job);
    struct key_entry *k = j->key;

    if (k && is_outdated(j)) {
        verify_again(j);
        return;
    }
    if (k)
        verified(k, j);
    job_free(j);
    if (k)
        finish(k);
}

/* Too busy, or on the way down. */
static void give_up(struct verify_job *j)
{
    struct key_entry *k = j->key;

    job_free(j);
    if (!k)
        return;
    refuse(k, "Too many workers are being verified.");
    finish(k);
}

static void collateral_got(void *arg, struct shared_collateral *shared)
{
    struct verify_job *j = arg;

    j->collateral = shared;
    j->job = (struct offload_job){.work = verify_work, .done = verify_done};
    j->now_s = clock_wall_ms() / 1000;
    if (!j->key || offload_submit(j->key->directory->client->offload, &j->job) < 0)
        give_up(j);
}

static void platform_done(struct offload_job *job)
{
    struct verify_job *j = CONTAINER(job, struct verify_job, job);

    if (j->key && j->has_platform)
        collaterals_get(j->key->directory->client->collaterals, &j->platform, collateral_got, j);
    else
        collateral_got(j, NULL);
}

static void verify(struct key_entry *k)
{
    const struct client *c = k->directory->client;
    struct verify_job *j = mem_zero(sizeof(*j));

    j->job = (struct offload_job){.work = platform_work, .done = platform_done};
    j->key = k;
    memcpy(j->kfp, k->kfp, KFP_LEN);
    buf_take(&j->document, &k->document.body);
    j->now_s = clock_wall_ms() / 1000;
    j->policy = attest_policy_ref(c->policy);
    j->floor = c->state.floor;
    j->cache = c->cache;
    j->insecure_dev = c->insecure_dev;
    k->job = j;
    if (!c->collaterals)
        collateral_got(j, NULL);
    else if (offload_submit(c->offload, &j->job) < 0)
        give_up(j);
}

/* ---- The document ---- */

static void document_done(void *arg, struct http_transfer *t, int error)
{
    struct key_entry *k = arg;

    (void)t;
    if (error == 0 && k->document.status == 200) {
        verify(k);
        return;
    }
    refuse(k, "The gateway did not hand over the worker's attestation document.");
    finish(k);
}

bool key_begin(struct key_entry *k)
{
    char path[sizeof("/v1/confidential/attestation/") + 2 * KFP_LEN] =
        "/v1/confidential/attestation/";
    const struct client_ask ask = {.path = path, .total_ms = DOCUMENT_MS};

    if (k->busy)
        return true;
    if (k->refusal && loop_now(k->directory->client->loop) < k->again_ms)
        return false;
    hex_encode(path + strlen(path), SPAN_OF(k->kfp));
    k->busy = client_get(k->directory->client, &ask, &k->document) == 0;
    return k->busy;
}

/* ---- Keeping them ---- */

static void key_free(struct key_entry *k)
{
    http_whole_cancel(&k->document);
    if (k->job)
        k->job->key = NULL;
    verified_unref(k->verified);
    errands_unref(k->errands);
    free(k);
}

/* Keys live for an hour, so those that nobody verified lately are gone for good. */
static void keys_sweep(struct directory *d)
{
    const uint64_t now_s = clock_wall_ms() / 1000;
    size_t at = 0;
    struct span kfp;
    void *value;

    while (map_next(&d->keys, &at, &kfp, &value)) {
        struct key_entry *k = value;
        if (k->busy || (k->verified && k->verified->until_s > now_s))
            continue;
        (void)map_del(&d->keys, kfp);
        key_free(k);
    }
}

struct key_entry *key_get(struct directory *d, const uint8_t kfp[static KFP_LEN])
{
    struct key_entry *k = map_get(&d->keys, span_of(kfp, KFP_LEN));

    if (k)
        return k;
    if (d->keys.len >= KEYS_MAX)
        keys_sweep(d);
    if (d->keys.len >= KEYS_MAX)
        return NULL;
    k = mem_zero(sizeof(*k));
    k->directory = d;
    k->document = (struct http_whole){.max = ATTEST_MAX_DOCUMENT, .done = document_done, .arg = k};
    memcpy(k->kfp, kfp, KFP_LEN);
    (void)map_put(&d->keys, SPAN_OF(k->kfp), k);
    return k;
}

void key_forget(struct directory *d, const uint8_t kfp[static KFP_LEN])
{
    struct key_entry *k = map_get(&d->keys, span_of(kfp, KFP_LEN));

    if (!k || k->busy)
        return;
    (void)map_del(&d->keys, SPAN_OF(k->kfp));
    key_free(k);
}

void keys_rejudge(struct directory *d)
{
    size_t at = 0;
    struct span kfp;
    void *value;

    while (map_next(&d->keys, &at, &kfp, &value)) {
        struct key_entry *k = value;
        verified_unref(k->verified);
        k->verified = NULL;
        k->refusal = NULL;
    }
}

size_t directory_verified(const struct directory *d, uint64_t now_s)
{
    size_t at = 0, n = 0;
    struct span kfp;
    void *value;

    while (map_next(&d->keys, &at, &kfp, &value)) {
        const struct key_entry *k = value;
        n += k->verified && k->verified->until_s > now_s;
    }
    return n;
}

void keys_free(struct directory *d)
{
    size_t at = 0;
    struct span kfp;
    void *value;

    while (map_next(&d->keys, &at, &kfp, &value))
        key_free(value);
    map_fini(&d->keys);
}
