/* Idempotency-Key of metered calls: with one account's key a body runs once in 24 hours, and is
 * charged once (money.md §3). What it answered may be kept (replay.h). */
#ifndef GATEWAY_IDEMPOTENCY_H
#define GATEWAY_IDEMPOTENCY_H

#include "gateway/call.h"

/* A longer body is known by its length and as much of both its ends together: the hash is made on
 * the loop. Values live for a day; their names are hashes of the header, as hex. */
enum {
    IDEMPOTENCY_HASHED_MAX = 1024 * 1024,
    IDEMPOTENCY_LIFE_MS = 24 * 3600 * 1000,
    IDEMPOTENCY_WAIT_MS =
        60 * 1000, /* for an answer that is not charged yet: its gateway may die */
    IDEMPOTENCY_NAME_LEN = 32
};

/* Which value: its account's name, its own, the hash of the body; borrowed. */
struct idempotency_place {
    const char *account, *name, *body;
};

/* STEP_NEXT: there is no such header, this call is the first with it, or it has ended and its
 * answer may have been kept (replay_is_again). STEP_WAIT: Redis is asked, the call is resumed.
 * STEP_FAIL: c->fault says why not. */
enum step_result idempotency_begin(struct call *c);
/* The call is over: what ran stays known, what did not may come again. waits: its answer is on its
 * way into Redis. */
void idempotency_end(struct call *c, bool waits);
/* What `call` has ended with is not kept: nobody is told to wait for it any more. */
void idempotency_unkept(struct gateway *g, const struct idempotency_place *at, const char *call);
/* Appends the value in Redis of a call; state: run, done. */
void idempotency_value(const char *body, const char *state, const char *call, struct buf *out);

#endif
