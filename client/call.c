/* A request of an application: what can be told from its head, its body, the checks that the
 * gateway would do, and its exchange; and the way of the answer back. */
#include <stdio.h>
#include <stdlib.h>

#include "base/encode.h"
#include "base/random.h"
#include "client/proxy.h"
#include "openai/paths.h"
#include "openai/request_reading.h"

enum { PARK_BYTES = 64 * 1024, STALLED_LOOK_MS = 1000 };

void call_fault(struct call *c)
{
    if (c->answered || c->gone)
        return;
    reply_fault(c, false);
}

void call_fail(struct call *c, const struct api_error *e, const char *param, const char *arg)
{
    api_fault_set(&c->fault, e, param, arg);
    call_fault(c);
}

/* ---- The answer ---- */

/* An application that reads nothing for too long is cut off. */
static void stalled(void *arg)
{
    struct call *c = arg;
    struct loop *l = c->proxy->loop;
    const uint64_t now = loop_now(l);

    if (http_stream_queued(c->ex) == 0)
        c->last_drain_ms = now;
    if (now - c->last_drain_ms >= (uint64_t)c->proxy->config->stalled_ms)
        http_cut(c->ex);
    else
        loop_timer_set(l, &c->stalled, STALLED_LOOK_MS, stalled, c);
}

static void write_stream(struct call *c, struct span bytes)
{
    if (!c->streaming) {
        reply_stream(c);
        c->last_drain_ms = loop_now(c->proxy->loop);
        loop_timer_set(c->proxy->loop, &c->stalled, STALLED_LOOK_MS, stalled, c);
    }
    http_stream_write(c->ex, bytes);
}

static void on_content(void *arg, struct span bytes)
{
    struct call *c = arg;

    if (c->answered || c->gone)
        return;
    idempotency_take(c, bytes);
    if (!c->rq.stream) {
        buf_append(&c->whole, bytes);
        return;
    }
    write_stream(c, bytes);
    if (http_stream_queued(c->ex) >= PARK_BYTES)
        exchange_pause(c->exchange, true);
}

/* What the first one was answered; nothing is sent for it. */
static void give_again(struct call *c, const struct once_answer *again)
{
    c->again = again;
    if (again->stream) {
        write_stream(c, buf_span(&again->bytes));
        c->answered = true;
        http_stream_end(c->ex, NULL, 0);
    } else {
        buf_append(&c->whole, buf_span(&again->bytes));
        reply_whole(c, 200, "application/json", &c->whole);
    }
    c->again = NULL;
}

static void on_end(void *arg)
{
    struct call *c = arg;

    idempotency_whole(c);
    idempotency_end(c, true);
    if (c->answered || c->gone)
        return;
    if (!c->streaming) {
        reply_whole(c, 200, "application/json", &c->whole);
        return;
    }
    c->answered = true;
    http_stream_end(c->ex, NULL, 0);
}

/* Whether something that failed may have to be paid for all the same: some of it was told, a
 * worker was at it, or what it made cannot be trusted. */
static bool has_run(const struct call *c, const struct api_error *e)
{
    return c->streaming || exchange_may_have_run(c->exchange) ||
           (e == &ERR_VERIFICATION_FAILED && exchange_verdict(c->exchange));
}

static void on_failed(void *arg, const struct api_fault *fault, bool told)
{
    struct call *c = arg;

    idempotency_end(c, has_run(c, fault->error));
    if (c->answered || c->gone)
        return;
    c->fault = *fault;
    reply_fault(c, told);
}

static const struct exchange_events events = {on_content, on_end, on_failed};

const char *call_authorization(struct call *c)
{
    const struct span given = http_header(c->ex, "authorization");
    const struct span key = http_header(c->ex, "x-api-key");

    if (given.data)
        return arena_strdup(&c->arena, given);
    return key.data ? arena_printf(&c->arena, "Bearer %.*s", SPAN_FMT(key)) : NULL;
}

static void begin_exchange(struct call *c)
{
    const struct span require = http_header(c->ex, "cocoon-require");
    const struct exchange_ask ask = {
        .rq = &c->rq,
        .authorization = call_authorization(c),
        .rid = http_header(c->ex, "x-client-request-id"),
        .require = c->require,
        .require_text = require.data ? require : SPAN(""),
        .traceparent = http_header_count(c->ex, "traceparent") == 1
                           ? http_header(c->ex, "traceparent")
                           : SPAN(""),
    };

    if (exchange_start(&c->exchange, c->proxy->client, &ask, &events, c) < 0) {
        c->exchange = NULL;
        call_fail(c, &ERR_INVALID_VALUE, "model", "model");
    }
}

