/* The parts of a chat request that need more than a rule's columns: messages, tools, formats
 * (api.md §1.2). */
#include "openai/check.h"

// ---- Small pieces that several places share ----

static bool is_name_char(uint8_t b)
{
    return (b >= 'a' && b <= 'z') || (b >= 'A' && b <= 'Z') || (b >= '0' && b <= '9') || b == '_' ||
           b == '-';
}

static int check_schema_name(struct check *c, const struct at *at, json_t *value)
{
    const struct span name = string_of(value);

    for (size_t i = 0; i < name.len; i++)
        if (!is_name_char(name.data[i]))
            return fault_says(
                c, &ERR_INVALID_VALUE, at,
                "Invalid name: only letters, digits, underscores and dashes are allowed.");
    return 0;
}

/* Each element of an array against one rule. */
static int check_each(struct check *c, const struct at *at, json_t *array, const struct rule *rule)
{
    for (size_t i = 0; i < json_array_size(array); i++) {
        const struct at here = {.up = at, .index = i};
        TRY(check_value(c, &here, rule, json_array_get(array, i)));
    }
    return 0;
}

/* An object whose `type` says which member must come with it, as in
 * {"type":"function","function":{…}}. */
struct variant {
    const char *type;
    const struct rule *rules; /* of the whole object; NULL: nothing more */
};

static int check_variant(struct check *c, const struct at *at, json_t *object,
                         const struct variant *variants, const char *const *types)
{
    const struct rule type[] = {
        {.name = "type", .kind = K_STRING, .required = true, .words = types},
        {0},
    };

    TRY(check_object(c, at, object, type));
    const struct span is = string_of(json_object_get(object, "type"));
    for (; variants->type; variants++)
        if (span_is(is, variants->type) && variants->rules)
            return check_object(c, at, object, variants->rules);
    return 0;
}

// ---- Content parts ----

static int check_image_url(struct check *c, const struct at *at, json_t *value)
{
    static const char *const details[] = {"auto", "low", "high", NULL};
    static const struct rule rules[] = {
        {.name = "url", .kind = K_STRING, .required = true},
        {.name = "detail", .kind = K_STRING, .words = details},
        {0},
    };

    TRY(check_object(c, at, value, rules));
    if (!span_starts(string_of(json_object_get(value, "url")), SPAN("data:")))
        return fault_at(c, &ERR_INVALID_IMAGE_URL, at);
    return 0;
}

/* Base64 or a data: URL; an address must not reach an engine that might fetch it. */
static int check_no_address(struct check *c, const struct at *at, json_t *value)
{
    const struct span text = string_of(value);

    if (span_starts(text, SPAN("data:")) || span_find(text, SPAN(":")) < 0)
        return 0;
    return fault_says(c, &ERR_INVALID_VALUE, at,
                      "Invalid value: expected base64 or a data: URL; nothing is fetched.");
}

static int check_input_audio(struct check *c, const struct at *at, json_t *value)
{
    static const char *const formats[] = {"wav", "mp3", NULL};
    static const struct rule rules[] = {
        {.name = "data", .kind = K_STRING, .required = true, .check = check_no_address},
        {.name = "format", .kind = K_STRING, .required = true, .words = formats},
        {0},
    };

    return check_object(c, at, value, rules);
}

static int refuse_file_id(struct check *c, const struct at *at, json_t *value)
{
    (void)value;
    return fault_says(c, &ERR_UNSUPPORTED_VALUE, at,
                      "Unsupported value: this service keeps no files; send file_data instead.");
}

static int check_file(struct check *c, const struct at *at, json_t *value)
{
    static const struct rule rules[] = {
        {.name = "file_id", .kind = K_ANY, .check = refuse_file_id},
        {.name = "file_data", .kind = K_STRING, .required = true, .check = check_no_address},
        {.name = "filename", .kind = K_STRING},
        {0},
    };

    return check_object(c, at, value, rules);
}

enum part { PART_TEXT = 1, PART_IMAGE = 2, PART_AUDIO = 4, PART_FILE = 8, PART_REFUSAL = 16 };

static const struct rule text_part[] = {{.name = "text", .kind = K_STRING, .required = true}, {0}};
static const struct rule image_part[] = {
    {.name = "image_url", .kind = K_OBJECT, .required = true, .check = check_image_url}, {0}};
static const struct rule audio_part[] = {
    {.name = "input_audio", .kind = K_OBJECT, .required = true, .check = check_input_audio}, {0}};
static const struct rule file_part[] = {
    {.name = "file", .kind = K_OBJECT, .required = true, .check = check_file}, {0}};
