/* Checks of members that several endpoints share. */
#include <stdio.h>

#include "openai/check.h"

int check_model(struct check *c, const struct at *at, json_t *value)
{
    enum { LONGEST = 256 };
    const struct span name = string_of(value);

    if (name.len == 0)
        return fault_says(c, &ERR_INVALID_VALUE, at, "Invalid value for 'model': it is empty.");
    if (name.len > LONGEST || memchr(name.data, '\0', name.len))
        return fault_at(c, &ERR_INVALID_VALUE, at);
    return 0;
}

int check_n(struct check *c, const struct at *at, json_t *value)
{
    enum { MOST = 128 };
    const unsigned own = c->rules->max_n;
    const struct rule range = {.kind = K_INTEGER, .min = 1, .max = own && own < MOST ? own : MOST};

    return check_value(c, at, &range, value);
}

int check_stop(struct check *c, const struct at *at, json_t *value)
{
    static const struct rule list = {.kind = K_ARRAY, .min = 1, .max = 4};
    static const struct rule text = {.kind = K_STRING};

    if (json_is_string(value))
        return 0;
    if (!json_is_array(value))
        return fault_type(c, at, "a string or an array of strings", value);
    TRY(check_value(c, at, &list, value));
    for (size_t i = 0; i < json_array_size(value); i++) {
        const struct at here = {.up = at, .index = i};
        TRY(check_value(c, &here, &text, json_array_get(value, i)));
    }
    return 0;
}

int check_logit_bias(struct check *c, const struct at *at, json_t *value)
{
    enum { MOST = 1024 };
    static const struct rule bias = {.kind = K_INTEGER, .min = -100, .max = 100};
    const char *name;
    json_t *number;

    if (json_object_size(value) > MOST)
        return fault_says(c, &ERR_INVALID_VALUE, at,
                          "Invalid 'logit_bias': more than 1024 entries.");
    json_object_foreach(value, name, number) {
        const struct at here = {.up = at, .name = name};
        TRY(check_value(c, &here, &bias, number));
    }
    return 0;
}

int check_metadata(struct check *c, const struct at *at, json_t *value)
{
    enum { MOST = 16 };
    static const struct rule text = {.kind = K_STRING, .max = 512};
    const char *name;
    json_t *member;

    if (json_object_size(value) > MOST)
        return fault_says(c, &ERR_INVALID_VALUE, at, "Invalid 'metadata': more than 16 pairs.");
    json_object_foreach(value, name, member) {
        const struct at here = {.up = at, .name = name};
        if (utf8_count(span_str(name)) > 64)
            return fault_says(c, &ERR_STRING_TOO_LONG, at,
                              "Invalid 'metadata': a key is longer than 64 characters.");
        TRY(check_value(c, &here, &text, member));
    }
    return 0;
}

int check_stream_options(struct check *c, const struct at *at, json_t *value)
{
    static const struct rule rules[] = {
        {.name = "include_usage", .kind = K_BOOL},
        {.name = "include_obfuscation", .kind = K_BOOL},
        {0},
    };

    if (!json_is_true(json_object_get(c->doc, "stream")))
        return fault_at(c, &ERR_STREAM_OPTIONS, at);
    return check_object(c, at, value, rules);
}

int check_store(struct check *c, const struct at *at, json_t *value)
{
    if (!json_is_true(value))
        return 0;
    if (c->rules->strict)
        return fault_says(
            c, &ERR_UNSUPPORTED_VALUE, at,
            "Unsupported value for 'store': nothing is stored here; only false is accepted.");
    ignore_name(c->rq, SPAN("store"));
    return 0;
}

int check_timeout(struct check *c, const struct at *at, json_t *value)
{
    if (json_number_value(value) > 0)
        return 0;
    return fault_says(c, &ERR_DECIMAL_BELOW_MIN, at,
                      "Invalid 'timeout': decimal below minimum value. Expected a value > 0.");
}
