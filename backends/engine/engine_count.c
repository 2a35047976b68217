/* Counting: llama.cpp makes the prompt of a chat in one question and its tokens in a second one,
 * vLLM does both in one. */
#include "backends/engine/engine_count.h"

#include <stdio.h>
#include <stdlib.h>

#include "backends/engine/engine_impl.h"
#include "net/http_whole.h"

enum { COUNT_MS = 30000, COUNT_MAX = 64 << 20 };

struct engine_count {
    struct engine *engine;
    const struct request *request;
    enum engine_kind kind;
    struct span model;
    engine_count_fn *fn;
    void *arg;
    struct http_whole answer;
    bool templating; /* the answer that comes is a prompt, not a count */
};

static const char *text_name(const struct request *rq)
{
    return rq->endpoint == EP_EMBEDDINGS ? "input" : "prompt";
}

bool engine_counts(const struct engine *e, const struct request *rq)
{
    if (engine_kind(e) == ENGINE_LLAMACPP)
        return true;
    if (engine_kind(e) != ENGINE_VLLM)
        return false;
    return rq->endpoint == EP_CHAT || span_starts(request_member(rq, text_name(rq)), SPAN("\""));
}

static void count_destroy(void *arg)
{
    struct engine_count *c = arg;

    http_whole_cancel(&c->answer);
    free(c);
}

static void count_end(struct engine_count *c, int64_t tokens)
{
    c->fn(c->arg, tokens);
    loop_defer_free(c->engine->loop, c, count_destroy);
}

void engine_count_cancel(struct engine_count *c)
{
    http_whole_cancel(&c->answer);
    loop_defer_free(c->engine->loop, c, count_destroy);
}

/* ---- Asking ---- */

/* json: the text, or a list of texts and tokens, as JSON. */
static void tokenize_llamacpp(struct span json, struct buf *body)
{
    buf_append_str(body, "{\"content\":");
    buf_append(body, json);
    buf_append_str(body, ",\"add_special\":true,\"parse_special\":true}");
}

static void tokenize_vllm(const struct engine_count *c, struct buf *body)
{
    buf_append_str(body, "{\"model\":\"");
    buf_json_escape(body, c->model);
    buf_append_str(body, "\",\"prompt\":");
    buf_append(body, request_member(c->request, text_name(c->request)));
    buf_byte(body, '}');
}

/* A chat as it will be asked: both engines take of it what makes the prompt. */
static int chat_body(const struct engine_count *c, struct buf *body)
{
    const struct engine_ask ask = {.kind = c->kind, .model = c->model, .choice = -1, .prompt = -1};

    return request_engine(c->request, &ask, body);
}

static int ask(struct engine_count *c, const char *path, struct buf *take_body)
{
    static const char *const headers[] = {"Content-Type: application/json"};
    char url[ENGINE_URL_MAX + 32];
    const struct http_fetch fetch = {
        .url = url,
        .unix_socket = c->engine->unix_socket,
        .method = "POST",
        .headers = headers,
        .header_count = 1,
        .take_body = take_body,
        .total_ms = COUNT_MS,
    };

    snprintf(url, sizeof(url), "%s%s", c->engine->base, path);
    return http_whole_start(&c->answer, c->engine->http, &fetch);
}

static int ask_first(struct engine_count *c)
{
    AUTO(buf_wipe) struct buf body = {0};
    const bool chat = c->request->endpoint == EP_CHAT;

    c->templating = chat && c->kind == ENGINE_LLAMACPP;
    if (chat)
        TRY(chat_body(c, &body));
    else if (c->kind == ENGINE_LLAMACPP)
        tokenize_llamacpp(request_member(c->request, text_name(c->request)), &body);
    else
        tokenize_vllm(c, &body);
    return ask(c, c->templating ? "/apply-template" : "/tokenize", &body);
}

static int ask_tokens(struct engine_count *c)
{
    AUTO(buf_wipe) struct buf body = {0};
    struct span prompt = {0};

    c->templating = false;
    TRY(facts_read_prompt(buf_span(&c->answer.body), &prompt));
    tokenize_llamacpp(prompt, &body);
    return ask(c, "/tokenize", &body);
}

static void on_done(void *arg, struct http_transfer *t, int error)
{
    struct engine_count *c = arg;
    int64_t tokens = 0;

    (void)t;
    if (error == 0 && c->answer.status != 200)
        error = E_NOT_FOUND;
    if (error == 0 && c->templating) {
        if (ask_tokens(c) < 0)
            count_end(c, -1);
        return;
    }
    if (error == 0)
        error = facts_read_count(c->kind, buf_span(&c->answer.body), &tokens);
    count_end(c, error < 0 ? -1 : tokens);
}

int engine_count_start(struct engine_count **out, struct engine *e, const struct request *rq,
                       struct span model, engine_count_fn *fn, void *arg)
{
    struct engine_count *c = mem_zero(sizeof(*c));

    *c = (struct engine_count){
        .engine = e, .request = rq, .kind = engine_kind(e), .model = model, .fn = fn, .arg = arg};
    c->answer.max = COUNT_MAX;
    c->answer.done = on_done;
    c->answer.arg = c;
    const int error = ask_first(c);
    if (error < 0) {
        count_destroy(c);
        return error;
    }
    *out = c;
    return 0;
}
