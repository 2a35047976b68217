/* Applies rules to the members of a request and words the faults. Strings of the caller are never
 * quoted in them. */
#include "openai/check.h"

#include <inttypes.h>
#include <stdio.h>

// ---- Paths ----

static size_t render(const struct at *at, char *out, size_t room)
{
    size_t used = at->up ? render(at->up, out, room) : 0;
    int n;

    if (used >= room)
        return used;
    if (at->name)
        n = snprintf(out + used, room - used, "%s%s", used ? "." : "", at->name);
    else
        n = snprintf(out + used, room - used, "[%zu]", at->index);
    return used + (size_t)n;
}

void at_render(const struct at *at, char out[static AT_TEXT_LEN])
{
    out[0] = '\0';
    render(at, out, AT_TEXT_LEN);
    for (char *c = out; *c; c++) // names are the caller's
        if (*c < 0x20 || *c == 0x7f || (signed char)*c < 0)
            *c = '?';
}

// ---- Faults ----

int fault_at(struct check *c, const struct api_error *e, const struct at *at)
{
    char path[AT_TEXT_LEN];

    at_render(at, path);
    return api_fault_set(c->fault, e, path, path);
}

int fault_says(struct check *c, const struct api_error *e, const struct at *at, const char *text)
{
    char path[AT_TEXT_LEN];

    at_render(at, path);
    return api_fault_text(c->fault, e, path, "%s", text);
}

static const char *type_name(json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "an integer";
    case JSON_REAL:
        return "a decimal number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    case JSON_NULL:
    default:
        return "null";
    }
}

int fault_type(struct check *c, const struct at *at, const char *expected, json_t *got)
{
    char path[AT_TEXT_LEN];

    at_render(at, path);
    return api_fault_text(c->fault, &ERR_INVALID_TYPE, path,
                          "Invalid type for '%s': expected %s, but got %s instead.", path, expected,
                          type_name(got));
}

int fault_words(struct check *c, const struct at *at, const char *const *words)
{
    char path[AT_TEXT_LEN];
    AUTO(buf_fini) struct buf list = {0};

    for (size_t i = 0; words[i]; i++)
        buf_printf(&list, "%s'%s'", i == 0 ? "" : words[i + 1] ? ", " : " and ", words[i]);
    at_render(at, path);
    return api_fault_text(c->fault, &ERR_INVALID_VALUE, path,
                          "Invalid value for '%s'. Supported values are: %s.", path,
                          buf_cstr(&list));
}

