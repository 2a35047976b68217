/* What the owner gives, changed while the worker runs: requests at a time, price, hours, watts. */
#ifndef WORKER_SETTINGS_H
#define WORKER_SETTINGS_H

#include "config/worker_config.h"
#include "worker/hours.h"

struct settings {
    int64_t max_requests;
    int64_t ask;       /* 1/1000 */
    int64_t max_watts; /* 0: no ceiling */
    struct hours hours;
};

/* E_INVALID: hours that the table let through and we do not understand. */
MUST_CHECK int settings_from_config(struct settings *out, const struct worker_config *c);
/* {"max_requests":8,"ask":1200,"max_watts":300,"hours":{"mon":"…"}}: what is absent stays. All or
 * nothing: E_INVALID with *what naming the member, a constant. Unknown members are refused, since
 * the owner would think them obeyed. */
MUST_CHECK int settings_change(struct settings *s, struct span json, const char **what);

#endif
