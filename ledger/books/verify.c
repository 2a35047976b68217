/* Bills are walked once in the order of their chain, and once in that of their tree; what follows
 * from each is computed anew, by other code than what wrote it where that is possible. */
#include "ledger/books/verify_impl.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/encode.h"
#include "base/map.h"
#include "billing/price_book.h"
#include "ledger/books/bills.h"
#include "ledger/books/chain.h"
#include "ledger/books/transfer.h"
#include "receipt/bill.h"

enum { PAGE = 1000, HOUR_MS = 3600000 };

void verify_wrong(struct verify_line *line, int64_t difference, const char *fmt, ...)
{
    va_list args;

    line->difference += difference < 0 ? -difference : difference;
    if (!line->good)
        return;
    line->good = false;
    va_start(args, fmt);
    vsnprintf(line->detail, sizeof(line->detail), fmt, args);
    va_end(args);
}

void verify_tell(struct run *r, const struct verify_line *line)
{
    r->good = r->good && line->good;
    r->fn(r->arg, line);
}

// ---- I1: sums -----------------------------------------------------------------------------------

static int check_currencies(struct books *b, struct verify_line *line)
{
    AUTO(rows_free) struct rows *rows = NULL;
    int row;

    TRY(db_select(&rows, b->db,
                  "SELECT currency, CAST(SUM(debits) AS BIGINT), CAST(SUM(credits) AS BIGINT) "
                  "FROM purses GROUP BY currency",
                  NULL, 0));
    while ((row = rows_next(rows)) > 0)
        if (rows_int(rows, 1) != rows_int(rows, 2))
            verify_wrong(line, rows_int(rows, 1) - rows_int(rows, 2), "currency %s",
                         rows_text(rows, 0));
    return row;
}

// Each purse against the transfers that it follows from, both ways.
static int check_purses(struct books *b, struct verify_line *line)
{
    AUTO(rows_free) struct rows *rows = NULL;
    int row;

    TRY(db_select(
        &rows, b->db,
        "SELECT name, CAST(SUM(d) AS BIGINT), CAST(SUM(c) AS BIGINT), COUNT(*) FROM ("
        " SELECT debit AS name, currency, amount AS d, 0 AS c FROM transfers UNION ALL"
        " SELECT credit, currency, 0, amount FROM transfers UNION ALL"
        " SELECT name, currency, -debits, -credits FROM purses) AS moves GROUP BY name, currency",
        NULL, 0));
    while ((row = rows_next(rows)) > 0) {
        line->looked_at += rows_int(rows, 3) - 1;
        if (rows_int(rows, 1) != 0 || rows_int(rows, 2) != 0)
            verify_wrong(line, rows_int(rows, 1) != 0 ? rows_int(rows, 1) : rows_int(rows, 2),
                         "purse %s does not follow from its transfers", rows_text(rows, 0));
    }
    return row;
}

static int check_sums(struct run *r)
{
    struct verify_line line = {
        "I1", "debits equal credits, and every purse follows from its transfers", .good = true};

    TRY(check_currencies(r->books, &line));
    TRY(check_purses(r->books, &line));
    verify_tell(r, &line);
    return 0;
}

// ---- I2: nobody owes ----------------------------------------------------------------------------

static int check_owing(struct run *r)
{
    AUTO(rows_free) struct rows *rows = NULL;
    struct verify_line line = {"I2", "no account, worker or revenue is below zero", .good = true};
    int row;

    TRY(db_select(&rows, r->books->db,
                  "SELECT name, debits - credits FROM purses WHERE name <> 'world' AND "
                  "name NOT LIKE 'asset:%' AND name NOT LIKE 'expense:%'",
                  NULL, 0));
    while ((row = rows_next(rows)) > 0) {
        line.looked_at++;
        if (rows_int(rows, 1) > 0)
            verify_wrong(&line, rows_int(rows, 1), "%s", rows_text(rows, 0));
    }
    TRY(row);
    verify_tell(r, &line);
    return 0;
}

