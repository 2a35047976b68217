/* Tables and JSON on standard output. */
#include "tools/output.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* C0 and DEL are one byte; C1, which terminals obey too, is C2 80 to C2 9F in UTF-8. */
static size_t control_len(struct span s)
{
    if (s.data[0] < 0x20 || s.data[0] == 0x7F)
        return 1;
    return s.len > 1 && s.data[0] == 0xC2 && s.data[1] >= 0x80 && s.data[1] < 0xA0 ? 2 : 0;
}

char *text_shown(struct span text)
{
    char *shown = mem_alloc(text.len + 1), *at = shown;

    while (text.len > 0) {
        const size_t control = control_len(text);
        *at++ = control ? '?' : (char)text.data[0];
        text = span_from(text, control ? control : 1);
    }
    *at = '\0';
    return shown;
}

void table_row(struct table *t, size_t columns, const char *const *cells)
{
    CHECK(columns > 0 && columns <= TABLE_COLUMNS && (!t->columns || t->columns == columns));
    t->columns = columns;
    t->cells = mem_grow(t->cells, (t->count + columns) * sizeof(*t->cells));
    for (size_t i = 0; i < columns; i++)
        t->cells[t->count++] = text_shown(span_str(cells[i] ? cells[i] : ""));
}

void table_print(struct table *t)
{
    int widths[TABLE_COLUMNS] = {0};

    for (size_t i = 0; i < t->count; i++) {
        const int width = (int)strnlen(t->cells[i], 200);
        if (width > widths[i % t->columns])
            widths[i % t->columns] = width;
    }
    for (size_t i = 0; i < t->count; i++) {
        if ((i + 1) % t->columns)
            printf("%-*s  ", widths[i % t->columns], t->cells[i]);
        else
            printf("%s\n", t->cells[i]);
    }
}

void table_free(struct table *t)
{
    for (size_t i = 0; i < t->count; i++)
        free(t->cells[i]);
    free(t->cells);
    *t = (struct table){0};
}

// The ledger's seconds since 1970, by the last part of their name.
static bool is_time(const char *name, const json_t *value)
{
    static const char *const names[] = {"applied", "closed", "created", "expires", "not_after",
                                        "revoked", "since",  "taken",   "time"};
    const char *dot = strrchr(name, '.');
    bool found = false;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        found = found || strcmp(dot ? dot + 1 : name, names[i]) == 0;
    return found && json_is_integer(value) && json_integer_value(value) >= 0;
}

// A member as a cell: texts as they are, lists joined by commas.
static void append_cell(struct buf *out, const char *name, const json_t *value)
{
    char time[TIME_TEXT_LEN];

    if (json_is_string(value)) {
        buf_append_str(out, json_string_value(value));
    } else if (json_is_array(value)) {
        for (size_t i = 0; i < json_array_size(value); i++) {
            buf_append_str(out, i ? "," : "");
            append_cell(out, name, json_array_get(value, i));
        }
    } else if (is_time(name, value)) {
        time_text(time, (uint64_t)json_integer_value(value));
        buf_append_str(out, time);
    } else if (value && !json_is_object(value)) {
        char *text = json_dumps(value, JSON_ENCODE_ANY);
        buf_append_str(out, text ? text : "");
        free(text);
    }
}

// The member of a dotted name.
static const json_t *member_at(const json_t *object, const char *name)
{
    struct span rest = span_str(name);
    char part[64];

    while (object && rest.len > 0)
        object = span_cstr(span_split(&rest, '.'), part, sizeof(part)) == 0
                     ? json_object_get(object, part)
                     : NULL;
    return json_is_null(object) ? NULL : object;
}

static void add_object(struct table *t, const json_t *row, const char *const *columns, size_t count)
{
    struct buf cells[TABLE_COLUMNS] = {0};
    const char *texts[TABLE_COLUMNS] = {0};

    for (size_t i = 0; i < count; i++) {
        append_cell(&cells[i], columns[i], member_at(row, columns[i]));
        texts[i] = buf_cstr(&cells[i]);
    }
    table_row(t, count, texts);
    for (size_t i = 0; i < count; i++)
        buf_fini(&cells[i]);
}

void table_of(const json_t *rows, const char *const *columns, size_t count)
{
    struct table t = {0};

    CHECK(count <= TABLE_COLUMNS);
    table_row(&t, count, columns);
    for (size_t i = 0; i < json_array_size(rows); i++)
        add_object(&t, json_array_get(rows, i), columns, count);
    table_print(&t);
    table_free(&t);
}

void json_print(const json_t *value)
{
    json_dumpf(value, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
    putchar('\n');
}

static void add_flat(struct table *t, const char *name, json_t *value);

static void add_members(struct table *t, const char *prefix, json_t *object)
{
    const char *key;
    json_t *member;
    char name[256];

    json_object_foreach(object, key, member) {
        snprintf(name, sizeof(name), "%s%s%s", prefix, *prefix ? "." : "", key);
        add_flat(t, name, member);
    }
}

static void add_elements(struct table *t, const char *prefix, const json_t *array)
{
    char name[256];

    for (size_t i = 0; i < json_array_size(array); i++) {
        snprintf(name, sizeof(name), "%s[%zu]", prefix, i);
        add_flat(t, name, json_array_get(array, i));
    }
}

// Input is bounded in depth by json_read.
static void add_flat(struct table *t, const char *name, json_t *value)
{
    if (json_is_object(value)) {
        add_members(t, name, value);
    } else if (json_is_array(value)) {
        add_elements(t, name, value);
    } else {
        AUTO(buf_fini) struct buf cell = {0};
        append_cell(&cell, name, value);
        table_row(t, 2, (const char *const[]){name, buf_cstr(&cell)});
    }
}

void json_print_flat(json_t *value)
{
    struct table t = {0};

    add_flat(&t, "", value);
    table_print(&t);
    table_free(&t);
}

void date_text(char out[static TIME_TEXT_LEN], uint64_t seconds)
{
    const time_t at = (time_t)seconds;
    struct tm tm;

    if (!gmtime_r(&at, &tm) || strftime(out, TIME_TEXT_LEN, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        snprintf(out, TIME_TEXT_LEN, "%" PRIu64, seconds);
}

static const uint64_t year_9999 = 253402300799;

void time_text(char out[static TIME_TEXT_LEN], uint64_t seconds)
{
    if (seconds == 0 || seconds > year_9999)
        snprintf(out, TIME_TEXT_LEN, "never");
    else
        date_text(out, seconds);
}
