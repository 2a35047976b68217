/* What Redis holds of gateways and workers, put together from what each gateway has written. */
#ifndef TOOLS_REGISTRY_H
#define TOOLS_REGISTRY_H

#include "base/json.h"
#include "tools/pool_store.h"

/* {"gateways":[{"instance","address","version",…}],"workers":[{"iid","label","wid","state",
 * "models","attestation","running","waiting","max","in_flight","first_token_ms","tokens_per_s",
 * "served","failures","ask","hours","accepting","reason","drained","gateways":[…],…}],
 * "drain":{iid: decision},"ban":{subject: decision}}; the caller's. What a newer gateway has
 * written in another format is left out. Errors of pool_store_settle. */
MUST_CHECK int registry_read(struct pool_store *s, json_t **out);
/* worker:{iid}, also of one that is not here now; NULL: unknown. Borrowed by nobody. */
MUST_CHECK int registry_worker(struct pool_store *s, const char *iid, json_t **out);

#endif
