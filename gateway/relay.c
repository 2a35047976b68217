/* Step relay: the worker's bytes to the caller, untouched, one write an event; and what happens
 * when they stop coming. */
#include "gateway/charge.h"
#include "base/clock.h"
#include "gateway/cost.h"
#include "gateway/replay.h"
#include "gateway/reply.h"
#include "openai/stream.h"

enum {
    PARK_BYTES = 64 * 1024,
    INNER_ERROR_MAX = 64 * 1024,
    INNER_MAX = 256 * 1024 * 1024,
    WATCH_MIN_MS = 50
};

static const struct gateway_config *settings(const struct call *c)
{
    return c->config->values;
}

/* ---- Another worker, or the end ---- */

void relay_tried(struct call *c)
{
    if (c->query.tried_count < POOL_MAX_TRIED)
        c->query.tried[c->query.tried_count++] = c->worker;
}

enum step_result relay_retry(struct call *c, const struct api_error *e)
{
    trace_attempt_end(c, e->name);
    api_fault_set(&c->fault, e, NULL, NULL);
    buf_wipe(&c->inner);
    buf_wipe(&c->held);
    buf_clear(&c->ignored);
    c->inner_status = 0;
    relay_tried(c);
    if (call_is_end_to_end(c))
        return pass_retry(c);
    if (c->event_sent || ++c->attempt >= (uint32_t)settings(c)->attempts || !route_may_retry(c))
        return STEP_FAIL;
    c->gateway->metrics.retries++;
    c->step = CALL_ROUTE;
    return STEP_NEXT;
}

/* The same from a callback. */
static void retry_or_fail(struct call *c, const struct api_error *e)
{
    c->dispatch = NULL;
    loop_timer_cancel(c->gateway->loop, &c->silence);
    if (relay_retry(c, e) == STEP_FAIL)
        call_fault(c);
    else
        call_resume(c);
}

/* Busy is no failure: the same call goes elsewhere, or waits, as often as it takes. */
static void go_elsewhere(struct call *c)
{
    c->dispatch = NULL;
    loop_timer_cancel(c->gateway->loop, &c->silence);
    c->attempt++;
    c->step = CALL_ROUTE;
    call_resume(c);
}

/* It may have raised its ask to what the call still pays; who refuses twice does not know it. */
static void price_refused(struct call *c)
{
    if (c->refused_by == c->worker)
        relay_tried(c);
    c->refused_by = c->worker;
}

static void relay_failed(void *arg, enum dispatch_failure why)
{
    struct call *c = arg;

    bool away = why == DISPATCH_BUSY || why == DISPATCH_PRICE;

    trace_attempt_end(c, dispatch_failure_name(why));
    if (why == DISPATCH_PRICE)
        price_refused(c);
    if (away && !c->event_sent)
        go_elsewhere(c);
    else
        retry_or_fail(c, &ERR_WORKER_ERROR);
}

/* ---- Silence ---- */

/* A stream whose end was given is still here only because its bytes do not leave. */
static bool has_unread(const struct call *c)
{
    return c->streaming && (c->answered || http_stream_queued(c->ex) > 0);
}

/* Until the client has read nothing for too long; 0: that is now. */
static uint64_t stall_left(const struct call *c, uint64_t now)
{
    uint64_t limit = (uint64_t)settings(c)->stalled_ms;
    uint64_t still = has_unread(c) ? now - c->last_drain_ms : 0;

    return still < limit ? limit - still : 0;
}

static void watch(void *arg);

static void watch_again(struct call *c, uint64_t wait)
{
    loop_timer_set(c->gateway->loop, &c->silence, wait > WATCH_MIN_MS ? wait : WATCH_MIN_MS, watch,
                   c);
}

/* Until the worker has said nothing for too long, or nothing but pings; 0: that is now. */
static uint64_t silence_left(const struct call *c, uint64_t now)
{
    const struct gateway_config *s = settings(c);
    const uint64_t limit = (uint64_t)(c->inner_status ? s->silence_ms : s->head_ms);
    const uint64_t silent = now - c->last_byte_ms;
    const uint64_t event_limit = (uint64_t)(c->event_sent ? s->token_ms : s->first_token_ms);
    const uint64_t idle = call_is_end_to_end(c) ? 0 : now - c->last_event_ms;
    const uint64_t left = silent < limit ? limit - silent : 0;
    const uint64_t event_left = idle < event_limit ? event_limit - idle : 0;

    return left < event_left ? left : event_left;
}

