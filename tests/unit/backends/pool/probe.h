/* One dispatch as a test sees it: counts what it was told, and fails on what it must not be told.
 */
#ifndef TESTS_POOL_PROBE_H
#define TESTS_POOL_PROBE_H

#include "rig.h"

enum probe_at { NOWHERE, AT_HEAD, AT_CONTENT, AT_END, AT_FAILED, AT_OVER };

struct probe {
    struct rig *rig;
    struct pool_worker *worker;
    struct dispatch *d;
    char call[33];
    uint32_t attempt;
    bool hold;                /* what comes is not consumed */
    enum probe_at cancel_at;  /* from inside that event */
    enum dispatch_cancel how; /* then */
    struct probe *next;       /* started from inside this event, on the same worker */
    enum probe_at next_at;

    bool cancelled;
    unsigned heads, contents, ends, fails, overs;
    unsigned status;
    enum dispatch_failure why;
    struct buf content;

    bool abandoned, has_usage;
    struct usage_record usage; /* its numbers; its texts are gone */
};

static inline bool probe_listens(const struct probe *p)
{
    return !p->cancelled && p->ends + p->fails == 0;
}

static inline void probe_cancel(struct probe *p, enum dispatch_cancel how)
{
    p->cancelled = true;
    dispatch_cancel(p->d, how);
}

static inline void probe_start(struct probe *p, struct rig *r, struct pool_worker *w);

static inline void probe_start_next(struct probe *p, enum probe_at at)
{
    if (p->next && p->next_at == at && !p->next->rig)
        probe_start(p->next, p->rig, p->worker);
}

static inline void probe_head(void *arg, unsigned status, struct span type, struct span ignored)
{
    struct probe *p = arg;

    assert_true(probe_listens(p) && p->heads++ == 0);
    assert_true(span_is(type, "text/event-stream"));
    assert_true(span_is(ignored, "own_a,b"));
    p->status = status;
    probe_start_next(p, AT_HEAD);
    if (p->cancel_at == AT_HEAD)
        probe_cancel(p, p->how);
}

static inline void probe_content(void *arg, struct span bytes)
{
    struct probe *p = arg;

    assert_true(probe_listens(p) && p->heads == 1);
    p->contents++;
    buf_append(&p->content, bytes);
    probe_start_next(p, AT_CONTENT);
    if (p->cancel_at == AT_CONTENT)
        probe_cancel(p, p->how);
    else if (!p->hold)
        dispatch_consumed(p->d);
}

static inline void probe_end(void *arg)
{
    struct probe *p = arg;

    assert_true(probe_listens(p) && p->heads == 1);
    p->ends++;
    probe_start_next(p, AT_END);
    if (p->cancel_at == AT_END)
        probe_cancel(p, p->how);
}

static inline void probe_failed(void *arg, enum dispatch_failure why)
{
    struct probe *p = arg;

    assert_true(probe_listens(p));
    p->fails++;
    p->why = why;
    probe_start_next(p, AT_FAILED);
    if (p->cancel_at == AT_FAILED)
        dispatch_cancel(p->d, p->how);
}

static const struct dispatch_events probe_events = {
    .head = probe_head, .content = probe_content, .end = probe_end, .failed = probe_failed};

static inline void probe_over(void *charge, const struct dispatch_report *r)
{
    struct probe *p = charge;

    assert_true(p->overs++ == 0);
    assert_true(!probe_listens(p));
    assert_ptr_equal(r->worker, p->worker);
    assert_int_equal(r->attempt, p->attempt);
    p->abandoned = r->abandoned;
    p->has_usage = r->usage != NULL;
    if (r->usage)
        p->usage = *r->usage;
    p->d = NULL;
    probe_start_next(p, AT_OVER);
}

static inline int probe_try(struct probe *p, struct rig *r, struct pool_worker *w, struct span body)
{
    const struct bhttp_field fields[] = {{SPAN("content-type"), SPAN("application/json")}};

    p->rig = r;
    p->worker = w;
    snprintf(p->call, sizeof(p->call), "%032zx", (size_t)(uintptr_t)p);
    const struct dispatch_message m = {.call = span_str(p->call),
                                       .attempt = p->attempt,
                                       .model = SPAN(FAKE_MODEL),
                                       .max_tokens = 100,
                                       .max_input = 50,
                                       .price = SPAN("0;1000"),
                                       .path = "/v1/chat/completions",
                                       .fields = fields,
                                       .field_count = 1,
                                       .body = body,
                                       .output = 69};
    return dispatch_start(&p->d, w, &m, &probe_events, p, probe_over, p);
}

static inline void probe_start(struct probe *p, struct rig *r, struct pool_worker *w)
{
    assert_int_equal(probe_try(p, r, w, SPAN("{\"the\":\"question\"}")), 0);
}

static inline void probe_fini(struct probe *p)
{
    buf_fini(&p->content);
}

/* Until it is over, and then some time in which nothing more may come. */
static inline void probe_finish(struct probe *p)
{
    TURN_UNTIL(p->rig->loop, p->overs == 1, WAIT_MS);
    turn_for(p->rig->loop, 20);
    assert_int_equal(p->ends + p->fails + (p->cancelled && p->ends == 0 ? 1 : 0), 1);
    assert_int_equal(p->worker->entry.in_flight, 0);
    assert_int_equal(p->worker->entry.work_in_flight, 0);
    probe_fini(p);
}

#endif
