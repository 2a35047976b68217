/* Idempotency-Key of metered calls: with one account's key a body runs once in 24 hours, and is
 * charged once (money.md §3). Answers are not stored. */
#ifndef GATEWAY_IDEMPOTENCY_H
#define GATEWAY_IDEMPOTENCY_H

#include "gateway/call.h"

/* STEP_NEXT: there is no such header, or this call is the first with it. STEP_WAIT: Redis is asked,
 * the call is resumed. STEP_FAIL: c->fault says why not. */
enum step_result idempotency_begin(struct call *c);
/* The call is over: what ran stays known, what did not may come again. */
void idempotency_end(struct call *c);

#endif
