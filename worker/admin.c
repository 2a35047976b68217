/* The admin socket: HTTP over a UNIX socket. One table of pages, one of orders. */
#include "worker/admin.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/encode.h"
#include "base/log.h"
#include "base/version.h"
#include "net/http_server.h"
#include "worker/gateways.h"
#include "worker/watts.h"

enum { BODY_MAX = 16 * 1024 };

struct admin {
    struct worker *worker;
    struct http_server *http;
};

/* ---- Small writers ---- */

static void put_string(struct buf *out, const char *text)
{
    buf_byte(out, '"');
    buf_json_escape(out, span_str(text));
    buf_byte(out, '"');
}

static void put_or_null(struct buf *out, const char *text)
{
    if (text)
        put_string(out, text);
    else
        buf_append_str(out, "null");
}

/* ---- Pages ---- */

/* What is missing before this worker would serve; NULL when it would. */
struct eligible {
    bool any;
};

static void look_eligible(void *arg, const struct link *link)
{
    struct eligible *e = arg;

    e->any = e->any || (link->tunnel && link->eligible);
}

static const char *missing(const struct worker *w)
{
    struct eligible e = {false};
    const char *reason = worker_reason(w);

    gateways_each(w->gateways, look_eligible, &e);
    return reason ? reason : e.any ? NULL : "gateway";
}

static unsigned page_healthz(struct worker *w, struct buf *out)
{
    (void)w;
    buf_append_str(out, "ok\n");
    return 200;
}

static unsigned page_readyz(struct worker *w, struct buf *out)
{
    const char *what = missing(w);

    buf_printf(out, "%s\n", what ? what : "ready");
    return what ? 503 : 200;
}

static const char *link_state(const struct link *link)
{
    if (!link->tunnel)
        return "waiting";
    if (link->draining)
        return "draining";
    if (link->eligible)
        return "eligible";
    return tunnel_is_open(link->tunnel) ? "open" : "connecting";
}

struct gateway_rows {
    struct buf *out;
    size_t count;
};

static void gateway_row(void *arg, const struct link *link)
{
    struct gateway_rows *rows = arg;

    buf_append_str(rows->out, rows->count++ ? ",{\"operator\":" : "{\"operator\":");
    put_string(rows->out, link_operator_name(link));
    buf_append_str(rows->out, ",\"address\":");
    put_string(rows->out, link->address);
    buf_printf(rows->out, ",\"state\":\"%s\",\"streams\":%zu,\"rtt_ms\":%" PRIu64 "}",
               link_state(link), link->tunnel ? tunnel_streams(link->tunnel) : 0,
               link->tunnel ? tunnel_rtt_ms(link->tunnel) : 0);
}

static void put_gateways(const struct worker *w, struct buf *out)
{
    struct gateway_rows rows = {.out = out};

    buf_append_str(out, ",\"gateways\":[");
    gateways_each(w->gateways, gateway_row, &rows);
    buf_append_str(out, "]");
}

static void put_given(const struct worker *w, struct buf *out)
{
    const struct settings *s = &w->settings;

    buf_printf(out,
               ",\"running\":%u,\"max_requests\":%" PRId64 ",\"ask\":%" PRId64
               ",\"max_watts\":%" PRId64 ",\"watts\":%" PRId64 ",\"hours\":{",
               worker_running(w), s->max_requests, s->ask, s->max_watts, watts_now(w->watts));
    for (int day = 0; day < HOURS_DAYS; day++) {
        buf_printf(out, "%s\"%s\":", day ? "," : "", hours_days[day]);
        put_string(out, s->hours.text[day]);
    }
    buf_byte(out, '}');
}

static void put_engine(const struct worker *w, struct buf *out)
{
    const struct engine_load *load = engine_load(w->engine);

    buf_printf(out, ",\"engine\":{\"up\":%s,\"kind\":\"%s\",\"version\":",
               engine_up(w->engine) ? "true" : "false", engine_kind_name(engine_kind(w->engine)));
    put_string(out, engine_facts(w->engine)->version);
    buf_printf(out, ",\"running\":%" PRId64 ",\"waiting\":%" PRId64 ",\"kv\":%.2f}", load->running,
               load->waiting, load->kv);
}

