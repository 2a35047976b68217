/* Usage records that did not come in a trailer: fetched from the worker after each connect and when
 * a stream ended without one, verified off the loop, and each settled once (wire.md §9, §11). */
#include <stdio.h>
#include <stdlib.h>

#include "backends/pool/pool_impl.h"
#include "base/json.h"
#include "base/log.h"

/* One page is 1,000 records at most, and the worker keeps 100,000. An acknowledgement given less
 * than TOLD_MS ago may still be on its way. */
enum {
    USAGE_MAX = 4 * 1024 * 1024,
    PAGES_MAX = 100,
    PAGE_RECORDS = 1000,
    TOLD_MS = 15000,
    MISSING_MAX = 8 /* signers that are looked for, a page */
};

/* A signer that is not known here. */
struct missing {
    struct page_job *page;
    struct usage_hint hint;
    struct buf keyset; /* what is kept of it; empty: nothing */
};

/* One page, read and verified in the offload pool; once more when keysets of signers were found
 * elsewhere. */
struct page_job {
    struct offload_job job;
    struct pool_worker *worker;
    uint8_t keys[RECEIPT_KEYS_MAX + MISSING_MAX][ED25519_KEY_LEN]; /* that may have signed */
    size_t key_count;
    struct missing missing[MISSING_MAX];
    size_t missing_count;
    unsigned looking; /* answers awaited */
    bool looked;
    char payout[sizeof(((struct keyset *)0)->payout)];
    struct buf body;
    int64_t after; /* seq before the page */
    json_t *doc;   /* owns the texts of the records */
    struct page_record {
        char call[33];
        uint32_t attempt;
        struct span jws;
        struct usage_record usage;
    } records[PAGE_RECORDS];
    size_t count;
    int64_t last; /* seq */
    bool more;
};

static void records_ask(struct pool_worker *w, int64_t after);

/* ---- Reading ---- */

/* By the key that it names; its worker may have been started again since. */
static int record_verify(const struct page_job *j, struct ed25519 *const *keys, struct span jws,
                         struct usage_record *out)
{
    int error = E_AUTH;

    for (size_t i = 0; i < j->key_count && error < 0; i++)
        error = keys[i] ? usage_record_verify(out, keys[i], jws) : E_AUTH;
    return error;
}

/* Whom to look for: one keyset a key. */
static void miss(struct page_job *j, struct span jws)
{
    struct missing *m = &j->missing[j->missing_count];

    if (j->looked || j->missing_count == MISSING_MAX || usage_record_hint(&m->hint, jws) < 0)
        return;
    for (size_t i = 0; i < j->missing_count; i++)
        if (strcmp(j->missing[i].hint.kid, m->hint.kid) == 0)
            return;
    m->page = j;
    j->missing_count++;
}

static void record_read(struct page_job *j, struct ed25519 *const *keys, const json_t *item)
{
    struct usage_record u;
    struct span jws;
    int64_t seq;

    if (json_obj_int(item, "seq", j->last + 1, INT64_MAX, &seq) < 0)
        return;
    j->last = seq;
    if (json_obj_string(item, "jws", &jws) < 0)
        return;
    if (record_verify(j, keys, jws, &u) < 0) {
        miss(j, jws);
        return;
    }
    struct page_record *r = &j->records[j->count++];
    memcpy(r->call, u.call, sizeof(r->call));
    r->attempt = u.attempt;
    r->jws = jws;
    r->usage = u;
}

/* A keyset that was found: its own, of the same owner. Only what was accepted is kept. */
static void key_add(struct page_job *j, const struct missing *m)
{
    AUTO(keyset_fini) struct keyset k = {0};

    if (keyset_parse(&k, buf_span(&m->keyset)) == 0 &&
        memcmp(k.digest, m->hint.keyset, SHA256_LEN) == 0 && strcmp(k.payout, j->payout) == 0)
        memcpy(j->keys[j->key_count++], k.receipt_key, ED25519_KEY_LEN);
}

static void page_work(struct offload_job *job)
{
    struct page_job *j = CONTAINER(job, struct page_job, job);
    struct ed25519 *keys[RECEIPT_KEYS_MAX + MISSING_MAX] = {NULL};
    const json_t *item;
    size_t i;

    if (!j->doc && json_read(buf_span(&j->body), &j->doc) < 0)
        return;
    for (i = 0; i < j->missing_count; i++)
        key_add(j, &j->missing[i]);
    while (j->count > 0) /* read again, with the keysets that were found */
        usage_record_fini(&j->records[--j->count].usage);
    j->last = j->after;
    for (i = 0; i < j->key_count; i++)
        if (ed25519_from_public(&keys[i], SPAN_OF(j->keys[i])) < 0)
            keys[i] = NULL;
    json_array_foreach(json_object_get(j->doc, "records"), i, item)
        if (i < PAGE_RECORDS)
            record_read(j, keys, item);
    for (i = 0; i < j->key_count; i++)
        ed25519_free(keys[i]);
    j->more = json_is_true(json_object_get(j->doc, "more")) && j->last > j->after;
}

