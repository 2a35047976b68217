/* A source of chance as an argument, so that what is decided by it can be repeated. */
#ifndef BACKENDS_POOL_DICE_H
#define BACKENDS_POOL_DICE_H

#include <stdint.h>

struct dice {
    uint64_t (*below)(void *arg, uint64_t below); /* uniform in [0, below); below > 0 */
    void *arg;
};

static inline uint64_t dice_below(const struct dice *d, uint64_t below)
{
    return d->below(d->arg, below);
}

#endif
