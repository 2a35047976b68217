/* Everything that a bill moves is one transaction: row, chain, tree, transfers. */
#include "ledger/books/bills.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/encode.h"
#include "crypto/jws.h"
#include "ledger/books/chain.h"
#include "ledger/books/record.h"
#include "ledger/books/transfer.h"
#include "receipt/bill.h"

enum { DAY_S = 86400, HOUR_MS = 3600000, ENTRY_KEPT = 8192 };

// ---- Order --------------------------------------------------------------------------------------

struct place {
    int64_t seq;
    uint8_t head[SHA256_LEN];
    int64_t day, leaf;
};

static int read_hash(const struct rows *rows, size_t column, uint8_t out[static SHA256_LEN])
{
    const struct span s = rows_bytes(rows, column);

    if (s.len != SHA256_LEN)
        return E_IO;
    memcpy(out, s.data, SHA256_LEN);
    return 0;
}

// The account's next link. E_NOT_FOUND: there is no such account.
static int chain_next(struct books *b, const char *account, struct span bill, struct place *p)
{
    AUTO(rows_free) struct rows *rows = NULL;

    TRY(DB_SELECT(&rows, b->db, "SELECT chain_seq, chain_head FROM accounts WHERE id = $1",
                  value_str(account)));
    const int row = rows_next(rows);
    if (row <= 0)
        return row < 0 ? row : E_NOT_FOUND;
    p->seq = rows_int(rows, 0) + 1;
    TRY(read_hash(rows, 1, p->head));
    chain_add(p->head, bill);
    return DB_RUN(b->db, NULL, "UPDATE accounts SET chain_seq = $2, chain_head = $3 WHERE id = $1",
                  value_str(account), value_int(p->seq), value_blob(SPAN_OF(p->head)));
}

static void tree_write(struct buf *out, const struct tree *t)
{
    buf_append(out, span_of(t->stack, (size_t)t->depth * SHA256_LEN));
}

static int tree_read(struct tree *t, int64_t leaves, struct span stack)
{
    if (leaves < 0 || stack.len != (size_t)__builtin_popcountll((uint64_t)leaves) * SHA256_LEN)
        return E_IO;
    t->leaves = (uint64_t)leaves;
    t->depth = (unsigned)(stack.len / SHA256_LEN);
    memcpy(t->stack, stack.data ? stack.data : (const uint8_t *)"", stack.len);
    return 0;
}

// The day that is open; a clock that was set back does not open a closed one again.
static int open_day(struct books *b, int64_t *day, struct tree *t)
{
    AUTO(rows_free) struct rows *rows = NULL;
    const int64_t today = (int64_t)(b->now_s / DAY_S);

    *day = today;
    *t = (struct tree){0};
    TRY(db_select(&rows, b->db,
                  "SELECT day, leaves, tree, closed FROM days ORDER BY day DESC LIMIT 1", NULL, 0));
    const int row = rows_next(rows);
    if (row <= 0 || rows_int(rows, 0) < today)
        return row < 0 ? row : 0;
    if (rows_int(rows, 3) != 0) {
        *day = rows_int(rows, 0) + 1;
        return 0;
    }
    *day = rows_int(rows, 0);
    return tree_read(t, rows_int(rows, 1), rows_bytes(rows, 2));
}

static int tree_next(struct books *b, struct span bill, struct place *p)
{
    AUTO(buf_fini) struct buf stack = {0};
    uint8_t leaf[SHA256_LEN], root[SHA256_LEN];
    struct tree t;

    TRY(open_day(b, &p->day, &t));
    p->leaf = (int64_t)t.leaves;
    tree_leaf(leaf, bill);
    tree_add(&t, leaf);
    tree_root(&t, root);
    tree_write(&stack, &t);
    return DB_RUN(b->db, NULL,
                  "INSERT INTO days (day, leaves, tree, root, closed) VALUES ($1, $2, $3, $4, 0) "
                  "ON CONFLICT (day) DO UPDATE SET leaves = excluded.leaves, tree = "
                  "excluded.tree, root = excluded.root",
                  value_int(p->day), value_int((int64_t)t.leaves), value_blob(buf_span(&stack)),
                  value_blob(SPAN_OF(root)));
}