static const struct rule refusal_part[] = {{.name = "refusal", .kind = K_STRING, .required = true},
                                           {0}};

/* In a part of any type, since an engine may go by the member rather than by the type. */
static const struct rule every_part[] = {
    {.name = "image_url", .kind = K_OBJECT, .check = check_image_url},
    {.name = "input_audio", .kind = K_OBJECT, .check = check_input_audio},
    {.name = "file", .kind = K_OBJECT, .check = check_file},
    {.name = "audio_url", .kind = K_DENIED},
    {.name = "video_url", .kind = K_DENIED},
    {.name = "image_embeds", .kind = K_DENIED},
    {.name = "audio_embeds", .kind = K_DENIED},
    {0},
};

static const struct {
    const char *type;
    enum part part;
    const struct rule *rules;
} parts[] = {
    {"text", PART_TEXT, text_part},          {"image_url", PART_IMAGE, image_part},
    {"input_audio", PART_AUDIO, audio_part}, {"file", PART_FILE, file_part},
    {"refusal", PART_REFUSAL, refusal_part},
};
enum { PARTS = sizeof(parts) / sizeof(parts[0]) };

static int check_part_type(struct check *c, const struct at *at, json_t *part, unsigned legal)
{
    const char *words[PARTS + 1] = {NULL};
    size_t n = 0;

    for (size_t i = 0; i < PARTS; i++)
        if (legal & (unsigned)parts[i].part)
            words[n++] = parts[i].type;
    const struct rule type[] = {
        {.name = "type", .kind = K_STRING, .required = true, .words = words},
        {0},
    };
    return check_object(c, at, part, type);
}

static void note_breakpoint(struct check *c, const struct at *at, json_t *part)
{
    char path[AT_TEXT_LEN];
    const struct at here = {.up = at, .name = "prompt_cache_breakpoint"};

    if (!present(part, here.name))
        return;
    at_render(&here, path);
    ignore_name(c->rq, span_str(path));
}

static int check_part(struct check *c, const struct at *at, json_t *part, unsigned legal)
{
    if (!json_is_object(part))
        return fault_type(c, at, "an object", part);
    TRY(check_part_type(c, at, part, legal));
    TRY(check_object(c, at, part, every_part));
    note_breakpoint(c, at, part);
    const struct span type = string_of(json_object_get(part, "type"));
    for (size_t i = 0; i < PARTS; i++)
        if (span_is(type, parts[i].type))
            return check_object(c, at, part, parts[i].rules);
    return 0;
}

static int check_content(struct check *c, const struct at *at, json_t *content, unsigned legal)
{
    if (json_is_string(content))
        return 0;
    if (!json_is_array(content))
        return fault_type(c, at, "a string or an array of objects", content);
    if (json_array_size(content) == 0)
        return fault_at(c, &ERR_EMPTY_ARRAY, at);
    for (size_t i = 0; i < json_array_size(content); i++) {
        const struct at here = {.up = at, .index = i};
        TRY(check_part(c, &here, json_array_get(content, i), legal));
    }
    return 0;
}

// ---- Messages ----

static const struct rule call_function[] = {
    {.name = "name", .kind = K_STRING, .required = true},
    {.name = "arguments", .kind = K_STRING, .required = true},
    {0},
};

static int check_call_function(struct check *c, const struct at *at, json_t *value)
{
    return check_object(c, at, value, call_function);
}

static int check_call_custom(struct check *c, const struct at *at, json_t *value)
{
    static const struct rule rules[] = {
        {.name = "name", .kind = K_STRING, .required = true},
        {.name = "input", .kind = K_STRING, .required = true},
        {0},
    };

    return check_object(c, at, value, rules);
}

static const char *const tool_types[] = {"function", "custom", NULL};

static int check_tool_call(struct check *c, const struct at *at, json_t *value)
{
    static const struct rule id[] = {{.name = "id", .kind = K_STRING, .required = true}, {0}};
    static const struct rule function[] = {
        {.name = "function", .kind = K_OBJECT, .required = true, .check = check_call_function},
        {0}};
    static const struct rule custom[] = {
        {.name = "custom", .kind = K_OBJECT, .required = true, .check = check_call_custom}, {0}};
    static const struct variant variants[] = {{"function", function}, {"custom", custom}, {0}};

    TRY(check_object(c, at, value, id));
    return check_variant(c, at, value, variants, tool_types);
}

static int check_tool_calls(struct check *c, const struct at *at, json_t *value)
{
    static const struct rule call = {.kind = K_OBJECT, .check = check_tool_call};

    return check_each(c, at, value, &call);
}

