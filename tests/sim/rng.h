/* Random numbers that follow from a seed, so that a run can be had again. */
#ifndef TESTS_SIM_RNG_H
#define TESTS_SIM_RNG_H

#include <math.h>
#include <stdint.h>

/* Embedded; the value is the seed. */
struct rng {
    uint64_t state;
};

/* Mixes 64 bits well (the finaliser of SplitMix64, Steele, Lea, Flood 2014). */
static inline uint64_t rng_mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static inline uint64_t rng_next(struct rng *r)
{
    return rng_mix(r->state += 0x9e3779b97f4a7c15u);
}

/* In [0, 1). */
static inline double rng_unit(struct rng *r)
{
    return (double)(rng_next(r) >> 11) * 0x1p-53;
}

/* In [0, below); below > 0, and small against 2^64. */
static inline uint64_t rng_below(struct rng *r, uint64_t below)
{
    return rng_next(r) % below;
}

static inline double rng_exponential(struct rng *r, double mean)
{
    return -mean * log(1 - rng_unit(r));
}

/* Of which the logarithm is normal: median, and the sigma of the logarithm. */
static inline double rng_lognormal(struct rng *r, double median, double sigma)
{
    const double normal = sqrt(-2 * log(1 - rng_unit(r))) * cos(6.283185307179586 * rng_unit(r));

    return median * exp(sigma * normal);
}

#endif
