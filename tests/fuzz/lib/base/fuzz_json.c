/* JSON of strangers: reading, walking, and splicing, whose result must read again with every
 * untouched member byte for byte as it was. The first byte picks the edits. */
#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

// On any bytes: ends, moves on, and stays inside.
static void walk(struct span text, int depth)
{
    AUTO(buf_fini) struct buf decoded = {0};
    struct json_member m;
    struct span value;
    size_t at = 0, before = 0;

    while (json_member_next(text, &at, &m) == 0) {
        CHECK(at > before && at <= text.len);
        CHECK(m.whole.data >= text.data && m.whole.data + m.whole.len == text.data + at);
        CHECK(m.value.data + m.value.len == text.data + at && m.value.len > 0);
        before = at;
        const size_t kept = decoded.len;
        CHECK(json_string_decode(m.value, &decoded) == 0 || decoded.len == kept);
        if (depth > 0)
            walk(m.value, depth - 1);
    }
    for (at = before = 0; json_element_next(text, &at, &value) == 0; before = at) {
        CHECK(at > before && value.data + value.len == text.data + at && value.len > 0);
        if (depth > 0)
            walk(value, depth - 1);
    }
}

// The decoded name as a C string; json_read lets no NUL into a name.
static const char *name_of(const struct json_member *m, struct buf *out)
{
    buf_clear(out);
    CHECK(json_string_decode(span_of(m->name.data - 1, m->name.len + 2), out) == 0);
    return buf_cstr(out);
}

static const struct json_edit *edit_of(const struct json_edit *edits, size_t count,
                                       const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(edits[i].name, name) == 0)
            return &edits[i];
    return NULL;
}

// What the walk finds must be what the parser found.
static void compare_walk(struct span text, const json_t *doc)
{
    AUTO(buf_fini) struct buf name = {0}, string = {0};
    struct json_member m;
    size_t at = 0, count = 0;
    int error;

    for (; (error = json_member_next(text, &at, &m)) == 0; count++) {
        const json_t *value = json_object_get(doc, name_of(&m, &name));
        CHECK(value);
        struct json_member found;
        CHECK(json_member_find(text, buf_cstr(&name), &found) == 0);
        CHECK(found.whole.data == m.whole.data);
        buf_clear(&string);
        if (!json_is_string(value)) {
            CHECK(json_string_decode(m.value, &string) == E_INVALID);
            continue;
        }
        CHECK(json_string_decode(m.value, &string) == 0);
        CHECK(span_eq(buf_span(&string),
                      span_of(json_string_value(value), json_string_length(value))));
    }
    CHECK(error == E_NOT_FOUND && count == json_object_size(doc));
}

static bool next_untouched(struct span text, size_t *at, const struct json_edit *edits,
                           size_t count, struct json_member *m)
{
    AUTO(buf_fini) struct buf name = {0};

    while (json_member_next(text, at, m) == 0)
        if (!edit_of(edits, count, name_of(m, &name)))
            return true;
    return false;
}

static void compare_splice(struct span before, struct span after, const struct json_edit *edits,
                           size_t count)
{
    AUTO_JSON json_t *doc = NULL;
    struct json_member a, b;
    size_t at_a = 0, at_b = 0;

    CHECK(json_read(after, &doc) == 0);
    while (next_untouched(before, &at_a, edits, count, &a)) {
        CHECK(next_untouched(after, &at_b, edits, count, &b));
        CHECK(span_eq(a.whole, b.whole));
    }
    CHECK(!next_untouched(after, &at_b, edits, count, &b));
    for (size_t i = 0; i < count; i++) {
        const int error = json_member_find(after, edits[i].name, &b);
        CHECK(edits[i].value.data ? error == 0 && span_eq(b.value, edits[i].value)
                                  : error == E_NOT_FOUND);
    }
}

// Edits of one member of the text, where there is one, and of two fixed names.
static void splice(struct span text, uint8_t choice)
{
    AUTO(buf_fini) struct buf name = {0}, out = {0};
    const struct span values[] = {{0}, SPAN("\"x\""), SPAN("[1, 2]"), {0}};
    struct json_edit edits[3] = {{"a", values[choice & 3]}, {"model\n", values[choice >> 2 & 3]}};
    struct json_member m;
    size_t at = 0, count = 2;

    for (int i = choice >> 6; i >= 0 && json_member_next(text, &at, &m) == 0; i--)
        if (i == 0 && !edit_of(edits, count, name_of(&m, &name)))
            edits[count++] = (struct json_edit){buf_cstr(&name), values[choice >> 4 & 3]};
    CHECK(json_splice(text, edits, count, &out) == 0);
    compare_splice(text, buf_span(&out), edits, count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    AUTO_JSON json_t *doc = NULL;
    AUTO(buf_fini) struct buf out = {0};

    if (len == 0)
        return 0;
    const struct span text = span_of(data + 1, len - 1);
    walk(text, 4);
    if (json_read(text, &doc) == 0) {
        compare_walk(text, doc);
        splice(text, data[0]);
        return 0;
    }
    const struct json_edit edit = {"a", SPAN("1")};
    const int error = json_splice(text, &edit, 1, &out);
    CHECK(error == 0 || out.len == 0);
    return 0;
}
