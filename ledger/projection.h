/* What the books say, brought to Redis for the gateways: key records, accounts' limits and money,
 * price books, usage. Absolute values in idempotent commands, so that any of them may be repeated.
 */
#ifndef LEDGER_PROJECTION_H
#define LEDGER_PROJECTION_H

#include "ledger/ledger.h"

struct projection;

MUST_CHECK int projection_new(struct projection **out, struct ledger *l);
/* Asks nothing more, and whoever waits is told. Then free Redis, turn the loop once, and free this.
 */
void projection_stop(struct projection *p);
void projection_free(struct projection *p);

/* What was changed: it is read from the books and written soon; tried again until Redis has taken
 * it.
 */
void projection_account(struct projection *p, const char *account);
/* The same of one where a budget was set: what it has used before counts. */
void projection_budgets(struct projection *p, const char *account);
void projection_key(struct projection *p, const char *key);
/* All keys of an account: what its settings, or its project's, narrow. */
void projection_keys_of(struct projection *p, const char *account);
void projection_prices(struct projection *p);
void projection_usage(struct projection *p, const char *account, int64_t day);

/* Everything anew; accounts by the recovery script when `restoring` (recovery.h), for which nothing
 * else is written meanwhile. */
void projection_all(struct projection *p, bool restoring);
/* Nothing is written while it is held; what changes waits. */
void projection_hold(struct projection *p, bool held);

/* Calls fn once: known when all that was asked for until now is in Redis, or after within_ms. */
typedef void projection_known_fn(void *arg, bool known);
void projection_await(struct projection *p, uint64_t within_ms, projection_known_fn *fn, void *arg);
/* Whoever waits with this arg is not called any more. */
void projection_forget(struct projection *p, const void *arg);
/* Jobs that wait or run. */
size_t projection_waiting(const struct projection *p);

#endif
