/* A simulated inference engine: answers as vLLM does, at the pace of the model (model.h), with
 * faults (faults.h).
 *
 * A request's `seed` is the number of tokens that it makes (its max_tokens where that is less, or
 * where there is none): what the schedulers in front must not know. A content event is a stamp.h
 * stamp, this engine's name, and as many words as there are tokens in it. GET /sim/figures tells
 * what was done, POST /sim/faults brings a fault; both also at the control address. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/json.h"
#include "net/http_server.h"
#include "net/socket.h"
#include "tests/bench/stamp.h"
#include "tests/sim/faults.h"
#include "tests/sim/model.h"
#include "tests/sim/prompt.h"

enum { BODY_MAX = 64 << 20, SCRIPT_MAX = 1 << 20, TOKENS_MAX = 100000 };

#define CREATED "1750000000"

struct options {
    const char *listen, *control, *name, *model, *script;
    double scale; /* seconds of the model in one of ours */
    int64_t context, queue;
    struct model_spec spec;
};

struct engine {
    struct options o;
    struct loop *loop;
    struct http_server *server, *control;
    struct net_addr address; /* with the port that `refuse` gives up */
    struct model *model;
    struct faults faults;
    struct rng rng;
    uint64_t start_ns, ready_ns; /* our clock */
    struct loop_timer timer, script_timer;
    struct buf script;
    size_t script_at;
    struct list told; /* calls with tokens that were not sent yet */
    struct list live; /* all calls */
    uint64_t requests, served, cancelled, failed;
    bool quiet; /* `refuse` */
};

struct call {
    struct model_call model;
    struct engine *engine;
    struct http_exchange *ex;
    struct list told, live;
    struct buf body;
    uint64_t *blocks, id;
    int64_t unsent, sent; /* tokens */
    bool running, stream, usage, dies, over, answered;
};

static uint64_t model_now(const struct engine *e)
{
    return (uint64_t)((double)(stamp_now() - e->start_ns) * e->o.scale);
}

/* ---- Answers ---- */

static void reply(struct http_exchange *ex, unsigned status, const char *type, const char *text)
{
    const struct http_field field = {"Content-Type", type};
    struct buf body = {0};

    buf_append_str(&body, text);
    http_reply(ex, status, &field, 1, &body, false);
}

static void reply_error(struct call *c, unsigned status, const char *message)
{
    char text[256];

    snprintf(text, sizeof(text),
             "{\"error\":{\"message\":\"%s\",\"type\":\"%s\",\"param\":null,\"code\":%u}}", message,
             status >= 500 ? "InternalServerError" : "BadRequestError", status);
    c->engine->failed++;
    c->answered = true;
    reply(c->ex, status, "application/json", text);
}

static void put_begin(const struct call *c, const char *object, struct buf *out)
{
    buf_printf(out,
               "{\"id\":\"chatcmpl-%016lx\",\"object\":\"%s\",\"created\":" CREATED
               ",\"model\":\"%s\",\"choices\":[",
               c->id, object, c->engine->o.model);
}

static void put_usage(const struct call *c, struct buf *out)
{
    const int64_t made = (int64_t)((double)c->sent * c->engine->faults.lie);

    buf_printf(out,
               "\"usage\":{\"prompt_tokens\":%ld,\"total_tokens\":%ld,\"completion_tokens\":%ld,"
               "\"prompt_tokens_details\":{\"cached_tokens\":%ld}}}",
               c->model.prompt, c->model.prompt + made, made, c->model.cached);
}

static void put_text(const struct call *c, int64_t tokens, struct buf *out)
{
    buf_append(out, SPAN(STAMP_BLANK));
    stamp_write(out->data + out->len - STAMP_LEN, stamp_now());
    buf_append_str(out, c->engine->o.name);
    for (int64_t i = 0; i < tokens; i++)
        buf_append(out, SPAN(" was"));
}

static void put_event(const struct call *c, const char *delta_and_rest, struct buf *out)
{
    buf_append(out, SPAN("data: "));
    put_begin(c, "chat.completion.chunk", out);
    buf_append_str(out, delta_and_rest);
}