// ---- I3: each call charged once, within what it held --------------------------------------------

// Of two attempts one may be charged; that there is one bill of each, the table says itself.
static const char charged_twice[] =
    "SELECT call, CAST(SUM(amount) - MAX(amount) AS BIGINT) FROM bills WHERE amount > 0 "
    "GROUP BY call HAVING COUNT(*) > 1";

static int check_charges(struct run *r)
{
    struct verify_line line = {
        "I3", "each call was charged once, and none above what the account had", .good = true};
    struct purse_sums sums;

    TRY(verify_count(r->books, "SELECT COUNT(*) FROM bills", &line.looked_at));
    TRY(verify_rows(r->books, charged_twice, &line, "charged twice: call"));
    TRY(purse_read(r->books, "expense:shortfall", CURRENCY_TON, &sums));
    if (sums.debits != 0)
        verify_wrong(&line, sums.debits, "the operator covered it");
    verify_tell(r, &line);
    return 0;
}

// ---- I4: each event once ------------------------------------------------------------------------

// Transfers of a bill that are missing, twice or of another amount; and such without a bill.
static const char unpaid[] =
    "SELECT b.call, b.amount FROM bills b WHERE b.amount > 0 AND ("
    "(SELECT COUNT(*) FROM transfers t WHERE t.code = 'settle' AND t.reference = b.call AND "
    "t.amount = b.amount AND t.debit = 'client:' || b.account) <> 1 OR "
    "(b.amount > b.fee AND (SELECT COUNT(*) FROM transfers t WHERE t.code = 'work' AND "
    "t.reference = b.call AND t.amount = b.amount - b.fee AND t.credit = 'worker:' || b.worker) "
    "<> 1))";
static const char unbilled[] =
    "SELECT t.reference, t.amount FROM transfers t WHERE t.code IN ('settle', 'work') AND NOT "
    "EXISTS "
    "(SELECT 1 FROM bills b WHERE b.call = t.reference AND b.amount > 0)";

int verify_rows(struct books *b, const char *sql, struct verify_line *line, const char *sentence)
{
    AUTO(rows_free) struct rows *rows = NULL;
    int row;

    TRY(db_select(&rows, b->db, sql, NULL, 0));
    while ((row = rows_next(rows)) > 0)
        verify_wrong(line, rows_int(rows, 1), "%s %s", sentence, rows_text(rows, 0));
    return row;
}

int verify_count(struct books *b, const char *sql, int64_t *out)
{
    AUTO(rows_free) struct rows *rows = NULL;

    TRY(db_select(&rows, b->db, sql, NULL, 0));
    const int row = rows_next(rows);
    *out = row > 0 ? rows_int(rows, 0) : 0;
    return row < 0 ? row : 0;
}

static int check_once(struct run *r)
{
    struct verify_line line = {
        "I4", "each bill is paid by one transfer of each kind, and nothing else is", .good = true};

    TRY(verify_count(r->books, "SELECT COUNT(*) FROM bills", &line.looked_at));
    TRY(verify_rows(r->books, unpaid, &line, "not paid once: call"));
    TRY(verify_rows(r->books, unbilled, &line, "paid without a bill: call"));
    TRY(verify_ids(r->books, &line));
    verify_tell(r, &line);
    return 0;
}

// ---- I9: amounts, I10: chains and signatures ----------------------------------------------------

struct walk {
    struct map books; /* version as text -> struct price_book */
    struct bill_keys keys;
    struct verify_line amounts, chain;
    int64_t capped, free_of_charge;
    char account[65]; /* whose chain is walked */
    uint8_t head[SHA256_LEN];
    int64_t seq;
};

