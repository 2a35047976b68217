/* Known answers, from a worker that the operator trusts. */
#ifndef TOOLS_CANARY_RECORD_H
#define TOOLS_CANARY_RECORD_H

#include "tools/canary_client.h"
#include "tools/canary_pool.h"

/* All borrowed. */
struct canary_recording {
    const struct command *command; /* in whose name failures are said */
    const struct canaries_config *file;
    const struct redis_access *redis;
    struct canary_client *client;
};

/* Prints the file's canaries with the answers of the worker that `which` names (registry_find), and
 * notes in Redis that they were given. False: some are as they were, for reasons that were said. */
MUST_CHECK bool canary_record(const struct canary_recording *at, const char *which);

#endif
