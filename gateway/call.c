/* A call's journey: one table of steps, and the rules of moving along it. */
#include <stdlib.h>

#include "gateway/call.h"
#include "base/clock.h"
#include "base/encode.h"
#include "base/random.h"
#include "gateway/idempotency.h"
#include "gateway/replay.h"
#include "gateway/reply.h"
#include "gateway/services.h"
#include "gateway/spending.h"

/* The map of the program. Each step is in the file of its name; what the design leaves to later
 * takes its place in here: money's hold is placed in admit and settled in settle. */
static enum step_result (*const steps[CALL_STEPS])(struct call *c) = {
    [CALL_HEAD] = call_head,     /* method, path, sizes; CORS; what we do not have */
    [CALL_AUTH] = call_auth,     /* whose key is it, and what may it do */
    [CALL_RECV] = call_recv,     /* the body, bounded */
    [CALL_CHECK] = call_check,   /* JSON, fields, model */
    [CALL_ADMIT] = call_admit,   /* ceilings; the charge that settle ends */
    [CALL_ROUTE] = call_route,   /* which worker, or wait for one */
    [CALL_SEAL] = call_seal,     /* the inner message */
    [CALL_SEND] = call_send,     /* encapsulated, onto the tunnel */
    [CALL_RELAY] = call_relay,   /* its answer, event by event; back to route if it fails early */
    [CALL_SETTLE] = call_settle, /* the end of the answer: what was used */
    [CALL_FINISH] = call_finish, /* one access line, counters */
};

static void call_advance(struct call *c)
{
    c->running = true;
    while (c->step < CALL_STEPS) {
        enum call_step now = c->step;
        enum step_result r = steps[now](c);
        if (r == STEP_NEXT && c->step == now)
            c->step++;
        else if (r == STEP_FAIL)
            call_fault(c);
        if (r == STEP_OVER || r == STEP_FAIL || (r == STEP_WAIT && !c->rerun))
            break;
        c->rerun = false;
    }
    c->running = false;
}

/* A callback that comes while its step still runs only says: do not wait. */
void call_resume(struct call *c)
{
    if (c->running)
        c->rerun = true;
    else if (!c->answered && !c->gone)
        call_advance(c);
}

void call_stop_attempt(struct call *c, enum dispatch_cancel why)
{
    struct dispatch *d = c->dispatch;

    trace_attempt_end(c, dispatch_cancel_name(why));
    c->dispatch = NULL;
    loop_timer_cancel(c->gateway->loop, &c->silence);
    if (d)
        dispatch_cancel(d, why);
}

void call_fault(struct call *c)
{
    if (c->answered || c->gone)
        return;
    call_stop_attempt(c, CANCEL_FAILED);
    route_unqueue(c);
    reply_fault(c);
}

void call_fail(struct call *c, const struct api_error *e)
{
    api_fault_set(&c->fault, e, NULL, NULL);
    call_fault(c);
}

static void call_late(void *arg)
{
    route_late(arg);
}

void call_begin(struct gateway *g, struct http_exchange *ex, bool internal)
{
    struct call *c = mem_zero(sizeof(*c));
    uint8_t id[CALL_ID_LEN / 2];

    c->gateway = g;
    c->ex = ex;
    c->internal = internal;
    c->config = config_ref(g->config);
    c->begun_us = http_started_us(ex);
    c->attestation = -1;
    random_bytes(id, sizeof(id));
    hex_encode(c->id, SPAN_OF(id));
    http_set_user(ex, c);
    list_push(&g->calls, &c->link);
    g->call_count++;
    const struct gateway_config *s = c->config->values;
    loop_timer_set(g->loop, &c->deadline, (uint64_t)s->total_ms, call_late, c);
    call_advance(c);
}

static void call_end(struct call *c)
{
    struct gateway *g = c->gateway;

    call_stop_attempt(c, CANCEL_CLIENT_GONE);
    route_done(c);
    check_forget(c);
    billing_forget(c);
    idempotency_end(c, replay_end(c));
    spending_forget(c);
    services_forget(c);
    if (c->auth_wait)
        auth_cancel(c->auth_wait);
    recv_forget(c);
    call_finish(c);
    charge_leave(c->charge);
    loop_timer_cancel(g->loop, &c->deadline);
    loop_timer_cancel(g->loop, &c->slow);
    loop_timer_cancel(g->loop, &c->cost_timer);
    list_del(&c->link);
    g->call_count--;
    key_record_unref(c->key);
    pool_worker_unref(c->worker);
    if (c->parsed)
        request_fini(&c->rq);
    buf_wipe(&c->inner);
    buf_wipe(&c->held);
    buf_fini(&c->ignored);
    config_unref(c->config);
    arena_fini(&c->arena);
    free(c);
}

/* ---- The exchange's events ---- */

static void on_head(void *arg, struct http_exchange *ex)
{
    call_begin(arg, ex, false);
}

static void on_body(void *arg, struct http_exchange *ex, struct span part)
{
    (void)arg;
    recv_part(http_user(ex), part);
}

static void on_body_end(void *arg, struct http_exchange *ex)
{
    struct call *c = http_user(ex);

    (void)arg;
    c->body_whole = true;
    c->received_us = clock_mono_us();
    call_resume(c);
}

static void on_body_late(void *arg, struct http_exchange *ex)
{
    (void)arg;
    call_fail(http_user(ex), &ERR_REQUEST_TIMEOUT);
}

static void on_drained(void *arg, struct http_exchange *ex)
{
    (void)arg;
    relay_drained(http_user(ex));
}

static void on_gone(void *arg, struct http_exchange *ex)
{
    struct call *c = http_user(ex);

    (void)arg;
    c->gone = true;
    call_stop_attempt(c, CANCEL_CLIENT_GONE);
    route_unqueue(c);
}

static void on_done(void *arg, struct http_exchange *ex, bool complete)
{
    struct call *c = http_user(ex);

    (void)arg;
    if (!c)
        return;
    c->gone = c->gone || !complete;
    call_end(c);
}

const struct http_handler call_handler = {
    .head = on_head,
    .body = on_body,
    .body_end = on_body_end,
    .body_late = on_body_late,
    .drained = on_drained,
    .gone = on_gone,
    .done = on_done,
};