// Columns version, sha256, book.
static void keep_book(struct walk *w, const struct rows *rows)
{
    const char *name = rows_text(rows, 0);
    struct price_book *book;
    char sha256[2 * SHA256_LEN + 1];

    if (price_book_parse(&book, rows_bytes(rows, 2)) < 0) {
        verify_wrong(&w->amounts, 1, "price book %s cannot be read", name);
        return;
    }
    hex_encode(sha256, SPAN_OF(book->sha256));
    if (!span_is(rows_bytes(rows, 1), sha256))
        verify_wrong(&w->amounts, 1, "price book %s has another hash", name);
    price_book_unref(map_put(&w->books, span_str(name), book));
}

static int read_books(struct books *b, struct walk *w)
{
    AUTO(rows_free) struct rows *rows = NULL;
    int row;

    TRY(db_select(&rows, b->db, "SELECT CAST(version AS TEXT), sha256, book FROM prices", NULL, 0));
    while ((row = rows_next(rows)) > 0)
        keep_book(w, rows);
    return row;
}

// A damaged key is no key of ours, and its bills are not signed by one.
static int read_keys(struct books *b, struct walk *w)
{
    const int error = bill_keys_read(b, true, &w->keys);

    if (error != E_INVALID)
        return error;
    verify_wrong(&w->chain, 1, "a bill key is not as its name says");
    return 0;
}

static void check_amount(struct walk *w, const struct bill *b)
{
    const struct price_tokens tokens = {b->in, b->cached, b->out, b->reasoning};
    int64_t amount = 0, worker, fee;
    char name[24];

    w->amounts.looked_at++;
    snprintf(name, sizeof(name), "%" PRId64, b->price);
    const struct price_book *book = map_get(&w->books, span_str(name));
    const struct price *p = book ? price_book_find(book, b->model) : NULL;
    if (!p || memcmp(book->sha256, b->price_sha256, SHA256_LEN) != 0) {
        verify_wrong(&w->amounts, b->amount, "no such price: call %s", b->call);
        return;
    }
    if (price_amount(p, &tokens, b->coefficient, &amount) < 0 || b->amount > amount)
        verify_wrong(&w->amounts, b->amount - amount, "above the formula: call %s", b->call);
    w->capped += b->amount > 0 && b->amount < amount;
    w->free_of_charge += b->amount == 0;
    price_split(b->amount, book->commission_bps, &worker, &fee);
    if (fee != b->fee)
        verify_wrong(&w->amounts, b->fee - fee, "worker and fee are not as the book says: call %s",
                     b->call);
}

// What statements and usage are made of is what was signed. Columns as of walk_chains.
static bool row_is_bill(const struct rows *rows, const struct bill *b)
{
    const int64_t numbers[] = {
        b->amount, b->fee,    b->attempt, b->price,     b->coefficient,
        b->in,     b->cached, b->out,     b->reasoning, (int64_t)(b->t_ms / HOUR_MS)};

    for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
        if (rows_int(rows, 8 + i) != numbers[i])
            return false;
    return span_is(rows_bytes(rows, 0), b->account) && span_is(rows_bytes(rows, 5), b->call) &&
           span_is(rows_bytes(rows, 6), b->worker) && span_eq(rows_bytes(rows, 7), b->model);
}

// Columns as of walk_chains.
static void check_link(struct walk *w, const struct rows *rows)
{
    AUTO(bill_fini) struct bill bill = {0};
    uint8_t usage[SHA256_LEN];

    if (!span_is(rows_bytes(rows, 0), w->account)) {
        (void)!span_cstr(rows_bytes(rows, 0), w->account, sizeof(w->account));
        chain_begin(w->head, w->account);
        w->seq = 0;
    }
    w->chain.looked_at++;
    chain_add(w->head, rows_bytes(rows, 3));
    if (rows_int(rows, 1) != ++w->seq || !span_eq(rows_bytes(rows, 2), SPAN_OF(w->head)))
        verify_wrong(&w->chain, 1, "broken link: call %s", rows_text(rows, 5));
    if (bill_keys_verify(&w->keys, rows_bytes(rows, 3), &bill) < 0) {
        verify_wrong(&w->chain, 1, "not signed by a key of ours: call %s", rows_text(rows, 5));
        return;
    }
    sha256(usage, rows_bytes(rows, 4));
    if (memcmp(usage, bill.usage, SHA256_LEN) != 0)
        verify_wrong(&w->chain, 1, "another usage record: call %s", rows_text(rows, 5));
    if (!row_is_bill(rows, &bill))
        verify_wrong(&w->chain, 1, "the row says something else than its bill: call %s",
                     rows_text(rows, 5));
    check_amount(w, &bill);
}

