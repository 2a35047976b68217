/* How often something happened in the last minute, second by second. Pure: the time is an argument.
 */
#ifndef BACKENDS_POOL_WINDOW_H
#define BACKENDS_POOL_WINDOW_H

#include <stdint.h>

enum { WINDOW_S = 60 };

/* {0} is an empty one. */
struct window {
    uint32_t counts[WINDOW_S];
    uint64_t second; /* of the newest slot */
    uint64_t total;  /* of all slots */
};

/* now_ms never runs backwards. */
void window_add(struct window *w, uint64_t now_ms);
/* In the last 60 seconds, the present one included. */
uint64_t window_count(struct window *w, uint64_t now_ms);

#endif