static void put_models(const struct worker *w, struct buf *out)
{
    const struct worker_config *c = worker_config(w);
    const struct worker_model *models = c->models.items;

    buf_append_str(out, ",\"models\":[");
    for (size_t i = 0; i < c->models.count; i++) {
        if (i > 0)
            buf_byte(out, ',');
        put_string(out, models[i].name);
    }
    buf_byte(out, ']');
}

static void put_counters(const struct worker *w, struct buf *out)
{
    const struct worker_counters *n = &w->counters;

    buf_append_str(out, ",\"calls\":{");
    for (int o = 0; o <= USAGE_REJECTED; o++)
        buf_printf(out, "%s\"%s\":%" PRIu64, o ? "," : "",
                   usage_outcome_name((enum usage_outcome)o), n->calls[o]);
    buf_printf(out,
               "},\"refused\":{\"busy\":%" PRIu64 ",\"not_accepting\":%" PRIu64
               ",\"price\":%" PRIu64 ",\"ohttp_key\":%" PRIu64 ",\"bad_message\":%" PRIu64
               ",\"replay\":%" PRIu64 "}",
               n->busy, n->closed, n->price, n->bad_key, n->bad_message, n->replay);
    buf_printf(out,
               ",\"tokens\":{\"in\":%" PRIu64 ",\"cached\":%" PRIu64 ",\"out\":%" PRIu64
               "},\"usage\":{\"unacknowledged\":%zu,\"acknowledged\":%" PRIu64
               ",\"earned_nano\":\"%" PRId64 "\"}",
               n->tokens_in, n->tokens_cached, n->tokens_out, usage_count(w->usage),
               n->acknowledged, n->earned_nano);
}

static unsigned page_status_json(struct worker *w, struct buf *out)
{
    const struct worker_config *c = worker_config(w);
    char hex[2 * SHA256_LEN + 1];
    uint8_t spki[TLS_SPKI_LEN];

    tls_client_spki(w->tls, spki);
    hex_encode(hex, span_of(spki, 16));
    buf_append_str(out, "{\"worker_id\":");
    put_string(out, c->worker_id);
    buf_printf(out, ",\"iid\":\"%s\",\"version\":\"%s\",\"commit\":\"%s\",\"attestation\":\"%s\"",
               hex, cocoon_version, cocoon_commit, worker_env(w));
    buf_printf(out, ",\"uptime_s\":%" PRIu64 ",\"ready\":%s,\"missing\":",
               (clock_mono_ms() - w->started_ms) / 1000, missing(w) ? "false" : "true");
    put_or_null(out, missing(w));
    buf_printf(out, ",\"accepting\":%s,\"reason\":", worker_reason(w) ? "false" : "true");
    put_or_null(out, worker_reason(w));
    hex_encode(hex, span_of(keys_digest(w->keys), SHA256_LEN));
    buf_printf(out, ",\"keyset\":{\"sha256\":\"%s\",\"not_after\":%" PRIu64 "}", hex,
               keys_not_after_s(w->keys));
    put_given(w, out);
    put_engine(w, out);
    put_models(w, out);
    put_gateways(w, out);
    put_counters(w, out);
    buf_append_str(out, "}\n");
    return 200;
}

static void text_gateway(void *arg, const struct link *link)
{
    struct buf *out = arg;

    buf_printf(out, "gateway   %s (%s): %s\n", link->address, link_operator_name(link),
               link_state(link));
}

