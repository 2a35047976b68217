/* Step finish: one access line and the counters of a call that is over. Codes, times and counts
 * only. */
#include "gateway/call.h"
#include "base/clock.h"
#include "base/log.h"
#include "gateway/counters.h"

static unsigned long long ms_since(uint64_t from_us, uint64_t to_us)
{
    return from_us && to_us > from_us ? (to_us - from_us) / 1000 : 0;
}

static const char *outcome(const struct call *c)
{
    if (c->fault.error)
        return c->fault.error->name;
    return c->status == 499 ? "CLIENT_GONE" : "OK";
}

static const char *model_name(const struct call *c)
{
    return c->model.workers ? c->model.model.name : "-";
}

static enum refused_for refused_for(const struct call *c)
{
    if (c->status != 503 || c->fault.error != &ERR_NO_CAPACITY)
        return REFUSED_NOT;
    return c->lowest_ask > 0 ? REFUSED_FOR_BID : REFUSED_FOR_CAPACITY;
}

/* Of each step that was passed. */
static void count_steps(const struct call *c, struct histogram steps[static METRIC_STEPS])
{
    const struct {
        enum metric_step step;
        uint64_t from_us, to_us;
    } passed[] = {
        {METRIC_AUTH, c->begun_us, c->auth_us},
        {METRIC_RECV, c->auth_us, c->received_us},
        {METRIC_ADMIT, c->received_us, c->admitted_us},
        {METRIC_QUEUE, c->routed_us ? 1 : 0, 1 + c->queue_us},
        {METRIC_ROUTE, c->admitted_us ? c->admitted_us + c->queue_us : 0, c->routed_us},
        {METRIC_WORKER, c->sent_us, c->head_us},
    };

    for (size_t i = 0; i < sizeof(passed) / sizeof(passed[0]); i++)
        if (passed[i].from_us && passed[i].to_us >= passed[i].from_us)
            histogram_add(&steps[passed[i].step], passed[i].to_us - passed[i].from_us);
}

enum step_result call_finish(struct call *c)
{
    struct gateway *g = c->gateway;
    uint64_t now = clock_mono_us();
    char trace[2 * TRACE_ID_LEN + 1];

    if (c->gone && !(c->answered && c->ended))
        c->status = 499;
    if (c->status < METRIC_STATUSES)
        g->metrics.answers[c->status]++;
    metrics_request(&g->metrics, model_name(c), outcome(c));
    histogram_add(&g->metrics.total, now - c->begun_us);
    count_steps(c, g->metrics.steps);
    if (c->charge)
        counters_request(g->counters, c->key->id, c->model.model.name, refused_for(c));
    trace_end(c);
    log_event(LOG_INFO, "request",
              "call=%s key=%s path=%s model=%s worker=%s status=%u outcome=%s attempts=%u "
              "events=%llu body=%zu ms=%llu "
              "first_ms=%llu queue_ms=%llu trace=%s",
              c->id, c->key ? c->key->id : "-", c->route ? c->route->path : "-", model_name(c),
              c->worker ? pool_worker_iid(c->worker) : "-", c->status, outcome(c),
              c->sent_us ? c->attempt + 1 : 0, (unsigned long long)c->events, c->body_len,
              ms_since(c->begun_us, now), ms_since(c->begun_us, c->first_us),
              (unsigned long long)(c->queue_us / 1000), trace_id(c, trace));
    return STEP_OVER;
}
