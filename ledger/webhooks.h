/* Sends what is due to webhooks: one at a time to each, so that one that never answers holds up no
 * other's; signed, to public addresses only, without following redirects. */
#ifndef LEDGER_WEBHOOKS_H
#define LEDGER_WEBHOOKS_H

#include "ledger/ledger.h"

struct webhooks;

MUST_CHECK int webhooks_new(struct webhooks **out, struct ledger *l);
/* What is under way is cut off; its next try is in the books. */
void webhooks_free(struct webhooks *w);
/* Something may be due now. */
void webhooks_wake(struct webhooks *w);

#endif
