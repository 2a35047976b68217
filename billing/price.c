/* Prices times tokens in 128 bits; nothing is rounded before the end. */
#include "billing/price.h"

#include <stdbool.h>

typedef unsigned __int128 wide;

/* Prices are per 10^6 tokens, coefficients in 1/1000. */
#define SCALE UINT64_C(1000000000)

static bool within(int64_t n, int64_t max)
{
    return n >= 0 && n <= max;
}

static bool price_good(const struct price *p)
{
    return within(p->prompt, NANO_MAX) && within(p->cached, NANO_MAX) &&
           within(p->completion, NANO_MAX) && within(p->reasoning, NANO_MAX) &&
           within(p->per_request, NANO_MAX) && within(p->minimum, NANO_MAX);
}

static bool tokens_good(const struct price_tokens *t)
{
    return within(t->in, PRICE_TOKENS_MAX) && within(t->out, PRICE_TOKENS_MAX) &&
           within(t->cached, t->in) && within(t->reasoning, t->out);
}

static wide times(int64_t tokens, int64_t price)
{
    return (wide)(uint64_t)tokens * (uint64_t)price;
}

int price_amount(const struct price *p, const struct price_tokens *t, int64_t coefficient,
                 int64_t *nano)
{
    if (!price_good(p) || !tokens_good(t) || !within(coefficient, PRICE_COEFFICIENT_MAX))
        return E_INVALID;
    wide sum = times(t->in - t->cached, p->prompt) + times(t->cached, p->cached) +
               times(t->out - t->reasoning, p->completion) + times(t->reasoning, p->reasoning);
    wide amount = (sum * (uint64_t)coefficient + (SCALE - 1)) / SCALE + (uint64_t)p->per_request;
    if (amount < (uint64_t)p->minimum)
        amount = (uint64_t)p->minimum;
    if (amount > (uint64_t)NANO_MAX)
        return E_TOO_LARGE;
    *nano = (int64_t)amount;
    return 0;
}

static int64_t dearer(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

int price_ceiling(const struct price *p, int64_t max_input, int64_t max_tokens, int64_t bid,
                  int64_t *nano)
{
    struct price dearest = *p;
    const struct price_tokens most = {.in = max_input, .out = max_tokens};

    dearest.prompt = dearer(p->prompt, p->cached);
    dearest.completion = dearer(p->completion, p->reasoning);
    return price_amount(&dearest, &most, bid, nano);
}

void price_split(int64_t charged, int64_t commission_bps, int64_t *worker, int64_t *fee)
{
    CHECK(within(charged, NANO_MAX) && within(commission_bps, PRICE_BPS));
    *worker = (int64_t)(times(charged, PRICE_BPS - commission_bps) / PRICE_BPS);
    *fee = charged - *worker;
}
