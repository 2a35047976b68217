/* The worker's keys: made in memory at start, never written anywhere. The HPKE key rotates, and
 * each new one comes with a new keyset (wire.md §2, §8). */
#ifndef WORKER_KEYS_H
#define WORKER_KEYS_H

#include "attest/keyset.h"
#include "net/loop.h"
#include "ohttp/ohttp.h"
#include "worker/replay.h"

/* One HPKE key; lives until its grace has passed. Look it up by id, do not keep it over a turn. */
struct worker_key {
    struct list link;
    struct key_config config;
    uint8_t config_bytes[KEY_CONFIG_LEN];
    struct hpke_private *private;
    uint64_t not_before_s, not_after_s;
    uint8_t keyset[SHA256_LEN]; /* the newest keyset that names it */
    struct replay_set seen;
};

struct keys;

/* Fills in what a keyset says beside keys and times: worker_id, payout, models, digests, engine.
 * What the spans point to lives until the next turn. */
typedef void keys_describe_fn(void *arg, struct keyset *k);

/* lifetime_s: of a keyset, 12 … ; the next key is made a sixth of it before its end, the old one
 * accepted a twelfth longer (wire.md §8: 3,600, 600, 300). */
MUST_CHECK int keys_new(struct keys **out, struct loop *l,
                        const uint8_t tls_spki[static SHA256_LEN], uint64_t lifetime_s,
                        keys_describe_fn *describe, void *arg);
void keys_free(struct keys *k);
/* What a keyset says has changed (models, engine): publishes a new one over the present key, if it
 * differs. */
void keys_publish(struct keys *k);
/* The present keyset's exact bytes and their SHA-256. */
struct span keys_keyset(const struct keys *k);
const uint8_t *keys_digest(const struct keys *k);
uint64_t keys_not_after_s(const struct keys *k);
/* The configuration that senders should use now. */
const struct worker_key *keys_current(const struct keys *k);
/* The key of that id that is still accepted; NULL when there is none. */
struct worker_key *keys_find(struct keys *k, uint8_t key_id);
const struct ed25519 *keys_receipt(const struct keys *k);
/* Notes both hashes with the key, before anything runs. E_EXISTS when any live key has seen one of
 * them; then nothing is noted. */
MUST_CHECK int keys_note(struct keys *k, struct worker_key *key,
                         const uint8_t enc[static REPLAY_LEN],
                         const uint8_t call[static REPLAY_LEN]);

#endif
