/* An entry of a gateway's stream as Redis answers it: [field, value, …]. */
#ifndef LEDGER_INTAKE_ENTRY_H
#define LEDGER_INTAKE_ENTRY_H

#include "ledger/books/bills.h"
#include "net/redis.h"

/* Fills all but e->instance, borrowed from the reply. E_INVALID: a field is missing, twice, no
 * text, or n or epoch is no number. Unknown fields are ignored. */
MUST_CHECK int intake_entry_read(const struct redisReply *fields, struct bill_entry *e);

#endif
