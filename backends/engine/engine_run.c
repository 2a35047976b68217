/* One call at the engine: a part is one HTTP request, most calls have one. Whatever the first part
 * to fail says is the fault of the whole. */
#include "backends/engine/engine_run.h"

#include <stdio.h>
#include <stdlib.h>

#include "backends/engine/engine_impl.h"
#include "base/trace_context.h"
#include "net/sse.h"

enum {
    MAX_EVENT = 4 << 20, /* bytes of one event of an engine */
    MAX_ERROR_BODY = 64 << 10,
    MAX_JSON_BODY = 64 << 20, /* embeddings come in one piece */
    DONE_MS = 1000,           /* after [DONE] the engine has so long to end its answer */
    OFFLOAD_FROM = 256 << 10, /* longer texts are read in the pool */
};

struct part {
    struct engine_run *run;
    struct http_transfer *transfer; /* NULL: not begun, or ended */
    unsigned index;
    unsigned status;
    bool json; /* the whole body is one JSON text: embeddings, and errors */
    bool done; /* [DONE] was seen */
    struct loop_timer done_timer;
    struct buf body;
    struct sse_parser sse;
};

struct engine_run {
    struct engine *engine;
    struct engine_run_events ev;
    void *arg;
    const struct request *request;
    enum engine_kind kind;
    bool fan; /* a part a choice */
    struct answer *answer;
    struct span model, cache_salt;
    const char *traceparent;
    int64_t cap;

    struct part *parts;
    unsigned count, begun, live, width;
    bool paused, over; /* over: `end` is due or the run was cancelled */
    struct buf out;
    int error;
    struct api_fault fault;
    struct loop_timer end_timer; /* `end` is called from the loop */

    /* A long JSON answer is read in the pool. While it is, the run stays alive. */
    struct offload_job job;
    bool in_pool, abandoned;
};

/* ---- Life ---- */

static void run_destroy(void *arg)
{
    struct engine_run *r = arg;

    for (unsigned i = 0; i < r->count; i++) {
        buf_wipe(&r->parts[i].body);
        sse_fini(&r->parts[i].sse);
    }
    free(r->parts);
    answer_free(r->answer);
    buf_wipe(&r->out);
    free(r);
}

/* llama.cpp counts the tokens of one choice only, and of n above its slots it takes none. */
static bool fans_out(const struct engine *e, const struct request *rq)
{
    return engine_kind(e) == ENGINE_LLAMACPP && rq->endpoint != EP_EMBEDDINGS;
}

unsigned engine_run_parts(const struct engine *e, const struct request *rq)
{
    return fans_out(e, rq) ? (unsigned)(rq->prompts * rq->choices) : 1;
}

static void on_end(void *arg)
{
    struct engine_run *r = arg;

    r->ev.end(r->arg, r->error, &r->fault, r->answer);
    loop_defer_free(r->engine->loop, r, run_destroy);
}

/* Ends the run from the loop, once no transfer is left. */
static void run_end(struct engine_run *r)
{
    if (r->over)
        return;
    r->over = true;
    loop_timer_set(r->engine->loop, &r->end_timer, 0, on_end, r);
}

static void close_transfers(struct engine_run *r)
{
    for (unsigned i = 0; i < r->begun; i++) {
        struct part *p = &r->parts[i];
        loop_timer_cancel(r->engine->loop, &p->done_timer);
        if (!p->transfer)
            continue;
        http_transfer_cancel(p->transfer);
        p->transfer = NULL;
        engine_transfer_ended(r->engine, true);
    }
    r->live = 0;
}

/* Remembers why, and ends it. The fault of the engine stays if there is one. */
static void run_fail(struct engine_run *r, int error)
{
    static const struct {
        int error;
        const struct api_error *api;
    } table[] = {
        {E_TIMEOUT, &ERR_UPSTREAM_TIMEOUT},
        {E_UNAVAILABLE, &ERR_WORKER_ERROR},
    };

    if (r->over)
        return;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]) && !r->fault.error; i++)
        if (table[i].error == error)
            api_fault_set(&r->fault, table[i].api, NULL, NULL);
    if (!r->fault.error)
        api_fault_set(&r->fault, &ERR_WORKER_ERROR, NULL, NULL);
    r->error = error;
    close_transfers(r);
    run_end(r);
}

