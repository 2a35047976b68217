/* Writes a request for the next hop: the members that go on as the caller wrote them, byte for
 * byte, and ours between or behind. */
#include <inttypes.h>
#include <stdlib.h>

#include "openai/check.h"

/* One object being written. */
struct writer {
    struct buf *out;
    bool any;
};

static void begin_member(struct writer *w)
{
    buf_append_str(w->out, w->any ? "," : "{");
    w->any = true;
}

static void write_member(struct writer *w, struct span whole)
{
    begin_member(w);
    buf_append(w->out, whole);
}

static void write_text(struct writer *w, const char *name, struct span value)
{
    begin_member(w);
    buf_printf(w->out, "\"%s\":\"", name);
    buf_json_escape(w->out, value);
    buf_byte(w->out, '"');
}

static void write_integer(struct writer *w, const char *name, int64_t value)
{
    begin_member(w);
    buf_printf(w->out, "\"%s\":%" PRId64, name, value);
}

static void write_value(struct writer *w, const char *name, struct span value)
{
    begin_member(w);
    buf_printf(w->out, "\"%s\":", name);
    buf_append(w->out, value);
}

/* Of a request's messages or tools. */
static void write_bare(struct writer *w, const struct request *rq, const char *name,
                       struct span value)
{
    if (!rq->has_empty) {
        write_value(w, name, value);
        return;
    }
    begin_member(w);
    buf_printf(w->out, "\"%s\":", name);
    bare_append(w->out, value);
}

static const struct kept *kept_at(const struct request *rq, size_t i)
{
    const struct kept *all = (const void *)rq->kept.data;

    return i < rq->kept.len / sizeof(*all) ? &all[i] : NULL;
}

static bool is_rule(const struct kept *k, const char *name)
{
    return k->rule && strcmp(k->rule->name, name) == 0;
}

struct span request_member(const struct request *rq, const char *name)
{
    const struct kept *k;

    for (size_t i = 0; (k = kept_at(rq, i)) != NULL; i++)
        if (is_rule(k, name) && !span_is(k->member.value, "null"))
            return k->member.value;
    return (struct span){0};
}

int request_forward(const struct request *rq, struct span served_model, struct buf *out)
{
    struct writer w = {.out = out};
    const struct kept *k;

    if (!span_utf8(served_model))
        return E_INVALID;
    for (size_t i = 0; (k = kept_at(rq, i)) != NULL; i++) {
        if (is_rule(k, "model"))
            write_text(&w, "model", served_model);
        else
            write_member(&w, k->member.whole);
    }
    buf_byte(out, '}');
    return 0;
}

// ---- The engine's body ----

static void write_model(struct writer *w, const struct request *rq, struct span model)
{
    write_text(w, "model", model.data ? model : buf_span(&rq->model));
}

/* Asked for one choice alone, each gets a seed of its own; the sum wraps rather than overflows. */
static void write_seed(struct writer *w, const struct request *rq, int64_t choice)
{
    const struct span seed = request_member(rq, "seed");
    char digits[24];

    if (!seed.data)
        return;
    if (choice <= 0 || span_cstr(seed, digits, sizeof(digits)) < 0) {
        write_value(w, "seed", seed);
        return;
    }
    const uint64_t sum = (uint64_t)strtoll(digits, NULL, 10) + (uint64_t)choice;
    write_integer(w, "seed", (int64_t)sum);
}

/* The one prompt that was asked for, of a body with several. */
static int pick_prompt(const struct request *rq, int64_t which, struct span *prompt)
{
    const struct span all = *prompt;
    size_t at = 0;

    if (which < 0 || !all.data)
        return 0;
    if (which >= rq->prompts)
        return E_INVALID;
    if (rq->prompts == 1)
        return 0; /* alone already, in whichever form */
    for (int64_t i = 0; i <= which; i++)
        TRY(json_element_next(all, &at, prompt));
    return 0;
}

static int write_prompt(struct writer *w, const struct request *rq, int64_t which)
{
    struct span prompt = request_member(rq, "prompt");

    TRY(pick_prompt(rq, which, &prompt));
    write_value(w, "prompt", prompt.data ? prompt : SPAN("\"<|endoftext|>\"")); /* api.md §1.3 */
    return 0;
}

static void write_counts(struct writer *w, const struct request *rq, const struct engine_ask *ask)
{
    static const char *const names[] = {"n", "best_of"};

    for (size_t i = 0; ask->choice < 0 && i < 2; i++) {
        const struct span value = request_member(rq, names[i]);
        if (value.data)
            write_value(w, names[i], value);
    }
}

/* What is generated: streamed always, so that a dropped call stops at once (engine.md §0). */
static int write_generation(struct writer *w, const struct request *rq,
                            const struct engine_ask *ask)
{
    if (rq->endpoint == EP_COMPLETIONS)
        TRY(write_prompt(w, rq, ask->prompt));
    write_counts(w, rq, ask);
    write_seed(w, rq, ask->choice);
    /* The one name that every engine reads. None makes nothing of 0: one refuses it, others make
     * one token all the same. */
    write_integer(w, "max_tokens", ask->cap > 0 ? ask->cap : 1);
    write_value(w, "stream", SPAN("true"));
    write_value(w, "stream_options", SPAN("{\"include_usage\":true}"));
    if (ask->cache_salt.data && (ask->kind == ENGINE_VLLM || ask->kind == ENGINE_SGLANG))
        write_text(w, "cache_salt", ask->cache_salt);
    return 0;
}

// ---- What it is told instead ----

