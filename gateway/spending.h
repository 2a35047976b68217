/* What an account spent, as its keys may ask: OpenAI's usage and costs APIs, from what the ledger
 * projects, so that they answer while it is away. */
#ifndef GATEWAY_SPENDING_H
#define GATEWAY_SPENDING_H

#include "gateway/call.h"

/* The call is over: what still comes of Redis is thrown away. */
void spending_forget(struct call *c);

#endif
