/* Takes the gateways' bills out of their streams into the books, and says how far it is. */
#ifndef LEDGER_INTAKE_H
#define LEDGER_INTAKE_H

#include "ledger/ledger.h"

struct intake;

MUST_CHECK int intake_new(struct intake **out, struct ledger *l);
/* Asks nothing more. Then free Redis, turn the loop once, and free this. */
void intake_stop(struct intake *i);
void intake_free(struct intake *i);

/* How often every known stream was found empty behind what was taken, but for bills that wait until
 * somebody vouches for their key: those are late ones then (recovery.h). */
uint64_t intake_passes(const struct intake *i);
/* Instances that the books or Redis know. */
typedef void intake_instance_fn(void *arg, struct span instance);
void intake_each(const struct intake *i, intake_instance_fn *fn, void *arg);
/* Not looked at any more, until Redis names it again. */
void intake_drop(struct intake *i, const char *instance);
/* Redis may be another one: who is there is asked anew, and told what the books have of it. */
void intake_forget(struct intake *i);

/* The books have an instance's bills up to n, by another way (its journal). */
void intake_known(struct intake *i, const char *instance, int64_t n);

/* What is shown: [{instance, n, waiting, unknown_key, revoked_key}]. */
json_t *intake_status(const struct intake *i);
uint64_t intake_lag_ms(const struct intake *i); /* the oldest entry not taken */

#endif
