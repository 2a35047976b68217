/* The operator's decisions about workers: who takes nothing new, and who is turned away (pool.md
 * §1). */
#ifndef BACKENDS_POOL_DECISIONS_H
#define BACKENDS_POOL_DECISIONS_H

#include "backends/pool/pool.h"

struct pool_decisions {
    const struct span *drained; /* iids: finish what runs, get nothing new */
    size_t drained_count;
    /* "wid:<32 hex>", "ppid:<64 hex, SHA-256 of the PPID>", "measurement:<MRTD as 96 hex, or the
     * name of the policy's entry>" */
    const struct span *banned;
    size_t banned_count;
};

/* From now on, instead of what was decided before; copied. The tunnels of banned workers are closed
 * at once, with all that runs on them; such workers are refused as "banned" when they come again.
 */
void pool_set_decisions(struct pool *p, const struct pool_decisions *d);

#endif
