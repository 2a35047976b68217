/* Steps send, relay and settle of a call whose body its client has encrypted: ciphertext passes as
 * it is, once, to the one worker that can open it; whatever fails before the first byte of the
 * answer is the client's to send again, encrypted to another (wire.md §11). */
#include "gateway/call.h"
#include "base/clock.h"
#include "base/encode.h"
#include "gateway/problem.h"
#include "gateway/receipts.h"
#include "gateway/reply.h"

enum { PARK_BYTES = 64 * 1024, NEXT_MAX = 4, RECORD_MAX = 16 * 1024 };

/* ---- The next one ---- */

/* The one that keeps a slot for this call goes before the others. */
static size_t find_next(struct call *c, struct pool_worker *next[static NEXT_MAX])
{
    struct pool_worker *ranked[NEXT_MAX];
    size_t count = 0;

    if (c->next)
        next[count++] = c->next;
    if (c->stays)
        return count;
    const size_t found = pool_rank(c->gateway->pool, &c->query, !c->next, ranked, NEXT_MAX);
    for (size_t i = 0; i < found && count < NEXT_MAX; i++)
        if (ranked[i] != c->next)
            next[count++] = ranked[i];
    return count;
}

const char *pass_next(struct call *c)
{
    struct pool_worker *next[NEXT_MAX];
    char *text = arena_alloc(&c->arena, NEXT_MAX * (2 * KFP_LEN + 1) + 1), *at = text;
    const size_t count = find_next(c, next);
    struct pool_key key;

    for (size_t i = 0; i < count; i++) {
        pool_worker_key(next[i], &key);
        if (i > 0)
            *at++ = ',';
        hex_encode(at, span_of(key.kfp, KFP_LEN));
        at += 2 * KFP_LEN;
    }
    return count > 0 ? text : NULL;
}

/* Where nobody has room now, but may have later, the client's next try waits here for it. Why it
 * goes may be its own choice, its bid or an old key: no slot is kept for that. */
enum step_result pass_elsewhere(struct call *c, bool was_full)
{
    struct pool *p = c->gateway->pool;

    route_unqueue(c);
    if (c->streaming) {
        api_fault_set(&c->fault, &ERR_STREAM_BROKEN, NULL, NULL);
        return STEP_FAIL;
    }
    if (pool_rank(p, &c->query, false, &c->next, 1) > 0 && was_full)
        pool_promise(c->next, span_str(c->key->account));
    c->may_wait = pool_may_wait(p, &c->query);
    if (c->next || c->may_wait) {
        api_fault_set(&c->fault, &ERR_RETRY_OTHER_WORKER, NULL, NULL);
        return STEP_FAIL;
    }
    route_no_capacity(c);
    return STEP_FAIL;
}

enum step_result pass_retry(struct call *c)
{
    if (c->streaming || route_may_retry(c))
        return pass_elsewhere(c, false);
    route_no_capacity(c);
    return STEP_FAIL;
}

/* Where one worker after the other turns out to be full, all are, and a client that is sent round
 * has no try left when one has room: it comes again to the one it was at, and waits here. */
static void pass_again(struct call *c)
{
    c->next = c->worker;
    c->stays = true;
    api_fault_set(&c->fault, &ERR_RETRY_OTHER_WORKER, NULL, NULL);
}

/* ---- The answer ---- */

static void pass_head(void *arg, unsigned status, struct span content_type, struct span ignored)
{
    struct call *c = arg;

    (void)content_type;
    (void)ignored;
    c->inner_status = status;
    c->last_byte_ms = loop_now(c->gateway->loop);
    c->attestation = (char)pool_worker_env(c->worker);
}

static void first_bytes(struct call *c)
{
    c->event_sent = true;
    c->first_us = clock_mono_us();
    histogram_add(&c->gateway->metrics.first_event, c->first_us - c->received_us);
    dispatch_first_event(c->dispatch);
    recv_forget(c);
    reply_sealed_stream(c);
    relay_watch(c);
}

