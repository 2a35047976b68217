/* Answers of metered calls with an Idempotency-Key, where the account has them kept: taken down as
 * they go out, sealed into Redis once they were charged, and given again to the same request with
 * the same API key, which then costs nothing (money.md §3). */
#ifndef GATEWAY_REPLAY_H
#define GATEWAY_REPLAY_H

#include "gateway/idempotency.h"

struct replay;

/* The account has answers kept, and who calls holds the API key himself. */
bool replay_is_on(const struct call *c);
/* And it is one whose answer may be kept: it needs no worker then. */
bool replay_may_come(const struct call *c);
/* The call is the first with its key: its answer shall be kept. */
void replay_keep(struct call *c, const struct idempotency_place *of);
/* The first one has ended: what `first` answered shall be given. Admission then holds nothing. */
void replay_again(struct call *c, const struct idempotency_place *of, struct span first);
bool replay_is_again(const struct call *c);
/* Of such a call that was admitted: STEP_WAIT, STEP_OVER, or STEP_FAIL as there is no answer. */
enum step_result replay_give(struct call *c);

/* Bytes of the answer go out. */
void replay_take(struct call *c, struct span bytes);
/* The call is over: a whole answer waits for its charge, anything else is forgotten. True: it
 * waits, or is on its way into Redis. */
bool replay_end(struct call *c);
/* What it costs has become known: an answer that was charged is kept now. */
void replay_charged(struct charge *ch);
/* It will never be charged: it is not kept, and freed. */
void replay_drop(struct replay *r);

/* Cocoon-Call and Cocoon-Cost-Nano of an answer that is given again; NULL: it is none, and none. */
const char *replay_call(const struct call *c);
const char *replay_cost(struct call *c);

#endif