// ---- Money --------------------------------------------------------------------------------------

// The gateways' charge stands, whatever the books say: the operator covers what is missing, and
// `ledger verify` shows it.
static int cover(struct books *b, const struct bill *bill, const char *client)
{
    const struct span parts[] = {span_str(bill->call)};
    struct purse_sums sums;
    struct transfer t = {.debit = "expense:shortfall",
                         .credit = client,
                         .currency = CURRENCY_TON,
                         .code = "shortfall",
                         .reference = span_str(bill->call)};

    TRY(purse_read(b, client, CURRENCY_TON, &sums));
    t.amount = bill->amount - (sums.credits - sums.debits);
    if (t.amount <= 0)
        return 0;
    transfer_id(t.id, "shortfall", parts, 1);
    return transfer_post(b, &t, NULL);
}

// settle = H("post"|call): the charge; work = H("work"|call|attempt): the worker's part of it.
static int pay(struct books *b, const struct bill *bill)
{
    char client[PURSE_LEN], worker[PURSE_LEN], attempt[16];
    struct transfer settle = {.debit = client,
                              .credit = "revenue:commission",
                              .currency = CURRENCY_TON,
                              .amount = bill->amount,
                              .code = "settle",
                              .reference = span_str(bill->call)};
    struct transfer work = {.debit = "revenue:commission",
                            .credit = worker,
                            .currency = CURRENCY_TON,
                            .amount = bill->amount - bill->fee,
                            .code = "work",
                            .reference = span_str(bill->call)};

    purse_client(client, bill->account);
    snprintf(worker, sizeof(worker), "worker:%s", bill->worker);
    snprintf(attempt, sizeof(attempt), "%u", bill->attempt);
    const struct span parts[] = {span_str(bill->call), span_str(attempt)};
    transfer_id(settle.id, "post", parts, 1);
    transfer_id(work.id, "work", parts, 2);
    if (bill->amount == 0)
        return 0;
    TRY(cover(b, bill, client));
    TRY(transfer_post(b, &settle, NULL));
    return work.amount > 0 ? transfer_post(b, &work, NULL) : 0;
}

// ---- Taking -------------------------------------------------------------------------------------

static int insert(struct books *b, const struct bill *bill, const struct bill_entry *e,
                  const struct place *p)
{
    return DB_RUN(
        b->db, NULL,
        "INSERT INTO bills (call, attempt, account, seq, head, bill, usage, kind, endpoint, "
        "instance, project, key, model, worker, price, coefficient, tokens_in, cached, tokens_out, "
        "reasoning, amount, fee, hour, taken, day, leaf) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, "
        "$9, "
        "$10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26)",
        value_str(bill->call), value_int(bill->attempt), value_str(bill->account),
        value_int(p->seq), value_blob(SPAN_OF(p->head)), value_text(e->bill), value_text(e->usage),
        value_text(e->kind), value_text(e->endpoint), value_text(e->instance),
        value_text(e->project), value_text(e->key), value_text(bill->model),
        value_str(bill->worker), value_int(bill->price), value_int(bill->coefficient),
        value_int(bill->in), value_int(bill->cached), value_int(bill->out),
        value_int(bill->reasoning), value_int(bill->amount), value_int(bill->fee),
        value_int((int64_t)(bill->t_ms / HOUR_MS)), value_int((int64_t)b->now_s), value_int(p->day),
        value_int(p->leaf));
}

// The row says of the charge what the bill says.
static bool same_charge(const struct rows *r, const struct bill *bill, const struct bill_entry *e)
{
    const int64_t numbers[] = {bill->price, bill->coefficient, bill->in,     bill->cached,
                               bill->out,   bill->reasoning,   bill->amount, bill->fee};

    for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
        if (rows_int(r, 4 + i) != numbers[i])
            return false;
    return span_eq(rows_bytes(r, 0), e->usage) && span_is(rows_bytes(r, 1), bill->account) &&
           span_is(rows_bytes(r, 2), bill->worker) && span_eq(rows_bytes(r, 3), bill->model);
}

