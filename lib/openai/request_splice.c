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

/* Which tools this engine is told of, the word about them, and a format that makes it call one. */
struct chosen {
    struct buf tools, format;
    const char *word; /* NULL: the caller's own members say it */
    bool forced;
};

static void chosen_fini(struct chosen *t)
{
    buf_wipe(&t->tools);
    buf_wipe(&t->format);
}
AUTO_FINI(struct chosen, chosen_fini)

static void choose(struct chosen *t, const struct request *rq, enum engine_kind kind)
{
    t->word = kind == ENGINE_LLAMACPP ? tools_in_words(rq, &t->tools) : NULL;
    t->forced = t->word && strcmp(t->word, "\"required\"") == 0 &&
                tools_as_format(buf_span(&t->tools), &t->format);
}

bool request_calls_in_text(const struct request *rq, enum engine_kind kind)
{
    AUTO(chosen_fini) struct chosen t = {0};

    choose(&t, rq, kind);
    return t.forced;
}

static void write_chosen(struct writer *w, const struct request *rq, const struct chosen *t)
{
    if (!t->word)
        return;
    write_bare(w, rq, "tools", buf_span(&t->tools));
    write_value(w, "tool_choice", span_str(t->forced ? "\"none\"" : t->word));
    if (t->forced)
        write_value(w, "response_format", buf_span(&t->format));
}

/* llama.cpp says nothing of any token where nothing is to be told beside it, and lists twenty where
 * their number is not said: it is asked for one. NULL: as the caller wrote it. */
static const char *tops_member(const struct request *rq, enum engine_kind kind)
{
    if (kind != ENGINE_LLAMACPP || !rq->logprobs || rq->top_logprobs > 0)
        return NULL;
    return rq->endpoint == EP_CHAT ? "top_logprobs" : "logprobs";
}

/* True for a member that has been written already, or is written behind the caller's. */
static bool is_ours(const struct kept *k, const struct chosen *t, const char *tops)
{
    return (k->rule && k->rule->use == REWRITE) || (tops && is_rule(k, tops)) ||
           (t->word && (is_rule(k, "tools") || is_rule(k, "tool_choice"))) ||
           (t->forced && is_rule(k, "response_format"));
}

int request_engine(const struct request *rq, const struct engine_ask *ask, struct buf *out)
{
    struct writer w = {.out = out};
    const struct kept *k;
    const size_t before = out->len;
    const char *tops = tops_member(rq, ask->kind);
    AUTO(chosen_fini) struct chosen chosen = {0};

    if (!span_utf8(ask->model) || !span_utf8(ask->cache_salt) || ask->cap < 0)
        return E_INVALID;
    write_model(&w, rq, ask->model);
    choose(&chosen, rq, ask->kind);
    write_chosen(&w, rq, &chosen);
    for (size_t i = 0; (k = kept_at(rq, i)) != NULL; i++) {
        if (is_ours(k, &chosen, tops) ||
            span_is(k->member.value, "null")) /* means absent, but not to every engine */
            continue;
        if (rq->has_empty && (is_rule(k, "messages") || is_rule(k, "tools")))
            write_bare(&w, rq, k->rule->name, k->member.value);
        else
            write_member(&w, k->member.whole);
    }
    if (tops)
        write_integer(&w, tops, 1);
    const int error = rq->endpoint == EP_EMBEDDINGS ? 0 : write_generation(&w, rq, ask);
    if (error < 0) {
        out->len = before;
        return error;
    }
    buf_byte(out, '}');
    return 0;
}
