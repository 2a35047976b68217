/* GET /v1/models and /v1/models/{id}: the gateway's answer handed on; it holds nothing secret. */
#include <stdio.h>

#include "client/proxy.h"

enum { MODELS_MS = 30000, MODELS_MAX_BYTES = 4 * 1024 * 1024, TARGET_MAX = 1024 };

static void models_head(void *arg, struct http_transfer *t, unsigned status, struct span type)
{
    struct call *c = arg;

    (void)t;
    (void)type;
    c->models_status = status;
}

static void models_data(void *arg, struct http_transfer *t, struct span bytes)
{
    struct call *c = arg;

    (void)t;
    if (c->whole.len + bytes.len <= MODELS_MAX_BYTES)
        buf_append(&c->whole, bytes);
    else
        c->models_status = 0;
}

static void models_done(void *arg, struct http_transfer *t, int error)
{
    struct call *c = arg;

    (void)t;
    c->models = NULL;
    if (c->answered || c->gone)
        return;
    if (error < 0) {
        call_fail(c, error == E_TIMEOUT ? &ERR_UPSTREAM_TIMEOUT : &ERR_GATEWAY_UNREACHABLE, NULL,
                  NULL);
    } else if (c->models_status == 200) {
        reply_whole(c, 200, "application/json", &c->whole);
    } else {
        refusal_read(c->models_status, buf_span(&c->whole), &c->fault);
        call_fault(c);
    }
}

void models_begin(struct call *c)
{
    static const struct http_transfer_events events = {models_head, models_data, models_done};
    const struct span path = http_path(c->ex), own = http_header(c->ex, "authorization");
    const bool versioned = span_starts(path, SPAN("/v1/"));
    const char *fields[1] = {arena_printf(&c->arena, "Authorization: %.*s", SPAN_FMT(own))};

    if (!span_visible(path, TARGET_MAX)) {
        call_fail(c, &ERR_UNKNOWN_URL, NULL, "GET");
        return;
    }
    const char *target = arena_printf(&c->arena, "%s%.*s", versioned ? "" : "/v1", SPAN_FMT(path));
    if (client_fetch(c->proxy->client, target, fields, own.data ? 1 : 0, NULL, MODELS_MS, &events,
                     c, &c->models) < 0) {
        c->models = NULL;
        call_fail(c, &ERR_GATEWAY_UNREACHABLE, NULL, NULL);
    }
}