/* ---- The body ---- */

/* Owns what it reads, so that the call may die meanwhile. */
struct parse_job {
    struct offload_job job;
    struct call *call; /* NULL: nobody waits any more */
    struct request_reading reading;
};

static void parse_free(struct parse_job *j)
{
    request_reading_fini(&j->reading);
    free(j);
}

static void parse_work(struct offload_job *job)
{
    request_reading_run(&CONTAINER(job, struct parse_job, job)->reading);
}

static void parsed(struct call *c, int error)
{
    const struct once_answer *again;

    if (error < 0) {
        call_fault(c);
        return;
    }
    c->parsed = true;
    if (c->gone || c->answered)
        return;
    if (idempotency_begin(c, &again) < 0)
        call_fault(c);
    else if (again)
        give_again(c, again);
    else
        begin_exchange(c);
}

static void parse_done(struct offload_job *job)
{
    struct parse_job *j = CONTAINER(job, struct parse_job, job);
    struct call *c = j->call;
    int error = 0;

    if (c) {
        c->job = NULL;
        error = request_reading_take(&j->reading, &c->body, &c->rq, &c->fault);
    }
    parse_free(j);
    if (c)
        parsed(c, error);
}

static void parse_later(struct call *c, const struct request_rules *rules)
{
    struct parse_job *j = mem_zero(sizeof(*j));

    j->job = (struct offload_job){.work = parse_work, .done = parse_done};
    j->call = c;
    request_reading_init(&j->reading, c->endpoint, rules, &c->body);
    if (offload_submit(c->proxy->offload, &j->job) == 0) {
        c->job = j;
        return;
    }
    parse_free(j);
    call_fail(c, &ERR_OVERLOADED, NULL, NULL);
}

static void on_body(void *arg, struct http_exchange *ex, struct span part)
{
    struct call *c = http_user(ex);

    (void)arg;
    if (c->answered || c->gone)
        return;
    if (c->body.len + part.len > (size_t)c->proxy->config->body_bytes)
        call_fail(c, &ERR_REQUEST_TOO_LARGE, NULL, NULL);
    else
        buf_append(&c->body, part);
}

static void on_body_end(void *arg, struct http_exchange *ex)
{
    struct call *c = http_user(ex);
    const struct client_config *own = c->proxy->config;
    const struct request_rules rules = {.strict = own->strict,
                                        .allowed = (const char *const *)own->extras_allowed.items,
                                        .denied = (const char *const *)own->extras_denied.items,
                                        .max_n = 128};

    (void)arg;
    c->body_whole = true;
    if (c->answered || c->gone || !c->inference)
        return;
    if (c->body.len > REQUEST_LONG)
        parse_later(c, &rules);
    else
        parsed(c, request_parse(&c->rq, c->endpoint, buf_span(&c->body), &rules, &c->fault));
}

/* ---- The head ---- */

static struct span path_of(const struct call *c)
{
    const struct span path = http_path(c->ex);

    return span_starts(path, SPAN("/v1/")) ? span_from(path, 3) : path;
}

/* "POST /v1/foo": what is shown of it is printable. */
static void refuse_url(struct call *c)
{
    call_fail(c, &ERR_UNKNOWN_URL, NULL,
              arena_printf(&c->arena, "%.*s %.*s", SPAN_FMT(span_cut(http_method(c->ex), 0, 16)),
                           SPAN_FMT(http_path(c->ex))));
}

static void refuse_method(struct call *c)
{
    const struct span method = span_cut(http_method(c->ex), 0, 16), path = path_of(c);

    if (span_is(method, "GET") && span_is(path, "/chat/completions"))
        call_fail(c, &ERR_METHOD_NOT_STORED, NULL, NULL);
    else
        call_fail(c, &ERR_METHOD_NOT_SUPPORTED, NULL,
                  arena_printf(&c->arena, "%.*s on /v1%.*s", SPAN_FMT(method), SPAN_FMT(path)));
}

/* Nothing is unpacked here. */
static bool is_plain(struct span encoding)
{
    encoding = span_trim(encoding);
    return encoding.len == 0 || span_ieq(encoding, SPAN("identity"));
}

static bool is_json(struct span type)
{
    const struct span media = span_trim(span_split(&type, ';'));

    return media.len == 0 || span_ieq(media, SPAN("application/json")) ||
           (media.len > 5 && span_ieq(span_from(media, media.len - 5), SPAN("+json")));
}

