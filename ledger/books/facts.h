/* Small things that the books remember: numbers that only grow, marks of these very books. */
#ifndef LEDGER_BOOKS_FACTS_H
#define LEDGER_BOOKS_FACTS_H

#include "ledger/books/books.h"

/* "<32 hex of these books>:<sum of the keys' versions>": what gateways look for in Redis. */
enum { FACTS_MARKER_LEN = 96 };
MUST_CHECK int facts_keys_marker(struct books *b, char out[static FACTS_MARKER_LEN]);

/* The number of the epoch in force, and the next one: above `above` and every one before. */
MUST_CHECK int facts_epoch(struct books *b, int64_t *n);
MUST_CHECK int facts_epoch_next(struct books *b, int64_t above, int64_t *n);

#endif
