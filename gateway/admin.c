/* The admin listener: health, readiness, metrics, and the state of this instance for people and
 * programs. Loopback or UNIX socket only. */
#include <stdlib.h>

#include "gateway/money.h"
#include "gateway/gateway.h"
#include "gateway/internal.h"
#include "base/clock.h"
#include "base/log.h"
#include "gateway/redis_metrics.h"
#include "gateway/scheduling.h"
#include "gateway/status.h"
#include "gateway/tracing.h"
#include "gateway/trust.h"

/* ---- Pages ---- */

static void page_healthz(struct gateway *g, struct buf *out)
{
    (void)g;
    buf_append_str(out, "ok\n");
}

enum { DAY_S = 86400, COLLATERAL_ALARM_S = 7 * DAY_S, POLICY_ALARM_S = 14 * DAY_S };

/* When what workers are judged by ends, and whether that is soon. */
static void trust_metrics(struct gateway *g, struct buf *out)
{
    const struct attest_policy *p = trust_policy(g->trust);
    const uint64_t now = clock_wall_ms() / 1000, collateral = pool_collateral_until(g->pool);
    const uint64_t policy = p ? attest_policy_expires(p) : 0;

    gauge_write("cocoon_policy_sequence", "Sequence of the policy in force; 0: none.",
                p ? (double)attest_policy_sequence(p) : 0, out);
    gauge_write("cocoon_policy_expires_seconds", "When it ends, Unix time; 0: none.",
                (double)policy, out);
    gauge_write("cocoon_policy_ending", "1: within 14 days.",
                p && policy < now + POLICY_ALARM_S ? 1 : 0, out);
    gauge_write("cocoon_collateral_expires_seconds",
                "When the first collateral in use ends, Unix time; 0: none is used.",
                (double)collateral, out);
    gauge_write("cocoon_collateral_ending", "1: within 7 days.",
                collateral > 0 && collateral < now + COLLATERAL_ALARM_S ? 1 : 0, out);
}

static void page_metrics(struct gateway *g, struct buf *out)
{
    trust_metrics(g, out);
    metrics_write(&g->metrics, out);
    scheduling_metrics(g, out);
    gauge_write("cocoon_calls", "Calls in progress.", (double)g->call_count, out);
    gauge_write("cocoon_queue", "Calls that wait for a worker.", (double)lanes_waiting(&g->lanes),
                out);
    gauge_write("cocoon_connections", "Client connections.",
                (double)http_server_connections(g->api), out);
    counter_write("cocoon_connections_refused_total", "Connections above limits.connections.",
                  http_server_refused(g->api), out);
    internal_metrics_write(g, out);
    gauge_write("cocoon_bodies_bytes", "Bytes of request bodies held.", (double)g->bodies_in_flight,
                out);
    gauge_write("cocoon_offload_queue", "Jobs that wait for a thread.",
                (double)offload_queued(g->offload), out);
    pool_metrics_write(g, out);
    redis_metrics_write(g->redis, out);
    money_metrics_write(g->money, out);
    tracing_metrics_write(g->tracing, out);
}

static void page_readyz(struct gateway *g, struct buf *out)
{
    const char *unready = gateway_unready(g);

    buf_printf(out, "%s\n", unready ? unready : "ready");
}

/* ---- The listener ---- */

static const struct page {
    const char *path, *type;
    void (*write)(struct gateway *g, struct buf *out);
} pages[] = {
    {"/healthz", "text/plain", page_healthz},
    {"/readyz", "text/plain", page_readyz},
    {"/metrics", "text/plain; version=0.0.4", page_metrics},
    {"/status", "text/html; charset=utf-8", status_page},
    {"/status.json", "application/json", status_json},
};

static void reply(struct http_exchange *ex, unsigned status, const char *type, struct buf *body)
{
    const struct http_field fields[] = {{"content-type", type},
                                        {"cache-control", "no-store"},
                                        {"x-content-type-options", "nosniff"}};

    http_reply(ex, status, fields, sizeof(fields) / sizeof(*fields), body,
               http_content_length(ex) != -2);
}

static void on_head(void *arg, struct http_exchange *ex)
{
    struct gateway *g = arg;
    struct buf body = {0};
    bool get = span_is(http_method(ex), "GET") || span_is(http_method(ex), "HEAD");

    for (size_t i = 0; i < sizeof(pages) / sizeof(*pages); i++) {
        if (!get || !span_is(http_path(ex), pages[i].path))
            continue;
        bool unready = pages[i].write == page_readyz && gateway_unready(g);
        pages[i].write(g, &body);
        reply(ex, unready ? 503 : 200, pages[i].type, &body);
        return;
    }
    buf_append_str(&body, get ? "no such page\n" : "GET only\n");
    reply(ex, get ? 404 : 405, "text/plain", &body);
}

int admin_start(struct gateway *g)
{
    static const struct http_handler handler = {.head = on_head};
    struct http_server_options o = http_server_defaults;
    struct net_addr at;

    o.daemons = 1;
    o.connection_limit = 64;
    o.drain_ms = 500; /* callers wait for its end */
    TRY(net_addr_parse(&at, gateway_settings(g)->admin));
    TRY(http_server_new(&g->admin, g->loop, &o, &handler, g));
    const int fd = gateway_given(g, "admin", 0);
    TRY(http_server_listen(g->admin, &at, fd));
    if (upgrade_has_predecessor(g))
        http_server_hold(g->admin, true); /* it answers for the instance until we do */
    return 0;
}
