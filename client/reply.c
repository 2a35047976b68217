/* Answers of the local endpoint: the gateway's standard headers handed on (api.md §3.1, §3.2), and
 * our own. */
#include <stdio.h>

#include "client/proxy.h"

#define STREAM_TYPE "text/event-stream; charset=utf-8"
#define ALLOWED                                                                                    \
    "authorization, content-type, accept, user-agent, openai-organization, openai-project, "       \
    "openai-beta, idempotency-key, x-api-key, x-client-request-id, traceparent, incremental, "     \
    "cocoon-require, x-stainless-lang, x-stainless-package-version, x-stainless-os, "              \
    "x-stainless-arch, x-stainless-runtime, x-stainless-runtime-version, "                         \
    "x-stainless-retry-count, x-stainless-timeout, x-stainless-read-timeout, x-stainless-async, "  \
    "x-stainless-helper-method, x-stainless-helper, x-stainless-poll-helper, "                     \
    "x-stainless-custom-poll-interval"
#define EXPOSED                                                                                    \
    "x-request-id, openai-processing-ms, openai-version, retry-after, retry-after-ms, "            \
    "x-should-retry, www-authenticate, server-timing, x-ratelimit-limit-requests, "                \
    "x-ratelimit-limit-tokens, x-ratelimit-remaining-requests, x-ratelimit-remaining-tokens, "     \
    "x-ratelimit-reset-requests, x-ratelimit-reset-tokens, cocoon-call, cocoon-privacy, "          \
    "cocoon-attestation, cocoon-ignored, cocoon-price, cocoon-keyset, cocoon-next, "               \
    "cocoon-cost-nano, cocoon-replayed"

enum { FIELDS_MAX = 48 };

struct headers {
    struct http_field fields[FIELDS_MAX];
    size_t count;
};

static void add(struct headers *h, const char *name, const char *value)
{
    CHECK(h->count < FIELDS_MAX);
    h->fields[h->count++] = (struct http_field){name, value};
}

/* ---- Who may ask ---- */

/* A name may begin as an address does: 127.example.org. */
static bool is_loopback_ip4(struct span name)
{
    for (size_t i = 0; i < name.len; i++)
        if (!strchr("0123456789.", name.data[i]))
            return false;
    return span_starts(name, SPAN("127."));
}

static bool is_loopback(struct span host)
{
    if (span_starts(host, SPAN("[::1]")))
        return host.len == 5 || host.data[5] == ':';
    const struct span name = span_split(&host, ':');
    return span_ieq(name, SPAN("localhost")) || is_loopback_ip4(name);
}

/* A page elsewhere whose name was made to point here sends its own name (DNS rebinding). */
bool reply_host_local(const struct call *c)
{
    const struct span host = http_header(c->ex, "host");

    return !host.data || is_loopback(span_trim(host)) || http_peer(c->ex)->sa.ss_family == AF_UNIX;
}

static const char *origin_of(const struct call *c)
{
    const struct config_strings *list = &c->proxy->config->cors_origins;
    const struct span origin = http_header(c->ex, "origin");

    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->items[i], "*") == 0 || (origin.data && span_is(origin, list->items[i])))
            return list->items[i];
    return NULL;
}

static void add_origin(const struct call *c, struct headers *h)
{
    const char *origin = origin_of(c);

    if (!origin)
        return;
    add(h, "access-control-allow-origin", origin);
    add(h, "access-control-expose-headers", EXPOSED);
    add(h, "vary", "Origin");
}

void reply_preflight(struct call *c)
{
    struct headers h = {.count = 0};
    struct buf none = {0};

    add_origin(c, &h);
    if (h.count > 0) {
        add(&h, "access-control-allow-methods", "GET, POST, OPTIONS");
        add(&h, "access-control-allow-headers", ALLOWED);
        add(&h, "access-control-max-age", "7200");
    }
    c->answered = true;
    http_reply(c->ex, 204, h.fields, h.count, &none, false);
}

/* ---- Headers ---- */

static bool is_own(const char *name)
{
    return strcmp(name, "retry-after") == 0 || strcmp(name, "retry-after-ms") == 0 ||
           strcmp(name, "x-should-retry") == 0 || strcmp(name, "www-authenticate") == 0;
}

/* fault: whether what tells of retries may be handed on too. */
static bool add_shown(struct call *c, struct headers *h, bool fault)
{
    const struct shown *shown = c->exchange ? exchange_shown(c->exchange) : NULL;
    bool named = false;

    for (size_t i = 0; shown && i < SHOWN_FIELDS; i++) {
        const char *name = shown_name(i), *value = shown->fields[i];
        if (!value || (is_own(name) && !fault))
            continue;
        add(h, name, arena_strdup(&c->arena, span_str(value)));
        named = named || strcmp(name, "x-request-id") == 0;
    }
    return named;
}

