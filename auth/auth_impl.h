/* The inside of auth: entries of the cache, fetches, waiting checks. */
#ifndef AUTH_AUTH_IMPL_H
#define AUTH_AUTH_IMPL_H

#include "auth/failures.h"
#include "auth/keys.h"
#include "auth/marker.h"
#include "net/loop.h"

struct auth_fetch;

/* What is known of one lookup id. In the map always; in one of the two lists unless it was never
 * answered. */
struct auth_entry {
    char lookup[2 * KEY_LOOKUP_LEN + 1];
    struct key_record *record; /* NULL: no such key */
    uint64_t known_ms;         /* when Redis last answered; 0: never */
    uint64_t known_seq;        /* auth.seq when that question was asked */
    uint64_t changed_seq;      /* of the last message that named it */
    uint64_t failed_ms;        /* last question without an answer; 0: none since */
    struct auth_fetch *fetch;  /* the question that is under way */
    struct list waits;
    struct loop_timer patience; /* while checks wait that the cache could answer */
    struct list link;           /* auth.known or auth.unknown, oldest use first */
};

struct auth {
    struct loop *loop;
    struct redis *redis;
    struct auth_options o;
    struct map entries;
    struct list known, unknown;
    size_t unknown_count;
    struct list fetches;
    struct markers markers;
    struct failures failures;
    struct loop_hook hook; /* watches the subscription */
    bool subscribed;
    /* Order of what was heard and asked: an answer counts only if its question came after the news.
     */
    uint64_t seq, all_changed_seq, gap_seq;
};

struct auth_wait {
    struct auth *auth;
    struct list link;
    uint8_t secret_sha256[SHA256_LEN];
    uint8_t peer[64];
    size_t peer_len;
    auth_done_fn *done;
    void *arg;
};

/* ---- cache.c ---- */

void cache_init(struct auth *a);
void cache_fini(struct auth *a);
struct auth_entry *cache_get(struct auth *a, const char *lookup);
/* The entry, made when there is none; makes room first. */
struct auth_entry *cache_need(struct auth *a, const char *lookup);
/* Redis answered: takes the record (NULL: no such key). Records that calls hold learn of the
 * change. */
void cache_put(struct auth *a, struct auth_entry *e, struct key_record *take, uint64_t seq);
/* Nobody waits and nothing is known: the entry goes. */
void cache_drop_empty(struct auth *a, struct auth_entry *e);
void cache_touch(struct auth *a, struct auth_entry *e);
/* May be used without asking. */
bool cache_fresh(const struct auth *a, const struct auth_entry *e);
/* News came after the question whose answer we hold: what we know may be wrong. */
bool cache_changed(const struct auth *a, const struct auth_entry *e);
/* May be used because Redis cannot be asked. */
bool cache_usable(const struct auth *a, const struct auth_entry *e);

/* ---- fetch.c ---- */

/* Asks Redis for the entry and the marker, if that is not under way. E_UNAVAILABLE when Redis
 * cannot be asked. The end is told to auth_fetched. */
MUST_CHECK int fetch_start(struct auth *a, struct auth_entry *e);
/* Questions under way lose their auth; their replies are then ignored. */
void fetch_orphan_all(struct auth *a);

/* ---- auth.c ---- */

/* error 0: record (taken; NULL: no such key). Else the outcome is not known. */
void auth_fetched(struct auth *a, struct auth_entry *e, int error, struct key_record *take,
                  uint64_t seq);

#endif
