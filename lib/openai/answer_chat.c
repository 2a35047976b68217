/* Chat: an engine's delta as the published chunk, or collected into a message (api.md §1.3, §2.1).
 */
#include <inttypes.h>

#include "openai/answer_state.h"

/* Members of a choice of the engine, and of its delta. */
struct delta {
    struct span delta, message, logprobs, finish;
    struct span content, refusal, reasoning, reasoning_content, tool_calls, function_call;
};

static int read_delta(struct span element, struct delta *d)
{
    const struct pick outer[] = {
        {"delta", &d->delta},
        {"message", &d->message}, /* an engine that did not stream */
        {"logprobs", &d->logprobs},
        {"finish_reason", &d->finish},
    };
    const struct pick inner[] = {
        {"content", &d->content},       {"refusal", &d->refusal},
        {"reasoning", &d->reasoning},   {"reasoning_content", &d->reasoning_content},
        {"tool_calls", &d->tool_calls}, {"function_call", &d->function_call},
    };

    TRY(PICK(element, outer));
    if (d->delta.data)
        return PICK(d->delta, inner);
    return d->message.data ? PICK(d->message, inner) : 0;
}

/* The legacy form of a call: one, without an id. */
static int take_function_call(struct choice *c, struct span call)
{
    struct span name = {0}, arguments = {0};
    const struct pick picks[] = {{"name", &name}, {"arguments", &arguments}};

    if (!call.data)
        return 0;
    TRY(PICK(call, picks));
    TRY(take_text(&c->call_name, name));
    return take_text(&c->call_arguments, arguments);
}

static size_t collected_len(const struct choice *c)
{
    return c->text.len + c->refusal.len + c->reasoning.len + c->reasoning_content.len +
           c->call_name.len + c->call_arguments.len;
}

static bool awaits_call(const struct choice *c)
{
    return c->call_text.state != CALL_TEXT_NONE;
}

/* *brings: the event said something. What is held of a call, or stands behind it, says nothing yet
 * and was made all the same. */
static int take_delta(struct choice *c, struct stream *s, const struct delta *d, bool *brings)
{
    const size_t before = collected_len(c);
    const bool is_of_call = awaits_call(c) && d->content.len > 2; // more than its quotes

    TRY(awaits_call(c) ? call_text_take(c, d->content) : take_text(&c->text, d->content));
    TRY(take_text(&c->refusal, d->refusal));
    TRY(take_text(&c->reasoning, d->reasoning));
    TRY(take_text(&c->reasoning_content, d->reasoning_content));
    TRY(take_function_call(c, d->function_call));
    if (d->tool_calls.data)
        TRY(tools_take(c, d->tool_calls));
    if (d->logprobs.data)
        TRY(logprobs_take_chat(c, d->logprobs));
    *brings = collected_len(c) > before || tools_pending(c);
    s->tokens += *brings || is_of_call;
    *brings = *brings || d->logprobs.data;
    return 0;
}

// ---- Stream ----

static void write_role(const struct answer *a, int64_t index, struct buf *out)
{
    const size_t start = event_begin(a, out);

    buf_printf(out,
               "{\"index\":%" PRId64 ",\"delta\":{\"role\":\"assistant\",\"content\":\"\","
               "\"refusal\":null},\"logprobs\":null,\"finish_reason\":null}",
               index);
    event_end(a, start, out);
}

/* A member of an object whose first member must have no comma before it; `from` is where the
 * members begin. */
static void member_name(struct buf *out, size_t from, const char *name)
{
    buf_append_str(out, out->len > from ? ",\"" : "\"");
    buf_append_str(out, name);
    buf_append_str(out, "\":");
}

static void move_text(struct buf *out, size_t from, const char *name, struct buf *text)
{
    if (text->len == 0)
        return;
    member_name(out, from, name);
    append_string(out, buf_span(text));
    buf_clear(text);
}

static void move_call(struct choice *c, size_t from, struct buf *out)
{
    if (c->call_name.len + c->call_arguments.len == 0)
        return;
    member_name(out, from, "function_call");
    buf_byte(out, '{');
    const size_t inner = out->len;
    move_text(out, inner, "name", &c->call_name);
    move_text(out, inner, "arguments", &c->call_arguments);
    buf_byte(out, '}');
}

