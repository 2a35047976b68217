/* Messages and tools without what says nothing: a member that is null is absent, and a call's empty
 * arguments are none. Callers send them so, and published clients do; llama.cpp fails at a null
 * where it expects a string, and at arguments that are no JSON. */
#include "openai/check.h"

/* Whose members are ours to judge; in a schema, in arguments or in what nobody knows null is a
 * value. `content` itself may be null: that is how a message has none. */
static const char *const inside[] = {
    "content",   "tool_calls",  "function", "custom", "function_call",
    "image_url", "input_audio", "file",     NULL,
};

static bool is_left_out(struct span name, bool null)
{
    return null && !span_is(name, "content");
}

static bool is_no_arguments(struct span name, bool empty)
{
    return empty && span_is(name, "arguments");
}

// ---- Whether there is any, in what jansson read ----

/* Depth: JSON_MAX_DEPTH. */
bool bare_needed(json_t *value)
{
    const char *text;
    json_t *member;
    size_t i;

    json_array_foreach(value, i, member)
        if (bare_needed(member))
            return true;
    json_object_foreach(value, text, member) {
        const struct span name = span_str(text);
        const bool empty = json_is_string(member) && json_string_length(member) == 0;
        if (is_left_out(name, json_is_null(member)) || is_no_arguments(name, empty) ||
            (list_has(inside, name) && bare_needed(member)))
            return true;
    }
    return false;
}

// ---- The bytes without it ----

static void append_member(struct buf *out, const struct json_member *m)
{
    if (is_no_arguments(m->name, span_is(m->value, "\"\"")))
        buf_append_str(out, "\"arguments\":\"{}\"");
    else if (list_has(inside, m->name)) {
        buf_append(out, span_cut(m->whole, 0, (size_t)(m->value.data - m->whole.data)));
        bare_append(out, m->value);
    } else
        buf_append(out, m->whole);
}

static void append_object(struct buf *out, struct span object)
{
    struct json_member m;
    size_t at = 0;
    bool any = false;

    buf_byte(out, '{');
    while (json_member_next(object, &at, &m) == 0) {
        if (is_left_out(m.name, span_is(m.value, "null")))
            continue;
        buf_append_str(out, any ? "," : "");
        append_member(out, &m);
        any = true;
    }
    buf_byte(out, '}');
}

static void append_array(struct buf *out, struct span array)
{
    struct span element;
    size_t at = 0;
    bool any = false;

    buf_byte(out, '[');
    while (json_element_next(array, &at, &element) == 0) {
        buf_append_str(out, any ? "," : "");
        bare_append(out, element);
        any = true;
    }
    buf_byte(out, ']');
}

void bare_append(struct buf *out, struct span value)
{
    if (span_starts(value, SPAN("{")))
        append_object(out, value);
    else if (span_starts(value, SPAN("[")))
        append_array(out, value);
    else
        buf_append(out, value);
}