static int walk_chains(struct books *b, struct walk *w)
{
    char account[65] = "";
    int64_t seq = 0;
    bool more = true;

    while (more) {
        AUTO(rows_free) struct rows *rows = NULL;
        int row;
        TRY(DB_SELECT(&rows, b->db,
                      "SELECT account, seq, head, bill, usage, call, worker, model, amount, fee, "
                      "attempt, price, coefficient, tokens_in, cached, tokens_out, reasoning, hour "
                      "FROM bills "
                      "WHERE account > $1 OR (account = $1 AND seq > $2) "
                      "ORDER BY account, seq LIMIT $3",
                      value_str(account), value_int(seq), value_int(PAGE)));
        more = false;
        while ((row = rows_next(rows)) > 0) {
            check_link(w, rows);
            TRY(span_cstr(rows_bytes(rows, 0), account, sizeof(account)));
            seq = rows_int(rows, 1);
            more = true;
        }
        TRY(row);
    }
    return 0;
}

// Bills whose account was taken out of the books.
static const char orphans[] = "SELECT account, COUNT(*) FROM bills WHERE account NOT IN "
                              "(SELECT id FROM accounts) GROUP BY account";

// The heads that accounts show are those of their last bills.
static int check_heads(struct books *b, struct walk *w)
{
    AUTO(rows_free) struct rows *rows = NULL;
    uint8_t begin[SHA256_LEN];
    int row;

    TRY(db_select(&rows, b->db,
                  "SELECT a.id, a.chain_seq, a.chain_head, COALESCE(b.seq, 0), b.head FROM "
                  "accounts a LEFT JOIN bills b ON b.account = a.id AND b.seq = (SELECT MAX(seq) "
                  "FROM bills WHERE account = a.id)",
                  NULL, 0));
    while ((row = rows_next(rows)) > 0) {
        chain_begin(begin, rows_text(rows, 0));
        const struct span last = rows_int(rows, 3) == 0 ? SPAN_OF(begin) : rows_bytes(rows, 4);
        if (rows_int(rows, 1) != rows_int(rows, 3) || !span_eq(rows_bytes(rows, 2), last))
            verify_wrong(&w->chain, 1, "the head of %s is not that of its last bill",
                         rows_text(rows, 0));
    }
    return row;
}

static void walk_fini(struct walk *w)
{
    size_t at = 0;
    struct span key;
    void *book;

    while (map_next(&w->books, &at, &key, &book))
        price_book_unref(book);
    map_fini(&w->books);
    bill_keys_fini(&w->keys);
}

static int walk(struct books *b, struct walk *w)
{
    TRY(read_keys(b, w));
    TRY(read_books(b, w));
    TRY(walk_chains(b, w));
    TRY(verify_rows(b, orphans, &w->chain, "no such account:"));
    return check_heads(b, w);
}

static int check_bills(struct run *r)
{
    struct walk w = {
        .amounts = {"I9", "amounts follow from tokens and prices, worker and fee from amounts",
                    .good = true},
        .chain = {"I10", "the accounts' chains of signed bills are whole", .good = true},
    };

    const int error = walk(r->books, &w);
    if (error == 0 && w.amounts.good)
        snprintf(w.amounts.detail, sizeof(w.amounts.detail),
                 "%" PRId64 " charged less (hold), %" PRId64 " free", w.capped, w.free_of_charge);
    if (error == 0) {
        verify_tell(r, &w.amounts);
        verify_tell(r, &w.chain);
    }
    walk_fini(&w);
    return error;
}

