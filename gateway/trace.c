/* Spans in the JSON of OTLP (opentelemetry-proto, docs/specification.md#json-protobuf-encoding):
 * ids in hex, 64-bit numbers as strings, enums as numbers. Attributes by OpenTelemetry's semantic
 * conventions where they have one. */
#include "gateway/charge.h"
#include "base/clock.h"
#include "base/encode.h"
#include "base/random.h"
#include "gateway/tracing.h"

enum { KIND_SERVER = 2, KIND_CLIENT = 3, STATUS_ERROR = 2 };

// ---- JSON ---------------------------------------------------------------------------------------

static void put_id(struct buf *out, const char *name, struct span id)
{
    char hex[2 * TRACE_ID_LEN + 1];

    hex_encode(hex, id);
    buf_printf(out, "\"%s\":\"%s\",", name, hex);
}

static void put_text(struct buf *out, const char *name, const char *value)
{
    tracing_attribute(out, name, value);
    buf_byte(out, ',');
}

static void put_number(struct buf *out, const char *name, int64_t value)
{
    buf_printf(out, "{\"key\":\"%s\",\"value\":{\"intValue\":\"%lld\"}},", name, (long long)value);
}

/* Up to its attributes, which end with a comma each. */
static void open_span(struct buf *out, const struct call_trace *t, struct span id,
                      struct span parent, int kind, uint64_t begun_us)
{
    const unsigned long long begun = begun_us + t->wall_us, ended = clock_mono_us() + t->wall_us;

    buf_byte(out, '{');
    put_id(out, "traceId", SPAN_OF(t->own.trace));
    put_id(out, "spanId", id);
    if (parent.len > 0)
        put_id(out, "parentSpanId", parent);
    buf_printf(out,
               "\"kind\":%d,\"startTimeUnixNano\":\"%llu000\",\"endTimeUnixNano\":\"%llu000\",",
               kind, begun, ended);
}

static void put_status(struct buf *out, bool failed)
{
    if (failed)
        buf_printf(out, "\"status\":{\"code\":%d},", STATUS_ERROR);
}

/* The last attribute's comma goes. */
static void close_span(struct buf *out)
{
    out->len--;
    buf_append_str(out, "]}");
}

// ---- The call's trace ---------------------------------------------------------------------------

static bool read_parent(const struct call *c, struct trace_context *out)
{
    return http_header_count(c->ex, "traceparent") == 1 &&
           trace_context_parse(out, http_header(c->ex, "traceparent")) == 0;
}

/* A span of our own below the caller's, or at the root of a new trace. */
static void record(struct call_trace *t, bool below)
{
    t->recorded = true;
    t->has_parent = below;
    if (below)
        memcpy(t->parent, t->own.span, sizeof(t->parent));
    else
        random_bytes(t->own.trace, sizeof(t->own.trace));
    random_bytes(t->own.span, sizeof(t->own.span));
    t->own.sampled = true;
    t->wall_us = clock_wall_ms() * 1000 - clock_mono_us();
}

void trace_begin(struct call *c)
{
    struct call_trace *t = &c->trace;
    struct tracing *export = c->gateway->tracing;

    if (t->judged)
        return;
    t->judged = true;
    const bool given = read_parent(c, &t->own);
    const bool wanted = given ? t->own.sampled : tracing_draws(export);
    if (wanted && tracing_admits(export))
        record(t, given);
    t->known = given || t->recorded;
}

const char *trace_id(const struct call *c, char text[static 2 * TRACE_ID_LEN + 1])
{
    if (!c->trace.known)
        return "-";
    hex_encode(text, SPAN_OF(c->trace.own.trace));
    return text;
}

// ---- Attempts -----------------------------------------------------------------------------------

const char *trace_attempt(struct call *c)
{
    struct call_trace *t = &c->trace;
    struct trace_context out = t->own;

    if (!t->known)
        return "";
    if (t->recorded) {
        random_bytes(t->attempt, sizeof(t->attempt));
        memcpy(out.span, t->attempt, sizeof(out.span));
        t->attempt_us = clock_mono_us();
    }
    trace_context_write(&out, t->passed);
    return t->passed;
}

void trace_attempt_end(struct call *c, const char *error)
{
    struct call_trace *t = &c->trace;
    AUTO(buf_fini) struct buf out = {0};

    if (!t->attempt_us)
        return;
    open_span(&out, t, SPAN_OF(t->attempt), SPAN_OF(t->own.span), KIND_CLIENT, t->attempt_us);
    t->attempt_us = 0;
    put_status(&out, error != NULL);
    buf_append_str(&out, "\"name\":\"worker\",\"attributes\":[");
    put_number(&out, "cocoon.attempt", c->attempt);
    put_text(&out, "cocoon.worker", pool_worker_iid(c->worker));
    put_text(&out, "gen_ai.request.model", c->model.model.name);
    if (error)
        put_text(&out, "error.type", error);
    close_span(&out);
    tracing_add(c->gateway->tracing, buf_span(&out));
}

// ---- The request --------------------------------------------------------------------------------

static const char *operation(const struct call *c)
{
    static const char *const names[] = {
        [EP_CHAT] = "chat", [EP_COMPLETIONS] = "text_completion", [EP_EMBEDDINGS] = "embeddings"};

    return c->route->kind == ROUTE_INFERENCE ? names[c->route->endpoint] : NULL;
}

/* What is the caller's fault is no failure of ours. */
static bool has_failed(const struct call *c)
{
    return c->status >= 500 || c->fault.error == &ERR_STREAM_BROKEN;
}

static void put_request(struct buf *out, struct call *c)
{
    const struct span method = http_method(c->ex);
    const char *root = c->route->path[1] == '.' ? "" : "/v1";

    put_status(out, has_failed(c));
    buf_printf(out, "\"name\":\"%.*s %s%s\",\"attributes\":[", SPAN_FMT(method), root,
               c->route->path);
    put_text(out, "http.request.method", arena_printf(&c->arena, "%.*s", SPAN_FMT(method)));
    put_text(out, "http.route", arena_printf(&c->arena, "%s%s", root, c->route->path));
    put_number(out, "http.response.status_code", c->status);
    put_text(out, "cocoon.call", c->id);
    if (has_failed(c) && c->fault.error)
        put_text(out, "error.type", c->fault.error->name);
    if (operation(c))
        put_text(out, "gen_ai.operation.name", operation(c));
    if (c->model.workers)
        put_text(out, "gen_ai.request.model", c->model.model.name);
}

void trace_end(struct call *c)
{
    struct call_trace *t = &c->trace;
    struct span parent = t->has_parent ? SPAN_OF(t->parent) : SPAN("");
    AUTO(buf_fini) struct buf out = {0};

    if (!t->recorded)
        return;
    open_span(&out, t, SPAN_OF(t->own.span), parent, KIND_SERVER, c->begun_us);
    put_request(&out, c);
    if (c->charge) {
        buf_take(&c->charge->span, &out);
        return;
    }
    close_span(&out);
    tracing_add(c->gateway->tracing, buf_span(&out));
}

void trace_charged(struct charge *ch)
{
    if (ch->span.len == 0)
        return;
    if (ch->counted) {
        put_number(&ch->span, "gen_ai.usage.input_tokens", ch->in);
        put_number(&ch->span, "gen_ai.usage.output_tokens", ch->out);
    }
    close_span(&ch->span);
    tracing_add(ch->gateway->tracing, buf_span(&ch->span));
    buf_fini(&ch->span);
}
