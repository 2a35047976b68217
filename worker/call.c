/* A call's life: the checks on the header block alone, the body, replay, opening, the engine,
 * cancel. */
#include "worker/call.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"

enum {
    BODY_SILENT_MS = 30000,   /* no byte of the body for so long: reset */
    OFFLOAD_FROM = 256 << 10, /* longer messages are opened in the pool */
    QUEUE_HIGH = 256 << 10,   /* bytes queued on the tunnel: the engine pauses */
};

/* ---- Slots ---- */

/* More slots for a call of several choices, as far as there are free ones. */
static unsigned widen(struct call *c, unsigned wanted)
{
    const int64_t running = worker_running(c->worker);
    const int64_t free_slots = c->worker->settings.max_requests - running;

    while (c->slots < wanted && (int64_t)c->slots <= free_slots) {
        c->slots++;
        c->worker->slots++;
    }
    return c->slots;
}

/* ---- Life ---- */

static void call_destroy(void *arg)
{
    struct call *c = arg;

    ohttp_server_free(c->server);
    opened_fini(&c->opened);
    config_unref(c->config);
    sha256_free(c->resp_hash);
    sha256_free(c->content_hash);
    buf_fini(&c->sealed);
    buf_fini(&c->out);
    buf_fini(&c->unsent);
    free(c);
}

/* Once both the stream and the work are over. */
static void free_when_over(struct call *c)
{
    if (c->stream || c->state != CALL_OVER)
        return;
    loop_timer_cancel(c->worker->loop, &c->timer);
    call_give_back(c, 0);
    list_del(&c->link);
    loop_defer_free(c->worker->loop, c, call_destroy);
}

/* A refusal in plain text: nothing was decrypted, nothing is recorded. */
static void refuse(struct call *c, const struct problem *p)
{
    loop_timer_cancel(c->worker->loop, &c->timer);
    c->state = CALL_OVER;
    call_give_back(c, 0);
    log_event(LOG_INFO, "call_refused", "call=%s attempt=%" PRIu32 " code=%s", c->outer.call,
              c->outer.attempt, p->code);
    if (c->stream)
        exchange_problem_on(c->worker, c->stream, p);
    free_when_over(c);
}

/* ---- The engine ---- */

static void on_output(void *arg, struct buf *bytes)
{
    struct call *c = arg;

    call_answer_bytes(c, buf_span(bytes));
    if (c->run && !c->paused && tunnel_stream_queued(c->stream) > QUEUE_HIGH) {
        c->paused = true;
        engine_run_pause(c->run, true);
    }
}

static void on_narrowed(void *arg, unsigned width)
{
    struct call *c = arg;

    call_give_back(c, width ? width : 1);
}

static void on_run_end(void *arg, int error, const struct api_fault *fault, struct answer *answer)
{
    struct call *c = arg;

    c->run = NULL;
    if (error < 0)
        answer_usage(answer, &c->usage);
    if (error < 0)
        call_answer_fault(c, fault, fault->error->status < 500 ? USAGE_REJECTED : USAGE_ERROR);
    else
        call_answer_finish(c, answer);
    free_when_over(c);
}

static const struct engine_run_events run_events = {
    .output = on_output,
    .narrowed = on_narrowed,
    .end = on_run_end,
};

/* llama.cpp takes `echo` and does nothing. */
static struct span echo_of(const struct call *c)
{
    const struct request *rq = &c->opened.request;
    const bool ours = engine_kind(c->worker->engine) == ENGINE_LLAMACPP;

    return ours && span_is(request_member(rq, "echo"), "true") ? request_member(rq, "prompt")
                                                               : (struct span){0};
}

