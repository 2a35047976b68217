/* Idempotency-Key end to end: one application's credentials run a body once with a key in 24 hours,
 * so that what is sent again is not paid again. It never leaves this program, and is forgotten when
 * it ends; answers are not kept. */
#ifndef CLIENT_IDEMPOTENCY_H
#define CLIENT_IDEMPOTENCY_H

#include "base/list.h"
#include "base/map.h"

struct call;
struct once;

/* Embedded; {0} is empty. */
struct idempotency {
    struct map runs;  /* by a hash of credentials and key: struct once */
    struct list done; /* those that have ended, the oldest first */
};

/* Before anything is sent for the call, whose body is there. 0: there is no such header, or this
 * call is the first with it; E_INVALID: c->fault says why not. */
MUST_CHECK int idempotency_begin(struct call *c);
/* The call is over; ran: something of it may have to be paid for, so the same key runs no more.
 * Does nothing the second time. */
void idempotency_end(struct call *c, bool ran);
void idempotency_fini(struct idempotency *t);

#endif
