/* Token counts: what the engine reports for each of its streams, put together for the call. */
#include <inttypes.h>

#include "openai/answer_state.h"

/* Also of a number that was written as 5.0, as some engines do. */
static int64_t count_of(struct span value)
{
    const ptrdiff_t point = span_find(value, SPAN("."));
    struct span behind = point < 0 ? SPAN("") : span_from(value, (size_t)point + 1);

    while (span_ends(behind, SPAN("0")))
        behind.len--;
    return integer_of(point < 0 || behind.len > 0 ? value : span_cut(value, 0, (size_t)point), 0);
}

int usage_take(struct stream *s, struct span usage)
{
    struct span in = {0}, out = {0}, in_details = {0}, out_details = {0}, cached = {0},
                reasoning = {0};
    const struct pick picks[] = {
        {"prompt_tokens", &in},
        {"completion_tokens", &out},
        {"prompt_tokens_details", &in_details},
        {"completion_tokens_details", &out_details},
        {"reasoning_tokens", &reasoning}, /* SGLang has it here */
    };
    const struct pick of_in[] = {{"cached_tokens", &cached}},
                      of_out[] = {{"reasoning_tokens", &reasoning}};

    TRY(PICK(usage, picks));
    if (in_details.data)
        TRY(PICK(in_details, of_in));
    if (out_details.data)
        TRY(PICK(out_details, of_out));
    s->reported = true;
    s->usage.in = count_of(in);
    s->usage.out = count_of(out);
    s->usage.cached = count_of(cached);
    s->usage.reasoning = count_of(reasoning);
    return 0;
}

/* Completion tokens of one stream. llama.cpp counts one choice alone, so there our own count is the
 * floor (engine.md §5). */
static int64_t stream_out(const struct answer *a, const struct stream *s)
{
    if (a->o.mute)
        return 0;
    if (!s->reported)
        return s->tokens;
    if (a->o.kind == ENGINE_LLAMACPP && s->choices > 1 && s->tokens > s->usage.out)
        return s->tokens;
    return s->usage.out;
}

/* Choices of one prompt share its tokens: asked for one by one, they count once, as cached as they
 * ever were at least. */
static void add_prompt(const struct stream *streams, int64_t count, struct usage *total)
{
    int64_t in = 0, cached = INT64_MAX;

    for (int64_t i = 0; i < count; i++) {
        if (!streams[i].reported)
            continue;
        if (streams[i].usage.in > in)
            in = streams[i].usage.in;
        if (streams[i].usage.cached < cached)
            cached = streams[i].usage.cached;
    }
    total->in += in;
    total->cached += cached < in ? cached : in;
}

void answer_usage(const struct answer *a, struct usage *out)
{
    const int64_t each = a->count / a->o.prompts;

    *out = (struct usage){0};
    for (int64_t p = 0; p < a->o.prompts; p++)
        add_prompt(a->streams + p * each, each, out);
    for (int64_t i = 0; i < a->count && a->o.endpoint != EP_EMBEDDINGS; i++) {
        out->out += stream_out(a, &a->streams[i]);
        out->reasoning += a->streams[i].reported ? a->streams[i].usage.reasoning : 0;
    }
    if (out->reasoning > out->out)
        out->reasoning = out->out;
}

void usage_write(const struct answer *a, const struct usage *u, struct buf *out)
{
    if (a->o.endpoint == EP_EMBEDDINGS) {
        buf_printf(out, "{\"prompt_tokens\":%" PRId64 ",\"total_tokens\":%" PRId64 "}", u->in,
                   u->in);
        return;
    }
    buf_printf(out,
               "{\"prompt_tokens\":%" PRId64 ",\"completion_tokens\":%" PRId64
               ",\"total_tokens\":%" PRId64 ",\"prompt_tokens_details\":{\"cached_tokens\":%" PRId64
               "},\"completion_tokens_details\":{\"reasoning_tokens\":%" PRId64 "}}",
               u->in, u->out, u->in + u->out, u->cached, u->reasoning);
}