static struct answer *make_answer(const struct call *c)
{
    const struct opened *o = &c->opened;
    const struct request *rq = &o->request;
    const struct answer_options options = {
        .endpoint = rq->endpoint,
        .kind = engine_kind(c->worker->engine),
        .public_model = o->public_model,
        .stream = rq->stream,
        .include_usage = o->include_usage,
        .base64 = rq->base64,
        .dimensions = rq->dimensions,
        .top_logprobs = rq->top_logprobs,
        .service_tier = request_member(rq, "service_tier").data ? "default" : NULL,
        .mute = rq->endpoint == EP_COMPLETIONS && o->cap == 0,
        .calls_in_text = request_calls_in_text(rq),
        .as_function = rq->has_functions,
        .echo = echo_of(c),
        .padding = o->padding,
        .choices = rq->endpoint == EP_EMBEDDINGS ? rq->prompts : rq->prompts * rq->choices,
        .prompts = rq->prompts,
    };

    return answer_new(&options);
}

static struct span engine_model(const struct call *c)
{
    const struct worker_model *m = c->opened.model;

    return span_str(m->engine_name[0] ? m->engine_name : m->name);
}

static void run(struct call *c)
{
    struct worker *w = c->worker;
    const unsigned parts = engine_run_parts(w->engine, &c->opened.request);
    const struct engine_run_options options = {
        .request = &c->opened.request,
        .take_answer = make_answer(c),
        .model = engine_model(c),
        .cap = c->opened.cap,
        .cache_salt = span_str(c->opened.cache_salt),
        .width = widen(c, parts),
        .traceparent = c->outer.traceparent,
    };

    if (engine_run_start(&c->run, w->engine, &options, &run_events, c) < 0) {
        struct api_fault fault = {0};
        api_fault_set(&fault, &ERR_WORKER_ERROR, NULL, NULL);
        call_answer_fault(c, &fault, USAGE_ERROR);
    }
    if (options.width >= parts) /* every part has been asked */
        opened_forget_body(&c->opened);
}

/* ---- The prompt's length ---- */

static void on_counted(void *arg, int64_t tokens)
{
    struct call *c = arg;
    struct api_fault fault = {0};

    c->counting = NULL;
    if (tokens <= c->outer.max_input) {
        run(c);
        return;
    }
    api_fault_set(&fault, &ERR_CONTEXT_LENGTH, NULL, NULL);
    call_answer_fault(c, &fault, USAGE_REJECTED);
    free_when_over(c);
}

/* A token is a byte at least, and the syntax around the texts is longer than what a template adds
 * for it: a body of no more bytes than the tokens declared needs no count, which is every one that
 * a gateway sealed. */
static bool is_surely_short(const struct call *c)
{
    return (int64_t)c->opened.body.len <= c->outer.max_input;
}

/* Where the engine does not tell, the run goes on (wire.md §5). */
static void begin(struct call *c)
{
    struct engine *e = c->worker->engine;

    c->state = CALL_RUNNING;
    call_answer_timer(c, (uint64_t)worker_config(c->worker)->head_ms);
    request_prepare(&c->opened.request, engine_kind(e));
    if (is_surely_short(c) || !engine_counts(e, &c->opened.request) ||
        engine_count_start(&c->counting, e, &c->opened.request, engine_model(c), on_counted, c) < 0)
        run(c);
}

/* ---- Opening ---- */

static void open_work(struct offload_job *job)
{
    struct call *c = CONTAINER(job, struct call, job);
    AUTO(buf_wipe) struct buf plain = {0};

    sha256(c->req, buf_span(&c->sealed));
    c->open_error = ohttp_server_open(c->server, buf_span(&c->sealed), &plain);
    if (c->open_error == 0)
        opened_read(&c->opened, buf_span(&plain), &c->outer, c->config->values,
                    clock_wall_ms() / 1000);
    buf_fini(&c->sealed);
}

static void open_done(struct offload_job *job)
{
    struct call *c = CONTAINER(job, struct call, job);

    if (c->open_error < 0) {
        c->worker->counters.bad_message++;
        refuse(c, &problem_message);
        return;
    }
    if (c->cancelled || !c->stream)
        call_answer_abort(c);
    else if (c->opened.bad_date)
        call_answer_date(c);
    else if (c->opened.fault.error)
        call_answer_fault(c, &c->opened.fault, c->opened.outcome);
    else
        begin(c);
    free_when_over(c);
}

