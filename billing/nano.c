/* Decimal strings of nano, both ways. */
#include "billing/nano.h"

#include <inttypes.h>
#include <stdio.h>

enum { DECIMALS = 9, COIN = 1000000000 };

int nano_parse(struct span text, int64_t *out)
{
    uint64_t n;

    TRY(span_u64(text, (uint64_t)NANO_MAX, &n));
    *out = (int64_t)n;
    return 0;
}

const char *nano_text(char out[static NANO_LEN], int64_t nano)
{
    (void)snprintf(out, NANO_LEN, "%" PRId64, nano);
    return out;
}

const char *nano_coins(char out[static NANO_COIN_LEN], int64_t nano)
{
    CHECK(nano >= 0);
    int len =
        snprintf(out, NANO_COIN_LEN, "%" PRId64 ".%0*" PRId64, nano / COIN, DECIMALS, nano % COIN);
    while (out[len - 1] == '0')
        out[--len] = 0;
    if (out[len - 1] == '.')
        out[--len] = 0;
    return out;
}
