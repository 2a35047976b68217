/* What a policy is measured against. */
#ifndef TESTS_SIM_BASELINES_H
#define TESTS_SIM_BASELINES_H

#include "tests/sim/vpool.h"

/* Knows every length: the engine on which the request is over first. Only for pools that are small
 * enough to ask every engine. */
extern const struct vpolicy policy_oracle;
/* The same, where its first token comes first: the fastest first tokens, whatever comes later. */
extern const struct vpolicy policy_oracle_first;
/* One after the other, and whoever chance says: engines queue what they cannot run. */
extern const struct vpolicy policy_round_robin, policy_random;
/* The engine that has most of the prompt, among those the one where it is over first: what the
 * prefix caches could give. */
extern const struct vpolicy policy_perfect_affinity;

#endif
