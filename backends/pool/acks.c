/* Acknowledging usage records to the worker that signed them, in batches (wire.md §9), and the
 * latest verdicts. Whoever settles money says when: not before its bill is on disk. */
#include <stdio.h>
#include <stdlib.h>

#include "backends/pool/pool_impl.h"
#include "base/log.h"

enum { ACK_MS = 250, ACK_BATCH = 500, VERDICTS_MAX = 16384 };

/* ---- Verdicts ---- */

struct span attempt_key(char out[static ATTEMPT_KEY_LEN], struct span call, uint32_t attempt)
{
    (void)snprintf(out, ATTEMPT_KEY_LEN, "%.*s/%u", SPAN_FMT(call), attempt);
    return span_str(out);
}

static void verdict_free(struct verdict *v)
{
    if (!v)
        return;
    list_del(&v->link);
    free(v);
}

void verdict_note(struct pool *p, struct span call, uint32_t attempt, const char *result,
                  uint64_t told, int64_t pay_nano)
{
    struct verdict *v = mem_zero(sizeof(*v));

    v->result = result;
    v->told = told;
    v->pay_nano = pay_nano;
    v->told_ms = loop_now(p->loop);
    verdict_free(map_put(&p->verdicts, attempt_key(v->key, call, attempt), v));
    list_push(&p->verdict_order, &v->link);
    if (p->verdicts.len <= VERDICTS_MAX)
        return;
    struct verdict *oldest = CONTAINER(p->verdict_order.next, struct verdict, link);
    verdict_free(map_del(&p->verdicts, span_str(oldest->key)));
}

void verdicts_fini(struct pool *p)
{
    for (struct list *it; (it = list_pop(&p->verdict_order));)
        free(CONTAINER(it, struct verdict, link));
    map_fini(&p->verdicts);
}

/* ---- Acknowledgements ---- */

static void acked(struct pool_worker *w, const struct link_answer *a)
{
    w->acks_unheard--;
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
    w->acks_unheard++;
    link_fetch(w, "POST", "/v1/usage/ack", type, 1, &body, 4096, acked);
    buf_fini(&body);
}

static void flush_later(void *arg)
{
    acks_flush(arg);
}

void acks_add(struct pool_worker *w, struct span call, uint32_t attempt, const char *result,
              int64_t pay_nano)
{
    verdict_note(w->pool, call, attempt, result, w->tunnel ? w->serial : 0, pay_nano);
    if (!w->tunnel)
        return; /* its record is fetched after it has come back */
    buf_printf(&w->acks, "%s{\"call\":\"%.*s\",\"attempt\":%u,\"result\":\"%s\",\"pay\":\"%lld\"}",
               w->ack_count ? "," : "", SPAN_FMT(call), attempt, result, (long long)pay_nano);
    if (++w->ack_count >= ACK_BATCH)
        acks_flush(w);
    else if (!loop_timer_is_set(&w->ack_timer))
        loop_timer_set(w->pool->loop, &w->ack_timer, ACK_MS, flush_later, w);
}

void pool_acknowledge(struct pool_worker *w, struct span call, uint32_t attempt, const char *result,
                      int64_t pay_nano)
{
    acks_add(w, call, attempt, result, pay_nano);
}