void engine_run_cancel(struct engine_run *r, struct usage *so_far)
{
    *so_far = (struct usage){0};
    close_transfers(r);
    loop_timer_cancel(r->engine->loop, &r->end_timer);
    r->over = true;
    if (r->in_pool) { /* the pool has the answer in its hands */
        r->abandoned = true;
        return;
    }
    answer_usage(r->answer, so_far);
    loop_defer_free(r->engine->loop, r, run_destroy);
}

void engine_run_pause(struct engine_run *r, bool paused)
{
    if (r->paused == paused)
        return;
    r->paused = paused;
    for (unsigned i = 0; i < r->begun; i++)
        if (r->parts[i].transfer)
            http_transfer_pause(r->parts[i].transfer, paused);
}

/* ---- Reading ---- */

static int feed(struct part *p, struct span event)
{
    struct engine_run *r = p->run;

    return answer_feed(r->answer, event, r->fan ? p->index : 0, &r->out, &r->fault);
}

static int on_event(void *arg, struct span name, struct span data)
{
    struct part *p = arg;

    (void)name;
    if (p->done)
        return 0;
    p->done = span_is(data, "[DONE]");
    return feed(p, data);
}

static void flush_output(struct engine_run *r)
{
    if (r->out.len > 0)
        r->ev.output(r->arg, &r->out);
    buf_clear(&r->out);
}

static void on_head(void *arg, struct http_transfer *t, unsigned status, struct span content_type)
{
    struct part *p = arg;

    (void)t;
    p->status = status;
    p->json = status != 200 || p->run->request->endpoint == EP_EMBEDDINGS;
    /* A web page is no answer of an engine, whatever its status. */
    if (status == 200 && span_starts(content_type, SPAN("text/html")))
        p->status = 502;
    p->json = p->json || p->status != 200;
}

static void part_begin_next(struct engine_run *r);
static void part_over(struct engine_run *r);

/* All was said, but the engine leaves its answer open. */
static void on_done_late(void *arg)
{
    struct part *p = arg;
    struct engine_run *r = p->run;

    http_transfer_cancel(p->transfer);
    p->transfer = NULL;
    r->live--;
    engine_transfer_ended(r->engine, false);
    part_over(r);
}

static void on_data(void *arg, struct http_transfer *t, struct span bytes)
{
    struct part *p = arg;
    struct engine_run *r = p->run;
    const size_t max = p->status == 200 ? MAX_JSON_BODY : MAX_ERROR_BODY;

    (void)t;
    if (r->over)
        return;
    if (!p->json) {
        const int error = sse_feed(&p->sse, bytes, on_event, p);
        flush_output(r); /* what came before a fault goes out before it */
        if (error < 0)
            run_fail(r, error);
        else if (p->done && !r->over)
            loop_timer_set(r->engine->loop, &p->done_timer, DONE_MS, on_done_late, p);
    } else if (p->body.len + bytes.len <= max) {
        buf_append(&p->body, bytes);
    } else if (p->status == 200) {
        run_fail(r, E_TOO_LARGE);
    }
}

/* One part is through: the next one, or the end. */
static void part_over(struct engine_run *r)
{
    if (r->over)
        return;
    part_begin_next(r);
    if (r->live == 0 && r->begun == r->count) {
        if (!answer_complete(r->answer))
            run_fail(r, E_PROTOCOL);
        else
            run_end(r);
    } else if (r->live < r->width && r->ev.narrowed) {
        r->width = r->live;
        r->ev.narrowed(r->arg, r->width);
    }
}

static void json_work(struct offload_job *job)
{
    struct engine_run *r = CONTAINER(job, struct engine_run, job);

    r->error = feed(&r->parts[0], buf_span(&r->parts[0].body));
}

static void json_read_done(struct offload_job *job)
{
    struct engine_run *r = CONTAINER(job, struct engine_run, job);
    const int error = r->error;

    r->in_pool = false;
    r->error = 0;
    if (r->abandoned)
        loop_defer_free(r->engine->loop, r, run_destroy);
    else if (error < 0)
        run_fail(r, error);
    else
        part_over(r);
}

