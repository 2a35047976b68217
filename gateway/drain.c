/* The end of an instance: nobody new is taken, what runs finishes or ends with an error at the
 * deadline. */
#include "gateway/call.h"
#include "gateway/internal.h"
#include "base/clock.h"
#include "base/log.h"
#include "gateway/peers.h"
#include "gateway/projection.h"
#include "net/notify.h"

enum { TURN_MS = 20, QUIET_MS = 500 /* idle connections may bring one more request */ };

static void drain_look(void *arg);

static void drain_again(struct gateway *g)
{
    loop_timer_set(g->loop, &g->drain_timer, TURN_MS, drain_look, g);
}

/* What has reached the caller is settled by its record; who got nothing owes nothing. */
static void break_off(struct call *c)
{
    call_stop_attempt(c, c->event_sent ? CANCEL_CLIENT_GONE : CANCEL_GIVEN_UP);
    call_fail(c, &ERR_DRAINING);
}

static bool is_over(struct gateway *g, uint64_t now)
{
    if (g->call_count > 0 || http_server_listens(g->api) || internal_listens(g)) {
        g->quiet_ms = now;
        return false;
    }
    return http_server_connections(g->api) + internal_connections(g) == 0 ||
           now - g->quiet_ms >= QUIET_MS;
}

static void drain_look(void *arg)
{
    struct gateway *g = arg;
    const uint64_t now = clock_mono_ms();

    if (now >= g->drain_until_ms) {
        LIST_FOREACH_SAFE(it, &g->calls)
            break_off(CONTAINER(it, struct call, link));
        loop_stop(g->loop);
    } else if (is_over(g, now)) {
        loop_stop(g->loop);
    } else {
        drain_again(g);
    }
}

static void leave(struct gateway *g, bool successor)
{
    /* One that was made up of the process id, or was changed since, is not the successor's. */
    const bool same_name = successor && strcmp(gateway_settings(g)->instance, g->instance) == 0;

    g->succeeded = same_name;
    peers_leave(g->peers, same_name);
    projection_leave(g->projection, same_name);
}

void gateway_drain(struct gateway *g, bool successor)
{
    if (g->draining)
        return;
    g->draining = true;
    log_event(LOG_INFO, "draining", "calls=%zu successor=%s", g->call_count,
              successor ? "yes" : "no");
    loop_timer_cancel(g->loop, &g->hold_timer);
    if (successor) {
        http_server_let_go(g->api);
        internal_let_go(g);
        http_server_let_go(g->admin);
    } else {
        upgrade_end(g);
        notify_tell("STOPPING=1");
        http_server_quiesce(g->api);
        internal_quiesce(g);
    }
    leave(g, successor);
    g->quiet_ms = clock_mono_ms();
    g->drain_until_ms = g->quiet_ms + (uint64_t)gateway_settings(g)->drain_ms;
    drain_look(g);
}