static void move_delta(struct choice *c, struct buf *out)
{
    const size_t from = out->len;

    if (c->has_logprobs && c->text.len == 0) { // a token without visible text
        member_name(out, from, "content");
        buf_append_str(out, "\"\"");
    }
    move_text(out, from, "content", &c->text);
    move_text(out, from, "refusal", &c->refusal);
    move_text(out, from, "reasoning", &c->reasoning);
    move_text(out, from, "reasoning_content", &c->reasoning_content);
    move_call(c, from, out);
    if (tools_pending(c)) {
        member_name(out, from, "tool_calls");
        tools_write_delta(c, out);
    }
}

static void write_chunk(const struct answer *a, int64_t index, struct buf *out)
{
    struct choice *c = &a->choices[index];
    const size_t start = event_begin(a, out);

    buf_printf(out, "{\"index\":%" PRId64 ",\"delta\":{", index);
    move_delta(c, out);
    buf_append_str(out, "},\"logprobs\":");
    logprobs_write_chat(c, out);
    buf_byte(out, ',');
    write_finish(c->finish, out);
    buf_byte(out, '}');
    event_end(a, start, out);
    c->has_logprobs = false;
    buf_clear(&c->logprobs[LP_CONTENT]);
    buf_clear(&c->logprobs[LP_REFUSAL]);
}

/* To a caller who asked in the older form. */
static void tell_as_function(struct choice *c)
{
    tools_as_function(c);
    if (c->finish && strcmp(c->finish, "tool_calls") == 0)
        c->finish = "function_call";
}

int chat_feed(struct answer *a, int64_t index, struct stream *s, struct span element,
              struct buf *out)
{
    struct choice *c = &a->choices[index];
    struct delta d = {0};
    const bool ended = c->finish != NULL, first = !c->opened;
    bool brings;

    TRY(read_delta(element, &d));
    TRY(take_delta(c, s, &d, &brings));
    if (ended) // a second finish is nothing new; more text cannot be told
        return brings ? E_PROTOCOL : 0;
    TRY(take_finish(a, c, d.finish));
    if (c->finish)
        call_text_end(c);
    if (a->o.as_function)
        tell_as_function(c);
    c->opened = true;
    s->choices += first;
    if (!a->o.stream) {
        tools_settle(c);
        return 0;
    }
    if (first)
        write_role(a, index, out);
    if (brings || c->finish)
        write_chunk(a, index, out);
    return 0;
}

// ---- Body ----

static void write_text(struct buf *out, const char *name, const struct buf *text)
{
    if (text->len == 0)
        return;
    buf_printf(out, ",\"%s\":", name);
    append_string(out, buf_span(text));
}

static void write_text_or_null(struct buf *out, const char *name, const struct buf *text, bool null)
{
    buf_printf(out, ",\"%s\":", name);
    if (null)
        buf_append_str(out, "null");
    else
        append_string(out, buf_span(text));
}

static void write_message(const struct answer *a, const struct choice *c, struct buf *out)
{
    const bool tools = c->tool_count > 0 && !a->o.as_function;
    const bool calls = tools || c->call_name.len > 0;
    const bool refuses = c->refusal.len > 0;

    buf_append_str(out, "{\"role\":\"assistant\"");
    write_text_or_null(out, "content", &c->text, c->text.len == 0 && (calls || refuses));
    write_text_or_null(out, "refusal", &c->refusal, !refuses);
    write_text(out, "reasoning", &c->reasoning);
    write_text(out, "reasoning_content", &c->reasoning_content);
    if (c->call_name.len > 0) {
        buf_append_str(out, ",\"function_call\":{\"name\":");
        append_string(out, buf_span(&c->call_name));
        write_text_or_null(out, "arguments", &c->call_arguments, false);
        buf_byte(out, '}');
    }
    if (tools) {
        buf_append_str(out, ",\"tool_calls\":");
        tools_write_body(c, out);
    }
    buf_byte(out, '}');
}

void chat_body(const struct answer *a, int64_t index, struct buf *out)
{
    const struct choice *c = &a->choices[index];

    buf_printf(out, "{\"index\":%" PRId64 ",\"message\":", index);
    write_message(a, c, out);
    buf_append_str(out, ",\"logprobs\":");
    logprobs_write_chat(c, out);
    buf_byte(out, ',');
    write_finish(c->finish, out);
    buf_byte(out, '}');
}
