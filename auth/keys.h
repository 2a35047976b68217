/* API keys (auth.md): their form, their record in Redis, and the check with an in-process cache. */
#ifndef AUTH_KEYS_H
#define AUTH_KEYS_H

#include "base/buf.h"
#include "crypto/hash.h"
#include "net/redis.h"

#define KEY_PREFIX "sk-cocoon-"
enum { KEY_ID_LEN = 6, KEY_SECRET_LEN = 32, KEY_LOOKUP_LEN = 16 };

struct api_key {
    uint8_t id[KEY_ID_LEN];         /* public: shown in lists */
    uint8_t secret[KEY_SECRET_LEN]; /* wipe after use */
};

/* Draws a key and appends its text. */
void api_key_make(struct api_key *out, struct buf *text);
/* The same for a further secret of a key whose id is known. */
void api_key_remake(struct api_key *out, const uint8_t id[static KEY_ID_LEN], struct buf *text);
/* Form and CRC; E_INVALID for anything mistyped, without any look-up. */
MUST_CHECK int api_key_parse(struct api_key *out, struct span text);
/* SHA-256(secret)[0:16] as hex with NUL: `key:{…}`. */
void api_key_lookup(const struct api_key *k, char out[static 2 * KEY_LOOKUP_LEN + 1]);
/* The value behind `scheme` in an Authorization field; empty when it has another scheme. */
struct span credential_of(struct span field, struct span scheme);
/* The credential of a request: Bearer, x-api-key, or Basic's user or password (auth.md). Empty
 * when there is none; a Basic value is decoded into scratch (wipe it). What is returned need not
 * look like a key. */
struct span api_key_credential(struct span authorization, struct span x_api_key,
                               struct buf *scratch);

enum { KEY_WEIGHT = 100, KEY_WEIGHT_MAX = 1000 };

/* What a key may do; immutable, shared: key_record_ref/unref. */
struct key_record {
    unsigned refs;
    char id[2 * KEY_ID_LEN + 1];
    char account[65], project[65], name[65];
    uint64_t version;
    bool revoked, strict, end_to_end_only, receipts;
    bool replay_answers; /* to requests with an Idempotency-Key: kept, sealed, for a day */
    uint64_t expires_s;  /* 0: never */
    char **models;       /* NULL-terminated; NULL: all */
    char **endpoints;    /* chat, completions, embeddings, models; NULL: all */
    char **ranges;       /* CIDR; NULL: any address */
    int64_t max_output;  /* cap per choice; 0: the gateway's */
    int64_t requests_per_minute, tokens_per_minute, streams; /* of this key; 0: no limit */
    int64_t budget_day, budget_month, budget_total;          /* nano, UTC windows; 0: none */
    int64_t max_coefficient;           /* default bid in 1/1000 of the price book */
    int64_t weight;                    /* of the account where calls wait: KEY_WEIGHT is usual */
    bool metered;                      /* every request is admitted against the account's money */
    char require[257];                 /* Cocoon-Require of every request; empty: none */
    char class[16];                    /* interactive, batch, internal */
    uint8_t secret_sha256[SHA256_LEN]; /* compared in constant time with the credential's */
    uint8_t json_sha256[SHA256_LEN];   /* of what it was read from: tells a changed record */
    struct key_record *newer;          /* what replaced this record while calls held it */
};
void key_record_unref(struct key_record *r);
struct key_record *key_record_ref(struct key_record *r);
AUTO_FREE(struct key_record, key_record_unref)
/* JSON as stored in Redis (format "cgw/key/v1") into a record; E_INVALID. Members:
 *   format, id (12 hex), account, version, state ("active", "revoked"), secret_sha256 (64 hex):
 * required; project, name, expires (Unix seconds; 0: never), scopes {models, endpoints, ranges}
 * (lists; null or absent: all; []: none), privacy ("any", "end-to-end"), require (text), strict,
 * receipts, replay_answers, limits {max_output}, class ("interactive", "batch", "internal"), weight
 * (1 … 1000; absent: KEY_WEIGHT). Others are ignored, but a known one with a value that is not
 * understood is refused: a scope is never widened by a mistake. */
MUST_CHECK int key_record_parse(struct key_record **out, struct span json);

enum auth_result {
    AUTH_OK,
    AUTH_INVALID,     /* unknown, mistyped, revoked, expired: 401 invalid_api_key */
    AUTH_UNAVAILABLE, /* Redis away or without its epoch marker: 503, never 401 */
    AUTH_SLOW         /* as AUTH_INVALID, from an address that failed too often: answer 401 after
                         AUTH_SLOW_MS */
};
enum { AUTH_SLOW_MS = 2000 };

struct auth;
struct auth_options {
    uint64_t fresh_ms;            /* 5,000; 1,000 while the revocation channel is not subscribed */
    uint64_t stale_ms;            /* 600,000 while Redis is away */
    uint64_t negative_ms;         /* 2,000 */
    unsigned failures_per_minute; /* 20 per address */
    size_t cache_max;             /* 100,000 records; negative ones bounded alike */
};
/* redis outlives auth: free auth, then redis, without a turn of the loop between. Subscribes to the
 * channel `keys:changed` (payload: a lookup id, or "*"). The record `key:{<lookup>}` and the marker
 * (auth/marker.h) are read together. */
MUST_CHECK int auth_new(struct auth **out, struct loop *l, struct redis *redis,
                        const struct auth_options *o);
/* Checks that still wait are dropped: their done is not called. Not from within a done. */
void auth_free(struct auth *a);
AUTO_FREE(struct auth, auth_free)

/* done is called once, in this call when the cache knows, else later. record (AUTH_OK only) is the
 * callee's reference: unref it. */
typedef void auth_done_fn(void *arg, enum auth_result result, struct key_record *record);
struct auth_wait;
/* Returns NULL when done has been called, else a handle for auth_cancel (then done is not called).
 * credential: the key's text. peer: the client's address without port. */
struct auth_wait *auth_check(struct auth *a, struct span credential, struct span peer,
                             auth_done_fn *done, void *arg);
void auth_cancel(struct auth_wait *w);
/* What is known of this key is old: the next check asks Redis. */
void auth_forget(struct auth *a, struct span credential);
/* The record still holds: false once it was revoked or expired meanwhile (cheap, no I/O): a
 * revocation that is published is noticed within a round trip also for records that calls hold. */
bool auth_still_valid(const struct auth *a, const struct key_record *r);

/* Neither revoked nor expired. */
bool key_record_live(const struct key_record *r);
/* chat, completions, embeddings, models: what a scope may name. */
bool key_endpoint_known(struct span name);

/* Scopes of a record. */
bool key_allows_model(const struct key_record *r, struct span model);
bool key_allows_endpoint(const struct key_record *r, const char *endpoint);
bool key_allows_address(const struct key_record *r, struct span peer);

#endif
