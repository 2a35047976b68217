/* What accounts want to be told of their money: a balance that fell below what they said, a budget
 * that refused a request. */
#ifndef LEDGER_WATCH_H
#define LEDGER_WATCH_H

#include "ledger/ledger.h"

struct watch;

MUST_CHECK int watch_new(struct watch **out, struct ledger *l);
/* Asks nothing more. Then free Redis, turn the loop once, and free this. */
void watch_stop(struct watch *w);
void watch_free(struct watch *w);

/* In a transaction: the account's balance may have fallen. Told once for each sum of what it was
 * given. */
MUST_CHECK int watch_balance(struct ledger *l, const char *account);

#endif
