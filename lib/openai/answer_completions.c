/* Legacy completions: an engine's event as text_completion, streamed or collected (api.md §1.3). */
#include <inttypes.h>

#include "openai/answer_state.h"
#include "openai/event_text.h"

/* *brings: the event said something. */
static int take_element(const struct answer *a, struct choice *c, struct stream *s,
                        struct span element, struct span *finish, bool *brings)
{
    struct span text = {0}, logprobs = {0};
    const struct pick picks[] = {
        {"text", &text}, {"logprobs", &logprobs}, {"finish_reason", finish}};
    const size_t before = c->text.len;

    TRY(PICK(element, picks));
    *brings = false;
    if (a->o.mute)
        return 0;
    TRY(take_text(&c->text, text));
    if (logprobs.data)
        TRY(logprobs_take_legacy(c, logprobs));
    *brings = c->text.len > before;
    s->tokens += *brings;
    *brings = *brings || logprobs.data;
    return 0;
}

static void write_choice(const struct choice *c, int64_t index, struct buf *out)
{
    buf_append_str(out, "{\"text\":");
    append_string(out, buf_span(&c->text));
    buf_printf(out, ",\"index\":%" PRId64 ",\"logprobs\":", index);
    logprobs_write_legacy(c, out);
    buf_byte(out, ',');
    write_finish(c->finish, out);
    buf_byte(out, '}');
}

static void clear_choice(struct choice *c)
{
    buf_clear(&c->text);
    c->has_logprobs = false;
    for (size_t i = 0; i < LP_LISTS; i++)
        buf_clear(&c->logprobs[i]);
}

/* The choice's prompt before its text. Tokens are no text that could be given. */
static void put_prompt(const struct answer *a, int64_t index, struct choice *c)
{
    struct span prompt = buf_span(&a->echo);
    const struct span all = prompt;
    size_t at = 0;

    if (prompt.len > 0 && prompt.data[0] == '[')
        for (int64_t i = index / (a->count / a->o.prompts); i >= 0; i--)
            if (json_element_next(all, &at, &prompt) < 0)
                return;
    if (!is_string(prompt))
        return;
    buf_append(&c->text, string_inside(prompt));
    c->text_chars = inside_chars(string_inside(prompt));
}

int completions_feed(struct answer *a, int64_t index, struct stream *s, struct span element,
                     struct buf *out)
{
    struct choice *c = &a->choices[index];
    struct span finish = {0};
    bool brings;

    if (!c->opened)
        put_prompt(a, index, c);
    s->choices += !c->opened;
    c->opened = true;
    TRY(take_element(a, c, s, element, &finish, &brings));
    if (c->finish) // a second finish is nothing new; more text cannot be told
        return brings ? E_PROTOCOL : 0;
    TRY(take_finish(a, c, a->o.mute && finish.data ? SPAN("\"length\"") : finish));
    if (!a->o.stream || !(brings || c->finish))
        return 0;
    const size_t start = event_begin(a, out);
    write_choice(c, index, out);
    event_end(a, start, out);
    clear_choice(c);
    return 0;
}

void completions_body(const struct answer *a, int64_t index, struct buf *out)
{
    write_choice(&a->choices[index], index, out);
}