static void send_tokens(struct call *c)
{
    AUTO(buf_fini) struct buf out = {0};

    if (c->sent == 0)
        put_event(c,
                  "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},"
                  "\"logprobs\":null,\"finish_reason\":null}]}\n\n",
                  &out);
    put_event(c, "{\"index\":0,\"delta\":{\"content\":\"", &out);
    put_text(c, c->unsent, &out);
    buf_append(&out, SPAN("\"},\"logprobs\":null,\"finish_reason\":null}]}\n\n"));
    c->sent += c->unsent;
    c->unsent = 0;
    if (c->over) {
        put_event(c,
                  "{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\"}]}\n\n",
                  &out);
        if (c->usage) {
            put_event(c, "],", &out);
            put_usage(c, &out);
            buf_append(&out, SPAN("\n\n"));
        }
        buf_append(&out, SPAN("data: [DONE]\n\n"));
    }
    http_stream_write(c->ex, buf_span(&out));
}

static void send_whole(struct call *c)
{
    const struct http_field field = {"Content-Type", "application/json"};
    struct buf out = {0};

    put_begin(c, "chat.completion", &out);
    buf_append(&out, SPAN("{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\""));
    put_text(c, c->unsent, &out);
    c->sent = c->unsent;
    buf_append(&out, SPAN("\"},\"logprobs\":null,\"finish_reason\":\"stop\"}],"));
    put_usage(c, &out);
    c->answered = true;
    http_reply(c->ex, 200, &field, 1, &out, false);
}

/* ---- The model beside the clock ---- */

static void on_timer(void *arg);

static void arm(struct engine *e)
{
    const uint64_t next = model_next(e->model), now = model_now(e);

    if (next == UINT64_MAX)
        loop_timer_cancel(e->loop, &e->timer);
    else
        loop_timer_set(e->loop, &e->timer,
                       next > now ? (uint64_t)((double)(next - now) / e->o.scale / 1e6) : 0,
                       on_timer, e);
}

/* Inside of the model, so only noted. */
static void on_tokens(void *arg, struct model_call *m, int64_t count, uint64_t at_ns)
{
    struct call *c = CONTAINER(m, struct call, model);
    struct engine *e = arg;

    (void)at_ns;
    c->unsent += count;
    c->over = m->state == MODEL_OVER;
    list_del(&c->told);
    list_push(&e->told, &c->told);
}

static void cancel(struct call *c)
{
    if (!c->running)
        return;
    c->running = false;
    list_del(&c->told);
    if (!c->over)
        model_cancel(c->engine->model, &c->model, model_now(c->engine));
}

/* Cut off behind the token that the fault names. */
static void die(struct call *c)
{
    c->unsent = c->engine->faults.die_after - c->sent;
    c->over = false;
    if (c->unsent > 0)
        send_tokens(c);
    cancel(c);
    c->engine->failed++;
    c->answered = true;
    http_stream_abort(c->ex);
}

static void tell(struct call *c)
{
    struct engine *e = c->engine;

    if (!c->stream && !c->over)
        return;
    if (c->dies && c->sent + c->unsent > e->faults.die_after) {
        die(c);
        return;
    }
    if (c->over) {
        c->running = false;
        e->served++;
    }
    if (!c->stream) {
        send_whole(c);
        return;
    }
    send_tokens(c);
    if (c->over && !c->answered) {
        c->answered = true;
        http_stream_end(c->ex, NULL, 0);
    }
}

static void tell_all(struct engine *e)
{
    while (!list_empty(&e->told))
        tell(CONTAINER(list_pop(&e->told), struct call, told));
    arm(e);
}

static void on_timer(void *arg)
{
    struct engine *e = arg;

    model_advance(e->model, model_now(e));
    tell_all(e);
}

/* ---- The request ---- */

