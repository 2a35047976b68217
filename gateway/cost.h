/* What an answer says of its cost (api.md §2.2, §3.2). */
#ifndef GATEWAY_COST_H
#define GATEWAY_COST_H

#include "gateway/call.h"

/* The answer's end must wait until its cost is known: the call is resumed then, or when that has
 * taken too long. */
bool cost_is_awaited(struct call *c);
/* Puts cost_nano and cost at the end of `usage`: of the whole answer in c->inner, or of the usage
 * event in c->held. Nothing where nothing is charged, or there is no such member. */
void cost_splice(struct call *c);
/* Of a whole answer: Cocoon-Cost-Nano; NULL: none. */
const char *cost_header(struct call *c);

#endif
