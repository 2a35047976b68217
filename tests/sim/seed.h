/* The seed of all that lib/base/random.h gives in the simulation's programs. */
#ifndef TESTS_SIM_SEED_H
#define TESTS_SIM_SEED_H

#include <stdint.h>

void random_seed(uint64_t seed);

#endif
