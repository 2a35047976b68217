/* A choice of tools as llama.cpp reads it. By name it is said in words: an object is taken for
 * "auto", so the tools that were not chosen are left out, that the word means the same. That one
 * must be called is said by a schema: its grammar for calls lets any prose come first. */
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

const char *tools_in_words(struct span all, struct span choice, struct buf *tools)
{
    AUTO_JSON json_t *doc = NULL;
    struct span tool, mode;
    size_t at = 0;

    if (all.data && span_is(choice, "\"required\"")) {
        buf_append(tools, all);
        return "\"required\"";
    }
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

// ---- A call as a schema ----

static const char *const definitions[] = {"$defs", "definitions"};

/* A reference still leads to the same when the schema stands inside another one, alone there, whose
 * definitions are lifted to the top. */
static bool is_liftable(const char *ref)
{
    return strncmp(ref, "#/$defs/", 8) == 0 || strncmp(ref, "#/definitions/", 14) == 0;
}

/* Whether all references in a schema are such, or (not alone) there is none. Depth: JSON_MAX_DEPTH.
 */
static bool refs_stay(const json_t *schema, bool alone)
{
    const char *name, *ref;
    const json_t *value;
    size_t i;

    json_object_foreach((json_t *)(uintptr_t)schema, name, value) {
        ref = strcmp(name, "$ref") == 0 ? json_string_value(value) : NULL;
        if ((ref && !(alone && is_liftable(ref))) || !refs_stay(value, alone))
            return false;
    }
    json_array_foreach(schema, i, value)
        if (!refs_stay(value, alone))
            return false;
    return true;
}

/* The schema of a function's arguments; one without parameters has none (api.md §1.2). */
static struct span arguments_of(struct span function)
{
    struct json_member m, first;
    size_t at = 0;

    if (json_member_find(function, "parameters", &m) == 0 && m.value.data[0] == '{' &&
        json_member_next(m.value, &at, &first) == 0)
        return m.value;
    return SPAN("{\"type\":\"object\",\"properties\":{},\"additionalProperties\":false}");
}

static void lift_definitions(struct span parameters, struct buf *out)
{
    struct json_member m;

    for (size_t i = 0; i < sizeof(definitions) / sizeof(definitions[0]); i++) {
        if (json_member_find(parameters, definitions[i], &m) < 0)
            continue;
        buf_byte(out, ',');
        buf_append(out, m.whole);
    }
}

static int add_schema(struct span tool, bool alone, struct buf *out)
{
    AUTO_JSON json_t *doc = NULL;
    struct json_member function, name;

    TRY(body_read(tool, &doc));
    const json_t *object = json_object_get(doc, "function");
    if (!object || !refs_stay(json_object_get(object, "parameters"), alone))
        return E_INVALID;
    TRY(json_member_find(tool, "function", &function));
    TRY(json_member_find(function.value, "name", &name));
    const struct span parameters = arguments_of(function.value);
    buf_append_str(out, "{\"type\":\"object\",\"properties\":{\"name\":{\"const\":");
    buf_append(out, name.value);
    buf_append_str(out, "},\"arguments\":");
    buf_append(out, parameters);
    buf_append_str(out, "},\"required\":[\"name\",\"arguments\"],\"additionalProperties\":false");
    if (alone)
        lift_definitions(parameters, out);
    buf_byte(out, '}');
    return 0;
}

static size_t count_elements(struct span array)
{
    struct span element;
    size_t at = 0, n = 0;

    while (json_element_next(array, &at, &element) == 0)
        n++;
    return n;
}

bool tools_as_format(struct span tools, struct buf *out)
{
    enum { MOST_BYTES = 256 * 1024 }; /* read once more, on the worker's loop */
    const bool alone = count_elements(tools) == 1;
    struct span tool;
    size_t at = 0, n = 0;

    if (tools.len > MOST_BYTES)
        return false;
    buf_append_str(out, "{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"call\",\"schema\":");
    buf_append_str(out, alone ? "" : "{\"anyOf\":[");
    for (; json_element_next(tools, &at, &tool) == 0; n++) {
        buf_append_str(out, n > 0 ? "," : "");
        if (add_schema(tool, alone, out) < 0)
            return false;
    }
    buf_append_str(out, alone ? "}}" : "]}}}");
    return n > 0;
}
