/* A ring of sixty counts; those that have grown old are taken out of the total when it is looked
 * at. */
#include "backends/pool/window.h"

#include <string.h>

static void advance(struct window *w, uint64_t now_ms)
{
    const uint64_t now = now_ms / 1000;

    if (now >= w->second + WINDOW_S) {
        memset(w->counts, 0, sizeof(w->counts));
        w->total = 0;
        w->second = now;
    }
    while (w->second < now) {
        uint32_t *slot = &w->counts[++w->second % WINDOW_S];
        w->total -= *slot;
        *slot = 0;
    }
}

void window_add(struct window *w, uint64_t now_ms)
{
    advance(w, now_ms);
    w->counts[w->second % WINDOW_S]++;
    w->total++;
}

uint64_t window_count(struct window *w, uint64_t now_ms)
{
    advance(w, now_ms);
    return w->total;
}