static unsigned page_status(struct worker *w, struct buf *out)
{
    const char *what = missing(w);

    buf_printf(out, "worker    %s %s (%s)\nstate     %s%s\n", worker_config(w)->worker_id,
               cocoon_version, worker_env(w), what ? "waiting: " : "ready", what ? what : "");
    buf_printf(out, "engine    %s, %s\nrequests  %u of %" PRId64 "\nask       %" PRId64 "\n",
               engine_kind_name(engine_kind(w->engine)), engine_up(w->engine) ? "up" : "down",
               worker_running(w), w->settings.max_requests, w->settings.ask);
    gateways_each(w->gateways, text_gateway, out);
    buf_printf(out, "records   %zu not acknowledged\n", usage_count(w->usage));
    return 200;
}

static void put_metric(struct buf *out, const char *name, const char *type, double value)
{
    buf_printf(out, "# TYPE cocoon_worker_%s %s\ncocoon_worker_%s %.17g\n", name, type, name,
               value);
}

static unsigned page_metrics(struct worker *w, struct buf *out)
{
    const struct worker_counters *n = &w->counters;
    const struct {
        const char *name, *type;
        double value;
    } rows[] = {
        {"running", "gauge", worker_running(w)},
        {"max_requests", "gauge", (double)w->settings.max_requests},
        {"accepting", "gauge", worker_reason(w) ? 0 : 1},
        {"engine_up", "gauge", engine_up(w->engine) ? 1 : 0},
        {"engine_waiting", "gauge", (double)engine_load(w->engine)->waiting},
        {"engine_kv", "gauge", engine_load(w->engine)->kv},
        {"tunnel_streams", "gauge", (double)gateways_streams(w->gateways)},
        {"usage_unacknowledged", "gauge", (double)usage_count(w->usage)},
        {"offload_queue", "gauge", (double)offload_queued(w->offload)},
        {"tokens_in_total", "counter", (double)n->tokens_in},
        {"tokens_cached_total", "counter", (double)n->tokens_cached},
        {"tokens_out_total", "counter", (double)n->tokens_out},
        {"chunks_total", "counter", (double)n->events},
        {"refused_busy_total", "counter", (double)n->busy},
        {"refused_not_accepting_total", "counter", (double)n->closed},
        {"refused_price_total", "counter", (double)n->price},
        {"refused_key_total", "counter", (double)n->bad_key},
        {"refused_message_total", "counter", (double)n->bad_message},
        {"refused_replay_total", "counter", (double)n->replay},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        put_metric(out, rows[i].name, rows[i].type, rows[i].value);
    buf_append_str(out, "# TYPE cocoon_worker_calls_total counter\n");
    for (int o = 0; o <= USAGE_REJECTED; o++)
        buf_printf(out, "cocoon_worker_calls_total{outcome=\"%s\"} %" PRIu64 "\n",
                   usage_outcome_name((enum usage_outcome)o), n->calls[o]);
    return 200;
}

/* ---- Orders ---- */

static unsigned order_drain(struct worker *w, struct span body, struct buf *out)
{
    (void)body;
    (void)out;
    w->drained = true;
    log_event(LOG_INFO, "drain", "by=owner");
    return 204;
}

static unsigned order_resume(struct worker *w, struct span body, struct buf *out)
{
    (void)body;
    (void)out;
    w->drained = false;
    log_event(LOG_INFO, "resume", "by=owner");
    return 204;
}

static unsigned order_settings(struct worker *w, struct span body, struct buf *out)
{
    const char *what = NULL;

    if (settings_change(&w->settings, body, &what) < 0) {
        buf_printf(out, "{\"error\":\"invalid\",\"member\":\"%s\"}\n", what);
        return 400;
    }
    watts_ceiling(w->watts, w->settings.max_watts);
    log_event(LOG_INFO, "settings", "max_requests=%" PRId64 " ask=%" PRId64 " max_watts=%" PRId64,
              w->settings.max_requests, w->settings.ask, w->settings.max_watts);
    return 204;
}

static const struct page {
    const char *path, *type;
    unsigned (*write)(struct worker *w, struct buf *out);
} pages[] = {
    {"/healthz", "text/plain; charset=utf-8", page_healthz},
    {"/readyz", "text/plain; charset=utf-8", page_readyz},
    {"/metrics", "text/plain; version=0.0.4; charset=utf-8", page_metrics},
    {"/status", "text/plain; charset=utf-8", page_status},
    {"/status.json", "application/json", page_status_json},
};

static const struct order {
    const char *path;
    unsigned (*obey)(struct worker *w, struct span body, struct buf *out);
} orders[] = {
    {"/drain", order_drain},
    {"/resume", order_resume},
    {"/settings", order_settings},
};

/* ---- HTTP ---- */

static void reply(struct http_exchange *ex, unsigned status, const char *type, struct buf *body)
{
    const struct http_field fields[] = {{"Content-Type", type}, {"Cache-Control", "no-store"}};

    http_reply(ex, status, fields, 2, body, false);
}

static bool reply_page(struct admin *a, struct http_exchange *ex)
{
    AUTO(buf_fini) struct buf body = {0};

    for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
        if (!span_is(http_path(ex), pages[i].path))
            continue;
        const unsigned status = pages[i].write(a->worker, &body);
        reply(ex, status, pages[i].type, &body);
        return true;
    }
    return false;
}

