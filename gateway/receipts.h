/* Usage records of calls that were encrypted end to end, for clients whose proxy lost the trailer
 * (wire.md §9): for a day, bounded. */
#ifndef GATEWAY_RECEIPTS_H
#define GATEWAY_RECEIPTS_H

#include "base/span.h"

struct receipts;

struct receipts *receipts_new(void);
void receipts_free(struct receipts *r);
/* call: 32 hex; key: the id of the API key that may read it. What is there already is replaced. */
void receipts_put(struct receipts *r, const char *call, const char *key, struct span jws);
/* The record, borrowed until the next turn; empty: there is none for that key. */
struct span receipts_find(struct receipts *r, struct span call, const char *key);

#endif
