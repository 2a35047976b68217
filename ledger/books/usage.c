/* One SQL text a set of columns, from constant parts only. */
#include "ledger/books/usage.h"

#include <inttypes.h>
#include <stdlib.h>

#include "ledger/books/record.h"

enum { ROWS_MAX = 100000 };

static const struct column {
    unsigned bit;
    const char *word; /* of usage_by_read, and the member's name but for the times */
    const char *sql;
} columns[] = {
    {USAGE_BY_ACCOUNT, "account", "account"},
    {USAGE_BY_PROJECT, "project", "project"},
    {USAGE_BY_KEY, "key", "key"},
    {USAGE_BY_MODEL, "model", "model"},
    {USAGE_BY_HOUR, "hour", "hour * 3600"},
    {USAGE_BY_DAY, "day", "hour / 24 * 86400"},
};
enum { COLUMNS = sizeof(columns) / sizeof(columns[0]) };

static const char *const sums[] = {"requests", "in", "cached", "out", "reasoning", "amount", "fee"};
enum { SUMS = sizeof(sums) / sizeof(sums[0]), COUNTS = 5 };

#define SUM_COLUMNS                                                                                \
    "COUNT(*), CAST(SUM(tokens_in) AS BIGINT), CAST(SUM(cached) AS BIGINT), "                      \
    "CAST(SUM(tokens_out) AS BIGINT), CAST(SUM(reasoning) AS BIGINT), "                            \
    "CAST(SUM(amount) AS BIGINT), CAST(SUM(fee) AS BIGINT)"

static bool is_time(unsigned bit)
{
    return bit & (USAGE_BY_HOUR | USAGE_BY_DAY);
}

int usage_by_read(struct span words, unsigned *by)
{
    *by = 0;
    while (words.len > 0) {
        const struct span word = span_split(&words, ',');
        unsigned bit = 0;
        for (size_t i = 0; i < COLUMNS; i++)
            bit |= span_is(word, columns[i].word) ? columns[i].bit : 0;
        if (bit == 0)
            return E_INVALID;
        *by |= bit;
    }
    return (*by & USAGE_BY_HOUR) && (*by & USAGE_BY_DAY) ? E_INVALID : 0;
}

static void write_sql(struct buf *sql, unsigned by)
{
    const char *separator = "";

    buf_append_str(sql, "SELECT ");
    for (size_t i = 0; i < COLUMNS; i++)
        if (by & columns[i].bit)
            buf_printf(sql, "%s, ", columns[i].sql);
    buf_append_str(
        sql, SUM_COLUMNS
        " FROM bills WHERE ($1 = '' OR account = $1) AND ($2 = '' OR project = $2) AND "
        "($3 = '' OR key = $3) AND ($4 = '' OR model = $4) AND hour >= $5 AND hour < $6");
    for (int grouping = 1; by && grouping >= 0; grouping--) {
        buf_append_str(sql, grouping ? " GROUP BY " : " ORDER BY ");
        separator = "";
        for (size_t i = 0; i < COLUMNS; i++) {
            if (!(by & columns[i].bit))
                continue;
            buf_printf(sql, "%s%s", separator, columns[i].sql);
            separator = ", ";
        }
    }
    buf_append_str(sql, by ? " LIMIT 100001" : " HAVING COUNT(*) > 0");
}

static json_t *row_json(const struct rows *rows, unsigned by)
{
    json_t *it = record_object();
    size_t at = 0;

    for (size_t i = 0; i < COLUMNS; i++) {
        if (!(by & columns[i].bit))
            continue;
        if (is_time(columns[i].bit))
            record_set_int(it, "time", rows_int(rows, at++));
        else
            record_set_text(it, columns[i].word, rows_bytes(rows, at++));
    }
    for (size_t i = 0; i < SUMS; i++, at++) {
        if (i < COUNTS)
            record_set_int(it, sums[i], rows_int(rows, at));
        else
            record_set_money(it, sums[i], rows_int(rows, at));
    }
    return it;
}

int usage_read(struct books *b, const struct usage_filter *f, json_t **out)
{
    AUTO(buf_fini) struct buf sql = {0}; /* outlives the rows, which name their statement by it */
    AUTO(rows_free) struct rows *rows = NULL;
    AUTO_JSON json_t *list = json_array();
    int row;

    *out = NULL;
    write_sql(&sql, f->by);
    TRY(DB_SELECT(&rows, b->db, buf_cstr(&sql), value_str(f->account), value_str(f->project),
                  value_str(f->key), value_str(f->model), value_int(f->from_hour),
                  value_int(f->to_hour)));
    while ((row = rows_next(rows)) > 0) {
        if (json_array_size(list) == ROWS_MAX)
            return E_TOO_LARGE;
        CHECK(json_array_append_new(list, row_json(rows, f->by)) == 0);
    }
    *out = json_incref(list);
    return row;
}

