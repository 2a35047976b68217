/* SIGTERM: nobody new is taken, what runs finishes or ends with an error at the deadline. */
#include "gateway/call.h"
#include "base/clock.h"
#include "base/log.h"
#include "gateway/peers.h"
#include "gateway/projection.h"
#include "net/notify.h"

enum { TURN_MS = 20 };

static void drain_look(void *arg);

static void drain_again(struct gateway *g)
{
    loop_timer_set(g->loop, &g->drain_timer, TURN_MS, drain_look, g);
}

/* What has reached the caller is settled by its record; who got nothing owes nothing. */
static void break_off(struct call *c)
{
    call_stop_attempt(c, c->event_sent ? CANCEL_CLIENT_GONE : CANCEL_FAILED);
    call_fail(c, &ERR_OVERLOADED);
}

static void drain_look(void *arg)
{
    struct gateway *g = arg;
    bool late = clock_mono_ms() >= g->drain_until_ms;

    if (late)
        LIST_FOREACH_SAFE(it, &g->calls)
            break_off(CONTAINER(it, struct call, link));
    if (g->call_count == 0 || late)
        loop_stop(g->loop);
    else
        drain_again(g);
}

void gateway_drain(struct gateway *g)
{
    if (g->draining)
        return;
    g->draining = true;
    log_event(LOG_INFO, "draining", "calls=%zu", g->call_count);
    manager_told(notify_send("STOPPING=1"));
    loop_timer_cancel(g->loop, &g->hold_timer);
    http_server_quiesce(g->api);
    peers_leave(g->peers, false);
    projection_leave(g->projection, false);
    g->drain_until_ms = clock_mono_ms() + (uint64_t)gateway_settings(g)->drain_ms;
    drain_look(g);
}