/* Looks again when the nearest of the limits could be reached. */
static void watch(void *arg)
{
    struct call *c = arg;
    const uint64_t now = loop_now(c->gateway->loop);
    const bool looks = c->rq.stream && !c->answered; /* an answer in one piece may take its time */
    const uint64_t left = looks ? silence_left(c, now) : UINT64_MAX;
    const uint64_t wait = stall_left(c, now);

    if (wait == 0) {
        http_cut(c->ex);
        return;
    }
    if (left == 0 && http_stream_queued(c->ex) == 0) {
        dispatch_cancel(c->dispatch, CANCEL_TIMEOUT);
        retry_or_fail(c, &ERR_UPSTREAM_TIMEOUT);
        return;
    }
    watch_again(c, left > 0 && left < wait ? left : wait);
}

/* An answer in one piece shows no more than its outer head before it is whole: without that the
 * worker is lost, with it the call's own deadline is what counts. */
static void watch_head(void *arg)
{
    struct call *c = arg;

    if (dispatch_answered(c->dispatch))
        return;
    dispatch_cancel(c->dispatch, CANCEL_TIMEOUT);
    retry_or_fail(c, &ERR_UPSTREAM_TIMEOUT);
}

void relay_watch(struct call *c)
{
    watch_again(c, WATCH_MIN_MS);
}

void relay_watch_end(struct call *c)
{
    if (http_stream_queued(c->ex) == 0)
        c->last_drain_ms = loop_now(c->gateway->loop);
    watch_again(c, (uint64_t)settings(c)->stalled_ms);
}

/* ---- Events ---- */

static void relay_head(void *arg, unsigned status, struct span content_type, struct span ignored)
{
    struct call *c = arg;

    buf_clear(&c->ignored);
    buf_append(&c->ignored, ignored);
    c->inner_status = status;
    c->inner_json = !span_starts(content_type, SPAN("text/event-stream"));
    c->last_byte_ms = loop_now(c->gateway->loop);
    c->attestation = (char)pool_worker_env(c->worker);
}

/* Nothing but comment lines: proof of life, not an answer. */
static bool only_comments(struct span bytes)
{
    while (bytes.len > 0) {
        struct span line = span_split(&bytes, '\n');
        if (line.len > 0 && line.data[0] != ':')
            return false;
    }
    return true;
}

static void write_stream(struct call *c, struct span bytes)
{
    if (!c->streaming)
        reply_stream(c);
    if (http_stream_queued(c->ex) == 0)
        c->last_drain_ms = loop_now(c->gateway->loop);
    http_stream_write(c->ex, bytes);
    replay_take(c, bytes);
}

static void first_event(struct call *c)
{
    c->event_sent = true;
    c->first_us = c->event_us;
    histogram_add(&c->gateway->metrics.first_event, c->first_us - c->received_us);
    dispatch_first_event(c->dispatch);
    recv_forget(c);
}

/* No ping. */
static void true_event(struct call *c)
{
    const uint64_t before_us = c->event_us;

    c->event_us = clock_mono_us();
    c->last_event_ms = c->last_byte_ms;
    if (c->event_sent)
        histogram_add(&c->gateway->metrics.event_gap, c->event_us - before_us);
    else
        first_event(c);
}

static void relay_event(struct call *c, struct span bytes)
{
    c->broken = c->broken || stream_has_error(bytes);
    if (c->held.len > 0 || stream_is_closing(bytes)) {
        buf_append(&c->held, bytes);
        return;
    }
    if (!only_comments(bytes))
        true_event(c);
    c->events++;
    c->gateway->metrics.events++;
    write_stream(c, bytes);
}

static bool collects(const struct call *c)
{
    return c->inner_json || c->inner_status != 200 || !c->rq.stream;
}

