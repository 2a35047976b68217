/* A choice of tools by name, said in words: for an engine that reads "none", "auto" and "required"
 * alone and takes an object for "auto" (llama.cpp). The tools that were not chosen are left out,
 * so that the word means the same. */
#include "openai/check.h"

/* The name that a tool, or a choice of one, has in the member of its type; data NULL: none. */
static struct span name_of(const json_t *tool)
{
    struct span type, name = {0};
    char member[16];

    if (json_obj_string(tool, "type", &type) < 0 || span_cstr(type, member, sizeof(member)) < 0)
        return name;
    (void)!json_obj_string(json_object_get(tool, member), "name", &name);
    return name;
}

static bool is_same(const json_t *tool, const json_t *chosen)
{
    const struct span name = name_of(tool);

    return name.data && span_eq(name, name_of(chosen)) &&
           json_equal(json_object_get(tool, "type"), json_object_get(chosen, "type"));
}

static bool is_chosen(const json_t *tool, const json_t *choice)
{
    const json_t *list = json_object_get(json_object_get(choice, "allowed_tools"), "tools");
    const json_t *item;
    size_t i;

    if (!list)
        return is_same(tool, choice);
    json_array_foreach(list, i, item)
        if (is_same(tool, item))
            return true;
    return false;
}

static void add_chosen(struct buf *out, struct span tool, const json_t *choice)
{
    AUTO_JSON json_t *doc = NULL;

    if (body_read(tool, &doc) < 0 || !is_chosen(doc, choice))
        return;
    buf_append_str(out, out->len > 1 ? "," : "");
    buf_append(out, tool);
}

const char *tools_in_words(const struct request *rq, struct buf *tools)
{
    const struct span choice = request_member(rq, "tool_choice"), all = request_member(rq, "tools");
    AUTO_JSON json_t *doc = NULL;
    struct span tool, mode;
    size_t at = 0;

    if (!span_starts(choice, SPAN("{")) || !all.data || body_read(choice, &doc) < 0)
        return NULL;
    buf_append_str(tools, "[");
    while (json_element_next(all, &at, &tool) == 0)
        add_chosen(tools, tool, doc);
    buf_append_str(tools, "]");
    if (tools->len == 2)
        return NULL; /* none is there: as the caller wrote it */
    if (json_obj_string(json_object_get(doc, "allowed_tools"), "mode", &mode) == 0 &&
        span_is(mode, "auto"))
        return "\"auto\"";
    return "\"required\"";
}
