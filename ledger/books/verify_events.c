/* A transfer's id follows from what happened, so that no replay of it can be a second one; each of
 * them needs its witness: a bill, a row of the audit, a worker's record. */
#include "ledger/books/verify_impl.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/encode.h"
#include "base/json.h"
#include "base/map.h"
#include "ledger/books/record.h"
#include "ledger/books/transfer.h"

enum { PAGE = 1000 };

// ---- I4: ids ------------------------------------------------------------------------------------

static const struct {
    const char *code, *kind;
    size_t parts; /* call, attempt */
} kinds[] = {{"settle", "post", 1}, {"shortfall", "shortfall", 1}, {"work", "work", 2}};

// Columns id, code, reference, attempt.
static void check_id(const struct rows *rows, struct verify_line *line)
{
    const struct span parts[] = {rows_bytes(rows, 2), rows_bytes(rows, 3)};
    uint8_t id[TRANSFER_ID_LEN];

    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
        if (!span_is(rows_bytes(rows, 1), kinds[i].code))
            continue;
        transfer_id(id, kinds[i].kind, parts, kinds[i].parts);
        if (!span_eq(rows_bytes(rows, 0), SPAN_OF(id)))
            verify_wrong(line, 1, "its id does not follow from it: %s of call %s", kinds[i].code,
                         rows_text(rows, 2));
    }
}

int verify_ids(struct books *b, struct verify_line *line)
{
    int64_t seq = 0;
    bool more = true;

    while (more) {
        AUTO(rows_free) struct rows *rows = NULL;
        int row;
        TRY(DB_SELECT(&rows, b->db,
                      "SELECT t.id, t.code, t.reference, CAST(COALESCE(b.attempt, 0) AS TEXT), "
                      "t.seq FROM transfers t LEFT JOIN bills b ON b.call = t.reference AND "
                      "b.amount > 0 WHERE t.seq > $1 AND t.code <> 'credit' "
                      "ORDER BY t.seq LIMIT $2",
                      value_int(seq), value_int(PAGE)));
        more = false;
        while ((row = rows_next(rows)) > 0) {
            check_id(rows, line);
            seq = rows_int(rows, 4);
            more = true;
        }
        TRY(row);
    }
    return 0;
}

// ---- I5: each credit once -----------------------------------------------------------------------

struct witnesses {
    struct map ids; /* hex of a transfer's id -> how often the audit names it */
};

static int read_witnesses(struct books *b, struct witnesses *w, struct verify_line *line)
{
    AUTO(rows_free) struct rows *rows = NULL;
    int row;

    TRY(db_select(&rows, b->db, "SELECT after, object FROM audit WHERE action = 'credit'", NULL,
                  0));
    while ((row = rows_next(rows)) > 0) {
        AUTO_JSON json_t *after = NULL;
        struct span id = SPAN("");
        if (record_read(rows_bytes(rows, 0), &after) < 0 || json_obj_string(after, "id", &id) < 0)
            verify_wrong(line, 1, "the audit's row about %s cannot be read", rows_text(rows, 1));
        else if (map_put(&w->ids, id, w))
            verify_wrong(line, 1, "the audit names a credit of %s twice", rows_text(rows, 1));
    }
    return row;
}

static int check_witnesses(struct books *b, struct witnesses *w, struct verify_line *line)
{
    AUTO(rows_free) struct rows *rows = NULL;
    char hex[2 * TRANSFER_ID_LEN + 1];
    int row;

    TRY(db_select(&rows, b->db, "SELECT id, amount, credit FROM transfers WHERE code = 'credit'",
                  NULL, 0));
    while ((row = rows_next(rows)) > 0) {
        line->looked_at++;
        if (rows_bytes(rows, 0).len == TRANSFER_ID_LEN)
            hex_encode(hex, rows_bytes(rows, 0));
        if (rows_bytes(rows, 0).len != TRANSFER_ID_LEN || !map_del(&w->ids, span_str(hex)))
            verify_wrong(line, rows_int(rows, 1), "nobody gave what %s was credited",
                         rows_text(rows, 2));
    }
    TRY(row);
    if (w->ids.len > 0)
        verify_wrong(line, (int64_t)w->ids.len, "%zu credits were given and are not here",
                     w->ids.len);
    return 0;
}

// Given to an account that was taken out of the books.
static const char orphans[] =
    "SELECT SUBSTR(credit, 8), amount FROM transfers WHERE code = 'credit' "
    "AND SUBSTR(credit, 8) NOT IN (SELECT id FROM accounts)";

