/* Idempotency-Key end to end: one application's credentials run a body once with a key in 24 hours,
 * so that what is sent again is not paid again. It never leaves this program, and is forgotten when
 * it ends. Whole answers are kept, too, and given again, where the settings leave room for them. */
#ifndef CLIENT_IDEMPOTENCY_H
#define CLIENT_IDEMPOTENCY_H

#include "base/buf.h"
#include "base/list.h"
#include "base/map.h"

struct call;
struct once;

/* What was answered the first time. */
struct once_answer {
    bool stream;
    char call[33]; /* the gateway's; "": not known */
    int64_t cost;  /* nano; -1: not known */
    int env;       /* enum attest_env of the worker */
    struct buf bytes;
};

/* Embedded. */
struct idempotency {
    struct map runs;  /* by a hash of credentials and key: struct once */
    struct list done; /* those that have ended, the oldest first */
    struct list kept; /* those whose answer is here, the oldest first */
    size_t bytes;     /* of answers, also of those that still come */
};

void idempotency_init(struct idempotency *t);

/* Before anything is sent for the call, whose body is there. 0: there is no such header, or this
 * call is the first with it, or *again is what the first was answered, borrowed until the loop goes
 * on; E_INVALID: c->fault says why not. */
MUST_CHECK int idempotency_begin(struct call *c, const struct once_answer **again);
/* Bytes of the answer go out. */
void idempotency_take(struct call *c, struct span bytes);
/* It has been given to its end, and all of it was verified. */
void idempotency_whole(struct call *c);
/* The call is over; ran: something of it may have to be paid for, so the same key runs no more.
 * Does nothing the second time. */
void idempotency_end(struct call *c, bool ran);
void idempotency_fini(struct idempotency *t);

#endif
