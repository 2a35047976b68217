/* The gateway's answers: standard headers, CORS, faults. Everything a client sees of us goes
 * through here. */
#include <stdio.h>

#include "gateway/reply.h"
#include "base/clock.h"
#include "base/encode.h"
#include "gateway/cost.h"
#include "gateway/money.h"
#include "gateway/problem.h"
#include "gateway/replay.h"

#define JSON_TYPE   "application/json"
#define STREAM_TYPE "text/event-stream; charset=utf-8"
#define ALLOWED                                                                                    \
    "authorization, content-type, accept, user-agent, openai-organization, openai-project, "       \
    "openai-beta, "                                                                                \
    "idempotency-key, x-api-key, anthropic-version, anthropic-beta, "                              \
    "anthropic-dangerous-direct-browser-access, "                                                  \
    "x-client-request-id, traceparent, incremental"
#define EXPOSED                                                                                    \
    "x-request-id, openai-processing-ms, openai-version, retry-after, retry-after-ms, "            \
    "x-should-retry, "                                                                             \
    "www-authenticate, server-timing, x-ratelimit-limit-requests, x-ratelimit-limit-tokens, "      \
    "x-ratelimit-remaining-requests, x-ratelimit-remaining-tokens, x-ratelimit-reset-requests, "   \
    "x-ratelimit-reset-tokens, cocoon-call, cocoon-privacy, cocoon-attestation, cocoon-ignored, "  \
    "cocoon-cost-nano, cocoon-replayed, "                                                          \
    "cocoon-price, cocoon-keyset, cocoon-next"

enum { MAX_REQUESTED_HEADERS = 32, MAX_HEADER_NAME = 64 };

static const struct gateway_config *settings(const struct call *c)
{
    return c->config->values;
}

void reply_add(struct reply_headers *h, const char *name, const char *value)
{
    CHECK(h->count < sizeof(h->fields) / sizeof(*h->fields));
    h->fields[h->count++] = (struct http_field){name, value};
}

/* ---- CORS (api.md §3.1) ---- */

/* What access-control-allow-origin says to this request; NULL: its origin is not on the list. */
static const char *allowed_origin(struct call *c)
{
    const struct config_strings *list = &settings(c)->cors_origins;
    struct span origin = http_header(c->ex, "origin");

    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->items[i], "*") == 0)
            return "*";
        if (origin.data && span_is(origin, list->items[i]))
            return list->items[i];
    }
    return NULL;
}

static void add_origin(struct call *c, struct reply_headers *h, const char *vary)
{
    const char *origin = allowed_origin(c);

    if (origin)
        reply_add(h, "access-control-allow-origin", origin);
    if (vary || !origin || origin[0] != '*')
        reply_add(h, "vary", vary ? vary : "Origin");
}

static bool may_request(struct span name)
{
    if (name.len > MAX_HEADER_NAME ||
        !(span_starts(name, SPAN("x-stainless-")) || span_starts(name, SPAN("cocoon-"))))
        return false;
    for (size_t i = 0; i < name.len; i++)
        if (!strchr("abcdefghijklmnopqrstuvwxyz0123456789-", name.data[i]))
            return false;
    return true;
}

/* Fixed names, and those of the request that begin as SDKs' and ours do. */
static const char *allowed_headers(struct call *c)
{
    struct span asked = http_header(c->ex, "access-control-request-headers");
    struct buf out = {0};
    unsigned extra = 0;

    buf_append_str(&out, ALLOWED);
    while (asked.data && asked.len > 0 && extra < MAX_REQUESTED_HEADERS) {
        struct span raw = span_trim(span_split(&asked, ','));
        char lower[MAX_HEADER_NAME + 1];
        if (raw.len > MAX_HEADER_NAME)
            continue;
        for (size_t i = 0; i < raw.len; i++)
            lower[i] =
                (char)(raw.data[i] >= 'A' && raw.data[i] <= 'Z' ? raw.data[i] + 32 : raw.data[i]);
        struct span name = span_of(lower, raw.len);
        if (!may_request(name))
            continue;
        buf_printf(&out, ", %.*s", SPAN_FMT(name));
        extra++;
    }
    const char *text = arena_strdup(&c->arena, buf_span(&out));
    buf_fini(&out);
    return text;
}