int verify_credits(struct run *r)
{
    struct verify_line line = {"I5", "each credit was given once, by somebody whom the audit names",
                               .good = true};
    struct witnesses w = {{0}};

    int error = read_witnesses(r->books, &w, &line);
    if (error == 0)
        error = check_witnesses(r->books, &w, &line);
    map_fini(&w.ids);
    TRY(error);
    TRY(verify_rows(r->books, orphans, &line, "no such account:"));
    verify_tell(r, &line);
    return 0;
}

// ---- I6, I7: ways in and out --------------------------------------------------------------------

int verify_sources(struct run *r)
{
    struct verify_line line = {
        "I6", "money came in by credits only: none from a chain that may still turn", .good = true};

    TRY(verify_count(r->books,
                     "SELECT COUNT(*) FROM transfers WHERE debit = 'world' OR debit LIKE 'asset:%' "
                     "OR debit LIKE 'suspense:%'",
                     &line.looked_at));
    TRY(verify_rows(r->books,
                    "SELECT code, amount FROM transfers WHERE (debit = 'world' OR debit LIKE "
                    "'asset:%' OR debit LIKE 'suspense:%') AND code <> 'credit'",
                    &line, "came in as"));
    verify_tell(r, &line);
    return 0;
}

int verify_payouts(struct run *r)
{
    struct verify_line line = {"I7", "nothing was paid out for which no signed voucher is here",
                               .good = true};

    TRY(verify_count(r->books, "SELECT COUNT(*) FROM purses WHERE name LIKE 'worker:%'",
                     &line.looked_at));
    TRY(verify_rows(r->books,
                    "SELECT debit, amount FROM transfers WHERE debit LIKE 'worker:%' OR "
                    "credit LIKE 'asset:%'",
                    &line, "paid out of"));
    verify_tell(r, &line);
    return 0;
}

// ---- I8: none is billed without the worker's record ---------------------------------------------

struct counted {
    int64_t attempt, in, out;
};

// Of the record's payload; its signature was the gateway's to judge, and the bill binds its bytes.
static int read_usage(struct span jws, struct span call, struct counted *c)
{
    AUTO(buf_fini) struct buf text = {0};
    AUTO_JSON json_t *doc = NULL;
    struct span of;

    span_split(&jws, '.');
    TRY(base64url_decode(&text, span_split(&jws, '.')));
    TRY(json_read(buf_span(&text), &doc));
    TRY(json_obj_string(doc, "call", &of));
    TRY(json_obj_int(doc, "attempt", 0, UINT32_MAX, &c->attempt));
    TRY(json_obj_int(doc, "in", 0, INT64_MAX, &c->in));
    TRY(json_obj_int(doc, "out", 0, INT64_MAX, &c->out));
    return span_eq(of, call) ? 0 : E_INVALID;
}

// Columns call, attempt, usage, tokens_in, tokens_out, amount.
static void check_usage(const struct rows *rows, struct verify_line *line)
{
    struct counted c = {0};

    line->looked_at++;
    if (read_usage(rows_bytes(rows, 2), rows_bytes(rows, 0), &c) < 0 ||
        c.attempt != rows_int(rows, 1))
        verify_wrong(line, rows_int(rows, 5) + 1, "no worker's record: call %s",
                     rows_text(rows, 0));
    else if (rows_int(rows, 3) > c.in || rows_int(rows, 4) > c.out)
        verify_wrong(line, rows_int(rows, 5) + 1, "more than the worker counted: call %s",
                     rows_text(rows, 0));
}

int verify_usage(struct run *r)
{
    struct verify_line line = {
        "I8", "each bill has the worker's record of its call, and charges no more", .good = true};
    char call[33] = "";
    int64_t attempt = -1;
    bool more = true;

    while (more) {
        AUTO(rows_free) struct rows *rows = NULL;
        int row;
        TRY(DB_SELECT(&rows, r->books->db,
                      "SELECT call, attempt, usage, tokens_in, tokens_out, amount FROM bills "
                      "WHERE call > $1 OR (call = $1 AND attempt > $2) "
                      "ORDER BY call, attempt LIMIT $3",
                      value_str(call), value_int(attempt), value_int(PAGE)));
        more = false;
        while ((row = rows_next(rows)) > 0) {
            check_usage(rows, &line);
            TRY(span_cstr(rows_bytes(rows, 0), call, sizeof(call)));
            attempt = rows_int(rows, 1);
            more = true;
        }
        TRY(row);
    }
    verify_tell(r, &line);
    return 0;
}
