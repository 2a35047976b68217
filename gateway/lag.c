/* How late the event loop is: a timer that is due each second, and when it really fires. A callback
 * that works for long shows here, before callers feel it. */
#include "gateway/gateway.h"
#include "base/clock.h"

enum { EVERY_MS = 1000 };

static void look(void *arg)
{
    struct gateway *g = arg;
    const uint64_t now = clock_mono_us();

    histogram_add(&g->loop_lag, now > g->lag_due_us ? now - g->lag_due_us : 0);
    lag_start(g);
}

/* Timers count from the turn's beginning. */
void lag_start(struct gateway *g)
{
    g->lag_due_us = (loop_now(g->loop) + EVERY_MS) * 1000;
    loop_timer_set(g->loop, &g->lag_timer, EVERY_MS, look, g);
}

void lag_stop(struct gateway *g)
{
    loop_timer_cancel(g->loop, &g->lag_timer);
}