// 1: this charge is there, perhaps billed by another gateway, to which the worker's record had come
// too; 0: none of this call's attempt; E_EXISTS: another one.
static int known(struct books *b, const struct bill *bill, const struct bill_entry *e)
{
    AUTO(rows_free) struct rows *rows = NULL;

    TRY(DB_SELECT(&rows, b->db,
                  "SELECT usage, account, worker, model, price, coefficient, tokens_in, cached, "
                  "tokens_out, reasoning, amount, fee FROM bills WHERE call = $1 AND attempt = $2",
                  value_str(bill->call), value_int(bill->attempt)));
    const int row = rows_next(rows);
    if (row <= 0)
        return row;
    return same_charge(rows, bill, e) ? 1 : E_EXISTS;
}

// Another attempt of a call that was charged already would charge it twice.
static int charged_before(struct books *b, const struct bill *bill)
{
    AUTO(rows_free) struct rows *rows = NULL;

    TRY(DB_SELECT(&rows, b->db,
                  "SELECT 1 FROM bills WHERE call = $1 AND amount > 0 AND "
                  "CAST($2 AS BIGINT) > 0",
                  value_str(bill->call), value_int(bill->amount)));
    const int row = rows_next(rows);
    return row > 0 ? E_EXISTS : row;
}

static bool entry_good(const struct bill_entry *e)
{
    return e->n > 0 && e->n < INT64_MAX && record_id_valid(e->instance) &&
           (e->project.len == 0 || record_id_valid(e->project)) &&
           (e->key.len == 0 || record_id_valid(e->key)) &&
           (span_is(e->kind, "settled") || span_is(e->kind, "late_settled")) &&
           (e->endpoint.len == 0 || record_id_valid(e->endpoint)) && span_utf8(e->usage);
}

static bool usage_matches(const struct bill *bill, const struct bill_entry *e)
{
    uint8_t hash[SHA256_LEN];

    sha256(hash, e->usage);
    return crypto_equal(SPAN_OF(hash), SPAN_OF(bill->usage));
}

// Why the entry is no bill of ours; NULL and *bill when it is one.
static const char *wrong_with(const struct bill_keys *keys, const struct bill_entry *e,
                              struct bill *bill)
{
    if (!entry_good(e))
        return "malformed";
    const int error = bill_keys_verify(keys, e->bill, bill);
    if (error < 0)
        return error == E_AUTH ? "signature" : "malformed_bill";
    return usage_matches(bill, e) ? NULL : "usage_hash";
}

static int refused(struct books *b, const struct bill_entry *e, struct bill_outcome *out,
                   const char *reason)
{
    AUTO(buf_fini) struct buf kept = {0};
    char source[96];

    out->result = BILL_REFUSED;
    out->reason = reason;
    snprintf(source, sizeof(source), "%.*s/%lld",
             record_id_valid(e->instance) ? (int)e->instance.len : 1,
             record_id_valid(e->instance) ? (const char *)e->instance.data : "?", (long long)e->n);
    base64url_encode(&kept, span_cut(e->bill, 0, ENTRY_KEPT));
    buf_byte(&kept, '.');
    base64url_encode(&kept, span_cut(e->usage, 0, ENTRY_KEPT));
    return DB_RUN(b->db, NULL,
                  "INSERT INTO conflicts (seq, time, source, reason, entry) "
                  "SELECT COALESCE(MAX(seq), 0) + 1, $1, $2, $3, $4 FROM conflicts",
                  value_int((int64_t)b->now_s), value_str(source), value_str(reason),
                  value_text(buf_span(&kept)));
}

static int take_good(struct books *b, const struct bill *bill, const struct bill_entry *e)
{
    struct place p;

    TRY(chain_next(b, bill->account, e->bill, &p));
    TRY(tree_next(b, e->bill, &p));
    TRY(insert(b, bill, e, &p));
    return pay(b, bill);
}

