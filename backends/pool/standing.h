/* What is known of an owner's machine in the long term (pool.md §1, standing:{wid}): counted here,
 * handed over in batches to whoever keeps it. */
#ifndef BACKENDS_POOL_STANDING_H
#define BACKENDS_POOL_STANDING_H

#include "backends/pool/pool.h"

enum standing_event {
    STANDING_COMPLETED, /* an answer with a good record */
    STANDING_FAILED,    /* lost, late, broken, an error of its own */
    STANDING_REFUSED,   /* busy, or dearer than it had said */
    STANDING_ATTESTATION_FAILURE,
    STANDING_USAGE_MISMATCH, /* a record that is not of the answer given */
    STANDING_CANARY_GOOD,
    STANDING_CANARY_BAD,
    STANDING_EVENTS
};
const char *standing_name(enum standing_event e); /* "completed" … "canary_bad" */

/* A worker whose wid is not known yet is passed over. */
void standing_note(struct pool_worker *w, enum standing_event e);

/* Hands over what was counted since the last time and forgets it: fn for each wid. */
typedef void pool_standing_fn(void *arg, struct span wid, const uint64_t add[STANDING_EVENTS]);
void pool_standing_take(struct pool *p, pool_standing_fn *fn, void *arg);

/* What all gateways have counted, as one number: 1: nothing bad, less with each failure beside what
 * went well, down to 0. A record that does not fit weighs as five failures, a wrong canary as
 * twenty. */
double standing_value(const uint64_t total[static STANDING_EVENTS]);
/* The choice goes by it from now on, for every worker of wid (text) that is here. */
void pool_set_standing(struct pool *p, const char *wid, double standing);

#endif
