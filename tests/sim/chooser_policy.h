/* The pool's own chooser and queue (backends/pool), driven as the gateway drives them. */
#ifndef TESTS_SIM_CHOOSER_POLICY_H
#define TESTS_SIM_CHOOSER_POLICY_H

#include "tests/sim/vpool.h"

/* What a warm cache is worth, in place of what is shipped (struct chooser_options). */
void chooser_policy_affinity(unsigned percent);
/* chooser: as shipped; the other makes nothing of conversations. */
extern const struct vpolicy policy_chooser, policy_chooser_blind;

#endif
