/* The moment of sending, written into an event's text: what comes out at the other end tells how
 * long it was under way, exactly, as both ends read one machine's clock. */
#ifndef TESTS_BENCH_STAMP_H
#define TESTS_BENCH_STAMP_H

#include <stdint.h>
#include <time.h>

#include "base/span.h"

enum { STAMP_LEN = 21 }; /* '@', 19 digits of monotonic ns, '#' */
#define STAMP_BLANK "@0000000000000000000#"

static inline uint64_t stamp_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Over a STAMP_BLANK. */
static inline void stamp_write(uint8_t *at, uint64_t ns)
{
    for (size_t i = STAMP_LEN - 2; i > 0; i--, ns /= 10)
        at[i] = (uint8_t)('0' + ns % 10);
}

/* The first stamp in the text; 0 when there is none. */
static inline uint64_t stamp_read(struct span text)
{
    const uint8_t *at = memchr(text.data, '@', text.len);
    uint64_t ns = 0;

    if (!at || text.len - (size_t)(at - text.data) < STAMP_LEN || at[STAMP_LEN - 1] != '#')
        return 0;
    for (size_t i = 1; i < STAMP_LEN - 1; i++)
        ns = ns * 10 + (uint64_t)(at[i] - '0');
    return ns;
}

#endif
