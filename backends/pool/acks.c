/* Acknowledging usage records to the worker that signed them, in batches (wire.md §9). Until there
 * is a journal a verified record is settled at once, with no pay: acks_add is the one place where
 * the journal takes over. */
#include <stdlib.h>

#include "backends/pool/pool_impl.h"
#include "base/json.h"
#include "base/log.h"

enum {
    ACK_MS = 250,
    ACK_BATCH = 500,
    USAGE_MAX = 4 * 1024 * 1024,
    LATE_PAGE = 1000, /* records at a time */
    LATE_PAGES = 200  /* twice what a worker may keep, in full pages */
};

static void fetch_page(struct pool_worker *w);

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

/* ---- Records that the worker still keeps, of calls that no process waits for any more ---- */

/* A page of them, read and verified off the loop: a thousand signatures take a while. */
struct late_job {
    struct offload_job job;
    struct pool_worker *worker;
    struct buf page;
    uint8_t receipt_key[ED25519_KEY_LEN];
    struct late_record {
        char call[33];
        uint32_t attempt;
    } good[LATE_PAGE];
    size_t count;
    uint64_t last; /* the highest seq on the page; 0: nothing follows */
};

static void late_read(struct late_job *j, const struct ed25519 *key, const json_t *item)
{
    const json_t *jws = json_object_get(item, "jws");
    struct usage_record u;

    if (!json_is_string(jws))
        return;
    struct span text = span_of(json_string_value(jws), json_string_length(jws));
    if (usage_record_verify(&u, key, text) < 0)
        return;
    struct late_record *r = &j->good[j->count++];
    memcpy(r->call, u.call, sizeof(r->call));
    r->attempt = u.attempt;
    usage_record_fini(&u);
}

static void late_work(struct offload_job *job)
{
    struct late_job *j = CONTAINER(job, struct late_job, job);
    AUTO(ed25519_free) struct ed25519 *key = NULL;
    AUTO_JSON json_t *doc = NULL;
    json_int_t last = 0;

    if (ed25519_from_public(&key, SPAN_OF(j->receipt_key)) < 0 ||
        json_read(buf_span(&j->page), &doc) < 0)
        return;
    const json_t *records = json_object_get(doc, "records"), *item;
    size_t i;
    json_array_foreach(records, i, item) {
        json_int_t seq = json_integer_value(json_object_get(item, "seq"));
        if (i >= LATE_PAGE)
            return;
        last = seq > last ? seq : last;
        late_read(j, key, item);
    }
    if (json_is_true(json_object_get(doc, "more")))
        j->last = (uint64_t)last;
}

static void late_done(struct offload_job *job)
{
    struct late_job *j = CONTAINER(job, struct late_job, job);
    struct pool_worker *w = j->worker;

    for (size_t i = 0; i < j->count; i++)
        acks_add(w, span_str(j->good[i].call), j->good[i].attempt, "settled");
    /* Each page must lead on, and there is an end to them. */
    if (j->last > w->late_after && ++w->late_pages < LATE_PAGES) {
        w->late_after = j->last;
        fetch_page(w);
    }
    buf_fini(&j->page);
    free(j);
    pool_worker_unref(w);
}

static void usage_fetched(struct pool_worker *w, const struct link_answer *a)
{
    if (a->error < 0 || a->status != 200)
        return;
    struct late_job *j = mem_zero(sizeof(*j));
    j->job = (struct offload_job){.work = late_work, .done = late_done};
    j->worker = pool_worker_ref(w);
    buf_append(&j->page, a->body);
    memcpy(j->receipt_key, w->keyset.receipt_key, ED25519_KEY_LEN);
    if (offload_submit(w->pool->offload, &j->job) < 0)
        late_done(&j->job);
}

static void fetch_page(struct pool_worker *w)
{
    char path[64];

    snprintf(path, sizeof(path), "/v1/usage?after=%llu", (unsigned long long)w->late_after);
    link_fetch(w, "GET", path, NULL, 0, NULL, USAGE_MAX, usage_fetched);
}

void acks_fetch(struct pool_worker *w)
{
    w->late_after = 0;
    w->late_pages = 0;
    fetch_page(w);
}
