/* The pool's own chooser and queue (backends/pool), driven as the gateway drives them. */
#ifndef TESTS_SIM_CHOOSER_POLICY_H
#define TESTS_SIM_CHOOSER_POLICY_H

#include "tests/sim/vpool.h"

/* How many requests a warm cache is worth, in place of what is shipped; ≥ 0. */
void chooser_policy_depth(double affinity_depth);
/* chooser: as shipped; the other makes nothing of conversations. */
extern const struct vpolicy policy_chooser, policy_chooser_blind;

#endif
