/* Random bytes from the kernel. */
#ifndef BASE_RANDOM_H
#define BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* Fills out with getrandom(2); aborts if the kernel cannot. */
void random_bytes(void *out, size_t len);
/* Uniform in [0, below); below > 0. For jitter and choices, cheap (a per-process generator seeded
 * by the kernel). */
uint64_t random_below(uint64_t below);

#endif
