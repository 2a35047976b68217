/* One request at a time carries all that has gathered; a batch that the collector did not take is
 * lost and counted, as waiting for it would only lose newer ones. */
#include "gateway/tracing.h"

#include <stdlib.h>

#include "base/file.h"
#include "base/random.h"
#include "base/version.h"
#include "net/http_whole.h"

enum {
    BATCH_MS = 2000,
    BATCH_SPANS = 512,
    QUEUE_SPANS = 2048,
    COLLECTOR_MS = 10000, /* it has so long to take a batch */
    CONNECT_MS = 2000,
    ANSWER_MAX = 64 * 1024,
    HEADERS_MAX = 8, /* of the file, beside our own */
    HEADERS_BYTES = 8 * 1024
};

struct tracing_headers {
    size_t count;
    char *at[HEADERS_MAX];
};

struct tracing {
    struct gateway *gateway;
    struct http_client *client;
    struct http_whole sending;
    struct tracing_headers *headers;
    struct buf spans;     /* that wait, with commas between them */
    size_t waiting, sent; /* how many: in `spans`, in the transfer */
    struct loop_timer timer;
    uint64_t second, in_second; /* requests recorded in it */
    bool away, ending;
    uint64_t exported, dropped, lost, limited;
};

// ---- Settings -----------------------------------------------------------------------------------

static const struct gateway_config *settings(const struct tracing *t)
{
    return gateway_settings(t->gateway);
}

/* "Name: value" of visible ASCII and spaces. */
static bool is_header(struct span line)
{
    struct span name = span_split(&line, ':');

    if (!span_visible(name, 128) || span_trim(line).len == 0)
        return false;
    for (size_t i = 0; i < line.len; i++)
        if (line.data[i] < ' ' || line.data[i] > '~')
            return false;
    return true;
}

static int take_lines(struct tracing_headers *h, struct span text)
{
    while (text.len > 0) {
        const struct span line = span_trim(span_split(&text, '\n'));
        if (line.len == 0)
            continue;
        if (h->count == HEADERS_MAX || !is_header(line))
            return E_INVALID;
        h->at[h->count] = mem_zero(line.len + 1);
        memcpy(h->at[h->count++], line.data, line.len);
    }
    return 0;
}

int tracing_headers_read(struct tracing_headers **out, const struct gateway_config *s,
                         char why[TRACING_WHY_LEN])
{
    AUTO(buf_wipe) struct buf text = {0};
    struct tracing_headers *h = mem_zero(sizeof(*h));
    int error = s->tracing_headers_file[0]
                    ? file_read_secret(s->tracing_headers_file, HEADERS_BYTES, &text)
                    : 0;

    if (error == 0)
        error = take_lines(h, buf_span(&text));
    *out = error == 0 ? h : NULL;
    if (error == 0)
        return 0;
    tracing_headers_free(h);
    (void)snprintf(why, TRACING_WHY_LEN,
                   "tracing.headers_file: not a secret file (0600) of at most %d lines Name: value",
                   HEADERS_MAX);
    return error;
}

void tracing_headers_free(struct tracing_headers *h)
{
    if (!h)
        return;
    for (size_t i = 0; i < h->count; i++) {
        explicit_bzero(h->at[i], strlen(h->at[i]));
        free(h->at[i]);
    }
    free(h);
}

void tracing_replace(struct tracing *t, struct tracing_headers *take)
{
    tracing_headers_free(t->headers);
    t->headers = take;
}

void tracing_attribute(struct buf *out, const char *name, const char *value)
{
    buf_printf(out, "{\"key\":\"%s\",\"value\":{\"stringValue\":\"", name);
    buf_json_escape(out, span_str(value));
    buf_append_str(out, "\"}}");
}

// ---- Sending ------------------------------------------------------------------------------------

static void send_waiting(void *arg);

/* Said once when it goes away, and once when it is back. */
static void note_state(struct tracing *t, bool away, int error)
{
    if (t->away != away)
        log_event(away ? LOG_WARN : LOG_INFO, away ? "collector_away" : "collector_back",
                  "status=%u error=%s", t->sending.status, error < 0 ? error_name(error) : "-");
    t->away = away;
}

static void settle(struct tracing *t, int error)
{
    const bool taken = error == 0 && t->sending.status >= 200 && t->sending.status <= 299;

    *(taken ? &t->exported : &t->lost) += t->sent;
    t->sent = 0;
    note_state(t, !taken, error);
}

static void answered(void *arg, struct http_transfer *transfer, int error)
{
    struct tracing *t = arg;

    (void)transfer;
    settle(t, error);
    if (t->waiting > 0)
        loop_timer_set(t->gateway->loop, &t->timer,
                       t->ending || t->waiting >= BATCH_SPANS ? 0 : BATCH_MS, send_waiting, t);
}

