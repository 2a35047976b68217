/* GET /v1/models and /v1/models/{id}: the gateway's answer handed on; it holds nothing secret. */
#include <stdio.h>

#include "client/proxy.h"

enum { MODELS_MS = 30000, MODELS_MAX_BYTES = 4 * 1024 * 1024, TARGET_MAX = 1024 };

/* What stands behind /models/ in the path. */
static const char *model_asked(struct call *c)
{
    const struct span path = http_path(c->ex), mark = SPAN("/models/");
    const ptrdiff_t at = span_find(path, mark);

    return at < 0
               ? ""
               : arena_printf(&c->arena, "%.*s", SPAN_FMT(span_from(path, (size_t)at + mark.len)));
}

static void models_done(void *arg, struct http_transfer *t, int error)
{
    struct call *c = arg;

    (void)t;
    if (c->answered || c->gone)
        return;
    if (error < 0 && error != E_TOO_LARGE) {
        client_unreachable(&c->fault, error);
        call_fault(c);
    } else if (error == 0 && c->models.status == 200) {
        reply_whole(c, 200, "application/json", &c->models.body);
    } else {
        refusal_read(c->models.status, buf_span(&c->models.body), model_asked(c), &c->fault);
        call_fault(c);
    }
}

void models_begin(struct call *c)
{
    const struct span path = http_path(c->ex);
    const char *own = call_authorization(c);
    const bool versioned = span_starts(path, SPAN("/v1/"));
    const char *fields[1] = {arena_printf(&c->arena, "Authorization: %s", own ? own : "")};

    if (!span_visible(path, TARGET_MAX)) {
        call_fail(c, &ERR_UNKNOWN_URL, NULL, "GET");
        return;
    }
    const struct client_ask ask = {
        .path = arena_printf(&c->arena, "%s%.*s", versioned ? "" : "/v1", SPAN_FMT(path)),
        .fields = fields,
        .field_count = own ? 1 : 0,
        .total_ms = MODELS_MS,
    };
    c->models = (struct http_whole){.max = MODELS_MAX_BYTES, .done = models_done, .arg = c};
    if (client_get(c->proxy->client, &ask, &c->models) < 0)
        call_fail(c, &ERR_GATEWAY_UNREACHABLE, NULL, NULL);
}
