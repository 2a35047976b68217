/* In place of lib/base/random.c, in programs of the simulation only: choices that follow from a
 * seed. */
#include "base/random.h"

#include "tests/sim/rng.h"
#include "tests/sim/seed.h"

static struct rng generator;

void random_seed(uint64_t seed)
{
    generator.state = seed;
}

void random_bytes(void *out, size_t len)
{
    uint8_t *to = out;

    for (size_t i = 0; i < len; i++)
        to[i] = (uint8_t)rng_next(&generator);
}

uint64_t random_below(uint64_t below)
{
    return rng_below(&generator, below);
}