static int account_exists(struct books *b, const char *account)
{
    AUTO(rows_free) struct rows *rows = NULL;

    TRY(DB_SELECT(&rows, b->db, "SELECT 1 FROM accounts WHERE id = $1", value_str(account)));
    return rows_next(rows);
}

int bill_take(struct books *b, const struct bill_keys *keys, const struct bill_entry *e,
              struct bill_outcome *out)
{
    AUTO(bill_fini) struct bill bill = {0};

    *out = (struct bill_outcome){.result = BILL_TAKEN};
    const char *wrong = wrong_with(keys, e, &bill);
    if (wrong)
        return refused(b, e, out, wrong);
    const int there = known(b, &bill, e);
    if (there == E_EXISTS)
        return refused(b, e, out, "other_bill");
    TRY(there);
    if (there > 0) {
        out->result = BILL_KNOWN;
        return 0;
    }
    const int before = charged_before(b, &bill);
    if (before == E_EXISTS)
        return refused(b, e, out, "call_charged");
    TRY(before);
    const int account = account_exists(b, bill.account);
    TRY(account);
    if (account == 0)
        return refused(b, e, out, "account");
    memcpy(out->account, bill.account, sizeof(out->account));
    (void)!span_cstr(e->key, out->key, sizeof(out->key));
    out->hour = (int64_t)(bill.t_ms / HOUR_MS);
    return take_good(b, &bill, e);
}

// ---- Cursors ------------------------------------------------------------------------------------

int bill_cursor(struct books *b, struct span instance, int64_t *n)
{
    AUTO(rows_free) struct rows *rows = NULL;

    TRY(DB_SELECT(&rows, b->db, "SELECT n FROM cursors WHERE stream = $1", value_text(instance)));
    const int row = rows_next(rows);
    *n = row > 0 ? rows_int(rows, 0) : 0;
    return row < 0 ? row : 0;
}

int bill_cursor_set(struct books *b, struct span instance, int64_t n)
{
    return DB_RUN(b->db, NULL,
                  "INSERT INTO cursors (stream, n) VALUES ($1, $2) "
                  "ON CONFLICT (stream) DO UPDATE SET n = excluded.n, dropped = 0",
                  value_text(instance), value_int(n));
}

int bill_cursor_raise(struct books *b, struct span instance, int64_t n)
{
    return DB_RUN(b->db, NULL,
                  "INSERT INTO cursors (stream, n, dropped) VALUES ($1, $2, 1) "
                  "ON CONFLICT (stream) DO UPDATE SET n = excluded.n WHERE cursors.n < excluded.n",
                  value_text(instance), value_int(n));
}

int bill_cursor_drop(struct books *b, struct span instance)
{
    return DB_RUN(b->db, NULL, "UPDATE cursors SET dropped = 1 WHERE stream = $1",
                  value_text(instance));
}

// ---- Days and proofs ----------------------------------------------------------------------------

int bill_days_close(struct books *b, size_t *closed)
{
    int64_t changed = 0;

    TRY(DB_RUN(b->db, &changed, "UPDATE days SET closed = $1 WHERE closed = 0 AND day < $2",
               value_int((int64_t)b->now_s), value_int((int64_t)(b->now_s / DAY_S))));
    *closed = (size_t)changed;
    return 0;
}

static void set_day(json_t *it, int64_t day)
{
    const time_t at = (time_t)day * DAY_S;
    char text[16] = "";
    struct tm tm;

    if (gmtime_r(&at, &tm))
        strftime(text, sizeof(text), "%Y-%m-%d", &tm);
    record_set_text(it, "day", span_str(text));
}

static void set_hash(json_t *it, const char *name, struct span hash)
{
    char hex[2 * SHA256_LEN + 1] = "";

    if (hash.len == SHA256_LEN)
        hex_encode(hex, hash);
    record_set_text(it, name, span_str(hex));
}

static json_t *day_json(const struct rows *rows)
{
    json_t *it = record_object();

    set_day(it, rows_int(rows, 0));
    record_set_int(it, "leaves", rows_int(rows, 1));
    set_hash(it, "root", rows_bytes(rows, 2));
    record_set_int(it, "closed", rows_int(rows, 3));
    return it;
}

