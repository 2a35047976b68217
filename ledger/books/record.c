/* Memory is all that can lack here, so that nothing fails. */
#include "ledger/books/record.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { ID_MAX = 64, AFTER_LEN = 2 * (ID_MAX + 1), EACH_PAGE = 500 };

json_t *record_object(void)
{
    json_t *object = json_object();

    CHECK(object);
    return object;
}

void record_set(json_t *object, const char *name, json_t *take)
{
    CHECK(take && json_object_set_new(object, name, take) == 0);
}

// Rows of a damaged database may hold what is no UTF-8: shown as nothing.
void record_set_text(json_t *object, const char *name, struct span text)
{
    json_t *value = json_stringn(text.data ? (const char *)text.data : "", text.len);

    record_set(object, name, value ? value : json_string(""));
}

void record_set_int(json_t *object, const char *name, int64_t number)
{
    record_set(object, name, json_integer(number));
}

void record_set_money(json_t *object, const char *name, int64_t nano)
{
    char text[24];

    snprintf(text, sizeof(text), "%" PRId64, nano);
    record_set(object, name, json_string(text));
}

void record_merge(json_t *object, const json_t *from)
{
    json_t *copy = json_deep_copy(from);

    CHECK(copy && json_object_update_missing(object, copy) == 0);
    json_decref(copy);
}

const json_t *record_at(const json_t *object, const char *name)
{
    struct span rest = span_str(name);

    while (object && rest.len > 0) {
        const struct span part = span_split(&rest, '.');
        char key[64];
        if (span_cstr(part, key, sizeof(key)) < 0)
            return NULL;
        object = json_object_get(object, key);
    }
    return json_is_null(object) ? NULL : object;
}

int64_t record_int(const json_t *object, const char *name, int64_t absent)
{
    const json_t *value = record_at(object, name);

    return json_is_integer(value) ? json_integer_value(value) : absent;
}

const char *record_text(const json_t *object, const char *name, const char *absent)
{
    const json_t *value = record_at(object, name);

    const char *text = json_string_value(value);

    return text && strlen(text) == json_string_length(value) ? text : absent;
}

int64_t record_money(const json_t *object, const char *name)
{
    uint64_t nano = 0;

    (void)span_u64(span_str(record_text(object, name, "0")), INT64_MAX, &nano);
    return (int64_t)nano;
}

void record_write(struct buf *out, const json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);

    CHECK(text);
    buf_append_str(out, text);
    free(text);
}

int record_read(struct span text, json_t **out)
{
    *out = json_loadb((const char *)text.data, text.len, 0, NULL);
    return *out ? 0 : E_INVALID;
}

int record_one(struct rows *rows, record_row_fn *fn, json_t **out)
{
    const int row = rows_next(rows);

    if (row > 0)
        *out = fn(rows);
    return row < 0 ? row : row > 0 ? 0 : E_NOT_FOUND;
}

int record_page(struct rows *rows, size_t limit, record_row_fn *fn, json_t **out)
{
    json_t *data = json_array();
    int row = 0;

    CHECK(data);
    while (json_array_size(data) < limit && (row = rows_next(rows)) > 0)
        CHECK(json_array_append_new(data, fn(rows)) == 0);
    const int more = row > 0 ? rows_next(rows) : row;
    *out = record_object();
    record_set(*out, "data", data);
    record_set(*out, "has_more", json_boolean(more > 0));
    return more < 0 ? more : 0;
}

int record_each(struct books *b, record_list_fn *list, const char *account, const char *prefix,
                record_item_fn *fn, void *arg)
{
    char after[AFTER_LEN] = "";
    bool more = true;

    while (more) {
        AUTO_JSON json_t *page = NULL;
        TRY(list(b, account, after, EACH_PAGE, &page));
        const json_t *data = json_object_get(page, "data");
        for (size_t i = 0; i < json_array_size(data); i++) {
            const json_t *item = json_array_get(data, i);
            fn(arg, item);
            snprintf(after, sizeof(after), "%s%s", prefix, record_text(item, "id", ""));
        }
        more = json_is_true(json_object_get(page, "has_more"));
    }
    return 0;
}

bool record_id_valid(struct span id)
{
    return span_plain(id, "._-", ID_MAX);
}
