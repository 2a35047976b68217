/* The cost as an answer shows it (api.md §2.2): cost_nano and cost at the end of `usage`. Pure. */
#ifndef BILLING_COST_TEXT_H
#define BILLING_COST_TEXT_H

#include "base/buf.h"

/* Appends the object with the cost in its usage. E_NOT_FOUND, E_INVALID: it has none; out stays as
 * it was. */
MUST_CHECK int cost_into_object(struct span object, int64_t nano, struct buf *out);
/* The same of the closing events of a stream, the first of which is the usage event. */
MUST_CHECK int cost_into_events(struct span events, int64_t nano, struct buf *out);

#endif
