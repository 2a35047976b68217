/* What a request costs (money.md §2): one formula, one rounding, up, at the end. Pure. */
#ifndef BILLING_PRICE_H
#define BILLING_PRICE_H

#include "billing/nano.h"

/* Bounds within which no sum of 128 bits overflows: 4 · 10^12 · 2^53 · 10^9 < 2^128. */
#define PRICE_TOKENS_MAX      INT64_C(1000000000000)
#define PRICE_COEFFICIENT_MAX INT64_C(999999999)
enum { PRICE_BPS = 10000 };

/* Of one model, in nano; of tokens per 10^6. Each 0 … NANO_MAX. */
struct price {
    int64_t prompt, cached, completion, reasoning;
    int64_t per_request, minimum;
    int64_t context; /* tokens that the model sees at most; 0: not said */
};

/* cached is part of in, reasoning of out. */
struct price_tokens {
    int64_t in, cached, out, reasoning;
};

/* The formula; coefficient in 1/1000. E_INVALID: negative or oversized numbers, or a part above its
 * whole. E_TOO_LARGE: more than NANO_MAX. */
MUST_CHECK int price_amount(const struct price *p, const struct price_tokens *t,
                            int64_t coefficient, int64_t *nano);
/* The most that a request of these ceilings can cost: all tokens at the dearest class they can
 * fall into, at the caller's bid. Errors as price_amount. */
MUST_CHECK int price_ceiling(const struct price *p, int64_t max_input, int64_t max_tokens,
                             int64_t bid, int64_t *nano);
/* charged = worker + fee, exactly; commission in 1/10000, at most PRICE_BPS; charged ≤ NANO_MAX. */
void price_split(int64_t charged, int64_t commission_bps, int64_t *worker, int64_t *fee);

#endif
