/* What is told of the pool: by name only what workers call themselves, never anything of a request.
 */
#include "gateway/status.h"

#include "backends/pool/gateways.h"
#include "base/clock.h"
#include "base/version.h"
#include "gateway/decisions.h"
#include "gateway/internal.h"
#include "gateway/peers.h"
#include "gateway/trust.h"

/* ---- For programs ---- */

struct workers_page {
    struct buf *out;
    size_t ready, total;
};

static void worker_row(void *arg, const struct pool_view *v)
{
    struct workers_page *p = arg;

    p->ready += v->state == POOL_READY ? 1 : 0;
    buf_printf(p->out, "%s{\"iid\":\"%s\",\"worker_id\":\"", p->total++ ? "," : "", v->iid);
    buf_json_escape(p->out, span_str(v->worker_id));
    buf_printf(
        p->out,
        "\",\"wid\":\"%s\",\"state\":\"%s\",\"attestation\":\"%s\",\"accepting\":%s,\"reason\":\"",
        v->wid, pool_state_name(v->state), v->attestation, v->accepting ? "true" : "false");
    buf_json_escape(p->out, span_str(v->reason));
    buf_printf(p->out,
               "\",\"running\":%lld,\"waiting\":%lld,\"max\":%lld,\"kv\":%.3f,\"ask\":%lld,"
               "\"streams\":%lld,\"rtt_ms\":%llu,",
               (long long)v->running, (long long)v->waiting, (long long)v->max, v->kv,
               (long long)v->ask, (long long)v->in_flight, (unsigned long long)v->rtt_ms);
    buf_printf(p->out,
               "\"first_token_ms\":%.1f,\"tokens_per_s\":%.1f,\"served\":%llu,\"failures\":%llu,"
               "\"standing\":%.3f,\"clock_skewed\":%s,\"drained\":%s,\"models\":[",
               v->first_token_ms, v->tokens_per_s, (unsigned long long)v->served,
               (unsigned long long)v->failures, v->standing, v->skewed ? "true" : "false",
               v->held_back ? "true" : "false");
    for (size_t i = 0; i < v->model_count; i++) {
        buf_append_str(p->out, i ? ",\"" : "\"");
        buf_json_escape(p->out, span_str(v->models[i].name));
        buf_append_str(p->out, "\"");
    }
    buf_append_str(p->out, "]}");
}

struct models_page {
    struct gateway *gateway;
    struct buf *out;
    size_t count;
};

static size_t waiting_for(struct gateway *g, const char *model)
{
    return queue_length(lane_of(&g->lanes, span_str(model))->queue);
}

static void model_row(void *arg, const struct pool_model_view *v)
{
    struct models_page *p = arg;

    buf_append_str(p->out, p->count++ ? ",{\"model\":\"" : "{\"model\":\"");
    buf_json_escape(p->out, span_str(v->model.name));
    buf_printf(p->out, "\",\"workers\":%zu,\"ready\":%zu,\"lowest_ask\":%lld,\"waiting\":%zu}",
               v->workers, v->ready, (long long)v->lowest_ask,
               waiting_for(p->gateway, v->model.name));
}

void status_json(struct gateway *g, struct buf *out)
{
    struct workers_page p = {.out = out};
    struct models_page m = {.gateway = g, .out = out};
    const char *unready = gateway_unready(g);

    buf_printf(out,
               "{\"instance\":\"%s\",\"version\":\"%s\",\"commit\":\"%s\",\"uptime_s\":%llu,"
               "\"ready\":%s,\"missing\":\"%s\",",
               g->instance, cocoon_version, cocoon_commit,
               (unsigned long long)(clock_mono_ms() - g->started_ms) / 1000,
               unready ? "false" : "true", unready ? unready : "");
    buf_printf(out,
               "\"environment\":\"%s\",\"redis\":%s,\"calls\":%zu,\"queue\":%zu,"
               "\"connections\":%zu,\"internal_connections\":%zu,\"gateways\":%zu,\"drains\":%zu,"
               "\"bans\":%zu,\"models\":[",
               trust_is_dev(g) ? "dev" : "production", redis_up(g->redis) ? "true" : "false",
               g->call_count, lanes_waiting(&g->lanes), http_server_connections(g->api),
               internal_connections(g), peers_count(g->peers), decisions_drains(g->decisions),
               decisions_bans(g->decisions));
    pool_models_each(g->pool, model_row, &m);
    buf_append_str(out, "],\"workers\":[");
    pool_each(g->pool, worker_row, &p);
    buf_printf(out, "],\"workers_ready\":%zu}\n", p.ready);
}

/* ---- For people ---- */

/* Workers name themselves and their models. */
static void html(struct buf *out, const char *text)
{
    for (; *text; text++)
        if (strchr("<>&\"'", *text) || (unsigned char)*text < 0x20)
            buf_printf(out, "&#%u;", (unsigned)(unsigned char)*text);
        else
            buf_byte(out, (uint8_t)*text);
}

static void cell(struct buf *out, const char *text)
{
    buf_append_str(out, "<td>");
    html(out, text);
}

static void measured_cell(struct buf *out, double value, int decimals, const char *unit)
{
    if (value > 0)
        buf_printf(out, "<td>%.*f%s", decimals, value, unit);
    else
        buf_append_str(out, "<td>-"); /* not known yet */
}

/* In a word, what a request would meet. */
static const char *state_of(const struct pool_view *v)
{
    if (v->held_back)
        return "drained by the operator";
    if (v->state != POOL_READY)
        return pool_state_name(v->state);
    if (v->skewed)
        return "its clock is wrong";
    if (!v->accepting)
        return v->reason[0] ? v->reason : "closed";
    return v->breaker == BREAKER_OPEN ? "failing" : "ready";
}