/* FNV-1a, chained: a block's hash names all before it. */
static void hash_blocks(struct call *c, struct span text, struct span salt)
{
    const size_t size = (size_t)c->engine->o.spec.block_tokens * TOKEN_BYTES;
    uint64_t hash = 0xcbf29ce484222325u;

    c->model.block_count = text.len / size;
    c->blocks = mem_alloc((c->model.block_count + 1) * sizeof(*c->blocks));
    for (size_t i = 0; i < salt.len; i++)
        hash = (hash ^ salt.data[i]) * 0x100000001b3u;
    for (size_t i = 0; i < c->model.block_count * size; i++) {
        hash = (hash ^ text.data[i]) * 0x100000001b3u;
        if ((i + 1) % size == 0)
            c->blocks[i / size] = hash;
    }
    c->model.blocks = c->blocks;
}

static int64_t number(struct span value, int64_t otherwise)
{
    uint64_t n;

    return span_u64(value, TOKENS_MAX, &n) < 0 ? otherwise : (int64_t)n;
}

/* Only the top level's members, in one walk. */
static int read_ask(struct call *c, struct span body)
{
    struct span messages = {0}, salt = {0};
    int64_t most = TOKENS_MAX, tokens = 0;
    struct json_member m;
    size_t at = 0;
    int error;

    while ((error = json_member_next(body, &at, &m)) == 0) {
        if (span_is(m.name, "stream"))
            c->stream = span_is(m.value, "true");
        else if (span_is(m.name, "max_tokens") || span_is(m.name, "max_completion_tokens"))
            most = number(m.value, most);
        else if (span_is(m.name, "seed"))
            tokens = number(m.value, 0);
        else if (span_is(m.name, "stream_options"))
            c->usage = span_find(m.value, SPAN("true")) >= 0;
        else if (span_is(m.name, "cache_salt"))
            salt = m.value;
        else if (span_is(m.name, "messages"))
            messages = m.value;
    }
    if (error != E_NOT_FOUND || messages.len == 0)
        return E_INVALID;
    tokens = tokens > 0 ? tokens : 16;
    c->model.output = tokens < most ? tokens : most;
    c->model.prompt = (int64_t)(messages.len / TOKEN_BYTES) + 1;
    hash_blocks(c, messages, salt);
    return c->model.output > 0 ? 0 : E_INVALID;
}

static void send_garbage(struct call *c)
{
    c->engine->failed++;
    c->answered = true;
    http_stream_write(c->ex,
                      SPAN("data: {\"id\":\"chatcmpl-\x01\"}{\n\n\xff\xfe\n\ndata: nonsense\n\n"));
    http_stream_end(c->ex, NULL, 0);
}

static void begin_stream(struct call *c)
{
    static const struct http_field field = {"Content-Type", "text/event-stream; charset=utf-8"};

    http_stream_begin(c->ex, 200, &field, 1);
}

static void chat(struct call *c)
{
    struct engine *e = c->engine;
    const unsigned status = faults_status(&e->faults, &e->rng);

    e->requests++;
    if (stamp_now() < e->ready_ns) {
        reply_error(c, 503, "Loading model");
        return;
    }
    if (status != 0) {
        reply_error(c, status, "as the script says");
        return;
    }
    if (read_ask(c, buf_span(&c->body)) < 0) {
        reply_error(c, 400, "not understood");
        return;
    }
    if (c->model.prompt + c->model.output > e->o.context) {
        reply_error(c, 400, "This model's maximum context length is less than that.");
        return;
    }
    if (model_waiting(e->model) >= (unsigned)e->o.queue) {
        reply_error(c, 503, "the queue is full");
        return;
    }
    if (c->stream)
        begin_stream(c);
    if (c->stream && rng_unit(&e->rng) < e->faults.garbage) {
        send_garbage(c);
        return;
    }
    c->dies = c->stream && rng_unit(&e->rng) < e->faults.die;
    c->id = rng_next(&e->rng);
    c->running = true;
    model_add(e->model, &c->model, model_now(e));
    tell_all(e);
}

/* ---- What it says of itself ---- */