/* The number as the caller wrote it, where it is a member of the body itself. */
static void number_text(struct check *c, const struct at *at, json_t *value, char out[static 40])
{
    struct json_member m;

    if (!at->up && json_member_find(c->rq->body, at->name, &m) == 0 && m.value.len < 40)
        snprintf(out, 40, "%.*s", SPAN_FMT(m.value));
    else if (json_is_integer(value))
        snprintf(out, 40, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else
        snprintf(out, 40, "%.10g", json_real_value(value));
}

static int fault_range(struct check *c, const struct at *at, const struct rule *rule, json_t *value,
                       bool above)
{
    const bool integer = rule->kind == K_INTEGER;
    const struct api_error *high = integer ? &ERR_INTEGER_ABOVE_MAX : &ERR_DECIMAL_ABOVE_MAX;
    const struct api_error *low = integer ? &ERR_INTEGER_BELOW_MIN : &ERR_DECIMAL_BELOW_MIN;
    char path[AT_TEXT_LEN], got[40];

    at_render(at, path);
    number_text(c, at, value, got);
    return api_fault_text(
        c->fault, above ? high : low, path,
        "Invalid '%s': %s %s value. Expected a value %s %" PRId64 ", but got %s instead.", path,
        integer ? "integer" : "decimal", above ? "above maximum" : "below minimum",
        above ? "<=" : ">=", above ? rule->max : rule->min, got);
}

static int fault_length(struct check *c, const struct at *at, const struct rule *rule, size_t got)
{
    const bool array = rule->kind == K_ARRAY, above = got > (size_t)rule->max;
    char path[AT_TEXT_LEN];

    if (array && got == 0)
        return fault_at(c, &ERR_EMPTY_ARRAY, at);
    at_render(at, path);
    return api_fault_text(c->fault,
                          !above  ? &ERR_INVALID_VALUE
                          : array ? &ERR_ARRAY_TOO_LONG
                                  : &ERR_STRING_TOO_LONG,
                          path,
                          "Invalid '%s': %s too %s. Expected %s with %s length %" PRId64
                          ", but got one with length %zu.",
                          path, array ? "array" : "string", above ? "long" : "short",
                          array ? "an array" : "a string", above ? "maximum" : "minimum",
                          above ? rule->max : rule->min, got);
}

// ---- Values ----

static bool is_kind(enum rule_kind kind, json_t *value)
{
    switch (kind) {
    case K_STRING:
        return json_is_string(value);
    case K_INTEGER:
        return json_is_integer(value);
    case K_NUMBER:
        return json_is_number(value);
    case K_BOOL:
        return json_is_boolean(value);
    case K_ARRAY:
        return json_is_array(value);
    case K_OBJECT:
        return json_is_object(value);
    case K_ANY:
    case K_DENIED:
    default:
        return true;
    }
}

static const char *kind_name(enum rule_kind kind)
{
    static const char *const names[] = {
        [K_ANY] = "a value",      [K_STRING] = "a string", [K_INTEGER] = "an integer",
        [K_NUMBER] = "a number",  [K_BOOL] = "a boolean",  [K_ARRAY] = "an array",
        [K_OBJECT] = "an object", [K_DENIED] = "nothing",
    };
    return names[kind];
}

static int check_range(struct check *c, const struct at *at, const struct rule *rule, json_t *value)
{
    bool above, below;

    if (json_is_integer(value)) {
        const int64_t v = json_integer_value(value);
        above = v > rule->max;
        below = v < rule->min;
    } else {
        const double v = json_real_value(value);
        above = v > (double)rule->max;
        below = v < (double)rule->min;
    }
    return above || below ? fault_range(c, at, rule, value, above) : 0;
}

size_t utf8_count(struct span s)
{
    size_t n = 0;

    for (size_t i = 0; i < s.len; i++) // bytes that do not continue a character
        n += (s.data[i] & 0xC0) != 0x80;
    return n;
}

static int check_bounds(struct check *c, const struct at *at, const struct rule *rule,
                        json_t *value)
{
    if (rule->min == 0 && rule->max == 0)
        return 0;
    if (rule->kind == K_INTEGER || rule->kind == K_NUMBER)
        return check_range(c, at, rule, value);
    const size_t len =
        rule->kind == K_ARRAY ? json_array_size(value) : utf8_count(string_of(value));
    return len < (size_t)rule->min || len > (size_t)rule->max ? fault_length(c, at, rule, len) : 0;
}

static bool word_legal(const char *const *words, struct span word)
{
    for (; *words; words++)
        if (span_is(word, *words))
            return true;
    return false;
}

int check_value(struct check *c, const struct at *at, const struct rule *rule, json_t *value)
{
    if (rule->kind == K_DENIED)
        return fault_at(c, &ERR_UNSUPPORTED_PARAMETER, at);
    if (!is_kind(rule->kind, value))
        return fault_type(c, at, kind_name(rule->kind), value);
    TRY(check_bounds(c, at, rule, value));
    if (rule->words && !word_legal(rule->words, string_of(value)))
        return fault_words(c, at, rule->words);
    return rule->check ? rule->check(c, at, value) : 0;
}

int check_object(struct check *c, const struct at *at, json_t *object, const struct rule *rules)
{
    for (const struct rule *rule = rules; rule->name; rule++) {
        const struct at here = {.up = at, .name = rule->name};
        json_t *value = json_object_get(object, rule->name);

        if (json_is_null(value) && !rule->required)
            continue;
        if (value)
            TRY(check_value(c, &here, rule, value));
        else if (rule->required)
            return fault_at(c, &ERR_MISSING_PARAMETER, &here);
    }
    return 0;
}

// ---- Small helpers ----

json_t *present(json_t *object, const char *name)
{
    json_t *value = json_object_get(object, name);

    return json_is_null(value) ? NULL : value;
}

struct span string_of(json_t *value)
{
    return span_of(json_string_value(value), json_string_length(value));
}

static bool name_plain(struct span name)
{
    return span_plain(name, "_.[]-", 64);
}

enum { IGNORED_MAX = 32, IGNORED_LEN = IGNORED_MAX * (64 + 1) };

void ignore_name(struct request *rq, struct span name)
{
    if (rq->ignored_count >= IGNORED_MAX)
        return;
    if (rq->ignored_count++ > 0)
        buf_byte(&rq->ignored, ',');
    buf_append(&rq->ignored, name_plain(name) ? name : SPAN("?"));
}

static bool is_listed(struct span names, struct span name)
{
    while (names.len > 0)
        if (span_eq(span_split(&names, ','), name))
            return true;
    return false;
}

void request_ignored(const struct request *rq, struct span more, struct buf *out)
{
    const size_t from = out->len;
    unsigned count = rq->ignored_count;

    buf_append(out, buf_span(&rq->ignored));
    if (more.len > IGNORED_LEN)
        return;
    while (more.len > 0 && count < IGNORED_MAX) {
        const struct span name = span_trim(span_split(&more, ','));
        if ((!name_plain(name) && !span_is(name, "?")) ||
            is_listed(span_from(buf_span(out), from), name))
            continue;
        if (count++ > 0)
            buf_byte(out, ',');
        buf_append(out, name);
    }
}

bool list_has(const char *const *list, struct span name)
{
    for (; *list; list++) {
        const struct span entry = span_str(*list);
        const bool prefix = span_ends(entry, SPAN("*"));
        if (prefix ? span_starts(name, span_cut(entry, 0, entry.len - 1)) : span_eq(entry, name))
            return true;
    }
    return false;
}
