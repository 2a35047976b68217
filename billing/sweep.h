/* Takes back holds whose time is over and whose gateway has not ended them: it died. One instance
 * at a time walks the accounts; the script decides, so that two do no harm. */
#ifndef BILLING_SWEEP_H
#define BILLING_SWEEP_H

#include "billing/epoch.h"
#include "billing/scripts.h"

struct sweep;

struct sweep *sweep_new(struct loop *l, struct redis *r, const struct epoch *e,
                        const struct billing_scripts *scripts, const char *instance);
/* Asks nothing more. Then free Redis, turn the loop once, and free this. */
void sweep_stop(struct sweep *s);
void sweep_free(struct sweep *s);
uint64_t sweep_expired(const struct sweep *s); /* holds taken back by this instance */

#endif