static const struct rule plain_message[] = {
    {.name = "name", .kind = K_STRING},
    {0},
};
static const struct rule tool_message[] = {
    {.name = "tool_call_id", .kind = K_STRING, .required = true},
    {0},
};
static const struct rule function_message[] = {
    {.name = "name", .kind = K_STRING, .required = true},
    {0},
};
static const struct rule assistant_message[] = {
    {.name = "name", .kind = K_STRING},
    {.name = "refusal", .kind = K_STRING},
    {.name = "audio", .kind = K_DENIED},
    {.name = "tool_calls", .kind = K_ARRAY, .min = 1, .max = INT64_MAX, .check = check_tool_calls},
    {.name = "function_call", .kind = K_OBJECT, .check = check_call_function},
    {0},
};

static const struct role {
    const char *name;
    const struct rule *rules;
    unsigned parts;        /* legal in its content */
    bool content_null;     /* content may be null, but not absent */
    bool content_optional; /* … or absent, when something else is said */
} roles[] = {
    {"developer", plain_message, PART_TEXT, false, false},
    {"system", plain_message, PART_TEXT, false, false},
    {"user", plain_message, PART_TEXT | PART_IMAGE | PART_AUDIO | PART_FILE, false, false},
    {"assistant", assistant_message, PART_TEXT | PART_REFUSAL, false, true},
    {"tool", tool_message, PART_TEXT, false, false},
    {"function", function_message, PART_TEXT, true, false},
};
enum { ROLES = sizeof(roles) / sizeof(roles[0]) };

/* The row of a message whose role is known to be in the table. */
static const struct role *role_of(json_t *message)
{
    const struct span name = string_of(json_object_get(message, "role"));
    size_t i = 0;

    while (i < ROLES - 1 && !span_is(name, roles[i].name))
        i++;
    return &roles[i];
}

static bool says_without_content(json_t *message)
{
    return present(message, "tool_calls") || present(message, "function_call") ||
           present(message, "refusal");
}

static int check_message_content(struct check *c, const struct at *at, json_t *message,
                                 const struct role *role)
{
    const struct at here = {.up = at, .name = "content"};
    json_t *content = json_object_get(message, "content");

    if (!present(message, "content") && role->content_optional && says_without_content(message))
        return 0;
    if (!content)
        return fault_at(c, &ERR_MISSING_PARAMETER, &here);
    if (json_is_null(content) && role->content_null)
        return 0;
    return check_content(c, &here, content, role->parts);
}

static int check_message(struct check *c, const struct at *at, json_t *message)
{
    static const char *const names[] = {"developer", "system",   "user", "assistant",
                                        "tool",      "function", NULL};
    static const struct rule role_rule[] = {
        {.name = "role", .kind = K_STRING, .required = true, .words = names}, {0}};

    TRY(check_object(c, at, message, role_rule));
    const struct role *role = role_of(message);
    TRY(check_object(c, at, message, role->rules));
    return check_message_content(c, at, message, role);
}

int check_messages(struct check *c, const struct at *at, json_t *value)
{
    static const struct rule message = {.kind = K_OBJECT, .check = check_message};

    return check_each(c, at, value, &message);
}

// ---- Tools and functions ----

static int check_function(struct check *c, const struct at *at, json_t *value)
{
    static const struct rule rules[] = {
        {.name = "name", .kind = K_STRING, .required = true, .min = 1, .max = 64},
        {.name = "description", .kind = K_STRING},
        {.name = "parameters", .kind = K_OBJECT},
        {.name = "strict", .kind = K_BOOL},
        {0},
    };

    return check_object(c, at, value, rules);
}

static int check_grammar(struct check *c, const struct at *at, json_t *value)
{
    static const char *const syntaxes[] = {"lark", "regex", NULL};
    static const struct rule rules[] = {
        {.name = "definition", .kind = K_STRING, .required = true},
        {.name = "syntax", .kind = K_STRING, .required = true, .words = syntaxes},
        {0},
    };

    return check_object(c, at, value, rules);
}

static int check_custom_format(struct check *c, const struct at *at, json_t *value)
{
    static const char *const types[] = {"text", "grammar", NULL};
    static const struct rule grammar[] = {
        {.name = "grammar", .kind = K_OBJECT, .required = true, .check = check_grammar}, {0}};
    static const struct variant variants[] = {{"grammar", grammar}, {0}};

    return check_variant(c, at, value, variants, types);
}

static int check_custom(struct check *c, const struct at *at, json_t *value)
{
    static const struct rule rules[] = {
        {.name = "name", .kind = K_STRING, .required = true, .min = 1, .max = 64},
        {.name = "description", .kind = K_STRING},
        {.name = "format", .kind = K_OBJECT, .check = check_custom_format},
        {0},
    };

    return check_object(c, at, value, rules);
}