static void show_metrics(struct engine *e, struct http_exchange *ex)
{
    char text[512];

    snprintf(text, sizeof(text),
             "vllm:num_requests_running{model_name=\"%s\"} %u\n"
             "vllm:num_requests_waiting{model_name=\"%s\"} %u\n"
             "vllm:kv_cache_usage_perc{model_name=\"%s\"} %.4f\n",
             e->o.model, model_running(e->model), e->o.model, model_waiting(e->model), e->o.model,
             model_kv(e->model));
    reply(ex, 200, "text/plain; version=0.0.4", text);
}

static void show_models(struct engine *e, struct http_exchange *ex)
{
    char text[512];

    snprintf(
        text, sizeof(text),
        "{\"object\":\"list\",\"data\":[{\"id\":\"%s\",\"object\":\"model\",\"created\":" CREATED
        ",\"owned_by\":\"vllm\",\"max_model_len\":%ld}]}",
        e->o.model, e->o.context);
    reply(ex, 200, "application/json", text);
}

static void show_figures(struct engine *e, struct http_exchange *ex)
{
    const struct model_figures *f = model_figures(e->model);
    char text[1024];

    snprintf(text, sizeof(text),
             "{\"name\":\"%s\",\"requests\":%lu,\"served\":%lu,\"cancelled\":%lu,\"failed\":%lu,"
             "\"running\":%u,\"waiting\":%u,\"prefilled\":%ld,\"cached\":%ld,\"made\":%ld,"
             "\"wasted\":%ld,\"evictions\":%lu,\"busy_s\":%.3f,\"model_s\":%.3f}",
             e->o.name, e->requests, e->served, e->cancelled, e->failed, model_running(e->model),
             model_waiting(e->model), f->prefilled, f->cached, f->made, f->wasted, f->evictions,
             (double)f->busy_ns / 1e9, (double)model_now(e) / 1e9);
    reply(ex, 200, "application/json", text);
}

/* ---- Faults ---- */

static int apply_faults(struct engine *e)
{
    const uint64_t now = stamp_now();

    model_advance(e->model, model_now(e));
    model_set_speed(e->model, e->o.spec.speed * e->faults.speed);
    if (e->faults.stall_ms > 0)
        model_freeze(e->model,
                     model_now(e) + (uint64_t)((double)e->faults.stall_ms * 1e6 * e->o.scale));
    if (e->faults.slow_start_ms > 0)
        e->ready_ns = now + (uint64_t)e->faults.slow_start_ms * 1000000u;
    e->faults.stall_ms = e->faults.slow_start_ms = 0;
    if (e->faults.refuse && !e->quiet)
        http_server_quiesce(e->server);
    else if (!e->faults.refuse && e->quiet)
        TRY(http_server_listen(e->server, &e->address, -1));
    e->quiet = e->faults.refuse;
    tell_all(e);
    return 0;
}

static void take_fault(struct call *c)
{
    struct engine *e = c->engine;
    uint64_t at_ms;

    c->answered = true;
    if (faults_read(&e->faults, buf_span(&c->body), &at_ms) < 0 || apply_faults(e) < 0)
        reply(c->ex, 400, "text/plain", "not understood\n");
    else
        reply(c->ex, 200, "text/plain", "");
}

/* The script's next line, and those due at the same time. */
static void on_script(void *arg)
{
    struct engine *e = arg;
    struct span rest = span_from(buf_span(&e->script), e->script_at);

    while (rest.len > 0) {
        const struct span line = span_trim(span_split(&rest, '\n'));
        struct faults next = e->faults;
        uint64_t at_ms = 0;
        if (line.len > 0 && faults_read(&next, line, &at_ms) == 0) {
            const uint64_t gone_ms = (stamp_now() - e->start_ns) / 1000000u;
            if (at_ms > gone_ms) {
                loop_timer_set(e->loop, &e->script_timer, at_ms - gone_ms, on_script, e);
                return;
            }
            e->faults = next;
            if (apply_faults(e) < 0)
                loop_stop(e->loop);
        }
        e->script_at = e->script.len - rest.len;
    }
}

