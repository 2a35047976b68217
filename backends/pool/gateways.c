/* PUT /v1/gateways: one list for all workers, sent to each when it becomes eligible and when the
 * list changes. */
#include "backends/pool/gateways.h"

#include "backends/pool/pool_impl.h"
#include "base/log.h"

static void list_write(struct buf *out, const char *const *addresses, size_t count)
{
    buf_append_str(out, "{\"gateways\":[");
    for (size_t i = 0; i < count && i < POOL_GATEWAYS_MAX; i++) {
        buf_append_str(out, i ? ",\"" : "\"");
        buf_json_escape(out, span_str(addresses[i]));
        buf_append_str(out, "\"");
    }
    buf_append_str(out, "]}");
}

static void told(struct pool_worker *w, const struct link_answer *a)
{
    if (a->error < 0 || a->status != 204)
        log_event(LOG_WARN, "gateways_unheard", "worker=%s", w->iid);
}

static void tell(struct pool_worker *w, struct buf *take_body)
{
    static const struct tunnel_field type[] = {{SPAN("content-type"), SPAN("application/json")}};

    link_fetch(w, "PUT", "/v1/gateways", type, 1, take_body, 1024, told);
}

void gateways_tell(struct pool_worker *w)
{
    struct buf body = {0};

    buf_append(&body, pool_gateways(w->pool));
    tell(w, &body);
    buf_fini(&body);
}

void pool_set_gateways(struct pool *p, const char *const *addresses, size_t count)
{
    struct buf list = {0};

    list_write(&list, addresses, count);
    if (span_eq(buf_span(&list), buf_span(&p->gateways))) {
        buf_fini(&list);
        return;
    }
    buf_take(&p->gateways, &list);
    chooser_set_gateways(p->chooser, count);
    log_event(LOG_INFO, "gateways", "count=%zu", count);
    LIST_FOREACH_SAFE(it, &p->workers) {
        struct pool_worker *w = CONTAINER(it, struct pool_worker, link);
        if (w->state == POOL_READY)
            gateways_tell(w);
    }
}

struct span pool_gateways(const struct pool *p)
{
    return buf_span(&p->gateways);
}

void pool_dial_again(struct pool *p)
{
    LIST_FOREACH_SAFE(it, &p->workers) {
        struct pool_worker *w = CONTAINER(it, struct pool_worker, link);
        struct buf body = {0};
        if (w->state != POOL_READY)
            continue;
        buf_append(&body, span_cut(pool_gateways(p), 0, pool_gateways(p).len - 1));
        buf_append_str(&body, ",\"again\":true}");
        tell(w, &body);
        buf_fini(&body);
    }
}