static void relay_content(void *arg, struct span bytes)
{
    struct call *c = arg;
    size_t most = c->inner_status == 200 ? INNER_MAX : INNER_ERROR_MAX;

    c->last_byte_ms = loop_now(c->gateway->loop);
    if (!collects(c) && !c->event_sent && stream_is_server_error(bytes)) {
        dispatch_cancel(c->dispatch, CANCEL_FAILED);
        retry_or_fail(c, &ERR_WORKER_ERROR);
        return;
    }
    if (c->inner_status == 200 && c->rq.endpoint != EP_EMBEDDINGS)
        seen_note(c->charge, !collects(c), bytes);
    if (!collects(c))
        relay_event(c, bytes);
    else if (c->inner.len + bytes.len <= most)
        buf_append(&c->inner, bytes);
    else {
        dispatch_cancel(c->dispatch, CANCEL_FAILED);
        retry_or_fail(c, &ERR_WORKER_ERROR);
        return;
    }
    if (collects(c) || http_stream_queued(c->ex) < PARK_BYTES)
        dispatch_consumed(c->dispatch);
}

void relay_drained(struct call *c)
{
    c->last_drain_ms = loop_now(c->gateway->loop);
    if (c->dispatch && http_stream_queued(c->ex) < PARK_BYTES)
        dispatch_consumed(c->dispatch);
}

/* A worker may find fault with the request itself: 400, but not with the fields that we wrote. All
 * else is its own failure. */
static bool blames_request(const struct api_error *e)
{
    return e->status == 400 && e != &ERR_INVALID_HEADER;
}

static void inner_error(struct call *c)
{
    struct api_fault f = {0};

    if (api_fault_parse(&f, c->inner_status, buf_span(&c->inner)) < 0)
        api_fault_set(&f, &ERR_WORKER_ERROR, NULL, NULL);
    if (!blames_request(f.error)) {
        dispatch_cancel(c->dispatch, CANCEL_FAILED);
        retry_or_fail(c, f.error->status >= 500 ? f.error : &ERR_WORKER_ERROR);
        return;
    }
    trace_attempt_end(c, f.error->name);
    c->fault = f;
    c->dispatch = NULL;
    call_fault(c);
}

static void relay_end(void *arg)
{
    struct call *c = arg;

    if (c->inner_status != 200) {
        inner_error(c);
        return;
    }
    trace_attempt_end(c, c->broken ? ERR_STREAM_BROKEN.name : NULL);
    c->dispatch = NULL;
    c->ended = true;
    route_done(c);
    loop_timer_cancel(c->gateway->loop, &c->silence);
    call_resume(c);
}

const struct dispatch_events relay_events = {
    .head = relay_head,
    .content = relay_content,
    .end = relay_end,
    .failed = relay_failed,
};

enum step_result call_relay(struct call *c)
{
    if (c->ended)
        return STEP_NEXT;
    c->last_byte_ms = c->last_event_ms = loop_now(c->gateway->loop);
    if (c->rq.stream)
        relay_watch(c);
    else
        loop_timer_set(c->gateway->loop, &c->silence, (uint64_t)settings(c)->head_ms, watch_head,
                       c);
    return STEP_WAIT;
}

/* Nobody may take an answer with an error at its end for a whole one. */
static void break_off(struct call *c)
{
    api_fault_set(&c->fault, &ERR_STREAM_BROKEN, NULL, NULL);
    c->gateway->metrics.broken_streams++;
    http_stream_abort(c->ex);
}

void relay_finish(struct call *c)
{
    http_stream_ending(c->ex);
    if (c->held.len > 0)
        write_stream(c, buf_span(&c->held));
    if (!c->streaming)
        reply_stream(c);
    c->answered = true;
    relay_watch_end(c);
    if (c->broken)
        break_off(c);
    else
        http_stream_end(c->ex, NULL, 0);
}

/* Step settle: the answer's end goes out. The charge itself is settled by the attempt's usage
 * record, in settle_attempt. */
enum step_result call_settle(struct call *c)
{
    recv_forget(c);
    if (call_is_end_to_end(c))
        return pass_settle(c);
    if ((collects(c) || c->rq.include_usage) && cost_is_awaited(c))
        return STEP_WAIT;
    cost_splice(c);
    if (collects(c)) {
        replay_take(c, buf_span(&c->inner));
        reply_whole(c, 200, "application/json", &c->inner);
        return STEP_OVER;
    }
    relay_finish(c);
    return STEP_OVER;
}