void reply_preflight(struct call *c)
{
    struct reply_headers h = {.count = 0};
    struct buf none = {0};

    c->status = 204;
    c->answered = true;
    reply_add(&h, "x-request-id", arena_printf(&c->arena, "req_%s", c->id));
    reply_add(&h, "cocoon-call", c->id);
    add_origin(c, &h, "Origin, Access-Control-Request-Headers");
    reply_add(&h, "access-control-allow-methods", "GET, POST, DELETE, OPTIONS");
    reply_add(&h, "access-control-allow-headers", allowed_headers(c));
    reply_add(&h, "access-control-max-age", "7200");
    reply_add(&h, "cache-control", "no-store");
    reply_add(&h, "x-content-type-options", "nosniff");
    http_reply(c->ex, 204, h.fields, h.count, &none, false);
}

/* ---- Standard headers ---- */

static double ms_between(uint64_t from_us, uint64_t to_us)
{
    return to_us > from_us && from_us ? (double)(to_us - from_us) / 1000.0 : 0.0;
}

static const char *server_timing(struct call *c)
{
    return arena_printf(
        &c->arena, "auth;dur=%.1f, admit;dur=%.1f, queue;dur=%.1f, route;dur=%.1f, worker;dur=%.1f",
        ms_between(c->begun_us, c->auth_us), ms_between(c->received_us, c->admitted_us),
        (double)c->queue_us / 1000.0,
        ms_between(c->admitted_us, c->routed_us) - (double)c->queue_us / 1000.0,
        ms_between(c->sent_us, c->head_us));
}

static void add_attestation(struct call *c, struct reply_headers *h)
{
    if (c->attestation > (char)ATTEST_PRODUCTION)
        reply_add(h, "cocoon-attestation", attest_env_name((enum attest_env)c->attestation));
}

/* What tells the client whom to encrypt to next: on an answer, and where it is told to try. */
static void add_end_to_end(struct call *c, struct reply_headers *h)
{
    const bool refused = c->fault.error != NULL;
    const char *next = !refused || c->next || c->may_wait ? pass_next(c) : NULL;
    struct pool_key key;
    char *keyset;

    c->head_us = clock_mono_us();
    reply_add(h, "cocoon-privacy", "end-to-end");
    reply_add(h, "server-timing", server_timing(c));
    add_attestation(c, h);
    money_headers(c, h);
    if (next)
        reply_add(h, "cocoon-next", next);
    if (refused)
        return;
    pool_worker_key(c->worker, &key);
    keyset = arena_alloc(&c->arena, 2 * SHA256_LEN + 1);
    hex_encode(keyset, span_of(key.keyset, SHA256_LEN));
    reply_add(h, "cocoon-keyset", keyset);
    reply_add(h, "cocoon-price", call_price(c));
}

/* A stream's cost is known at its end; of one that is given again, at once. */
static void add_cost(struct call *c, struct reply_headers *h, bool stream)
{
    const char *again = replay_cost(c), *cost = again || stream ? again : cost_header(c);

    if (cost)
        reply_add(h, "cocoon-cost-nano", cost);
    if (again)
        reply_add(h, "cocoon-replayed", "true");
}

/* What was dropped here, or by the worker, whose engine may get less. */
static void add_ignored(struct call *c, struct reply_headers *h)
{
    AUTO(buf_fini) struct buf names = {0};

    if (c->parsed)
        request_ignored(&c->rq, buf_span(&c->ignored), &names);
    if (names.len > 0)
        reply_add(h, "cocoon-ignored", arena_strdup(&c->arena, buf_span(&names)));
}

static void add_inference(struct call *c, struct reply_headers *h, bool stream)
{
    c->head_us = clock_mono_us();
    reply_add(h, "openai-version", "2020-10-01");
    reply_add(h, "openai-processing-ms",
              arena_printf(&c->arena, "%.0f",
                           ms_between(c->received_us ? c->received_us : c->begun_us, c->head_us)));
    reply_add(h, "cocoon-privacy", "sealed");
    reply_add(h, "server-timing", server_timing(c));
    add_attestation(c, h);
    money_headers(c, h);
    add_cost(c, h, stream);
    add_ignored(c, h);
}

