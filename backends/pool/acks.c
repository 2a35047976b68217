/* Acknowledging usage records to the worker that signed them, in batches (wire.md §9). Until there
 * is a journal a verified record is settled at once, with no pay: acks_add is the one place where
 * the journal takes over. */
#include "backends/pool/pool_impl.h"
#include "base/json.h"
#include "base/log.h"

enum { ACK_MS = 250, ACK_BATCH = 500, USAGE_MAX = 4 * 1024 * 1024 };

static void acked(struct pool_worker *w, const struct link_answer *a)
{
    if (a->error < 0 || a->status != 204)
        log_event(LOG_WARN, "ack_unheard", "worker=%s", w->iid);
}

void acks_flush(struct pool_worker *w)
{
    static const struct tunnel_field type[] = {{SPAN("content-type"), SPAN("application/json")}};
    struct buf body = {0};

    loop_timer_cancel(w->pool->loop, &w->ack_timer);
    if (w->ack_count == 0 || !w->tunnel)
        return;
    buf_append_str(&body, "{\"acks\":[");
    buf_append(&body, buf_span(&w->acks));
    buf_append_str(&body, "]}");
    buf_clear(&w->acks);
    w->ack_count = 0;
    link_fetch(w, "POST", "/v1/usage/ack", type, 1, &body, 4096, acked);
    buf_fini(&body);
}

static void flush_later(void *arg)
{
    acks_flush(arg);
}

void acks_add(struct pool_worker *w, struct span call, uint32_t attempt, const char *result)
{
    if (!w->tunnel)
        return; /* it asks again after it has come back */
    buf_printf(&w->acks, "%s{\"call\":\"%.*s\",\"attempt\":%u,\"result\":\"%s\",\"pay\":\"0\"}",
               w->ack_count ? "," : "", SPAN_FMT(call), attempt, result);
    if (++w->ack_count >= ACK_BATCH)
        acks_flush(w);
    else if (!loop_timer_is_set(&w->ack_timer))
        loop_timer_set(w->pool->loop, &w->ack_timer, ACK_MS, flush_later, w);
}

/* One record that the worker still keeps, of a call that no process waits for any more. */
static void settle_late(struct pool_worker *w, const json_t *item)
{
    const json_t *jws = json_object_get(item, "jws");
    struct usage_record u;

    if (!json_is_string(jws))
        return;
    struct span text = span_of(json_string_value(jws), json_string_length(jws));
    if (usage_record_verify(&u, w->receipt_key, text) < 0)
        return;
    acks_add(w, span_str(u.call), u.attempt, "settled");
    usage_record_fini(&u);
}

static void usage_fetched(struct pool_worker *w, const struct link_answer *a)
{
    AUTO_JSON json_t *doc = NULL;
    const json_t *records, *item;
    size_t i;

    if (a->error < 0 || a->status != 200 || json_read(a->body, &doc) < 0)
        return;
    records = json_object_get(doc, "records");
    json_array_foreach(records, i, item)
        settle_late(w, item);
}

void acks_fetch(struct pool_worker *w)
{
    link_fetch(w, "GET", "/v1/usage?after=0", NULL, 0, NULL, USAGE_MAX, usage_fetched);
}