/* The engine's one JSON answer is there. */
static void read_json(struct part *p)
{
    struct engine_run *r = p->run;

    r->job = (struct offload_job){.work = json_work, .done = json_read_done};
    r->in_pool = true;
    if (p->body.len <= OFFLOAD_FROM || offload_submit(r->engine->offload, &r->job) < 0) {
        json_work(&r->job);
        json_read_done(&r->job);
    }
}

static void on_done(void *arg, struct http_transfer *t, int error)
{
    struct part *p = arg;
    struct engine_run *r = p->run;

    (void)t;
    p->transfer = NULL;
    r->live--;
    loop_timer_cancel(r->engine->loop, &p->done_timer);
    engine_transfer_ended(r->engine, false);
    if (error == E_UNAVAILABLE)
        engine_probe_soon(r->engine);
    if (r->over)
        return;
    if (error < 0 && !p->done) {
        run_fail(r, error);
    } else if (p->status != 200) {
        engine_fault(r->kind, p->status, buf_span(&p->body), &r->fault);
        run_fail(r, E_UNAVAILABLE);
    } else if (p->json) {
        read_json(p);
    } else {
        part_over(r);
    }
}

static const struct http_transfer_events part_events = {
    .head = on_head,
    .data = on_data,
    .done = on_done,
};

/* ---- Asking ---- */

static int part_body(const struct part *p, struct buf *body)
{
    const struct engine_run *r = p->run;
    const struct engine_ask ask = {
        .kind = r->kind,
        .model = r->model,
        .cap = r->cap,
        .cache_salt = r->cache_salt,
        .choice = r->fan && r->request->choices > 1 ? p->index % r->request->choices : -1,
        .prompt = r->fan && r->request->prompts > 1 ? p->index / r->request->choices : -1,
    };

    return request_engine(r->request, &ask, body);
}

static int part_begin(struct part *p)
{
    struct engine_run *r = p->run;
    const bool traced = r->traceparent && r->traceparent[0];
    char trace[sizeof("traceparent: ") + TRACEPARENT_LEN] = "";
    const char *const headers[] = {"Content-Type: application/json", trace};
    AUTO(buf_wipe) struct buf body = {0};
    char url[ENGINE_URL_MAX + 32];
    struct http_fetch fetch = {
        .url = url,
        .unix_socket = r->engine->unix_socket,
        .method = "POST",
        .headers = headers,
        .header_count = traced ? 2 : 1,
        .take_body = &body,
        .silent_ms = r->engine->silent_ms,
    };

    TRY(part_body(p, &body));
    if (traced)
        snprintf(trace, sizeof(trace), "traceparent: %s", r->traceparent);
    snprintf(url, sizeof(url), "%s%s", r->engine->base, endpoint_path(r->request->endpoint));
    TRY(http_client_start(r->engine->http, &fetch, &part_events, p, &p->transfer));
    r->live++;
    engine_transfer_began(r->engine);
    if (r->paused)
        http_transfer_pause(p->transfer, true);
    return 0;
}

/* Begins as many parts as the width allows. */
static void part_begin_next(struct engine_run *r)
{
    while (!r->over && r->begun < r->count && r->live < r->width) {
        struct part *p = &r->parts[r->begun];
        *p = (struct part){.run = r, .index = r->begun, .sse = {.max_event = MAX_EVENT}};
        r->begun++;
        const int error = part_begin(p);
        if (error < 0)
            run_fail(r, error);
    }
}

int engine_run_start(struct engine_run **out, struct engine *e, const struct engine_run_options *o,
                     const struct engine_run_events *ev, void *arg)
{
    struct engine_run *r = mem_zero(sizeof(*r));

    *r = (struct engine_run){
        .engine = e,
        .ev = *ev,
        .arg = arg,
        .request = o->request,
        .kind = engine_kind(e),
        .fan = fans_out(e, o->request),
        .answer = o->take_answer,
        .model = o->model,
        .cache_salt = o->cache_salt,
        .traceparent = o->traceparent,
        .cap = o->cap,
        .width = o->width,
        .count = engine_run_parts(e, o->request),
    };
    r->parts = mem_zero(r->count * sizeof(*r->parts));
    part_begin_next(r);
    *out = r;
    return 0;
}