/* ExportTraceServiceRequest. */
static void write_request(struct tracing *t, struct buf *out)
{
    buf_append_str(out, "{\"resourceSpans\":[{\"resource\":{\"attributes\":[");
    tracing_attribute(out, "service.name", "cocoon-gateway");
    buf_byte(out, ',');
    tracing_attribute(out, "service.instance.id", t->gateway->instance);
    buf_byte(out, ',');
    tracing_attribute(out, "service.version", cocoon_version);
    buf_append_str(out, "]},\"scopeSpans\":[{\"scope\":{\"name\":\"cocoon-gateway\"},\"spans\":[");
    buf_append(out, buf_span(&t->spans));
    buf_append_str(out, "]}]}]}");
}

static int post(struct tracing *t)
{
    AUTO(buf_fini) struct buf body = {0};
    const struct gateway_config *s = settings(t);
    const char *headers[1 + HEADERS_MAX] = {"Content-Type: application/json"};

    if (!s->tracing_otlp[0])
        return E_CLOSED;
    for (size_t i = 0; i < t->headers->count; i++)
        headers[1 + i] = t->headers->at[i];
    write_request(t, &body);
    const struct http_fetch fetch = {
        .url = s->tracing_otlp,
        .ca_file = s->tracing_ca_file[0] ? s->tracing_ca_file : NULL,
        .method = "POST",
        .headers = headers,
        .header_count = 1 + t->headers->count,
        .take_body = &body,
        .total_ms = COLLECTOR_MS,
    };
    return http_whole_start(&t->sending, t->client, &fetch);
}

static void send_waiting(void *arg)
{
    struct tracing *t = arg;

    loop_timer_cancel(t->gateway->loop, &t->timer);
    if (t->sending.transfer || t->waiting == 0)
        return;
    t->sent = t->waiting;
    t->waiting = 0;
    const int error = post(t);
    buf_clear(&t->spans);
    if (error < 0)
        settle(t, error);
}

// ---- Spans --------------------------------------------------------------------------------------

bool tracing_draws(const struct tracing *t)
{
    const struct gateway_config *s = settings(t);

    return s->tracing_otlp[0] && s->tracing_one_in > 0 &&
           random_below((uint64_t)s->tracing_one_in) == 0;
}

bool tracing_admits(struct tracing *t)
{
    const struct gateway_config *s = settings(t);
    const uint64_t second = loop_now(t->gateway->loop) / 1000;

    if (!s->tracing_otlp[0])
        return false;
    if (second != t->second)
        t->in_second = 0;
    t->second = second;
    if (t->in_second >= (uint64_t)s->tracing_per_second) {
        t->limited++;
        return false;
    }
    t->in_second++;
    return true;
}

void tracing_add(struct tracing *t, struct span json)
{
    if (!t)
        return;
    if (t->waiting >= QUEUE_SPANS) {
        t->dropped++;
        return;
    }
    if (t->waiting > 0)
        buf_byte(&t->spans, ',');
    buf_append(&t->spans, json);
    t->waiting++;
    if (t->ending || t->waiting >= BATCH_SPANS)
        send_waiting(t);
    else if (!loop_timer_is_set(&t->timer))
        loop_timer_set(t->gateway->loop, &t->timer, BATCH_MS, send_waiting, t);
}

void tracing_flush(struct tracing *t)
{
    t->ending = true;
    send_waiting(t);
}

bool tracing_flushed(const struct tracing *t)
{
    return !t->sending.transfer && t->waiting == 0;
}

void tracing_metrics_write(const struct tracing *t, struct buf *out)
{
    const struct {
        const char *outcome;
        uint64_t value;
    } rows[] = {{"exported", t->exported}, {"dropped", t->dropped}, {"lost", t->lost}};

    metric_head_write("cocoon_trace_spans_total",
                      "Spans that the collector took; dropped: it was behind; lost: not taken.",
                      "counter", out);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        buf_printf(out, "cocoon_trace_spans_total{outcome=\"%s\"} %llu\n", rows[i].outcome,
                   (unsigned long long)rows[i].value);
    counter_write("cocoon_trace_limited_total", "Requests not recorded: above tracing.per_second.",
                  t->limited, out);
}

// ---- Life ---------------------------------------------------------------------------------------

int tracing_new(struct tracing **out, struct gateway *g, struct tracing_headers *take)
{
    const struct http_client_options options = {.max_connections = 1, .connect_ms = CONNECT_MS};
    struct tracing *t = mem_zero(sizeof(*t));

    *out = NULL;
    t->gateway = g;
    t->headers = take;
    t->sending = (struct http_whole){.max = ANSWER_MAX, .done = answered, .arg = t};
    const int error = http_client_new(&t->client, g->loop, &options);
    if (error < 0)
        tracing_free(t);
    else
        *out = t;
    return error;
}

void tracing_free(struct tracing *t)
{
    if (!t)
        return;
    loop_timer_cancel(t->gateway->loop, &t->timer);
    http_whole_cancel(&t->sending);
    if (t->client)
        http_client_free(t->client);
    tracing_headers_free(t->headers);
    buf_fini(&t->spans);
    free(t);
}
