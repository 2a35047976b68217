/* The older form of tools, `functions` and `function_call`, in the words of the newer one: engines
 * read no other, and those that we know pass over the older one without a word (api.md §1.2). A
 * call in it has no id, so the messages' calls are counted, and an answer is one to the last. */
#include <inttypes.h>
#include <stdio.h>

#include "openai/check.h"

void functions_as_tools(struct span functions, struct buf *out)
{
    struct span function;
    size_t at = 0;

    buf_byte(out, '[');
    for (size_t n = 0; json_element_next(functions, &at, &function) == 0; n++) {
        buf_append_str(out, n > 0 ? "," : "");
        buf_append_str(out, "{\"type\":\"function\",\"function\":");
        buf_append(out, function);
        buf_byte(out, '}');
    }
    buf_byte(out, ']');
}

void function_as_choice(struct span call, struct buf *out)
{
    struct json_member name;

    if (json_member_find(call, "name", &name) < 0) { /* a word, which means the same */
        buf_append(out, call);
        return;
    }
    buf_append_str(out, "{\"type\":\"function\",\"function\":{\"name\":");
    buf_append(out, name.value);
    buf_append_str(out, "}}");
}

// ---- Messages ----

static bool is_function_role(json_t *message)
{
    return span_is(string_of(json_object_get(message, "role")), "function");
}

bool functions_in_messages(json_t *messages)
{
    json_t *message;
    size_t i;

    json_array_foreach(messages, i, message)
        if (is_function_role(message) || present(message, "function_call"))
            return true;
    return false;
}

/* The member's value; data NULL: absent or null. */
static struct span said(struct span message, const char *name)
{
    struct json_member m;

    if (json_member_find(message, name, &m) < 0 || span_is(m.value, "null"))
        return (struct span){0};
    return m.value;
}

// ---- Ids ----

/* Higher numbers than ours ever become are passed over. */
#define ID_MAX UINT64_C(1000000000000000000)

/* Moves *next beyond an id that looks like ours. */
static void pass_id(struct span quoted, uint64_t *next)
{
    AUTO(buf_fini) struct buf id = {0};
    uint64_t number;

    if (!quoted.data || json_string_decode(quoted, &id) < 0 ||
        !span_starts(buf_span(&id), SPAN("call_")))
        return;
    if (span_u64(span_from(buf_span(&id), 5), ID_MAX, &number) == 0 && number >= *next)
        *next = number + 1;
}

/* A number that no id of the newer form has, nor has one behind it. */
static uint64_t free_id(struct span messages)
{
    struct span message, call;
    uint64_t next = 0;
    size_t at = 0;

    while (json_element_next(messages, &at, &message) == 0) {
        const struct span calls = said(message, "tool_calls");
        size_t in = 0;
        pass_id(said(message, "tool_call_id"), &next);
        while (calls.data && json_element_next(calls, &in, &call) == 0)
            pass_id(said(call, "id"), &next);
    }
    return next;
}

// ---- One message ----

static int append_call(struct span message, struct span call, uint64_t id, struct buf *out)
{
    AUTO(buf_wipe) struct buf calls = {0};
    struct json_edit edits[] = {{"function_call", {0}}, {"tool_calls", {0}}};

    buf_printf(&calls, "[{\"id\":\"call_%" PRIu64 "\",\"type\":\"function\",\"function\":", id);
    buf_append(&calls, call);
    buf_append_str(&calls, "}]");
    edits[1].value = buf_span(&calls);
    /* In both forms it is one call, said twice. */
    return json_splice(message, edits, said(message, "tool_calls").data ? 1 : 2, out);
}

static int append_result(struct span message, uint64_t id, struct buf *out)
{
    char quoted[32];
    struct json_edit edits[] = {
        {"role", SPAN("\"tool\"")}, {"tool_call_id", {0}}, {"content", SPAN("\"\"")}};

    snprintf(quoted, sizeof(quoted), "\"call_%" PRIu64 "\"", id);
    edits[1].value = span_str(quoted);
    return json_splice(message, edits, said(message, "content").data ? 2 : 3, out);
}

static int append_message(struct span message, uint64_t *id, struct buf *out)
{
    const struct span call = said(message, "function_call");
    AUTO(buf_fini) struct buf role = {0};

    TRY(json_string_decode(said(message, "role"), &role));
    if (span_is(buf_span(&role), "function"))
        return append_result(message, *id, out);
    if (call.data && span_is(buf_span(&role), "assistant"))
        return append_call(message, call, ++*id, out);
    buf_append(out, message);
    return 0;
}

int functions_out_of_messages(struct span messages, struct buf *out)
{
    struct span message;
    uint64_t id = free_id(messages);
    size_t at = 0;

    buf_byte(out, '[');
    for (size_t n = 0; json_element_next(messages, &at, &message) == 0; n++) {
        buf_append_str(out, n > 0 ? "," : "");
        TRY(append_message(message, &id, out));
    }
    buf_byte(out, ']');
    return 0;
}
