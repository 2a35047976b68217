/* Money as text: nano of the currency, integers only, never a double. */
#ifndef BILLING_NANO_H
#define BILLING_NANO_H

#include "base/error.h"
#include "base/span.h"

/* Scripts in Redis see numbers as doubles: no balance, price or amount is above 2^53 − 1. */
#define NANO_MAX INT64_C(9007199254740991)
enum { NANO_LEN = 21, NANO_COIN_LEN = 24 }; /* with NUL */

/* Decimal digits, no sign, no leading zero but "0" itself, ≤ NANO_MAX. E_INVALID. */
MUST_CHECK int nano_parse(struct span text, int64_t *out);
/* Decimal with a minus where it is negative; returns out. */
const char *nano_text(char out[static NANO_LEN], int64_t nano);
/* In whole coins, as many decimals as needed: 0, 1.5, 0.000001234. nano ≥ 0; returns out. */
const char *nano_coins(char out[static NANO_COIN_LEN], int64_t nano);

#endif
