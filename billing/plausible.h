/* How much of a worker's count can be true (money.md §4): workers are strangers and earn per token.
 */
#ifndef BILLING_PLAUSIBLE_H
#define BILLING_PLAUSIBLE_H

#include <stdbool.h>

#include "billing/usual.h"

/* What the gateway knows by itself. */
struct plausible_bounds {
    int64_t max_input;  /* Cocoon-Max-Input of the call, bytes and allowance in it */
    int64_t max_tokens; /* Cocoon-Max-Tokens of the call */
    int64_t sequences;  /* that run side by side, ≥ 1 */
    int64_t top_speed;  /* tokens per second of one sequence, of the fastest machine known; 0: no
                           bound */
    uint64_t ran_ms;    /* from the request's leaving to the answer's end, as seen here; 0: not seen
                         */
    uint64_t answer_bytes;     /* of sealed answer that came; 0: not seen */
    struct usual_bounds usual; /* of such an answer */
};

/* The tokens that are charged: the claim, cut to the bounds. A part is never above its whole:
 * cached and reasoning stay as claimed as far as they fit. True when anything was cut: both numbers
 * are kept, and the worker's standing falls. The claim is a valid record's. */
bool plausible_bound(const struct price_tokens *claim, const struct plausible_bounds *b,
                     struct price_tokens *charged);

#endif
