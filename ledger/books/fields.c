/* Walks a body by the table; what the table does not name is refused, so that a mistyped limit is
 * not no limit. */
#include "ledger/books/fields.h"

#include <stdio.h>

#include "attest/require.h"
#include "auth/cidr.h"
#include "auth/keys.h"
#include "ledger/books/books.h"
#include "ledger/books/record.h"

enum {
    NAME_MAX_LEN = 96,
    LIST_MAX = 1000,
    MODEL_MAX = 256,
    PER_MODEL_MAX = 256,
    REQUIRE_MAX = 256
};

static int refuse(const char *name, const char *what)
{
    books_why("%s %s", name, what);
    return E_INVALID;
}

static struct span text_of(const json_t *value)
{
    return span_of(json_string_value(value), json_string_length(value));
}

// ---- Values -------------------------------------------------------------------------------------

static const char *check_int(const struct field *f, const json_t *value)
{
    const json_int_t v = json_integer_value(value);

    return json_is_integer(value) && v >= f->min && v <= f->max ? NULL
                                                                : "must be a whole number in range";
}

static const char *check_money(const struct field *f, const json_t *value)
{
    uint64_t nano;
    const bool good =
        json_is_string(value) && span_u64(text_of(value), (uint64_t)f->max, &nano) == 0;

    return good ? NULL : "must be nano as decimal text, such as \"1000000000\", at most 2^53-1";
}

static const char *check_text(const struct field *f, const json_t *value)
{
    const struct span s = text_of(value);

    if (!json_is_string(value) || s.len > (size_t)f->max)
        return "must be a text, and not so long";
    for (size_t i = 0; i < s.len; i++)
        if (s.data[i] < 0x20 || s.data[i] == 0x7F)
            return "must have no control characters";
    return NULL;
}

static const char *check_choice(const struct field *f, const json_t *value)
{
    struct span rest = span_str(f->words);

    while (json_is_string(value) && rest.len > 0)
        if (span_eq(span_split(&rest, ' '), text_of(value)))
            return NULL;
    return "is no word that is known here";
}

static bool is_model(struct span s)
{
    return span_visible(s, MODEL_MAX);
}

static bool is_range(struct span s)
{
    struct cidr range;

    return cidr_parse(&range, s) == 0;
}

static const char *check_list(const json_t *value, bool (*valid)(struct span))
{
    const json_t *item;
    size_t i;

    if (!json_is_array(value) || json_array_size(value) > LIST_MAX)
        return "must be a list";
    json_array_foreach(value, i, item) {
        if (!json_is_string(item) || !valid(text_of(item)))
            return "has an entry that is not allowed";
    }
    return NULL;
}

static const char *check_require(const json_t *value)
{
    struct attest_require require;
    char why[120];
    const struct span s = text_of(value);

    if (!json_is_string(value) || s.len > REQUIRE_MAX)
        return "must be a text as Cocoon-Require";
    return s.len == 0 || attest_require_read(&require, s, why) == 0 ? NULL : "is no Cocoon-Require";
}

static const struct field per_model[] = {
    {.name = "requests_per_minute", .type = FIELD_INT, .max = FIELD_LIMIT_MAX},
    {.name = "tokens_per_minute", .type = FIELD_INT, .max = FIELD_LIMIT_MAX},
    {.name = "streams", .type = FIELD_INT, .max = FIELD_LIMIT_MAX},
};

static const char *check_per_model(const json_t *value)
{
    const char *model;
    json_t *limits;

    if (!json_is_object(value) || json_object_size(value) > PER_MODEL_MAX)
        return "must be an object of models";
    json_object_foreach((json_t *)(uintptr_t)value, model, limits) {
        AUTO_JSON json_t *taken = record_object();
        if (!is_model(span_str(model)) || !json_is_object(limits) ||
            fields_take(per_model, sizeof(per_model) / sizeof(per_model[0]), limits, taken) < 0)
            return "has a model or limit that is not allowed";
    }
    return NULL;
}

// What is wrong with a value, or NULL.
static const char *check(const struct field *f, const json_t *value)
{
    switch (f->type) {
    case FIELD_INT:
        return check_int(f, value);
    case FIELD_MONEY:
        return check_money(f, value);
    case FIELD_BOOL:
        return json_is_boolean(value) ? NULL : "must be true or false";
    case FIELD_TEXT:
        return check_text(f, value);
    case FIELD_ID:
        return json_is_string(value) && record_id_valid(text_of(value))
                   ? NULL
                   : "must be 1 to 64 letters, digits, '.', '_' or '-'";
    case FIELD_CHOICE:
        return check_choice(f, value);
    case FIELD_MODELS:
        return check_list(value, is_model);
    case FIELD_ENDPOINTS:
        return check_list(value, key_endpoint_known);
    case FIELD_RANGES:
        return check_list(value, is_range);
    case FIELD_REQUIRE:
        return check_require(value);
    case FIELD_PER_MODEL:
        return check_per_model(value);
    }
    return "cannot be set";
}

// ---- Members ------------------------------------------------------------------------------------

static const struct field *find(const struct field *table, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(table[i].name, name) == 0)
            return &table[i];
    return NULL;
}

static bool is_group(const struct field *table, size_t count, const char *name)
{
    const size_t len = strlen(name);

    for (size_t i = 0; i < count; i++)
        if (strncmp(table[i].name, name, len) == 0 && table[i].name[len] == '.')
            return true;
    return false;
}

static int take_value(const struct field *f, const char *member, json_t *value, json_t *into)
{
    const char *wrong = json_is_null(value) ? NULL : check(f, value);

    if (wrong)
        return refuse(f->name, wrong);
    if (json_is_null(value))
        json_object_del(into, member);
    else
        record_set(into, member, json_incref(value));
    return 0;
}

static int take_group(const struct field *table, size_t count, const char *group,
                      const json_t *body, json_t *settings)
{
    char name[NAME_MAX_LEN];
    const char *member;
    json_t *value;

    if (json_is_null(body)) {
        json_object_del(settings, group);
        return 0;
    }
    if (!json_is_object(body))
        return refuse(group, "must be an object");
    if (!json_is_object(json_object_get(settings, group)))
        record_set(settings, group, record_object());
    json_object_foreach((json_t *)(uintptr_t)body, member, value) {
        snprintf(name, sizeof(name), "%s.%s", group, member);
        const struct field *f = find(table, count, name);
        if (!f)
            return refuse(group, "has a member that is not known");
        TRY(take_value(f, member, value, json_object_get(settings, group)));
    }
    if (json_object_size(json_object_get(settings, group)) == 0)
        json_object_del(settings, group);
    return 0;
}

int fields_take(const struct field *table, size_t count, const json_t *body, json_t *settings)
{
    const char *member;
    json_t *value;

    if (!json_is_object(body))
        return refuse("the body", "must be an object");
    json_object_foreach((json_t *)(uintptr_t)body, member, value) {
        const struct field *f = strchr(member, '.') ? NULL : find(table, count, member);
        if (f)
            TRY(take_value(f, member, value, settings));
        else if (is_group(table, count, member))
            TRY(take_group(table, count, member, value, settings));
        else
            return refuse("the body", "has a member that is not known here");
    }
    return 0;
}