int bill_days_list(struct books *b, size_t limit, json_t **out)
{
    AUTO(rows_free) struct rows *rows = NULL;

    *out = NULL;
    TRY(DB_SELECT(&rows, b->db,
                  "SELECT day, leaves, root, closed FROM days ORDER BY day DESC LIMIT $1",
                  value_int((int64_t)limit + 1)));
    return record_page(rows, limit, day_json, out);
}

static int read_leaves(struct books *b, int64_t day, struct buf *leaves)
{
    AUTO(rows_free) struct rows *rows = NULL;
    uint8_t hash[SHA256_LEN];
    int row;

    TRY(DB_SELECT(&rows, b->db, "SELECT bill FROM bills WHERE day = $1 ORDER BY leaf",
                  value_int(day)));
    while ((row = rows_next(rows)) > 0) {
        tree_leaf(hash, rows_bytes(rows, 0));
        buf_append(leaves, SPAN_OF(hash));
    }
    return row;
}

static int prove(struct books *b, int64_t day, int64_t leaf, json_t *it)
{
    AUTO(rows_free) struct rows *rows = NULL;
    AUTO(buf_fini) struct buf leaves = {0};
    AUTO(buf_fini) struct buf path = {0};

    record_set(it, "proof", json_null());
    TRY(DB_SELECT(&rows, b->db, "SELECT root FROM days WHERE day = $1 AND closed > 0",
                  value_int(day)));
    const int row = rows_next(rows);
    if (row <= 0)
        return row;
    TRY(read_leaves(b, day, &leaves));
    const uint64_t count = leaves.len / SHA256_LEN;
    if ((uint64_t)leaf >= count)
        return E_IO;
    tree_path(&path, leaves.data, count, (uint64_t)leaf);
    json_t *proof = record_object(), *list = json_array();
    set_day(proof, day);
    record_set_int(proof, "leaf", leaf);
    record_set_int(proof, "leaves", (int64_t)count);
    set_hash(proof, "root", rows_bytes(rows, 0));
    record_set(proof, "path", list);
    for (size_t i = 0; i < path.len; i += SHA256_LEN) {
        char hex[2 * SHA256_LEN + 1];
        hex_encode(hex, span_of(path.data + i, SHA256_LEN));
        json_array_append_new(list, json_string(hex));
    }
    record_set(it, "proof", proof);
    return 0;
}

static json_t *bill_json(const struct rows *rows)
{
    static const char *const texts[] = {"call", "account", "kind",  "project",
                                        "key",  "model",   "worker"};
    static const char *const numbers[] = {"attempt", "seq", "price",     "coefficient", "in",
                                          "cached",  "out", "reasoning", "taken"};
    json_t *it = record_object();

    for (size_t i = 0; i < 7; i++)
        record_set_text(it, texts[i], rows_bytes(rows, i));
    for (size_t i = 0; i < 9; i++)
        record_set_int(it, numbers[i], rows_int(rows, 7 + i));
    record_set_money(it, "amount", rows_int(rows, 16));
    record_set_money(it, "fee", rows_int(rows, 17));
    set_hash(it, "head", rows_bytes(rows, 18));
    return it;
}

int bill_charged(struct books *b, const char *call, bool *billed, int64_t *amount, int64_t *attempt)
{
    AUTO(rows_free) struct rows *rows = NULL;

    TRY(DB_SELECT(&rows, b->db,
                  "SELECT amount, attempt FROM bills WHERE call = $1 "
                  "ORDER BY amount DESC, attempt DESC LIMIT 1",
                  value_str(call)));
    const int row = rows_next(rows);
    *billed = row > 0;
    *amount = row > 0 ? rows_int(rows, 0) : 0;
    *attempt = row > 0 ? rows_int(rows, 1) : 0;
    return row < 0 ? row : 0;
}

