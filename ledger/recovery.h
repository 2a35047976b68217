/* Whether the money in Redis can be believed (money.md §6): the ledger names the servers for which
 * its projection is whole. After a loss, a fail-over or a restart of Redis the gateways put back
 * what they hold, the books take in every bill, balances are written anew, and only then admission
 * goes on, under a higher number. */
#ifndef LEDGER_RECOVERY_H
#define LEDGER_RECOVERY_H

#include "ledger/ledger.h"

struct recovery;

enum recovery_state {
    RECOVERY_AWAY,      /* Redis is not there, or not all of it */
    RECOVERY_WAITING,   /* for gateways, and for their bills */
    RECOVERY_RESTORING, /* balances are written */
    RECOVERY_OPEN
};

MUST_CHECK int recovery_new(struct recovery **out, struct ledger *l);
/* Asks nothing more. Then free Redis, turn the loop once, and free this. */
void recovery_stop(struct recovery *r);
void recovery_free(struct recovery *r);
enum recovery_state recovery_state(const struct recovery *r);
/* The epoch in force, or the coming one; 0: none yet. */
int64_t recovery_number(const struct recovery *r);
/* Instances that are waited for, separated by spaces, appended. */
void recovery_missing(const struct recovery *r, struct buf *out);
/* To go on without an instance: takes its name out of Redis, which fn is told. E_UNAVAILABLE. */
MUST_CHECK int recovery_without(struct recovery *r, const char *instance, redis_reply_fn *fn,
                                void *arg);
/* When that is done, and the books wait for it no more (bill_cursor_drop): it is forgotten. What it
 * brings later is taken in all the same. */
void recovery_left_out(struct recovery *r, const char *instance);
/* Inside the transaction in which a bill is taken that Redis had charged in this epoch. In an
 * earlier one than now: balances were written from the books without it, so everything is written
 * anew, which the books remember with the bill. No time decides (wire.md §12). */
MUST_CHECK int recovery_charged(struct recovery *r, int64_t epoch);
/* Everything anew although nothing is known to be lost; inside a transaction, too. */
MUST_CHECK int recovery_begin(struct recovery *r);

#endif
