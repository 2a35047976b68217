/* The journal is another SQLite file, read through the same calls. */
#include "ledger/books/journal.h"

#include "ledger/books/record.h"

static int read_state(struct db *journal, struct journal_result *out)
{
    AUTO(rows_free) struct rows *rows = NULL;
    int row, format = 0;

    TRY(db_select(&rows, journal, "SELECT name, value FROM state", NULL, 0));
    while ((row = rows_next(rows)) > 0) {
        if (span_is(rows_bytes(rows, 0), "instance"))
            TRY(span_cstr(rows_bytes(rows, 1), out->instance, sizeof(out->instance)));
        if (span_is(rows_bytes(rows, 0), "format"))
            format = span_is(rows_bytes(rows, 1), "cgw/journal/v1");
    }
    TRY(row);
    return format && record_id_valid(span_str(out->instance)) ? 0 : E_INVALID;
}

static int take(struct books *b, const struct bill_keys *keys, struct db *journal,
                struct journal_result *out)
{
    AUTO(rows_free) struct rows *rows = NULL;
    struct bill_outcome outcome;
    int row;

    TRY(db_select(&rows, journal,
                  "SELECT n, bill, usage, project, key, kind, endpoint FROM bills ORDER BY n", NULL,
                  0));
    while ((row = rows_next(rows)) > 0) {
        const struct bill_entry e = {.instance = span_str(out->instance),
                                     .n = rows_int(rows, 0),
                                     .bill = rows_bytes(rows, 1),
                                     .usage = rows_bytes(rows, 2),
                                     .project = rows_bytes(rows, 3),
                                     .key = rows_bytes(rows, 4),
                                     .kind = rows_bytes(rows, 5),
                                     .endpoint = rows_bytes(rows, 6)};
        TRY(bill_take(b, keys, &e, &outcome));
        out->n = e.n;
        out->taken += outcome.result == BILL_TAKEN;
        out->known += outcome.result == BILL_KNOWN;
        out->refused += outcome.result == BILL_REFUSED;
    }
    return row;
}

static int move_cursor(struct books *b, const struct journal_result *r)
{
    char last[48];
    int64_t n;

    TRY(bill_cursor(b, span_str(r->instance), &n, last));
    return r->n > n ? bill_cursor_set(b, span_str(r->instance), r->n, last) : 0;
}

int journal_take(struct books *b, const struct bill_keys *keys, const char *path,
                 struct journal_result *out)
{
    AUTO(db_close) struct db *journal = NULL;
    AUTO(buf_fini) struct buf why = {0};

    *out = (struct journal_result){0};
    if (*path != '/' || db_open(&journal, path, false, &why) < 0 || read_state(journal, out) < 0) {
        books_why("%s", why.len ? buf_cstr(&why) : "path must be that of a gateway's journal");
        return E_INVALID;
    }
    TRY(take(b, keys, journal, out));
    return move_cursor(b, out);
}