// ---- I10: trees ---------------------------------------------------------------------------------

// Bills whose day was taken out of the books.
static const char treeless[] = "SELECT CAST(day AS TEXT), COUNT(*) FROM bills WHERE day NOT IN "
                               "(SELECT day FROM days) GROUP BY day";

// Columns day, leaves, root, tree of `of`.
static int check_day(struct books *b, const struct rows *of, struct verify_line *line)
{
    const int64_t day = rows_int(of, 0);
    AUTO(rows_free) struct rows *rows = NULL;
    struct tree t = {0};
    uint8_t hash[SHA256_LEN];
    int row;

    TRY(DB_SELECT(&rows, b->db, "SELECT bill, leaf FROM bills WHERE day = $1 ORDER BY leaf",
                  value_int(day)));
    while ((row = rows_next(rows)) > 0) {
        if (rows_int(rows, 1) != (int64_t)t.leaves)
            verify_wrong(line, 1, "a leaf is missing on day %" PRId64, day);
        tree_leaf(hash, rows_bytes(rows, 0));
        tree_add(&t, hash);
    }
    TRY(row);
    tree_root(&t, hash);
    line->looked_at += (int64_t)t.leaves;
    if ((int64_t)t.leaves != rows_int(of, 1) || !span_eq(rows_bytes(of, 2), SPAN_OF(hash)))
        verify_wrong(line, 1, "the root of day %" PRId64 " is not that of its bills", day);
    if (!span_eq(rows_bytes(of, 3), span_of(t.stack, (size_t)t.depth * SHA256_LEN)))
        verify_wrong(line, 1, "the tree of day %" PRId64 " is not that of its bills", day);
    return 0;
}

static int check_trees(struct run *r)
{
    AUTO(rows_free) struct rows *rows = NULL;
    struct verify_line line = {"I10", "the days' trees have the bills' roots", .good = true};
    int row;

    TRY(db_select(&rows, r->books->db, "SELECT day, leaves, root, tree FROM days ORDER BY day",
                  NULL, 0));
    while ((row = rows_next(rows)) > 0)
        TRY(check_day(r->books, rows, &line));
    TRY(row);
    TRY(verify_rows(r->books, treeless, &line, "no tree of day"));
    verify_tell(r, &line);
    return 0;
}

// ---- What was refused, and who changed what -----------------------------------------------------

static int check_conflicts(struct run *r)
{
    struct verify_line line = {"C1", "no bill of a gateway was refused", .good = true};

    TRY(verify_count(r->books, "SELECT COUNT(*) FROM conflicts", &line.looked_at));
    if (line.looked_at > 0)
        verify_wrong(&line, line.looked_at, "see the table conflicts");
    verify_tell(r, &line);
    return 0;
}

static int check_audit(struct run *r)
{
    struct verify_line line = {"A1", "no row of the audit is missing", .good = true};
    int64_t last = 0;

    TRY(verify_count(r->books, "SELECT COUNT(*) FROM audit", &line.looked_at));
    TRY(verify_count(r->books, "SELECT COALESCE(MAX(seq), 0) FROM audit", &last));
    if (last != line.looked_at)
        verify_wrong(&line, last - line.looked_at, "%" PRId64 " are missing",
                     last - line.looked_at);
    verify_tell(r, &line);
    return 0;
}

int books_verify(struct books *b, verify_line_fn *fn, void *arg, bool *good)
{
    static int (*const checks[])(struct run * r) = {
        check_sums,     check_owing,  check_charges, check_once,  verify_credits,  verify_sources,
        verify_payouts, verify_usage, check_bills,   check_trees, check_conflicts, check_audit};
    struct run r = {b, fn, arg, true};

    *good = false;
    for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++)
        TRY(checks[i](&r));
    *good = r.good;
    return 0;
}