/* An order whose body comes in. */
struct receiving {
    const struct order *order;
    struct buf body;
};

static const struct order *order_of(const struct http_exchange *ex)
{
    for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++)
        if (span_is(http_path(ex), orders[i].path))
            return &orders[i];
    return NULL;
}

static void receive(struct http_exchange *ex, const struct order *order)
{
    struct receiving *r = mem_zero(sizeof(*r));

    r->order = order;
    http_set_user(ex, r);
    http_receive(ex);
}

static void on_head(void *arg, struct http_exchange *ex)
{
    struct admin *a = arg;
    const struct order *order = order_of(ex);
    AUTO(buf_fini) struct buf none = {0};

    http_set_user(ex, NULL);
    if (span_is(http_method(ex), "GET") && reply_page(a, ex))
        return;
    if (span_is(http_method(ex), "POST") && order && http_content_length(ex) != -3)
        receive(ex, order);
    else
        reply(ex, 404, "text/plain; charset=utf-8", &none);
}

static void on_body(void *arg, struct http_exchange *ex, struct span part)
{
    struct receiving *r = http_user(ex);
    AUTO(buf_fini) struct buf none = {0};

    (void)arg;
    if (r->body.len + part.len <= BODY_MAX)
        buf_append(&r->body, part);
    else
        reply(ex, 413, "text/plain; charset=utf-8", &none);
}

static void on_body_end(void *arg, struct http_exchange *ex)
{
    struct admin *a = arg;
    struct receiving *r = http_user(ex);
    AUTO(buf_fini) struct buf answer = {0};

    const unsigned status = r->order->obey(a->worker, buf_span(&r->body), &answer);
    reply(ex, status, "application/json", &answer);
}

static void on_done(void *arg, struct http_exchange *ex, bool complete)
{
    struct receiving *r = http_user(ex);

    (void)arg;
    (void)complete;
    if (r)
        buf_fini(&r->body);
    free(r);
}

static const struct http_handler handler = {
    .head = on_head,
    .body = on_body,
    .body_end = on_body_end,
    .done = on_done,
};

int admin_new(struct admin **out, struct worker *w, const char *address)
{
    struct http_server_options options = http_server_defaults;
    struct admin *a = mem_zero(sizeof(*a));
    struct net_addr at;

    a->worker = w;
    options.daemons = 1;
    options.connection_limit = 64;
    options.drain_ms = 500;
    int error = http_server_new(&a->http, w->loop, &options, &handler, a);
    if (!error)
        error = net_addr_parse(&at, address);
    if (!error)
        error = http_server_listen(a->http, &at, -1);
    if (error < 0) {
        admin_free(a);
        return error;
    }
    *out = a;
    return 0;
}

void admin_free(struct admin *a)
{
    if (!a)
        return;
    if (a->http)
        http_server_free(a->http);
    free(a);
}