int bills_late(struct books *b, const char *account, int64_t hour, json_t *calls)
{
    AUTO(rows_free) struct rows *rows = NULL;
    int row;

    TRY(DB_SELECT(&rows, b->db,
                  "SELECT DISTINCT call FROM bills WHERE account = $1 AND hour >= $2 AND "
                  "kind = 'late_settled'",
                  value_str(account), value_int(hour)));
    while ((row = rows_next(rows)) > 0) {
        const struct span call = rows_bytes(rows, 0);
        json_array_append_new(calls, json_stringn((const char *)call.data, call.len));
    }
    return row;
}

#define SELECT_BILLS                                                                               \
    "SELECT call, account, kind, project, key, model, worker, attempt, seq, price, coefficient, "  \
    "tokens_in, cached, tokens_out, reasoning, taken, amount, fee, head, day, leaf, bill, usage "  \
    "FROM bills "

int bill_find(struct books *b, const char *account, const char *call, json_t **out)
{
    AUTO(rows_free) struct rows *rows = NULL;

    *out = NULL;
    TRY(DB_SELECT(&rows, b->db,
                  SELECT_BILLS "WHERE call = $1 AND ($2 = '' OR account = $2) "
                               "ORDER BY amount DESC, attempt DESC LIMIT 1",
                  value_str(call), value_str(account)));
    const int row = rows_next(rows);
    if (row <= 0)
        return row < 0 ? row : E_NOT_FOUND;
    json_t *it = bill_json(rows);
    const int64_t day = rows_int(rows, 19), leaf = rows_int(rows, 20);
    record_set_text(it, "bill", rows_bytes(rows, 21));
    record_set_text(it, "usage", rows_bytes(rows, 22));
    *out = it;
    return prove(b, day, leaf, it);
}

int bills_list(struct books *b, const char *account, int64_t before, size_t limit, json_t **out)
{
    AUTO(rows_free) struct rows *rows = NULL;

    *out = NULL;
    TRY(DB_SELECT(&rows, b->db,
                  SELECT_BILLS "WHERE account = $1 AND (CAST($2 AS BIGINT) = 0 OR seq < $2) "
                               "ORDER BY seq DESC LIMIT $3",
                  value_str(account), value_int(before), value_int((int64_t)limit + 1)));
    return record_page(rows, limit, bill_json, out);
}

static json_t *signed_json(const struct rows *rows)
{
    json_t *it = record_object();

    record_set_text(it, "call", rows_bytes(rows, 0));
    record_set_int(it, "attempt", rows_int(rows, 1));
    record_set_text(it, "bill", rows_bytes(rows, 2));
    record_set_text(it, "usage", rows_bytes(rows, 3));
    return it;
}

static int find_seq(struct books *b, const char *account, struct span id, int64_t *seq)
{
    AUTO(rows_free) struct rows *rows = NULL;
    const struct span call = span_split(&id, '.');
    uint64_t attempt;

    if (span_u64(id, UINT32_MAX, &attempt) < 0 || !record_id_valid(call))
        return E_NOT_FOUND;
    TRY(DB_SELECT(&rows, b->db,
                  "SELECT seq FROM bills WHERE call = $1 AND attempt = $2 AND account = $3",
                  value_text(call), value_int((int64_t)attempt), value_str(account)));
    const int row = rows_next(rows);
    *seq = row > 0 ? rows_int(rows, 0) : 0;
    return row < 0 ? row : row > 0 ? 0 : E_NOT_FOUND;
}

int bills_signed(struct books *b, const char *account, struct span after, size_t limit,
                 json_t **out)
{
    AUTO(rows_free) struct rows *rows = NULL;
    int64_t before = 0;

    *out = NULL;
    if (after.len > 0)
        TRY(find_seq(b, account, after, &before));
    TRY(DB_SELECT(&rows, b->db,
                  "SELECT call, attempt, bill, usage FROM bills WHERE account = $1 AND "
                  "(CAST($2 AS BIGINT) = 0 OR seq < $2) ORDER BY seq DESC LIMIT $3",
                  value_str(account), value_int(before), value_int((int64_t)limit + 1)));
    return record_page(rows, limit, signed_json, out);
}