static void add_answer(struct call *c, struct headers *h, int env, int64_t cost)
{
    if (env != ATTEST_PRODUCTION)
        add(h, "cocoon-attestation", attest_env_name((enum attest_env)env));
    if (cost >= 0)
        add(h, "cocoon-cost-nano", arena_printf(&c->arena, "%lld", (long long)cost));
}

static void add_again(struct call *c, struct headers *h)
{
    if (c->again->call[0])
        add(h, "cocoon-call", arena_strdup(&c->arena, span_str(c->again->call)));
    add(h, "cocoon-replayed", "true");
    add_answer(c, h, c->again->env, c->again->cost);
}

/* What was dropped here, or by the worker, whose engine may get less. */
static void add_ignored(struct call *c, struct headers *h)
{
    const struct span there = c->exchange ? exchange_ignored(c->exchange) : SPAN("");
    AUTO(buf_fini) struct buf names = {0};

    if (c->parsed)
        request_ignored(&c->rq, there, &names);
    if (names.len > 0)
        add(h, "cocoon-ignored", arena_strdup(&c->arena, buf_span(&names)));
}

static void add_inference(struct call *c, struct headers *h)
{
    const struct attest_verdict *v = c->exchange ? exchange_verdict(c->exchange) : NULL;
    const bool whole = c->exchange && !c->rq.stream;

    add(h, "cocoon-privacy", "end-to-end");
    if (c->again)
        add_again(c, h);
    else
        add_answer(c, h, v ? (int)v->env : ATTEST_PRODUCTION,
                   whole ? exchange_cost(c->exchange) : -1);
    add_ignored(c, h);
}

static void headers_make(struct call *c, const char *content_type, bool fault, struct headers *h)
{
    const bool stream = strcmp(content_type, STREAM_TYPE) == 0;

    h->count = 0;
    add(h, "content-type", content_type);
    add(h, "x-content-type-options", "nosniff");
    add(h, "cache-control", stream ? "no-cache" : "no-store");
    if (stream)
        add(h, "x-accel-buffering", "no");
    if (!add_shown(c, h, fault))
        add(h, "x-request-id", arena_printf(&c->arena, "req_%s", c->id));
    add_origin(c, h);
    if (c->inference)
        add_inference(c, h);
}

void reply_whole(struct call *c, unsigned status, const char *content_type, struct buf *body)
{
    struct headers h;

    headers_make(c, content_type, false, &h);
    c->answered = true;
    http_reply(c->ex, status, h.fields, h.count, body, false);
}

void reply_stream(struct call *c)
{
    struct headers h;

    headers_make(c, STREAM_TYPE, false, &h);
    c->streaming = true;
    http_stream_begin(c->ex, 200, h.fields, h.count);
}

/* ---- Faults ---- */

static bool has(const struct headers *h, const char *name)
{
    for (size_t i = 0; i < h->count; i++)
        if (strcmp(h->fields[i].name, name) == 0)
            return true;
    return false;
}

static void add_retry(struct call *c, struct headers *h)
{
    const unsigned ms = c->fault.retry_after_ms;

    if (c->fault.error->never_retry && !has(h, "x-should-retry"))
        add(h, "x-should-retry", "false");
    if (ms == 0 || has(h, "retry-after") || has(h, "retry-after-ms"))
        return;
    add(h, "retry-after", arena_printf(&c->arena, "%u", (ms + 999) / 1000));
    add(h, "retry-after-ms", arena_printf(&c->arena, "%u", ms));
}

static void fault_whole(struct call *c)
{
    const unsigned status = c->fault.error->status;
    const bool unread = !c->body_whole && http_content_length(c->ex) != -2;
    struct headers h;
    struct buf body = {0};

    headers_make(c, "application/json", status == 429 || status == 503 || status == 401, &h);
    add_retry(c, &h);
    if (status == 401 && !has(&h, "www-authenticate"))
        add(&h, "www-authenticate", "Bearer");
    if (status == 405)
        add(&h, "allow", c->inference ? "POST" : "GET");
    api_fault_body(&c->fault, &body);
    http_reply(c->ex, status, h.fields, h.count, &body, unread);
    buf_fini(&body);
}

/* Nobody may take what came so far for a whole answer. */
static void fault_event(struct call *c, bool told)
{
    struct buf event = {0};

    if (!told) {
        api_fault_event(&c->fault, &event);
        http_stream_write(c->ex, buf_span(&event));
    }
    http_stream_abort(c->ex);
    buf_fini(&event);
}

void reply_fault(struct call *c, bool told)
{
    c->answered = true;
    if (c->streaming)
        fault_event(c, told);
    else
        fault_whole(c);
}
