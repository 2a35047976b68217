/* Foreign JSON: bounded by the scanner first, judged and read by jansson then. */
#include "base/json.h"

int json_read(struct span text, json_t **out)
{
    json_error_t error; // its text quotes the input, so it goes nowhere

    *out = NULL;
    TRY(json_bound(text, JSON_MAX_DEPTH, JSON_MAX_VALUES));
    if (text.len > 0 && memchr(text.data, 0, text.len))
        return E_INVALID; // jansson takes one behind a number for white space
    json_t *doc = json_loadb((const char *)text.data, text.len,
                             JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (!json_is_object(doc)) {
        json_decref(doc);
        return E_INVALID;
    }
    *out = doc;
    return 0;
}

// The member's value, neither absent nor null.
static int member(const json_t *obj, const char *name, const json_t **out)
{
    if (!obj || json_is_null(obj))
        return E_NOT_FOUND;
    if (!json_is_object(obj))
        return E_INVALID;
    *out = json_object_get(obj, name);
    return !*out || json_is_null(*out) ? E_NOT_FOUND : 0;
}

int json_obj_string(const json_t *obj, const char *name, struct span *out)
{
    const json_t *value;

    TRY(member(obj, name, &value));
    if (!json_is_string(value))
        return E_INVALID;
    *out = span_of(json_string_value(value), json_string_length(value));
    return 0;
}

int json_obj_int(const json_t *obj, const char *name, int64_t min, int64_t max, int64_t *out)
{
    const json_t *value;

    TRY(member(obj, name, &value));
    if (!json_is_integer(value))
        return E_INVALID;
    const int64_t number = json_integer_value(value);
    if (number < min || number > max)
        return E_INVALID;
    *out = number;
    return 0;
}

int json_obj_bool(const json_t *obj, const char *name, bool *out)
{
    const json_t *value;

    TRY(member(obj, name, &value));
    if (!json_is_boolean(value))
        return E_INVALID;
    *out = json_is_true(value);
    return 0;
}