static void worker_line(void *arg, const struct pool_view *v)
{
    struct buf *out = arg;

    buf_append_str(out, "<tr>");
    cell(out, v->worker_id);
    cell(out, v->iid);
    cell(out, state_of(v));
    cell(out, v->attestation);
    buf_append_str(out, "<td>");
    for (size_t i = 0; i < v->model_count; i++) {
        buf_append_str(out, i ? ", " : "");
        html(out, v->models[i].name);
    }
    buf_printf(out, "<td>%lld/%lld<td>%lld<td>%.2f", (long long)v->running, (long long)v->max,
               (long long)v->waiting, v->kv);
    measured_cell(out, v->first_token_ms, 0, " ms");
    measured_cell(out, v->tokens_per_s, 1, "");
    buf_printf(out, "<td>%llu<td>%llu<td>%lld<td>%llu ms</tr>\n", (unsigned long long)v->served,
               (unsigned long long)v->failures, (long long)v->ask, (unsigned long long)v->rtt_ms);
}

static void model_line(void *arg, const struct pool_model_view *v)
{
    struct models_page *p = arg;

    buf_append_str(p->out, "<tr>");
    cell(p->out, v->model.name);
    buf_printf(p->out, "<td>%zu<td>%zu<td>%zu<td>%lld<td>%zu</tr>\n", v->ready, v->workers,
               v->attested, (long long)v->lowest_ask, waiting_for(p->gateway, v->model.name));
}

static void head_write(struct gateway *g, struct buf *out)
{
    const char *unready = gateway_unready(g);

    buf_printf(
        out,
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta http-equiv=\"refresh\" "
        "content=\"5\"><title>Cocoon gateway %s</title>\n<style>body{font:14px sans-serif;"
        "margin:2em}table{border-collapse:collapse}td,th{border:1px solid #ccc;padding:2px 8px;"
        "text-align:left}</style>\n",
        g->instance);
    buf_printf(out, "<h1>Gateway %s: %s</h1><p>Version %s (%s), up for %llu s.</p>\n", g->instance,
               unready ? unready : "ready", cocoon_version, cocoon_commit,
               (unsigned long long)(clock_mono_ms() - g->started_ms) / 1000);
    if (trust_is_dev(g))
        buf_append_str(out,
                       "<p><strong>Accepts workers without evidence of hardware: nothing here is "
                       "confidential.</strong></p>\n");
}

static void figures_write(struct gateway *g, struct buf *out)
{
    buf_printf(out,
               "<table><tr><th>Calls<td>%zu<tr><th>Waiting<td>%zu<tr><th>Connections<td>%zu<tr><th>"
               "Services' connections<td>%zu<tr><th>Redis<td>%s<tr><th>Live gateways<td>%zu",
               g->call_count, lanes_waiting(&g->lanes), http_server_connections(g->api),
               internal_connections(g), redis_up(g->redis) ? "up" : "away", peers_count(g->peers));
    buf_printf(out, "<tr><th>Drained workers<td>%zu<tr><th>Bans<td>%zu</table>\n",
               decisions_drains(g->decisions), decisions_bans(g->decisions));
}

void status_page(struct gateway *g, struct buf *out)
{
    struct models_page m = {.gateway = g, .out = out};

    head_write(g, out);
    figures_write(g, out);
    buf_append_str(out,
                   "<h2>Models</h2><table><tr><th>model<th>ready<th>workers<th>attested<th>lowest "
                   "ask<th>waiting</tr>\n");
    pool_models_each(g->pool, model_line, &m);
    buf_append_str(out,
                   "</table><h2>Workers</h2><table><tr><th>label<th>iid<th>state<th>attestation<th>"
                   "models<th>running<th>waiting<th>cache<th>first token<th>tokens/s<th>served<th>"
                   "failures<th>ask<th>round trip</tr>\n");
    pool_each(g->pool, worker_line, out);
    buf_append_str(out, "</table></html>\n");
}

/* ---- Figures ---- */

static void count_state(void *arg, const struct pool_view *v)
{
    ((size_t *)arg)[v->state]++;
}

void pool_metrics_write(struct gateway *g, struct buf *out)
{
    size_t states[POOL_GONE + 1] = {0};

    pool_each(g->pool, count_state, states);
    metric_head_write("cocoon_workers", "Connected workers by state.", "gauge", out);
    for (unsigned s = 0; s < POOL_GONE; s++)
        buf_printf(out, "cocoon_workers{state=\"%s\"} %zu\n", pool_state_name(s), states[s]);
    metric_head_write("cocoon_verdicts_total",
                      "Verdicts on workers' proofs, by reason; OK: accepted.", "counter", out);
    const uint64_t *verdicts = pool_verdicts(g->pool);
    for (unsigned r = 0; r < ATTEST_REASONS; r++)
        if (verdicts[r] > 0)
            buf_printf(out, "cocoon_verdicts_total{reason=\"%s\"} %llu\n",
                       attest_reason_name((enum attest_reason)r), (unsigned long long)verdicts[r]);
    histogram_write(&g->loop_lag, "cocoon_loop_lag_seconds",
                    "How late the event loop is with what is due; looked at each second.", out);
    gauge_write("cocoon_gateways", "Live instances of this operator, as Redis knows them.",
                (double)peers_count(g->peers), out);
    gauge_write("cocoon_drained_workers", "Drains that the operator has decided.",
                (double)decisions_drains(g->decisions), out);
    gauge_write("cocoon_bans", "Bans that the operator has decided.",
                (double)decisions_bans(g->decisions), out);
    gauge_write("cocoon_draining", "1 while this instance takes nobody new.", g->draining ? 1 : 0,
                out);
}