void reply_headers_make(struct call *c, const char *content_type, struct reply_headers *h)
{
    bool stream = strcmp(content_type, STREAM_TYPE) == 0;

    h->count = 0;
    reply_add(h, "content-type", content_type);
    reply_add(h, "x-request-id", arena_printf(&c->arena, "req_%s", c->id));
    reply_add(h, "cocoon-call", replay_call(c) ? replay_call(c) : c->id);
    reply_add(h, "x-content-type-options", "nosniff");
    reply_add(h, "cache-control", stream ? "no-cache" : "no-store");
    if (stream)
        reply_add(h, "x-accel-buffering", "no");
    add_origin(c, h, NULL);
    reply_add(h, "access-control-expose-headers", EXPOSED);
    if (c->route && c->route->kind == ROUTE_INFERENCE)
        add_inference(c, h, stream);
    if (call_is_end_to_end(c))
        add_end_to_end(c, h);
}

void reply_whole(struct call *c, unsigned status, const char *content_type, struct buf *body)
{
    struct reply_headers h;

    reply_headers_make(c, content_type, &h);
    c->status = status;
    c->answered = true;
    http_reply(c->ex, status, h.fields, h.count, body, false);
}

void reply_stream(struct call *c)
{
    struct reply_headers h;

    reply_headers_make(c, STREAM_TYPE, &h);
    c->status = 200;
    c->streaming = true;
    http_stream_begin(c->ex, 200, h.fields, h.count);
}

void reply_sealed_stream(struct call *c)
{
    struct reply_headers h;

    reply_headers_make(c, "message/ohttp-chunked-res", &h);
    reply_add(&h, "incremental", "?1");
    if (http_is_chunked(c->ex))
        reply_add(&h, "trailer", "Cocoon-Usage");
    c->status = 200;
    c->streaming = true;
    http_stream_begin(c->ex, 200, h.fields, h.count);
}

/* ---- Faults ---- */

/* Both forms of the same moment; the seconds round up (api.md §3.1). */
static void add_retry(struct call *c, struct reply_headers *h)
{
    unsigned ms =
        c->fault.retry_after_ms ? c->fault.retry_after_ms : c->fault.error->retry_after_ms;

    if (c->fault.error->never_retry)
        reply_add(h, "x-should-retry", "false");
    if (ms == 0)
        return;
    reply_add(h, "retry-after", arena_printf(&c->arena, "%u", (ms + 999) / 1000));
    reply_add(h, "retry-after-ms", arena_printf(&c->arena, "%u", ms));
}

static void fault_whole(struct call *c)
{
    const struct api_error *e = c->fault.error;
    struct reply_headers h;
    struct buf body = {0};

    reply_headers_make(c, problem_is_said(c) ? PROBLEM_TYPE : JSON_TYPE, &h);
    add_retry(c, &h);
    if (e->status == 401)
        reply_add(&h, "www-authenticate",
                  e == &ERR_NO_KEY ? "Bearer" : "Bearer error=\"invalid_token\"");
    if (e->status == 405)
        reply_add(&h, "allow", c->route->methods);
    if (problem_is_said(c))
        problem_body(c, &body);
    else
        api_fault_body(&c->fault, &body);
    c->status = e->status;
    bool unread = !c->body_whole && http_content_length(c->ex) != -2;
    http_reply(c->ex, e->status, h.fields, h.count, &body, unread);
    buf_fini(&body);
}

/* The head is out: an error event, then the connection breaks off, so that nobody takes the answer
 * for a whole one. */
static void fault_event(struct call *c)
{
    struct buf event = {0};

    relay_watch_end(c);
    if (!call_is_end_to_end(c)) { /* there only the worker can say something */
        api_fault_event(&c->fault, &event);
        http_stream_write(c->ex, buf_span(&event));
    }
    http_stream_abort(c->ex);
    c->gateway->metrics.broken_streams++;
    buf_fini(&event);
}

void reply_fault(struct call *c)
{
    c->answered = true;
    if (c->streaming)
        fault_event(c);
    else
        fault_whole(c);
}

void reply_full(struct buf *out)
{
    struct api_fault fault = {0};
    struct buf body = {0};
    unsigned ms = ERR_OVERLOADED.retry_after_ms;

    api_fault_set(&fault, &ERR_OVERLOADED, NULL, NULL);
    api_fault_body(&fault, &body);
    buf_printf(out,
               "HTTP/1.1 503 Service Unavailable\r\ncontent-type: " JSON_TYPE "\r\n"
               "content-length: %zu\r\nretry-after: %u\r\nretry-after-ms: %u\r\n"
               "cache-control: no-store\r\nx-content-type-options: nosniff\r\n"
               "connection: close\r\n\r\n",
               body.len, (ms + 999) / 1000, ms);
    buf_append(out, buf_span(&body));
    buf_fini(&body);
}
