/* The journal is another SQLite file, read through the same calls. */
#include "ledger/books/journal.h"

#include "billing/layout.h"
#include "crypto/jws.h"
#include "ledger/books/record.h"
#include "ledger/books/verify_impl.h"

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

// Its gateway's key must count, or else every row would be refused for good.
static int check_key(const struct bill_keys *keys, struct span bill)
{
    char kid[JWS_KID_LEN + 1];

    if (jws_named_kid(kid, bill) < 0)
        return 0;
    const enum bill_key_state state = bill_keys_state(keys, span_str(kid));
    if (state == BILL_KEY_COUNTS)
        return 0;
    books_why(state == BILL_KEY_REVOKED
                  ? "its bills are signed by %s, which was revoked"
                  : "its bills are signed by %s, whom nobody vouches for (bill_keys)",
              kid);
    return E_DENIED;
}

// One of before there were epochs, which no gateway has opened since, names none.
static int select_bills(struct rows **rows, struct db *journal)
{
    AUTO(rows_free) struct rows *named = NULL;

    TRY(db_select(&named, journal, "SELECT 1 FROM pragma_table_info('bills') WHERE name = 'epoch'",
                  NULL, 0));
    const int row = rows_next(named);
    TRY(row);
    return db_select(rows, journal,
                     row > 0 ? "SELECT n, bill, usage, project, key, kind, endpoint, epoch "
                               "FROM bills ORDER BY n"
                             : "SELECT n, bill, usage, project, key, kind, endpoint, 0 "
                               "FROM bills ORDER BY n",
                     NULL, 0);
}

struct taking {
    struct books *books;
    const struct bill_keys *keys;
    journal_taken_fn *fn;
    void *arg;
    struct journal_result *result;
};

static int take_row(const struct taking *t, const struct bill_entry *e)
{
    struct journal_result *result = t->result;
    struct bill_outcome outcome;

    TRY(check_key(t->keys, e->bill));
    TRY(bill_take(t->books, t->keys, e, &outcome));
    result->n = e->n;
    result->known += outcome.result == BILL_KNOWN;
    result->refused += outcome.result == BILL_REFUSED;
    if (outcome.result != BILL_TAKEN)
        return 0;
    result->taken++;
    result->epoch = e->epoch < result->epoch ? e->epoch : result->epoch;
    return t->fn(t->arg, &outcome);
}

static int take(const struct taking *t, struct db *journal)
{
    AUTO(rows_free) struct rows *rows = NULL;
    int row;

    TRY(select_bills(&rows, journal));
    while ((row = rows_next(rows)) > 0) {
        const struct bill_entry e = {.instance = span_str(t->result->instance),
                                     .n = rows_int(rows, 0),
                                     .bill = rows_bytes(rows, 1),
                                     .usage = rows_bytes(rows, 2),
                                     .project = rows_bytes(rows, 3),
                                     .key = rows_bytes(rows, 4),
                                     .kind = rows_bytes(rows, 5),
                                     .endpoint = rows_bytes(rows, 6),
                                     .epoch = rows_int(rows, 7)};
        TRY(take_row(t, &e));
    }
    return row;
}

static int open_journal(struct db **journal, const char *path, struct journal_result *out)
{
    AUTO(buf_fini) struct buf why = {0};

    *out = (struct journal_result){.epoch = LAYOUT_EPOCH_UNKNOWN};
    if (db_open(journal, path, false, &why) == 0 && read_state(*journal, out) == 0)
        return 0;
    books_why("%s", why.len ? buf_cstr(&why) : "path must be that of a gateway's journal");
    return E_INVALID;
}

int journal_take(struct books *b, const struct bill_keys *keys, const char *path,
                 journal_taken_fn *fn, void *arg, struct journal_result *out)
{
    const struct taking t = {b, keys, fn, arg, out};
    AUTO(db_close) struct db *journal = NULL;

    if (*path != '/') {
        books_why("path must be that of a gateway's journal");
        return E_INVALID;
    }
    TRY(open_journal(&journal, path, out));
    TRY(take(&t, journal));
    return bill_cursor_raise(b, span_str(out->instance), out->n);
}

// ---- Verifying ----------------------------------------------------------------------------------

// By the worker's record: the same charge may have been billed by another gateway, too.
static int is_billed(struct books *b, const struct rows *row, bool *billed)
{
    AUTO(rows_free) struct rows *rows = NULL;

    TRY(DB_SELECT(&rows, b->db,
                  "SELECT 1 FROM bills WHERE call = $1 AND attempt = $2 AND amount = $3 AND "
                  "usage = $4",
                  value_text(rows_bytes(row, 0)), value_int(rows_int(row, 1)),
                  value_int(rows_int(row, 2)), value_text(rows_bytes(row, 3))));
    const int found = rows_next(rows);
    *billed = found > 0;
    return found < 0 ? found : 0;
}

static int verify_rows_of(struct books *b, struct db *journal, struct verify_line *line)
{
    AUTO(rows_free) struct rows *rows = NULL;
    int row;

    TRY(db_select(&rows, journal, "SELECT call, attempt, amount, usage FROM bills ORDER BY n", NULL,
                  0));
    while ((row = rows_next(rows)) > 0) {
        bool billed = false;
        TRY(is_billed(b, rows, &billed));
        line->looked_at++;
        if (!billed) /* one that was free is a row */
            verify_wrong(line, rows_int(rows, 2) > 0 ? rows_int(rows, 2) : 1,
                         "not in the books: call %s", rows_text(rows, 0));
    }
    return row;
}

int journal_verify(struct books *b, const char *path, verify_line_fn *fn, void *arg, bool *good)
{
    struct verify_line line = {"I8", "every charge of the journal is in the books", .good = true};
    AUTO(db_close) struct db *journal = NULL;
    struct journal_result result;

    TRY(open_journal(&journal, path, &result));
    TRY(verify_rows_of(b, journal, &line));
    *good = *good && line.good;
    fn(arg, &line);
    return 0;
}