static void tell_tools(struct request_told *t, const struct request *rq, enum engine_kind kind)
{
    const struct span functions = request_member(rq, "functions"),
                      call = request_member(rq, "function_call");
    AUTO(buf_wipe) struct buf chosen = {0};

    if (functions.data)
        functions_as_tools(functions, &t->tools);
    if (functions.data && call.data)
        function_as_choice(call, &t->choice);
    if (kind != ENGINE_LLAMACPP)
        return;
    const struct span all = functions.data ? buf_span(&t->tools) : request_member(rq, "tools"),
                      choice =
                          functions.data ? buf_span(&t->choice) : request_member(rq, "tool_choice");
    const char *word = tools_in_words(all, choice, &chosen);
    if (!word)
        return;
    buf_wipe(&t->tools);
    buf_take(&t->tools, &chosen);
    buf_wipe(&t->choice);
    buf_append_str(&t->choice, word);
    if (strcmp(word, "\"required\"") == 0 && !tools_as_format(buf_span(&t->tools), &t->format))
        buf_wipe(&t->format);
}

/* llama.cpp says nothing of any token where nothing is to be told beside it, and lists twenty where
 * their number is not said: it is asked for one. NULL: as the caller wrote it. */
static const char *tops_member(const struct request *rq, enum engine_kind kind)
{
    if (kind != ENGINE_LLAMACPP || !rq->logprobs || rq->top_logprobs > 0)
        return NULL;
    return rq->endpoint == EP_CHAT ? "top_logprobs" : "logprobs";
}

static int tell(struct request_told *t, const struct request *rq, enum engine_kind kind)
{
    *t = (struct request_told){.made = true, .kind = kind, .tops = tops_member(rq, kind)};
    tell_tools(t, rq, kind);
    return rq->has_function_calls
               ? functions_out_of_messages(request_member(rq, "messages"), &t->messages)
               : 0;
}

void request_told_forget(struct request_told *t)
{
    buf_wipe(&t->messages);
    buf_wipe(&t->tools);
    buf_wipe(&t->choice);
    buf_wipe(&t->format);
    t->made = false;
}
AUTO_FINI(struct request_told, request_told_forget)

void request_prepare(struct request *rq, enum engine_kind kind)
{
    request_told_forget(&rq->told);
    if (tell(&rq->told, rq, kind) < 0)
        request_told_forget(&rq->told);
}

bool request_calls_in_text(const struct request *rq)
{
    return rq->told.format.len > 0;
}

static void write_told(struct writer *w, const struct request *rq, const struct request_told *t)
{
    if (t->tools.len > 0)
        write_bare(w, rq, "tools", buf_span(&t->tools));
    if (t->choice.len > 0)
        write_value(w, "tool_choice", t->format.len > 0 ? SPAN("\"none\"") : buf_span(&t->choice));
    if (t->format.len > 0)
        write_value(w, "response_format", buf_span(&t->format));
    if (rq->has_functions) /* there is but one call in that form */
        write_value(w, "parallel_tool_calls", SPAN("false"));
    if (t->messages.len > 0)
        write_bare(w, rq, "messages", buf_span(&t->messages));
}

static bool is_one_of(const struct kept *k, const char *const *names)
{
    for (; k->rule && *names; names++)
        if (is_rule(k, *names))
            return true;
    return false;
}

/* True for a member that has been written already, or is written behind the caller's. */
static bool is_ours(const struct kept *k, const struct request *rq, const struct request_told *t)
{
    static const char *const choice[] = {"tools", "tool_choice", NULL};
    static const char *const older[] = {"functions", "function_call", "parallel_tool_calls", NULL};

    return (k->rule && k->rule->use == REWRITE) || (t->tops && is_rule(k, t->tops)) ||
           (t->tools.len > 0 && is_one_of(k, choice)) ||
           (rq->has_functions && is_one_of(k, older)) ||
           (t->format.len > 0 && is_rule(k, "response_format")) ||
           (t->messages.len > 0 && is_rule(k, "messages"));
}

static int write_body(struct writer *w, const struct request *rq, const struct engine_ask *ask,
                      const struct request_told *told)
{
    const struct kept *k;

    write_model(w, rq, ask->model);
    write_told(w, rq, told);
    for (size_t i = 0; (k = kept_at(rq, i)) != NULL; i++) {
        if (is_ours(k, rq, told) ||
            span_is(k->member.value, "null")) /* means absent, but not to every engine */
            continue;
        if (rq->has_empty && (is_rule(k, "messages") || is_rule(k, "tools")))
            write_bare(w, rq, k->rule->name, k->member.value);
        else
            write_member(w, k->member.whole);
    }
    if (told->tops)
        write_integer(w, told->tops, 1);
    return rq->endpoint == EP_EMBEDDINGS ? 0 : write_generation(w, rq, ask);
}

int request_engine(const struct request *rq, const struct engine_ask *ask, struct buf *out)
{
    struct writer w = {.out = out};
    const size_t before = out->len;
    const bool prepared = rq->told.made && rq->told.kind == ask->kind;
    AUTO(request_told_forget) struct request_told own = {0};

    if (!span_utf8(ask->model) || !span_utf8(ask->cache_salt) || ask->cap < 0)
        return E_INVALID;
    if (!prepared)
        TRY(tell(&own, rq, ask->kind));
    const int error = write_body(&w, rq, ask, prepared ? &rq->told : &own);
    if (error < 0) {
        out->len = before;
        return error;
    }
    buf_byte(out, '}');
    return 0;
}