static int check_tool(struct check *c, const struct at *at, json_t *value)
{
    static const struct rule function[] = {
        {.name = "function", .kind = K_OBJECT, .required = true, .check = check_function}, {0}};
    static const struct rule custom[] = {
        {.name = "custom", .kind = K_OBJECT, .required = true, .check = check_custom}, {0}};
    static const struct variant variants[] = {{"function", function}, {"custom", custom}, {0}};

    return check_variant(c, at, value, variants, tool_types);
}

int check_tools(struct check *c, const struct at *at, json_t *value)
{
    static const struct rule tool = {.kind = K_OBJECT, .check = check_tool};

    return check_each(c, at, value, &tool);
}

int check_functions(struct check *c, const struct at *at, json_t *value)
{
    static const struct rule function = {.kind = K_OBJECT, .check = check_function};

    return check_each(c, at, value, &function);
}

static const struct rule named[] = {{.name = "name", .kind = K_STRING, .required = true}, {0}};

static int check_named(struct check *c, const struct at *at, json_t *value)
{
    return check_object(c, at, value, named);
}

static const struct rule named_function[] = {
    {.name = "function", .kind = K_OBJECT, .required = true, .check = check_named}, {0}};
static const struct rule named_custom[] = {
    {.name = "custom", .kind = K_OBJECT, .required = true, .check = check_named}, {0}};

static int check_allowed_tool(struct check *c, const struct at *at, json_t *value)
{
    static const struct variant variants[] = {
        {"function", named_function}, {"custom", named_custom}, {0}};

    return check_variant(c, at, value, variants, tool_types);
}

static int check_allowed_list(struct check *c, const struct at *at, json_t *value)
{
    static const struct rule tool = {.kind = K_OBJECT, .check = check_allowed_tool};

    return check_each(c, at, value, &tool);
}

static int check_allowed_tools(struct check *c, const struct at *at, json_t *value)
{
    static const char *const modes[] = {"auto", "required", NULL};
    static const struct rule rules[] = {
        {.name = "mode", .kind = K_STRING, .required = true, .words = modes},
        {.name = "tools",
         .kind = K_ARRAY,
         .required = true,
         .min = 1,
         .max = INT64_MAX,
         .check = check_allowed_list},
        {0},
    };

    return check_object(c, at, value, rules);
}

int check_tool_choice(struct check *c, const struct at *at, json_t *value)
{
    static const char *const words[] = {"none", "auto", "required", NULL};
    static const char *const types[] = {"function", "custom", "allowed_tools", NULL};
    static const struct rule word = {.kind = K_STRING, .words = words};
    static const struct rule allowed[] = {
        {.name = "allowed_tools", .kind = K_OBJECT, .required = true, .check = check_allowed_tools},
        {0}};
    static const struct variant variants[] = {
        {"function", named_function}, {"custom", named_custom}, {"allowed_tools", allowed}, {0}};

    if (json_is_string(value))
        return check_value(c, at, &word, value);
    if (!json_is_object(value))
        return fault_type(c, at, "a string or an object", value);
    return check_variant(c, at, value, variants, types);
}

int check_function_call(struct check *c, const struct at *at, json_t *value)
{
    static const char *const words[] = {"none", "auto", NULL};
    static const struct rule word = {.kind = K_STRING, .words = words};

    if (json_is_string(value))
        return check_value(c, at, &word, value);
    if (!json_is_object(value))
        return fault_type(c, at, "a string or an object", value);
    return check_object(c, at, value, named);
}

// ---- Formats and modes ----

static int check_json_schema(struct check *c, const struct at *at, json_t *value)
{
    static const struct rule rules[] = {
        {.name = "name",
         .kind = K_STRING,
         .required = true,
         .min = 1,
         .max = 64,
         .check = check_schema_name},
        {.name = "description", .kind = K_STRING},
        {.name = "schema", .kind = K_OBJECT},
        {.name = "strict", .kind = K_BOOL},
        {0},
    };

    return check_object(c, at, value, rules);
}

int check_response_format(struct check *c, const struct at *at, json_t *value)
{
    static const char *const types[] = {"text", "json_object", "json_schema", NULL};
    static const struct rule schema[] = {
        {.name = "json_schema", .kind = K_OBJECT, .required = true, .check = check_json_schema},
        {0}};
    static const struct variant variants[] = {{"json_schema", schema}, {0}};

    return check_variant(c, at, value, variants, types);
}

