/* Keys, keysets and their rotation by a timer. */
#include "worker/keys.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/encode.h"
#include "base/log.h"
#include "base/random.h"

struct keys {
    struct loop *loop;
    keys_describe_fn *describe;
    void *arg;
    uint64_t lifetime_s;
    uint8_t tls_spki[SHA256_LEN];
    struct ed25519 *receipt;
    struct list keys; /* newest last */
    struct buf keyset;
    uint8_t digest[SHA256_LEN];
    struct loop_timer timer;
};

static uint64_t now_s(void)
{
    return clock_wall_ms() / 1000;
}

static struct worker_key *key_at(struct list *link)
{
    return CONTAINER(link, struct worker_key, link);
}

const struct worker_key *keys_current(const struct keys *k)
{
    return key_at(k->keys.prev);
}

static uint64_t margin_s(const struct keys *k)
{
    return k->lifetime_s / 6;
}

static uint64_t dead_at_s(const struct keys *k, const struct worker_key *key)
{
    return key->not_after_s + k->lifetime_s / 12;
}

/* It was made before the clock was set back: nobody takes it until that time has come again. */
static bool is_ahead(const struct worker_key *key)
{
    return now_s() + KEYSET_SKEW_S < key->not_before_s;
}

/* ---- Keysets ---- */

static void keyset_make(const struct keys *k, struct buf *out)
{
    const struct worker_key *key = keys_current(k);
    struct keyset set = {
        .hpke = {SPAN_OF(key->config_bytes)},
        .hpke_count = 1,
        .not_before = key->not_before_s,
        .not_after = key->not_after_s,
    };

    memcpy(set.tls_spki, k->tls_spki, SHA256_LEN);
    ed25519_public(k->receipt, set.receipt_key);
    k->describe(k->arg, &set);
    keyset_write(&set, out);
}

void keys_publish(struct keys *k)
{
    AUTO(buf_fini) struct buf made = {0};
    char hex[2 * SHA256_LEN + 1];

    keyset_make(k, &made);
    if (span_eq(buf_span(&made), buf_span(&k->keyset)))
        return;
    buf_take(&k->keyset, &made);
    sha256(k->digest, buf_span(&k->keyset));
    memcpy(key_at(k->keys.prev)->keyset, k->digest, SHA256_LEN);
    hex_encode(hex, SPAN_OF(k->digest));
    log_event(LOG_INFO, "keyset", "sha256=%s not_after=%llu", hex,
              (unsigned long long)keys_current(k)->not_after_s);
}

/* ---- Keys ---- */

static void key_free(struct worker_key *key)
{
    list_del(&key->link);
    hpke_private_free(key->private);
    replay_fini(&key->seen);
    free(key);
}

static bool id_taken(const struct keys *k, uint8_t id)
{
    LIST_FOREACH(it, &k->keys)
        if (key_at(it)->config.key_id == id)
            return true;
    return false;
}

static int key_make(struct keys *k)
{
    struct worker_key *key = mem_zero(sizeof(*key));
    uint8_t public_key[HPKE_KEY_LEN];
    uint8_t id;

    int error = hpke_private_generate(&key->private);
    if (error < 0) {
        free(key);
        return error;
    }
    do
        random_bytes(&id, 1);
    while (id_taken(k, id));
    hpke_private_public(key->private, public_key);
    key_config_make(key->config_bytes, id, public_key);
    CHECK(key_config_parse(&key->config, SPAN_OF(key->config_bytes)) == 0);
    key->not_before_s = now_s();
    key->not_after_s = key->not_before_s + k->lifetime_s;
    list_push(&k->keys, &key->link);
    return 0;
}

static void drop_dead(struct keys *k)
{
    LIST_FOREACH_SAFE(it, &k->keys)
        if (it != k->keys.prev && (is_ahead(key_at(it)) || now_s() > dead_at_s(k, key_at(it))))
            key_free(key_at(it));
}

/* Looks once a second: dates are wall time, which may jump. */
static void on_tick(void *arg)
{
    struct keys *k = arg;
    const struct worker_key *key = keys_current(k);

    loop_timer_set(k->loop, &k->timer, 1000, on_tick, k);
    drop_dead(k);
    if (!is_ahead(key) && now_s() + margin_s(k) < key->not_after_s)
        return;
    if (key_make(k) < 0)
        log_event(LOG_ERROR, "key_rotation", "error=failed");
    else
        keys_publish(k);
}

int keys_new(struct keys **out, struct loop *l, const uint8_t tls_spki[static SHA256_LEN],
             uint64_t lifetime_s, keys_describe_fn *describe, void *arg)
{
    struct keys *k = mem_zero(sizeof(*k));

    *k = (struct keys){.loop = l, .lifetime_s = lifetime_s, .describe = describe, .arg = arg};
    list_init(&k->keys);
    memcpy(k->tls_spki, tls_spki, SHA256_LEN);
    int error = ed25519_generate(&k->receipt);
    if (!error)
        error = key_make(k);
    if (error < 0) {
        keys_free(k);
        return error;
    }
    keys_publish(k);
    loop_timer_set(l, &k->timer, 1000, on_tick, k);
    *out = k;
    return 0;
}

void keys_free(struct keys *k)
{
    if (!k)
        return;
    loop_timer_cancel(k->loop, &k->timer);
    LIST_FOREACH_SAFE(it, &k->keys)
        key_free(key_at(it));
    ed25519_free(k->receipt);
    buf_fini(&k->keyset);
    free(k);
}

struct worker_key *keys_find(struct keys *k, uint8_t key_id)
{
    LIST_FOREACH(it, &k->keys)
        if (key_at(it)->config.key_id == key_id && now_s() <= dead_at_s(k, key_at(it)))
            return key_at(it);
    return NULL;
}

int keys_note(struct keys *k, struct worker_key *key, const uint8_t enc[static REPLAY_LEN],
              const uint8_t call[static REPLAY_LEN])
{
    LIST_FOREACH(it, &k->keys)
        if (replay_has(&key_at(it)->seen, call) || replay_has(&key_at(it)->seen, enc))
            return E_EXISTS;
    TRY(replay_insert(&key->seen, enc));
    return replay_insert(&key->seen, call);
}

struct span keys_keyset(const struct keys *k)
{
    return buf_span(&k->keyset);
}

const uint8_t *keys_digest(const struct keys *k)
{
    return k->digest;
}

uint64_t keys_not_after_s(const struct keys *k)
{
    return keys_current(k)->not_after_s;
}

const struct ed25519 *keys_receipt(const struct keys *k)
{
    return k->receipt;
}