/* A script with a line that is not understood would test nothing. */
static int read_script(struct engine *e)
{
    struct faults f;
    uint64_t at_ms;

    if (!e->o.script)
        return 0;
    TRY(file_read(e->o.script, SCRIPT_MAX, &e->script));
    struct span rest = buf_span(&e->script);
    faults_clear(&f);
    while (rest.len > 0) {
        const struct span line = span_trim(span_split(&rest, '\n'));
        if (line.len > 0)
            TRY(faults_read(&f, line, &at_ms));
    }
    on_script(e);
    return 0;
}

/* ---- The server ---- */

static void on_head(void *arg, struct http_exchange *ex)
{
    struct call *c = mem_zero(sizeof(*c));

    c->engine = arg;
    c->ex = ex;
    list_init(&c->told);
    list_push(&c->engine->live, &c->live);
    http_set_user(ex, c);
    http_receive(ex);
}

static void on_body(void *arg, struct http_exchange *ex, struct span part)
{
    struct call *c = http_user(ex);

    (void)arg;
    if (c->body.len + part.len <= BODY_MAX)
        buf_append(&c->body, part);
}

static void on_body_end(void *arg, struct http_exchange *ex)
{
    struct engine *e = arg;
    struct call *c = http_user(ex);
    const struct span path = http_path(ex);

    if (span_is(path, "/v1/chat/completions"))
        chat(c);
    else if (span_is(path, "/health"))
        reply(ex, stamp_now() < e->ready_ns ? 503 : 200, "text/plain", "");
    else if (span_is(path, "/metrics"))
        show_metrics(e, ex);
    else if (span_is(path, "/v1/models"))
        show_models(e, ex);
    else if (span_is(path, "/version"))
        reply(ex, 200, "application/json", "{\"version\":\"0.0.0\"}");
    else if (span_is(path, "/sim/figures"))
        show_figures(e, ex);
    else if (span_is(path, "/sim/faults"))
        take_fault(c);
    else
        reply(ex, 404, "application/json", "{\"detail\":\"Not Found\"}");
}

static void on_gone(void *arg, struct http_exchange *ex)
{
    struct engine *e = arg;
    struct call *c = http_user(ex);

    if (!c || !c->running)
        return;
    e->cancelled++;
    cancel(c);
    loop_timer_set(e->loop, &e->timer, 0, on_timer, e);
}

static void on_done(void *arg, struct http_exchange *ex, bool complete)
{
    struct call *c = http_user(ex);

    (void)arg;
    (void)complete;
    if (!c)
        return;
    cancel(c);
    list_del(&c->live);
    buf_fini(&c->body);
    free(c->blocks);
    free(c);
}

static const struct http_handler handler = {
    .head = on_head, .body = on_body, .body_end = on_body_end, .gone = on_gone, .done = on_done};

/* ---- The program ---- */

static const char usage_text[] =
    "usage: engine --listen ADDRESS [options]\n"
    "  --control ADDRESS  faults and figures, also while it refuses connections\n"
    "  --name NAME        in its events and figures (engine)\n"
    "  --model NAME       the one it serves (sim)\n"
    "  --script FILE      faults, one JSON object a line (faults.h)\n"
    "  --speed X          beside the model's figures (1)\n"
    "  --scale X          seconds of the model in one of ours (1)\n"
    "  --batch N          requests at a time (24)\n"
    "  --queue N          that wait (1000)\n"
    "  --kv N             tokens in memory (120000)\n"
    "  --context N        tokens of one request (32768)\n"
    "  --seed N           of what chance decides (1)\n";

static int usage(void)
{
    fputs(usage_text, stderr);
    return 2;
}