// ---- CSV ----------------------------------------------------------------------------------------

static void csv_text(struct buf *out, const char *text)
{
    buf_append_str(out, strchr("=+-@\t\r", *text) && *text ? "\"'" : "\"");
    for (; *text; text++) {
        if (*text == '"')
            buf_byte(out, '"');
        buf_byte(out, (uint8_t)*text);
    }
    buf_byte(out, '"');
}

static void csv_cell(struct buf *out, const json_t *value, bool text)
{
    if (json_is_integer(value))
        buf_printf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (text)
        csv_text(out, json_string_value(value) ? json_string_value(value) : "");
    else
        buf_append_str(out, json_string_value(value) ? json_string_value(value) : "");
}

void usage_csv(struct buf *out, const json_t *rows, unsigned by)
{
    for (size_t i = 0; i < COLUMNS; i++)
        if (by & columns[i].bit)
            buf_printf(out, "%s,", is_time(columns[i].bit) ? "time" : columns[i].word);
    for (size_t i = 0; i < SUMS; i++)
        buf_printf(out, "%s%s", sums[i], i + 1 < SUMS ? "," : "\r\n");
    for (size_t r = 0; r < json_array_size(rows); r++) {
        const json_t *row = json_array_get(rows, r);
        for (size_t i = 0; i < COLUMNS; i++) {
            if (!(by & columns[i].bit))
                continue;
            const char *name = is_time(columns[i].bit) ? "time" : columns[i].word;
            csv_cell(out, json_object_get(row, name), true);
            buf_byte(out, ',');
        }
        for (size_t i = 0; i < SUMS; i++) {
            csv_cell(out, json_object_get(row, sums[i]), false);
            buf_append_str(out, i + 1 < SUMS ? "," : "\r\n");
        }
    }
}

// ---- For gateways -------------------------------------------------------------------------------

static void write_field(const struct rows *rows, struct buf *field, struct buf *value)
{
    buf_clear(field);
    buf_clear(value);
    buf_printf(field, "%" PRId64 "|%s|%s|%s", rows_int(rows, 0), rows_text(rows, 1),
               rows_text(rows, 2), rows_text(rows, 3));
    for (size_t i = 4; i < 10; i++)
        buf_printf(value, "%s%" PRId64, i > 4 ? "," : "", rows_int(rows, i));
}

#define SUM_FROM(hour) "CAST(SUM(CASE WHEN hour >= " hour " THEN amount ELSE 0 END) AS BIGINT)"

int usage_charged(struct books *b, const char *account, const int64_t from_hour[static USAGE_SPANS],
                  usage_charged_fn *fn, void *arg)
{
    AUTO(rows_free) struct rows *rows = NULL;
    int64_t earliest = INT64_MAX;
    int row;

    for (size_t i = 0; i < USAGE_SPANS; i++)
        earliest = from_hour[i] < earliest ? from_hour[i] : earliest;
    TRY(DB_SELECT(&rows, b->db,
                  "SELECT project, key, " SUM_FROM("$2") ", " SUM_FROM("$3") ", " SUM_FROM(
                      "$4") " FROM bills WHERE account = $1 AND hour >= $5 GROUP BY project, key",
                  value_str(account), value_int(from_hour[0]), value_int(from_hour[1]),
                  value_int(from_hour[2]), value_int(earliest)));
    while ((row = rows_next(rows)) > 0) {
        const int64_t nano[] = {rows_int(rows, 2), rows_int(rows, 3), rows_int(rows, 4)};
        fn(arg, rows_text(rows, 0), rows_text(rows, 1), nano);
    }
    return row;
}

int usage_day(struct books *b, const char *account, int64_t day, usage_field_fn *fn, void *arg)
{
    AUTO(rows_free) struct rows *rows = NULL;
    AUTO(buf_fini) struct buf field = {0};
    AUTO(buf_fini) struct buf value = {0};
    int row;

    TRY(DB_SELECT(&rows, b->db,
                  "SELECT hour % 24, project, key, model, " SUM_COLUMNS
                  " FROM bills WHERE account = $1 AND hour >= $2 AND hour < $3 "
                  "GROUP BY hour % 24, project, key, model",
                  value_str(account), value_int(day * 24), value_int(day * 24 + 24)));
    while ((row = rows_next(rows)) > 0) {
        write_field(rows, &field, &value);
        fn(arg, buf_span(&field), buf_span(&value));
    }
    return row;
}

int usage_days(struct books *b, int64_t from_day, usage_days_fn *fn, void *arg)
{
    AUTO(rows_free) struct rows *rows = NULL;
    int row;

    TRY(DB_SELECT(&rows, b->db, "SELECT DISTINCT account, hour / 24 FROM bills WHERE hour >= $1",
                  value_int(from_day * 24)));
    while ((row = rows_next(rows)) > 0)
        fn(arg, rows_text(rows, 0), rows_int(rows, 1));
    return row;
}