static void begin_inference(struct call *c)
{
    const struct span require = http_header(c->ex, "cocoon-require");
    char why[120];

    c->inference = true;
    if (!span_is(http_method(c->ex), "POST"))
        refuse_method(c);
    else if (http_content_length(c->ex) > c->proxy->config->body_bytes)
        call_fail(c, &ERR_REQUEST_TOO_LARGE, NULL, NULL);
    else if (!is_plain(http_header(c->ex, "content-encoding")) ||
             !is_json(http_header(c->ex, "content-type")))
        call_fail(c, &ERR_UNSUPPORTED_MEDIA_TYPE, NULL, NULL);
    else if (require.data && attest_require_read(&c->require, require, why) < 0)
        call_fail(c, &ERR_INVALID_HEADER, NULL, "Cocoon-Require");
    else
        http_receive(c->ex);
}

static void route(struct call *c)
{
    const struct span path = path_of(c), method = http_method(c->ex);
    AUTO(buf_fini) struct buf full = {0};

    buf_printf(&full, "/v1%.*s", SPAN_FMT(path));
    const struct path_refusal *refusal = path_refusal(path);
    const bool models =
        span_is(path, "/models") || (span_starts(path, SPAN("/models/")) && path.len > 8);
    if (status_answer(c))
        return;
    if (endpoint_of(buf_span(&full), &c->endpoint) == 0)
        begin_inference(c);
    else if (models && !span_is(method, "GET") && !span_is(method, "HEAD")) /* RFC 9110 §9.3.2 */
        refuse_method(c);
    else if (models)
        models_begin(c);
    else if (refusal)
        call_fail(c, refusal->error, NULL, NULL);
    else
        refuse_url(c);
}

static void on_head(void *arg, struct http_exchange *ex)
{
    struct proxy *p = arg;
    struct call *c = mem_zero(sizeof(*c));
    uint8_t id[16];

    c->proxy = p;
    c->ex = ex;
    random_bytes(id, sizeof(id));
    hex_encode(c->id, SPAN_OF(id));
    http_set_user(ex, c);
    list_push(&p->calls, &c->link);
    if (http_content_length(ex) == -3)
        call_fail(c, &ERR_BAD_FRAMING, NULL, NULL);
    else if (http_header_bytes(ex) > (size_t)p->config->header_bytes)
        call_fail(c, &ERR_HEADERS_TOO_LARGE, NULL, NULL);
    else if (!reply_host_local(c)) {
        api_fault_text(&c->fault, &ERR_FORBIDDEN, NULL,
                       "cocoon-client answers only to names of this machine, such as localhost.");
        call_fault(c);
    } else if (span_is(http_method(ex), "OPTIONS"))
        reply_preflight(c);
    else if (p->draining)
        call_fail(c, &ERR_DRAINING, NULL, NULL);
    else
        route(c);
}

/* ---- The other events ---- */

static void on_body_late(void *arg, struct http_exchange *ex)
{
    (void)arg;
    call_fail(http_user(ex), &ERR_REQUEST_TIMEOUT, NULL, NULL);
}

static void on_drained(void *arg, struct http_exchange *ex)
{
    struct call *c = http_user(ex);

    (void)arg;
    c->last_drain_ms = loop_now(c->proxy->loop);
    if (c->exchange && http_stream_queued(ex) < PARK_BYTES)
        exchange_pause(c->exchange, false);
}

static void stop_work(struct call *c)
{
    idempotency_end(c, c->streaming || (c->gone && c->exchange && exchange_verdict(c->exchange)));
    exchange_free(c->exchange);
    c->exchange = NULL;
    http_whole_cancel(&c->models);
    if (c->job)
        c->job->call = NULL;
    c->job = NULL;
    loop_timer_cancel(c->proxy->loop, &c->stalled);
}

static void on_gone(void *arg, struct http_exchange *ex)
{
    struct call *c = http_user(ex);

    (void)arg;
    c->gone = true;
    stop_work(c);
}

static void call_free(void *obj)
{
    struct call *c = obj;

    if (c->parsed)
        request_fini(&c->rq);
    buf_wipe(&c->body);
    buf_wipe(&c->whole);
    arena_fini(&c->arena);
    free(c);
}

static void on_done(void *arg, struct http_exchange *ex, bool complete)
{
    struct call *c = http_user(ex);

    (void)arg;
    (void)complete;
    if (!c)
        return;
    stop_work(c);
    list_del(&c->link);
    loop_defer_free(c->proxy->loop, c, call_free);
}

const struct http_handler call_handler = {
    .head = on_head,
    .body = on_body,
    .body_end = on_body_end,
    .body_late = on_body_late,
    .drained = on_drained,
    .gone = on_gone,
    .done = on_done,
};
