/* Tool calls: an engine's fragments sorted by call, with ids and indexes that stay the same (api.md
 * §2.1). */
#include <inttypes.h>
#include <stdlib.h>

#include "base/random.h"
#include "openai/answer_state.h"
#include "openai/event_text.h"

enum { MOST_ID = 64 };

/* Members of one element of tool_calls. */
struct call {
    struct span index, id, function, name, arguments;
};

static int read_call(struct span element, struct call *call)
{
    const struct pick outer[] = {
        {"index", &call->index}, {"id", &call->id}, {"function", &call->function}};
    const struct pick inner[] = {{"name", &call->name}, {"arguments", &call->arguments}};

    TRY(PICK(element, outer));
    if (call->function.data)
        TRY(PICK(call->function, inner));
    if (is_string(call->id) && call->id.len == 2) // "" says as little as null
        call->id = (struct span){0};
    if (call->name.data && !is_string(call->name))
        return E_PROTOCOL;
    return 0;
}

static bool has_text(struct span value)
{
    return is_string(value) && value.len > 2;
}

// ---- Which call it is ----

/* True when the engine's id is the one that the tool was announced with. */
static bool same_id(const struct tool *t, struct span id)
{
    return span_ends(buf_span(&t->id), string_inside(id));
}

/* True when the fragment begins another call, though its index (or the lack of one) points at t:
 * engines exist that give every call the same index, and others that give every fragment of one
 * call a new id. */
static bool begins_another(const struct tool *t, const struct call *call)
{
    return t->named && has_text(call->name) && has_text(call->id) && !same_id(t, call->id);
}

static struct tool *find_tool(struct choice *c, const struct call *call, int64_t index)
{
    for (size_t i = c->tool_count; i-- > 0;)
        if (!call->index.data || c->tools[i].engine_index == index)
            return begins_another(&c->tools[i], call) ? NULL : &c->tools[i];
    return NULL;
}

/* The engine's id with the published prefix, where it is fit for one; else ours. */
static void make_id(struct buf *out, struct span id)
{
    const struct span text = has_text(id) ? string_inside(id) : (struct span){0};
    const bool fit = span_visible(text, MOST_ID) && span_find(text, SPAN("\\")) < 0;
    uint8_t random[12];

    if (!fit || !span_starts(text, SPAN("call_")))
        buf_append_str(out, "call_");
    if (fit) {
        buf_append(out, text);
        return;
    }
    random_bytes(random, sizeof(random));
    for (size_t i = 0; i < sizeof(random); i++)
        buf_printf(out, "%02x", random[i]);
}

static struct tool *add_tool(struct choice *c, const struct call *call, int64_t index)
{
    if (c->tool_count == MOST_TOOLS)
        return NULL;
    c->tools = mem_grow(c->tools, (c->tool_count + 1) * sizeof(*c->tools));
    struct tool *t = &c->tools[c->tool_count++];
    *t = (struct tool){.engine_index = index};
    make_id(&t->id, call->id);
    return t;
}

// ---- Taking ----

/* Arguments are a string of JSON; some engines send the object itself. */
static int take_arguments(struct tool *t, struct span arguments)
{
    if (!arguments.data)
        return 0;
    if (is_string(arguments))
        buf_append(&t->arguments, string_inside(arguments));
    else if (arguments.data[0] == '{')
        buf_json_escape(&t->arguments, arguments);
    else
        return E_PROTOCOL;
    return 0;
}

static int take_call(struct choice *c, struct span element)
{
    struct call call = {0};

    TRY(read_call(element, &call));
    const int64_t index = call.index.data ? integer_of(call.index, -1) : (int64_t)c->tool_count;
    if (index < 0)
        return E_PROTOCOL;
    struct tool *t = find_tool(c, &call, index);
    if (!t)
        t = add_tool(c, &call, index);
    if (!t)
        return E_TOO_LARGE;
    if (!t->named && has_text(call.name)) {
        buf_append(&t->name, string_inside(call.name));
        t->named = true;
    }
    t->pending = true;
    return take_arguments(t, call.arguments);
}

int tools_take(struct choice *c, struct span calls)
{
    struct span element;
    size_t at = 0;
    int error;

    while ((error = json_element_next(calls, &at, &element)) == 0)
        TRY(take_call(c, element));
    return error == E_NOT_FOUND ? 0 : E_PROTOCOL;
}

int tools_begin(struct choice *c, struct span name)
{
    const struct call none = {0};
    struct tool *t = add_tool(c, &none, -1);

    if (!t)
        return E_TOO_LARGE;
    buf_append(&t->name, name);
    t->named = t->pending = true;
    return 0;
}

bool tools_pending(const struct choice *c)
{
    for (size_t i = 0; i < c->tool_count; i++)
        if (c->tools[i].pending)
            return true;
    return false;
}

void tools_settle(struct choice *c)
{
    for (size_t i = 0; i < c->tool_count; i++)
        c->tools[i].pending = false;
}

void tools_as_function(struct choice *c)
{
    for (size_t i = 0; i < c->tool_count; i++) {
        struct tool *t = &c->tools[i];
        if (i == 0 && t->pending) {
            buf_append(&c->call_name, buf_span(&t->name));
            buf_append(&c->call_arguments, buf_span(&t->arguments));
        }
        buf_clear(&t->name);
        buf_clear(&t->arguments);
        t->pending = false;
    }
}

// ---- Writing ----

static void write_function(const struct tool *t, bool named, struct buf *out)
{
    buf_append_str(out, "\"function\":{");
    if (named) {
        buf_append_str(out, "\"name\":");
        append_string(out, buf_span(&t->name));
        buf_byte(out, ',');
    }
    buf_append_str(out, "\"arguments\":");
    append_string(out, buf_span(&t->arguments));
    buf_byte(out, '}');
}

static void write_id(const struct tool *t, struct buf *out)
{
    buf_append_str(out, "\"id\":");
    append_string(out, buf_span(&t->id));
    buf_append_str(out, ",\"type\":\"function\",");
}

void tools_write_delta(struct choice *c, struct buf *out)
{
    bool any = false;

    buf_byte(out, '[');
    for (size_t i = 0; i < c->tool_count; i++) {
        struct tool *t = &c->tools[i];
        if (!t->pending)
            continue;
        buf_printf(out, "%s{\"index\":%zu,", any ? "," : "", i);
        if (!t->announced)
            write_id(t, out);
        write_function(t, !t->announced || t->name.len > 0, out);
        buf_byte(out, '}');
        any = t->announced = true;
        t->pending = false;
        buf_clear(&t->name);
        buf_clear(&t->arguments);
    }
    buf_byte(out, ']');
}

void tools_write_body(const struct choice *c, struct buf *out)
{
    buf_byte(out, '[');
    for (size_t i = 0; i < c->tool_count; i++) {
        buf_append_str(out, i > 0 ? ",{" : "{");
        write_id(&c->tools[i], out);
        write_function(&c->tools[i], true, out);
        buf_byte(out, '}');
    }
    buf_byte(out, ']');
}

void tools_free(struct choice *c)
{
    for (size_t i = 0; i < c->tool_count; i++) {
        buf_wipe(&c->tools[i].id);
        buf_wipe(&c->tools[i].name);
        buf_wipe(&c->tools[i].arguments);
    }
    free(c->tools);
    c->tools = NULL;
    c->tool_count = 0;
}
