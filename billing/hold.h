/* Holds of this instance: money set aside in the account before a call runs, and given back or
 * charged after it, each exactly once (money.md §3, §5). */
#ifndef BILLING_HOLD_H
#define BILLING_HOLD_H

#include "billing/epoch.h"
#include "billing/layout.h"
#include "billing/scripts.h"

struct holds;
struct hold; /* from hold_place until it has been settled or released in Redis */

enum hold_verdict {
    HOLD_OK,
    HOLD_ABSENT,    /* this Redis knows no such account or key: closed */
    HOLD_STALE,     /* the key's record has changed: read it again */
    HOLD_EPOCH,     /* money is being recovered, or is of another epoch */
    HOLD_SUSPENDED, /* account or project */
    HOLD_REQUESTS,  /* rate limits: wait_ms */
    HOLD_TOKENS,
    HOLD_TOKENS_SIZE, /* more than a minute's tokens: never */
    HOLD_STREAMS,
    HOLD_BUDGET,
    HOLD_BALANCE,
    HOLD_AWAY /* no answer in time: it may still apply, so it is released, with a tombstone */
};

/* Of the tightest bucket; limit −1: none. */
struct hold_rate {
    int64_t limit, remaining, reset_ms;
};

struct hold_answer {
    enum hold_verdict verdict;
    int64_t wait_ms;
    struct hold_rate requests, tokens;
    char detail[LAYOUT_KEY_LEN]; /* of BUDGET: scope:period; of TOKENS_SIZE: the limit; else a word
                                  */
};

struct hold_limits {
    int64_t requests, tokens, streams; /* a minute, a minute, at a time; 0: none */
    int64_t day, month, total;         /* nano; 0: none */
};

/* Borrowed for the call only. */
struct hold_terms {
    const char *call, *account, *key, *project;
    uint64_t key_version;
    struct span model;
    struct hold_limits limits; /* of the key */
    int64_t ceiling, price_version, bid;
    int64_t max_input, max_tokens;
    int64_t tokens;   /* expected, for the rate of tokens */
    uint64_t life_ms; /* until the sweeper may take it back */
};

/* redis and epoch outlive it. */
struct holds *holds_new(struct loop *l, struct redis *r, const struct epoch *e,
                        const struct billing_scripts *scripts, const char *instance);
/* Sends nothing more. Then free Redis, turn the loop once, and free this. */
void holds_stop(struct holds *h);
void holds_free(struct holds *h);
/* What waited for Redis or for the epoch goes on; after a recovery has begun every open hold is put
 * back. */
void holds_wake(struct holds *h);
/* Everything that was open when epoch n's recovery began is in Redis again, and no settlement is
 * under way. */
bool holds_asserted(const struct holds *h, int64_t n);
size_t holds_open(const struct holds *h);
/* Nothing waits for Redis. */
bool holds_idle(const struct holds *h);
/* The call has a hold of this instance. */
bool holds_has(const struct holds *h, struct span call);
/* While it says so every admission is HOLD_AWAY at once: too many went unanswered. */
bool holds_broken(const struct holds *h);

/* answer is called once, in the loop, never inside; for anything but HOLD_OK the hold ends with it,
 * so the pointer is good until then. */
typedef void hold_placed_fn(void *arg, const struct hold_answer *a);
MUST_CHECK struct hold *hold_place(struct holds *h, const struct hold_terms *t,
                                   hold_placed_fn *answer, void *arg);
/* A hold that another process has placed, to be settled here: its record has come here. */
MUST_CHECK struct hold *hold_adopt(struct holds *h, const char *account, const char *call,
                                   int64_t ceiling);
/* A further attempt runs. */
void hold_attempt(struct hold *o, uint32_t attempt);
enum hold_end {
    HOLD_SETTLED,
    HOLD_LATE,   /* it had expired: at most what the account still had */
    HOLD_REFUSED /* it had ended otherwise, or by another attempt: nothing was charged */
};
/* Charges; the hold is given away. done is called once, in the loop, when Redis has said so. The
 * same call and attempt again: as the first time, with the epoch of then. */
typedef void hold_settled_fn(void *arg, enum hold_end end, int64_t charged, int64_t in_epoch);
void hold_settle(struct hold *o, int64_t amount, uint32_t attempt, int64_t tokens,
                 hold_settled_fn *done, void *arg);
/* Costs nothing; the hold is given away. Its answer is not called any more. */
void hold_release(struct hold *o);
int64_t hold_ceiling(const struct hold *o);

#endif