static const struct option long_options[] = {{"listen", required_argument, NULL, 'l'},
                                             {"control", required_argument, NULL, 'c'},
                                             {"name", required_argument, NULL, 'n'},
                                             {"model", required_argument, NULL, 'm'},
                                             {"script", required_argument, NULL, 'f'},
                                             {"speed", required_argument, NULL, 's'},
                                             {"scale", required_argument, NULL, 'x'},
                                             {"batch", required_argument, NULL, 'b'},
                                             {"queue", required_argument, NULL, 'q'},
                                             {"kv", required_argument, NULL, 'k'},
                                             {"context", required_argument, NULL, 't'},
                                             {"seed", required_argument, NULL, 'r'},
                                             {0}};

static bool read_number(struct engine *e, int name)
{
    uint64_t n = 0;

    if (span_u64(span_str(optarg), INT32_MAX, &n) < 0)
        return false;
    switch (name) {
    case 'b':
        e->o.spec.max_batch = (unsigned)n;
        return n > 0;
    case 'q':
        e->o.queue = (int64_t)n;
        return true;
    case 'k':
        e->o.spec.kv_tokens = (int64_t)n;
        return n > 0;
    case 't':
        e->o.context = (int64_t)n;
        return n > 0;
    case 'r':
        e->rng.state = n;
        return true;
    default:
        return false;
    }
}

static bool read_option(struct engine *e, int name)
{
    switch (name) {
    case 'l':
        e->o.listen = optarg;
        return true;
    case 'c':
        e->o.control = optarg;
        return true;
    case 'n':
        e->o.name = optarg;
        return true;
    case 'm':
        e->o.model = optarg;
        return true;
    case 'f':
        e->o.script = optarg;
        return true;
    case 's':
        e->o.spec.speed = strtod(optarg, NULL);
        return e->o.spec.speed > 0;
    case 'x':
        e->o.scale = strtod(optarg, NULL);
        return e->o.scale > 0;
    default:
        return read_number(e, name);
    }
}

static void on_signal(void *arg, int signo)
{
    (void)signo;
    loop_stop(arg);
}

static int listen_at(struct engine *e, struct http_server **out, const char *text,
                     struct net_addr *at)
{
    struct http_server_options o = http_server_defaults;

    o.daemons = 8;
    TRY(http_server_new(out, e->loop, &o, &handler, e));
    TRY(net_addr_parse(at, text));
    return http_server_listen(*out, at, -1);
}

static int serve(struct engine *e)
{
    static const int signals[] = {SIGINT, SIGTERM};
    struct net_addr control;

    TRY(loop_new(&e->loop));
    TRY(loop_signals(e->loop, signals, 2, on_signal, e->loop));
    TRY(listen_at(e, &e->server, e->o.listen, &e->address));
    if (e->o.control)
        TRY(listen_at(e, &e->control, e->o.control, &control));
    TRY(read_script(e));
    loop_run(e->loop);
    return 0;
}

static void stop(struct engine *e)
{
    loop_timer_cancel(e->loop, &e->script_timer);
    LIST_FOREACH_SAFE(it, &e->live)
        http_cut(CONTAINER(it, struct call, live)->ex);
    http_server_free(e->server);
    if (e->control)
        http_server_free(e->control);
    loop_timer_cancel(e->loop, &e->timer);
    loop_free(e->loop);
    model_free(e->model);
    buf_fini(&e->script);
}

int main(int argc, char **argv)
{
    struct engine e = {.rng = {1},
                       .o = {.name = "engine",
                             .model = "sim",
                             .scale = 1,
                             .context = 32768,
                             .queue = 1000,
                             .spec = model_default}};
    int name;

    while ((name = getopt_long(argc, argv, "", long_options, NULL)) != -1)
        if (name == '?' || !read_option(&e, name))
            return usage();
    if (!e.o.listen || optind != argc)
        return usage();
    net_raise_nofile();
    list_init(&e.told);
    list_init(&e.live);
    faults_clear(&e.faults);
    e.start_ns = stamp_now();
    e.model = model_new(&e.o.spec, true, on_tokens, &e);
    const int error = serve(&e);
    if (error < 0)
        fprintf(stderr, "engine: %s: %s\n", e.o.listen, error_name(error));
    else
        stop(&e);
    return error < 0;
}
