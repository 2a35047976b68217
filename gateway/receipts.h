/* Usage records of calls that were encrypted end to end, for clients whose proxy lost the trailer
 * (wire.md §9), and both receipts of calls that were sealed here, for keys that want them kept
 * (wire.md §12): for a day, bounded, in memory alone, as a content receipt has digests of texts
 * that may be guessed. */
#ifndef GATEWAY_RECEIPTS_H
#define GATEWAY_RECEIPTS_H

#include "base/span.h"

struct receipts;

struct receipts *receipts_new(void);
void receipts_free(struct receipts *r);
/* What the worker has signed of a call, as JWS; empty: there is none. */
struct receipt {
    struct span usage, content;
};
/* call: 32 hex; key: the id of the API key that may read it. What is there already is replaced.
 * Without a usage record nothing is kept. */
void receipts_put(struct receipts *r, const char *call, const char *key,
                  const struct receipt *receipt);
/* Borrowed until the next turn; empty: there is none for that key. */
struct receipt receipts_find(struct receipts *r, struct span call, const char *key);

#endif
