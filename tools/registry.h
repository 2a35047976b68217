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

/* ---- For a command ---- */

/* Hexadecimal digits, four at least, that `whole` begins with. */
bool registry_begins(const char *which, const char *whole);
/* The one worker that is here under this iid, its beginning, or this label; NULL with the reason
 * said. Of the registry. */
const json_t *registry_find(const struct command *c, const json_t *registry, const char *which);

/* What a command that shows a part of the registry looks at. */
struct registry_view {
    struct redis_flags redis;
    struct pool_store *store;
    json_t *registry;
    bool json; /* to be printed so */
};
/* Opens the store and reads the registry, after the options were read. -1: go on; else the
 * command's exit code, after the reason was said. */
int registry_view_open(struct registry_view *v, const struct command *c);
/* The same with the options read too, of a command that has Redis' and --json alone. */
int registry_view_begin(struct registry_view *v, const struct command *c, int argc, char **argv);
void registry_view_fini(struct registry_view *v);
AUTO_FINI(struct registry_view, registry_view_fini)

#endif
