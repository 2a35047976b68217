/* What Redis says against what the books say (I2, I3, I11): for each account, available and open
 * holds together are what was given less what was charged, and holds are as their states and bills
 * say. */
#ifndef LEDGER_REDIS_VERIFY_H
#define LEDGER_REDIS_VERIFY_H

#include "ledger/request.h"

/* Adds its lines to the `checks` of r->out, mends `good`, and answers r. Charges that are on their
 * way to the books are waited for a few seconds. */
void redis_verify(struct ledger *l, struct request *r);
/* Ends what runs: its request is answered as unavailable. Before Redis is freed. */
void redis_verify_stop(struct ledger *l);

#endif