int check_prediction(struct check *c, const struct at *at, json_t *value)
{
    static const char *const types[] = {"content", NULL};
    static const struct rule rules[] = {
        {.name = "type", .kind = K_STRING, .required = true, .words = types},
        {.name = "content", .kind = K_ANY, .required = true},
        {0},
    };
    const struct at content = {.up = at, .name = "content"};

    TRY(check_object(c, at, value, rules));
    return check_content(c, &content, json_object_get(value, "content"), PART_TEXT);
}

static int check_modality(struct check *c, const struct at *at, json_t *value)
{
    if (span_is(string_of(value), "audio"))
        return fault_says(c, &ERR_UNSUPPORTED_VALUE, at,
                          "Unsupported value for 'modalities': answers are text only.");
    return 0;
}

int check_modalities(struct check *c, const struct at *at, json_t *value)
{
    static const char *const words[] = {"text", "audio", NULL};
    static const struct rule mode = {.kind = K_STRING, .words = words, .check = check_modality};

    return check_each(c, at, value, &mode);
}

/* Arguments of the model's chat template: only the two switches that are known to be harmless. */
int check_template_kwargs(struct check *c, const struct at *at, json_t *value)
{
    static const char *const legal[] = {"enable_thinking", "thinking", NULL};
    static const struct rule boolean = {.kind = K_BOOL};
    const char *name;
    json_t *member;

    json_object_foreach(value, name, member) {
        const struct at here = {.up = at, .name = name};
        if (!list_has(legal, span_str(name)))
            return fault_at(c, &ERR_UNSUPPORTED_PARAMETER, &here);
        TRY(check_value(c, &here, &boolean, member));
    }
    return 0;
}

// ---- Together ----

static int refuse_alone(struct check *c, const char *name, const char *needs)
{
    return api_fault_text(c->fault, &ERR_INVALID_VALUE, name,
                          "Invalid value for '%s': it is only allowed together with '%s'.", name,
                          needs);
}

/* Whether one of the list has that name: of `tools` in the member of its type. */
static bool is_offered(json_t *list, const char *type, json_t *name)
{
    json_t *element;
    size_t i;

    json_array_foreach(list, i, element) {
        json_t *one = type ? json_object_get(element, type) : element;
        if (json_equal(json_object_get(one, "name"), name))
            return true;
    }
    return false;
}

static int refuse_unoffered(struct check *c, const char *name, const char *list)
{
    return api_fault_text(c->fault, &ERR_INVALID_VALUE, name,
                          "Invalid value for '%s': it names none of '%s'.", name, list);
}

/* Whether what is named by type is among the body's tools; one that names none is no matter. */
static bool is_tool_offered(struct check *c, json_t *tool)
{
    const char *type = json_string_value(json_object_get(tool, "type"));
    json_t *name = type ? json_object_get(json_object_get(tool, type), "name") : NULL;

    return !name || is_offered(json_object_get(c->doc, "tools"), type, name);
}

/* A choice by name of tools that are there. */
static int check_chosen(struct check *c)
{
    json_t *choice = present(c->doc, "tool_choice"), *call = present(c->doc, "function_call");
    json_t *allowed = json_object_get(json_object_get(choice, "allowed_tools"), "tools"), *one;
    json_t *function = json_object_get(call, "name");
    bool offered = is_tool_offered(c, choice);
    size_t i;

    json_array_foreach(allowed, i, one)
        offered = offered && is_tool_offered(c, one);
    if (!offered)
        return refuse_unoffered(c, "tool_choice", "tools");
    if (function && !is_offered(json_object_get(c->doc, "functions"), NULL, function))
        return refuse_unoffered(c, "function_call", "functions");
    return 0;
}

int check_chat_combination(struct check *c)
{
    if (present(c->doc, "max_tokens") && present(c->doc, "max_completion_tokens"))
        return api_fault_set(c->fault, &ERR_PARAMETER_COMBINATION, "max_tokens", NULL);
    if (present(c->doc, "top_logprobs") && !json_is_true(json_object_get(c->doc, "logprobs")))
        return refuse_alone(c, "top_logprobs", "logprobs");
    if (present(c->doc, "tool_choice") && !present(c->doc, "tools"))
        return refuse_alone(c, "tool_choice", "tools");
    if (present(c->doc, "functions") && present(c->doc, "tools"))
        return api_fault_text(c->fault, &ERR_PARAMETER_COMBINATION, "functions",
                              "Setting 'functions' and 'tools' at the same time is not supported.");
    if (present(c->doc, "function_call") && !present(c->doc, "functions"))
        return refuse_alone(c, "function_call", "functions");
    return check_chosen(c);
}
