/* Step route: a worker for this attempt, or a place in the queue until one has room. */
#include "gateway/call.h"
#include "base/clock.h"
#include "gateway/problem.h"

enum { QUEUE_MS = 20000, QUEUE_MAX = 1000, RETRY_AFTER_MS = 2000, EXPECTED_MAX = 512 };

void route_unqueue(struct call *c)
{
    if (!c->queued)
        return;
    c->queued = false;
    list_del(&c->queue_link);
    c->gateway->queue_count--;
    loop_timer_cancel(c->gateway->loop, &c->queue_timer);
}

void route_no_capacity(struct call *c, const struct pool_excluded *why)
{
    const struct chooser_excluded *w = &why->by;
    char ask[80] = "";

    if (w->evidence > 0 && w->draining + w->price + w->tried + w->full == 0) {
        api_fault_text(&c->fault, &ERR_NO_ATTESTED_WORKER, NULL,
                       "No worker of this model has the evidence that is asked for: none has the "
                       "right %s.",
                       why->unmet);
        return;
    }
    if (w->price > 0 && w->full + w->tried == 0)
        snprintf(ask, sizeof(ask), " The lowest price asked is %lld/1000.",
                 (long long)w->lowest_ask);
    api_fault_text(&c->fault, &ERR_NO_CAPACITY, NULL,
                   "No worker can take this request now: of %zu, %zu do not serve the model, %zu "
                   "are full, %zu are draining, %zu lack the evidence asked for, "
                   "%zu are not ready, %zu ask for more than it pays, %zu failed on this "
                   "request.%s",
                   w->total, w->model + w->endpoint, w->full, w->draining, w->evidence,
                   w->not_ready, w->price, w->tried, ask);
    c->fault.retry_after_ms = RETRY_AFTER_MS;
}

static void queue_late(void *arg)
{
    struct call *c = arg;
    struct pool_excluded why;

    pool_explain(c->gateway->pool, &c->query, &why);
    route_no_capacity(c, &why);
    call_fault(c);
}

/* A worker that turns the call away after a wait does not start the clock again. */
static bool may_wait(const struct call *c)
{
    return c->gateway->queue_count < QUEUE_MAX && c->queue_us < QUEUE_MS * 1000ull;
}

static enum step_result wait_for_room(struct call *c)
{
    struct gateway *g = c->gateway;

    if (c->queued)
        return STEP_WAIT;
    c->queued = true;
    g->queue_count++;
    list_push(&g->queue, &c->queue_link);
    c->routed_us = clock_mono_us();
    loop_timer_set(g->loop, &c->queue_timer, QUEUE_MS - c->queue_us / 1000, queue_late, c);
    return STEP_WAIT;
}

static void note_queue_time(struct call *c)
{
    uint64_t now = clock_mono_us();

    if (c->queued)
        c->queue_us += now - c->routed_us;
    c->routed_us = now;
}

static void fill_query(struct call *c)
{
    c->query.model = buf_span(&c->rq.model);
    c->query.endpoint = c->rq.endpoint;
    c->query.end_to_end = call_is_end_to_end(c);
    c->query.require = &c->require;
    c->query.coefficient = CALL_COEFFICIENT;
    c->query.output = c->max_tokens < EXPECTED_MAX ? c->max_tokens : EXPECTED_MAX;
}

static enum step_result take(struct call *c, struct pool_worker *w)
{
    c->fault = (struct api_fault){0};
    note_queue_time(c);
    route_unqueue(c);
    pool_worker_unref(c->worker);
    c->worker = pool_worker_ref(w);
    return STEP_NEXT;
}

/* The client has chosen, by the key that it encrypted to; only if nobody else has room either is
 * there something to wait for. */
static enum step_result route_end_to_end(struct call *c)
{
    struct pool *p = c->gateway->pool;
    struct pool_worker *w = NULL, *other;
    struct pool_excluded why;
    enum pool_key_state state = pool_key_find(p, c->kfp, &w);

    if (state == POOL_KEY_UNKNOWN ||
        (state == POOL_KEY_HELD && !pool_key_fits(w, c->kfp, buf_span(&c->body)))) {
        api_fault_set(&c->fault, &problem_ohttp_key, NULL, NULL);
        return STEP_FAIL;
    }
    if (state == POOL_KEY_AWAY)
        return pass_elsewhere(c);
    if (pool_worker_eligible(w, &c->query, &why))
        return take(c, w);
    if (why.by.full > 0 && may_wait(c) && pool_rank(p, &c->query, false, &other, 1) == 0)
        return wait_for_room(c);
    (void)take(c, w);
    relay_tried(c);
    return pass_elsewhere(c);
}

enum step_result call_route(struct call *c)
{
    struct pool_excluded why;

    fill_query(c);
    if (call_is_end_to_end(c))
        return route_end_to_end(c);
    struct pool_worker *w = pool_choose(c->gateway->pool, &c->query);
    if (!w && c->fault.error)
        return STEP_FAIL; /* the last attempt's own reason says more */
    if (!w && pool_may_wait(c->gateway->pool, &c->query) && may_wait(c))
        return wait_for_room(c);
    if (!w) {
        pool_explain(c->gateway->pool, &c->query, &why);
        route_no_capacity(c, &why);
        return STEP_FAIL;
    }
    return take(c, w);
}

/* First come, first served, as long as there is room. */
void route_wake(struct gateway *g)
{
    size_t tries = g->queue_count;

    while (tries-- > 0 && !list_empty(&g->queue)) {
        struct call *c = CONTAINER(g->queue.next, struct call, queue_link);
        call_resume(c);
        if (c->queued) { /* no room for its model: behind the others, whose model may have some */
            list_del(&c->queue_link);
            list_push(&g->queue, &c->queue_link);
        }
    }
}