static void pass_content(void *arg, struct span bytes)
{
    struct call *c = arg;

    c->last_byte_ms = loop_now(c->gateway->loop);
    if (!c->streaming)
        first_bytes(c);
    if (http_stream_queued(c->ex) == 0)
        c->last_drain_ms = c->last_byte_ms;
    c->events++;
    http_stream_write(c->ex, bytes);
    if (http_stream_queued(c->ex) < PARK_BYTES)
        dispatch_consumed(c->dispatch);
}

static void pass_end(void *arg)
{
    struct call *c = arg;
    struct span record = dispatch_record(c->dispatch);

    trace_attempt_end(c, NULL);
    if (span_visible(record, RECORD_MAX)) {
        c->record = arena_strdup(&c->arena, record);
        receipts_put(c->gateway->receipts, c->id, c->key->id, &(struct receipt){record, SPAN("")});
    }
    c->dispatch = NULL;
    c->ended = true;
    route_done(c);
    loop_timer_cancel(c->gateway->loop, &c->silence);
    call_resume(c);
}

/* What the client has sent is at fault. */
static const struct api_error *blamed(enum dispatch_failure why, unsigned status)
{
    if (why == DISPATCH_KEY)
        return &problem_ohttp_key;
    if (why != DISPATCH_REFUSED)
        return NULL;
    return status == 409   ? &problem_replay
           : status == 413 ? &ERR_REQUEST_TOO_LARGE
                           : &problem_bad_message;
}

/* No failure: asking another for it costs the pool nothing. */
static bool has_turned_away(enum dispatch_failure why)
{
    return why == DISPATCH_BUSY || why == DISPATCH_PRICE;
}

static void pass_failed(void *arg, enum dispatch_failure why)
{
    struct call *c = arg;
    const struct api_error *e = blamed(why, dispatch_status(c->dispatch));

    trace_attempt_end(c, dispatch_failure_name(why));
    c->dispatch = NULL;
    loop_timer_cancel(c->gateway->loop, &c->silence);
    const bool crowded = why == DISPATCH_BUSY && route_turned_away(c);
    if (!has_turned_away(why) || !pool_may_wait(c->gateway->pool, &c->query))
        relay_tried(c); /* else it may come again, to wait for room here */
    if (crowded && !c->streaming && c->query.tried_count == 0)
        pass_again(c);
    else if (e)
        api_fault_set(&c->fault, e, NULL, NULL);
    else
        (void)(has_turned_away(why) ? pass_elsewhere(c, why == DISPATCH_BUSY) : pass_retry(c));
    call_fault(c);
}

static const struct dispatch_events pass_events = {
    .head = pass_head,
    .content = pass_content,
    .end = pass_end,
    .failed = pass_failed,
};

/* ---- Steps ---- */

enum step_result pass_send(struct call *c)
{
    const struct dispatch_message m = {
        .call = span_str(c->id),
        .attempt = 0,
        .model = buf_span(&c->rq.model),
        .max_tokens = c->max_tokens,
        .max_input = c->max_input,
        .price = span_str(call_price(c)),
        .input = c->query.input,
        .output = c->query.output,
        .class = c->query.class,
        .affinity = c->query.affinity,
        .traceparent = trace_attempt(c),
        .take_sealed = &c->body,
        .kfp = c->kfp,
    };

    c->sent_us = clock_mono_us();
    c->gateway->metrics.attempts++;
    c->gateway->metrics.end_to_end++;
    int error = dispatch_start(&c->dispatch, c->worker, &m, &pass_events, c, settle_attempt,
                               charge_ref(c->charge));
    if (error == 0)
        return STEP_NEXT;
    charge_unref(c->charge);
    trace_attempt_end(c, dispatch_failure_name(error == E_BUSY ? DISPATCH_BUSY : DISPATCH_GONE));
    relay_tried(c);
    return pass_elsewhere(c, false);
}

enum step_result pass_settle(struct call *c)
{
    const struct http_field usage = {"Cocoon-Usage", c->record};

    c->answered = true;
    relay_watch_end(c);
    http_stream_end(c->ex, &usage, c->record && http_is_chunked(c->ex) ? 1 : 0);
    return STEP_OVER;
}
