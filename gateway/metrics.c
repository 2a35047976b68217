/* Counters and histograms as Prometheus text (exposition format 0.0.4). */
#include "gateway/metrics.h"

#include <stdlib.h>

enum { REQUEST_ROWS_MAX = 4096 };

static const uint64_t bounds_us[METRIC_BUCKETS] = {500,     1000,     2500,     5000,     10000,
                                                   25000,   50000,    100000,   250000,   1000000,
                                                   5000000, 20000000, 60000000, 300000000};

void metrics_fini(struct metrics *m)
{
    struct span labels;
    void *count;
    size_t at = 0;

    while (map_next(&m->requests, &at, &labels, &count))
        free(count);
    map_fini(&m->requests);
}

void metrics_request(struct metrics *m, const char *model, const char *outcome)
{
    AUTO(buf_fini) struct buf labels = {0};
    uint64_t *count;

    buf_append_str(&labels, "model=\"");
    buf_json_escape(&labels, span_str(model));
    buf_printf(&labels, "\",outcome=\"%s\"", outcome);
    count = map_get(&m->requests, buf_span(&labels));
    if (!count && m->requests.len < REQUEST_ROWS_MAX) {
        count = mem_zero(sizeof(*count));
        (void)map_put(&m->requests, buf_span(&labels), count);
    }
    if (count)
        ++*count;
}

static void requests_write(const struct metrics *m, struct buf *out)
{
    struct span labels;
    void *count;
    size_t at = 0;

    metric_head_write("cocoon_requests_total", "Calls that are over, by model and outcome.",
                      "counter", out);
    while (map_next(&m->requests, &at, &labels, &count))
        buf_printf(out, "cocoon_requests_total{%.*s} %llu\n", SPAN_FMT(labels),
                   (unsigned long long)*(const uint64_t *)count);
}

void histogram_add(struct histogram *h, uint64_t us)
{
    size_t i = 0;

    while (i < METRIC_BUCKETS && us > bounds_us[i])
        i++;
    h->buckets[i]++;
    h->count++;
    h->sum_us += us;
}

/* label: "" or `name="value"`. */
static void values_write(const struct histogram *h, const char *name, const char *label,
                         struct buf *out)
{
    const char *comma = label[0] ? "," : "", *open = label[0] ? "{" : "",
               *close = label[0] ? "}" : "";
    uint64_t sum = 0;

    for (size_t i = 0; i < METRIC_BUCKETS; i++) {
        sum += h->buckets[i];
        buf_printf(out, "%s_bucket{%s%sle=\"%g\"} %llu\n", name, label, comma,
                   (double)bounds_us[i] / 1e6, (unsigned long long)sum);
    }
    buf_printf(out, "%s_bucket{%s%sle=\"+Inf\"} %llu\n", name, label, comma,
               (unsigned long long)h->count);
    buf_printf(out, "%s_sum%s%s%s %.6f\n", name, open, label, close, (double)h->sum_us / 1e6);
    buf_printf(out, "%s_count%s%s%s %llu\n", name, open, label, close,
               (unsigned long long)h->count);
}

void metric_head_write(const char *name, const char *help, const char *type, struct buf *out)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void histogram_write(const struct histogram *h, const char *name, const char *help, struct buf *out)
{
    metric_head_write(name, help, "histogram", out);
    values_write(h, name, "", out);
}

void counter_write(const char *name, const char *help, uint64_t value, struct buf *out)
{
    metric_head_write(name, help, "counter", out);
    buf_printf(out, "%s %llu\n", name, (unsigned long long)value);
}

void gauge_write(const char *name, const char *help, double value, struct buf *out)
{
    metric_head_write(name, help, "gauge", out);
    buf_printf(out, "%s %.15g\n", name, value);
}

static void steps_write(const struct metrics *m, struct buf *out)
{
    static const char *const labels[METRIC_STEPS] = {
        [METRIC_AUTH] = "step=\"auth\"",   [METRIC_RECV] = "step=\"recv\"",
        [METRIC_ADMIT] = "step=\"admit\"", [METRIC_QUEUE] = "step=\"queue\"",
        [METRIC_ROUTE] = "step=\"route\"", [METRIC_WORKER] = "step=\"worker\"",
    };

    metric_head_write("cocoon_step_seconds", "What the time of calls went to.", "histogram", out);
    for (size_t i = 0; i < METRIC_STEPS; i++)
        values_write(&m->steps[i], "cocoon_step_seconds", labels[i], out);
}

void metrics_write(const struct metrics *m, struct buf *out)
{
    static const char *const classes[METRIC_TOKEN_CLASSES] = {"prompt", "cached", "completion",
                                                              "reasoning"};

    requests_write(m, out);
    metric_head_write("cocoon_answers_total", "Answers by HTTP status; 499: the client left first.",
                      "counter", out);
    for (unsigned i = 0; i < METRIC_STATUSES; i++)
        if (m->answers[i])
            buf_printf(out, "cocoon_answers_total{status=\"%u\"} %llu\n", i,
                       (unsigned long long)m->answers[i]);
    metric_head_write("cocoon_tokens_total", "Tokens of settled calls by class.", "counter", out);
    for (unsigned i = 0; i < METRIC_TOKEN_CLASSES; i++)
        buf_printf(out, "cocoon_tokens_total{class=\"%s\"} %llu\n", classes[i],
                   (unsigned long long)m->tokens[i]);
    counter_write("cocoon_attempts_total", "Dispatches to workers.", m->attempts, out);
    counter_write("cocoon_retries_total", "Calls moved to another worker.", m->retries, out);
    counter_write("cocoon_retries_refused_total", "Retries above the budget.", m->retries_refused,
                  out);
    counter_write("cocoon_queue_refused_total", "Calls that found no place in the queue in time.",
                  m->queue_refused, out);
    counter_write("cocoon_queue_late_total", "Calls that waited in vain.", m->queue_late, out);
    counter_write("cocoon_client_retries_total", "Requests that an SDK marked as its own retry.",
                  m->sdk_retries, out);
    counter_write("cocoon_broken_streams_total", "Streams ended by an error event.",
                  m->broken_streams, out);
    counter_write("cocoon_usage_missing_total", "Answers that ended without a valid usage record.",
                  m->usage_missing, out);
    counter_write("cocoon_end_to_end_total", "Calls passed on that their clients had encrypted.",
                  m->end_to_end, out);
    counter_write("cocoon_events_total", "Events relayed to clients.", m->events, out);
    histogram_write(&m->first_event, "cocoon_first_event_seconds",
                    "From the request's last byte to the first event.", out);
    histogram_write(&m->event_gap, "cocoon_event_gap_seconds",
                    "Between two events of a stream that are no pings.", out);
    histogram_write(&m->total, "cocoon_request_seconds", "From the head to the end of the answer.",
                    out);
    steps_write(m, out);
}
