/* One round of canaries: every worker of every model in the file is asked once, in random order. */
#ifndef TOOLS_CANARY_ROUND_H
#define TOOLS_CANARY_ROUND_H

#include "tools/canary_client.h"
#include "tools/canary_pool.h"

struct canary_round {
    const struct canaries_config *file; /* borrowed, like the two below */
    const struct redis_access *redis;
    struct canary_client *client;
    uint64_t spread_s; /* the round is spread over so long, with jitter; 0: at once. canary_wait
                        * ends it early, with what was answered until then */

    struct canary_row *rows;
    size_t count;
    bool stopped, whole; /* by a signal; all of them were asked */
    struct buf problems; /* a line each: what kept canaries from being sent or counted */
};

/* From now on SIGTERM and SIGINT end canary_wait and nothing else. Before threads are started. */
void canary_wait_prepare(void);
/* So long, or until such a signal comes or has come: true then. */
bool canary_wait(uint64_t ms);

/* Asks, then marks. Blocks. What goes wrong stands in rows and problems. */
void canary_round_run(struct canary_round *r);
void canary_round_fini(struct canary_round *r);
AUTO_FINI(struct canary_round, canary_round_fini)

#endif
