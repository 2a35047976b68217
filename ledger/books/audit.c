/* Rows are only ever added; the tables' triggers refuse another thing. */
#include "ledger/books/audit.h"

#include "ledger/books/record.h"

static const char *const names[] = {"none", "viewer", "support", "treasurer", "admin"};

const char *role_name(enum role r)
{
    return names[r];
}

int role_read(struct span word, enum role *out)
{
    for (int r = ROLE_VIEWER; r <= ROLE_ADMIN; r++) {
        if (span_is(word, names[r])) {
            *out = (enum role)r;
            return 0;
        }
    }
    return E_NOT_FOUND;
}

static void text_of(struct buf *out, const json_t *value)
{
    if (value)
        record_write(out, value);
}

int audit_note(struct books *b, const struct actor *a, const char *action, const char *object,
               const json_t *before, const json_t *after)
{
    AUTO(buf_fini) struct buf had = {0};
    AUTO(buf_fini) struct buf has = {0};

    text_of(&had, before);
    text_of(&has, after);
    return DB_RUN(b->db, NULL,
                  "INSERT INTO audit (seq, time, who, role, action, object, before, after) "
                  "SELECT COALESCE(MAX(seq), 0) + 1, $1, $2, $3, $4, $5, $6, $7 FROM audit",
                  value_int((int64_t)b->now_s), value_str(a->who), value_str(names[a->role]),
                  value_str(action), value_str(object), value_text(buf_span(&had)),
                  value_text(buf_span(&has)));
}

static json_t *json_or_null(struct span text)
{
    json_t *value = NULL;

    return text.len > 0 && record_read(text, &value) == 0 ? value : json_null();
}

static json_t *audit_json(const struct rows *rows)
{
    json_t *row = record_object();

    record_set_int(row, "seq", rows_int(rows, 0));
    record_set_int(row, "time", rows_int(rows, 1));
    record_set_text(row, "who", rows_bytes(rows, 2));
    record_set_text(row, "role", rows_bytes(rows, 3));
    record_set_text(row, "action", rows_bytes(rows, 4));
    record_set_text(row, "object", rows_bytes(rows, 5));
    record_set(row, "before", json_or_null(rows_bytes(rows, 6)));
    record_set(row, "after", json_or_null(rows_bytes(rows, 7)));
    return row;
}

int audit_list(struct books *b, const char *object, int64_t before, size_t limit, json_t **out)
{
    AUTO(rows_free) struct rows *rows = NULL;

    *out = NULL;
    TRY(DB_SELECT(&rows, b->db,
                  "SELECT seq, time, who, role, action, object, before, after FROM audit WHERE "
                  "($1 = '' OR object = $1) AND (CAST($2 AS BIGINT) = 0 OR seq < $2) ORDER BY "
                  "seq DESC LIMIT $3",
                  value_str(object), value_int(before), value_int((int64_t)limit + 1)));
    return record_page(rows, limit, audit_json, out);
}