/* ---- Settling ---- */

static void record_settle(struct pool_worker *w, const struct page_record *r)
{
    char text[ATTEMPT_KEY_LEN];
    struct span call = span_str(r->call), key = attempt_key(text, call, r->attempt);
    struct dispatch *d = map_get(&w->pool->running, key);
    const struct verdict *v = map_get(&w->pool->verdicts, key);

    if (d && dispatch_is_recordless(d, w))
        dispatch_judge(d, r->jws);
    else if (d || (v && v->told == w->serial && loop_now(w->pool->loop) - v->told_ms < TOLD_MS))
        return; /* its own stream brings the record; or it was acknowledged just now */
    else if (v)
        acks_add(w, call, r->attempt, v->result, v->pay_nano);
    else if (!w->pool->record_fn || !w->pool->record_fn(w->pool->record_arg, w, &r->usage, r->jws))
        acks_add(w, call, r->attempt, "settled", 0);
}

/* What was asked for and not found is judged without a record. */
static void records_end(struct pool_worker *w)
{
    for (struct list *it; (it = list_pop(&w->asked));)
        dispatch_judge(dispatch_of(it), SPAN(""));
    w->fetching = false;
    if (w->fetch_again)
        records_fetch(w);
}

static void page_end(struct page_job *j)
{
    struct pool_worker *w = j->worker;

    for (size_t i = 0; i < j->count; i++) {
        record_settle(w, &j->records[i]);
        usage_record_fini(&j->records[i].usage);
    }
    if (j->more && ++w->fetch_pages < PAGES_MAX)
        records_ask(w, j->last);
    else
        records_end(w);
    json_decref(j->doc);
    buf_fini(&j->body);
    for (size_t i = 0; i < j->missing_count; i++)
        buf_fini(&j->missing[i].keyset);
    free(j);
    pool_worker_unref(w);
}

/* ---- Signers that are not known here ---- */

static void kept(void *arg, struct span bytes)
{
    struct missing *m = arg;
    struct page_job *j = m->page;

    if (bytes.len <= KEYSET_MAX_BYTES)
        buf_append(&m->keyset, bytes);
    if (--j->looking > 0)
        return;
    j->looked = true;
    if (offload_submit(j->worker->pool->offload, &j->job) < 0)
        page_end(j); /* with what was verified */
}

/* Whether answers are awaited. */
static bool look(struct page_job *j)
{
    const struct pool *p = j->worker->pool;

    if (j->looked || !p->look_fn)
        return false;
    for (size_t i = 0; i < j->missing_count; i++)
        if (p->look_fn(p->look_arg, j->missing[i].hint.keyset, kept, &j->missing[i]) == 0)
            j->looking++;
    return j->looking > 0;
}

static void page_done(struct offload_job *job)
{
    struct page_job *j = CONTAINER(job, struct page_job, job);

    if (!look(j))
        page_end(j);
}

/* ---- Asking ---- */

static void page_fetched(struct pool_worker *w, const struct link_answer *a)
{
    if (a->error < 0 || a->status != 200) {
        records_end(w);
        return;
    }
    struct page_job *j = mem_zero(sizeof(*j));
    j->job = (struct offload_job){.work = page_work, .done = page_done};
    j->worker = pool_worker_ref(w);
    j->after = j->last = w->fetch_after;
    j->key_count = evidence_receipt_keys(w, j->keys);
    memcpy(j->payout, w->keyset.payout, sizeof(j->payout));
    buf_append(&j->body, a->body);
    if (offload_submit(w->pool->offload, &j->job) < 0)
        page_end(j); /* nothing was read */
}

static void records_ask(struct pool_worker *w, int64_t after)
{
    char path[64];

    w->fetch_after = after;
    (void)snprintf(path, sizeof(path), "/v1/usage?after=%lld", (long long)after);
    link_fetch(w, "GET", path, NULL, 0, NULL, USAGE_MAX, page_fetched);
}

void records_fetch(struct pool_worker *w)
{
    w->fetch_again = w->fetching;
    if (w->fetching)
        return;
    w->fetching = true;
    w->fetch_pages = 0;
    for (struct list *it; (it = list_pop(&w->recordless));)
        list_push(&w->asked, it);
    records_ask(w, 0);
}