static void open_message(struct call *c)
{
    c->state = CALL_OPENING;
    c->job = (struct offload_job){.work = open_work, .done = open_done};
    if (c->sealed.len > OFFLOAD_FROM && offload_submit(c->worker->offload, &c->job) == 0)
        return;
    open_work(&c->job);
    open_done(&c->job);
}

/* What a second POST of the same (op, call, attempt) is known by. */
static void call_hash(const struct call *c, uint8_t out[static REPLAY_LEN])
{
    const struct span parts[] = {
        SPAN("call"),
        SPAN_OF(c->op),
        span_str(c->outer.call),
        span_of(&c->outer.attempt, sizeof(c->outer.attempt)),
    };
    uint8_t digest[SHA256_LEN];

    sha256_parts(digest, parts, sizeof(parts) / sizeof(parts[0]));
    memcpy(out, digest, REPLAY_LEN);
}

static const struct problem *find_key(struct call *c)
{
    struct worker *w = c->worker;
    struct ohttp_hdr hdr;
    uint8_t hash[REPLAY_LEN];

    if (ohttp_hdr_parse(&hdr, buf_span(&c->sealed)) < 0) {
        w->counters.bad_message++;
        return &problem_message;
    }
    struct worker_key *key = keys_find(w->keys, hdr.key_id);
    if (!key || memcmp(key->config.kfp, c->outer.kfp, KFP_LEN) != 0 ||
        !key_config_offers(&key->config, hdr.kem, hdr.kdf, hdr.aead)) {
        w->counters.bad_key++;
        return &problem_key;
    }
    call_hash(c, hash);
    if (keys_note(w->keys, key, hdr.replay, hash) < 0) {
        w->counters.replay++;
        return &problem_replay;
    }
    memcpy(c->kfp, key->config.kfp, KFP_LEN);
    memcpy(c->keyset, key->keyset, SHA256_LEN);
    if (ohttp_server_new(&c->server, &hdr, key->private) == 0)
        return NULL;
    w->counters.bad_message++;
    return &problem_message;
}

/* ---- The stream ---- */

static void on_body_late(void *arg)
{
    struct call *c = arg;

    tunnel_stream_reset(c->stream);
}

static void on_data(void *arg, struct tunnel_stream *s, struct span bytes)
{
    struct call *c = arg;

    tunnel_stream_consume(s, bytes.len);
    if (c->state != CALL_BODY)
        return;
    if (c->sealed.len + bytes.len > (size_t)worker_config(c->worker)->body_bytes) {
        refuse(c, &problem_too_large);
        return;
    }
    buf_append(&c->sealed, bytes);
    loop_timer_set(c->worker->loop, &c->timer, BODY_SILENT_MS, on_body_late, c);
}

static void on_end(void *arg, struct tunnel_stream *s)
{
    struct call *c = arg;

    (void)s;
    if (c->state != CALL_BODY)
        return;
    loop_timer_cancel(c->worker->loop, &c->timer);
    c->t0_ms = clock_wall_ms();
    const struct problem *p = find_key(c);
    if (p)
        refuse(c, p);
    else
        open_message(c);
}

static void on_drained(void *arg, struct tunnel_stream *s)
{
    struct call *c = arg;

    (void)s;
    if (!c->paused || !c->run)
        return;
    c->paused = false;
    engine_run_pause(c->run, false);
}

static void stop_engine(struct call *c)
{
    if (c->counting)
        engine_count_cancel(c->counting);
    c->counting = NULL;
    if (c->run)
        engine_run_cancel(c->run, &c->usage);
    c->run = NULL;
}

/* The stream is gone: properly after our answer, or unannounced, which means the same as a cancel.
 */
static void on_closed(void *arg, struct tunnel_stream *s, int error)
{
    struct call *c = arg;

    (void)s;
    (void)error;
    c->stream = NULL;
    if (c->state == CALL_BODY) {
        c->state = CALL_OVER;
    } else if (c->state == CALL_RUNNING) {
        stop_engine(c);
        call_answer_abort(c);
    }
    free_when_over(c);
}

static const struct tunnel_stream_events stream_events = {
    .data = on_data,
    .end = on_end,
    .drained = on_drained,
    .closed = on_closed,
};

