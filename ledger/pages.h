/* Health, figures and state of the ledger: /healthz, /readyz, /metrics, /status, /status.json. */
#ifndef LEDGER_PAGES_H
#define LEDGER_PAGES_H

#include "ledger/ledger.h"

/* E_NOT_FOUND: no page of ours. */
MUST_CHECK int page_write(struct ledger *l, struct span path, unsigned *status, const char **type,
                          struct buf *out);
/* What is missing before gateways know what the books say; NULL when nothing is. */
const char *page_missing(const struct ledger *l);
/* The members of /status.json. */
json_t *page_status(struct ledger *l);

#endif
