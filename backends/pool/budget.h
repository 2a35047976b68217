/* How many of a model's requests may be tried again: a pool that fails as a whole is not asked
 * twice as much for it (pool.md §5). Pure: the time is an argument. */
#ifndef BACKENDS_POOL_BUDGET_H
#define BACKENDS_POOL_BUDGET_H

#include <stdbool.h>

#include "backends/pool/window.h"

struct budget_options {
    unsigned percent; /* of the requests of the last minute; 10 */
    unsigned least;   /* a minute, however few requests there were; 10 */
};

/* {0} is an unspent one. */
struct budget {
    struct window requests, retries;
};

/* One request has come. */
void budget_note(struct budget *b, uint64_t now_ms);
/* Whether one may be tried again now; if so it is counted. */
bool budget_take(struct budget *b, const struct budget_options *o, uint64_t now_ms);

#endif