/* ---- The header block ---- */

static struct span stream_field(const void *arg, const char *name)
{
    return tunnel_stream_field(arg, name);
}

/* Said before a byte of the body is read (wire.md §7.0). NULL: it may come. */
static const struct problem *refusal(struct worker *w, const struct link *link,
                                     const struct outer *outer)
{
    const char *reason = link->draining ? "drain" : worker_reason(w);

    if (reason) {
        w->counters.closed++;
        return strcmp(reason, "exposure") == 0 ? &problem_exposure : &problem_draining;
    }
    if (worker_running(w) >= (uint64_t)w->settings.max_requests) {
        w->counters.busy++;
        return &problem_busy;
    }
    if (outer->coefficient < w->settings.ask) {
        w->counters.price++;
        return &problem_price;
    }
    return NULL;
}

void call_begin(struct exchange *x)
{
    struct worker *w = x->worker;
    struct outer outer;

    if (outer_read(&outer, stream_field, x->stream) < 0) {
        w->counters.bad_message++;
        exchange_problem(x, &problem_message);
        return;
    }
    const struct problem *p = refusal(w, x->link, &outer);
    if (p) {
        exchange_problem(x, p);
        return;
    }
    struct call *c = mem_zero(sizeof(*c));
    *c = (struct call){.worker = w, .stream = x->stream, .outer = outer, .slots = 1};
    c->config = config_ref(w->config);
    c->resp_hash = sha256_new();
    c->content_hash = sha256_new();
    c->begun_us = clock_mono_us();
    tunnel_pin(x->link->tunnel, c->op);
    w->slots++;
    list_push(&w->calls, &c->link);
    tunnel_stream_attach(x->stream, &stream_events, c);
    loop_timer_set(w->loop, &c->timer, BODY_SILENT_MS, on_body_late, c);
}

/* ---- Cancel ---- */

static bool owned(struct usage_owner owner, const uint8_t op[static SHA256_LEN])
{
    for (size_t i = 0; i < owner.count; i++)
        if (memcmp(owner.pins[i], op, SHA256_LEN) == 0)
            return true;
    return false;
}

static struct call *call_find(struct worker *w, struct usage_owner owner, struct span call,
                              uint64_t attempt)
{
    LIST_FOREACH(it, &w->calls) {
        struct call *c = CONTAINER(it, struct call, link);
        if (c->state != CALL_OVER && span_is(call, c->outer.call) && c->outer.attempt == attempt &&
            owned(owner, c->op))
            return c;
    }
    return NULL;
}

/* wire.md §11: the engine stops at once, and no final chunk is ever sent. */
static void cancel(struct call *c)
{
    if (c->state == CALL_BODY) {
        tunnel_stream_reset(c->stream); /* nothing ran, nothing is recorded */
    } else if (c->state == CALL_OPENING) {
        c->cancelled = true;
    } else if (c->state == CALL_RUNNING) {
        stop_engine(c);
        call_answer_abort(c);
    }
}

void call_cancel_asked(struct exchange *x)
{
    struct span rest = x->rest;
    const struct span call = span_split(&rest, '/');
    uint64_t attempt = 0;

    struct call *c = span_u64(rest, UINT32_MAX, &attempt) < 0
                         ? NULL
                         : call_find(x->worker, link_owner(x->link), call, attempt);
    if (!c) {
        exchange_problem(x, &problem_not_found);
        return;
    }
    cancel(c);
    exchange_reply(x, 204, NULL, NULL);
}

void call_end_all(struct worker *w)
{
    struct api_fault fault = {0};

    api_fault_set(&fault, &ERR_WORKER_ERROR, NULL, NULL);
    LIST_FOREACH(it, &w->calls) {
        struct call *c = CONTAINER(it, struct call, link);
        if (c->state == CALL_BODY)
            tunnel_stream_reset(c->stream);
        else if (c->state == CALL_OPENING)
            c->cancelled = true;
        if (c->state != CALL_RUNNING)
            continue;
        stop_engine(c);
        call_answer_fault(c, &fault, USAGE_ERROR);
    }
}
