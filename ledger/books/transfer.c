/* A transfer and the two sums that it moves are written in the same transaction, so that no moment
 * has the one without the other. */
#include "ledger/books/transfer.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/encode.h"
#include "crypto/hash.h"
#include "ledger/books/record.h"

enum { REFERENCE_MAX = 256 };

void transfer_id(uint8_t out[static TRANSFER_ID_LEN], const char *kind, const struct span *parts,
                 size_t count)
{
    AUTO(buf_fini) struct buf text = {0};
    uint8_t hash[SHA256_LEN];

    buf_u64be(&text, strlen(kind));
    buf_append_str(&text, kind);
    for (size_t i = 0; i < count; i++) {
        buf_u64be(&text, parts[i].len);
        buf_append(&text, parts[i]);
    }
    sha256(hash, buf_span(&text));
    memcpy(out, hash, TRANSFER_ID_LEN);
}

void purse_client(char out[static PURSE_LEN], const char *account)
{
    snprintf(out, PURSE_LEN, "client:%s", account);
}

// What stands for the outside, or for what we hold there, owes what others have.
static bool may_owe(const char *purse)
{
    return strcmp(purse, "world") == 0 || strncmp(purse, "asset:", 6) == 0 ||
           strncmp(purse, "expense:", 8) == 0;
}

int purse_read(struct books *b, const char *name, const char *currency, struct purse_sums *out)
{
    AUTO(rows_free) struct rows *rows = NULL;

    *out = (struct purse_sums){0, 0};
    TRY(DB_SELECT(&rows, b->db,
                  "SELECT debits, credits FROM purses WHERE name = $1 AND currency = $2",
                  value_str(name), value_str(currency)));
    const int row = rows_next(rows);
    if (row > 0)
        *out = (struct purse_sums){rows_int(rows, 0), rows_int(rows, 1)};
    return row < 0 ? row : 0;
}

static int purse_write(struct books *b, const char *name, const char *currency,
                       const struct purse_sums *sums)
{
    return DB_RUN(b->db, NULL,
                  "INSERT INTO purses (name, currency, debits, credits) VALUES ($1, $2, $3, $4) "
                  "ON CONFLICT (name, currency) DO UPDATE SET debits = excluded.debits, "
                  "credits = excluded.credits",
                  value_str(name), value_str(currency), value_int(sums->debits),
                  value_int(sums->credits));
}

static int debit(struct books *b, const struct transfer *t)
{
    struct purse_sums sums;

    TRY(purse_read(b, t->debit, t->currency, &sums));
    if (__builtin_add_overflow(sums.debits, t->amount, &sums.debits))
        return E_TOO_LARGE;
    if (sums.debits > sums.credits && !may_owe(t->debit)) {
        books_why("%s would go below zero", t->debit);
        return E_DENIED;
    }
    return purse_write(b, t->debit, t->currency, &sums);
}

static int credit(struct books *b, const struct transfer *t)
{
    struct purse_sums sums;

    TRY(purse_read(b, t->credit, t->currency, &sums));
    if (__builtin_add_overflow(sums.credits, t->amount, &sums.credits))
        return E_TOO_LARGE;
    return purse_write(b, t->credit, t->currency, &sums);
}

// The time is when it was first told; it is no part of what is compared.
static int same(struct books *b, const struct transfer *t)
{
    AUTO(rows_free) struct rows *rows = NULL;

    TRY(DB_SELECT(&rows, b->db,
                  "SELECT amount FROM transfers WHERE id = $1 AND debit = $2 AND credit = $3 AND "
                  "currency = $4 AND amount = $5 AND code = $6 AND reference = $7",
                  value_blob(SPAN_OF(t->id)), value_str(t->debit), value_str(t->credit),
                  value_str(t->currency), value_int(t->amount), value_str(t->code),
                  value_text(t->reference)));
    const int row = rows_next(rows);
    if (row == 0)
        books_why("a transfer of this id says something else");
    return row < 0 ? row : row > 0 ? 0 : E_EXISTS;
}

static int insert(struct books *b, const struct transfer *t, int64_t *added)
{
    return DB_RUN(b->db, added,
                  "INSERT INTO transfers (id, seq, debit, credit, currency, amount, code, "
                  "reference, time) SELECT $1, COALESCE(MAX(seq), 0) + 1, $2, $3, $4, $5, $6, "
                  "$7, $8 FROM transfers WHERE true ON CONFLICT (id) DO NOTHING",
                  value_blob(SPAN_OF(t->id)), value_str(t->debit), value_str(t->credit),
                  value_str(t->currency), value_int(t->amount), value_str(t->code),
                  value_text(t->reference), value_int((int64_t)b->now_s));
}

int transfer_post(struct books *b, const struct transfer *t, bool *fresh)
{
    int64_t added = 0;

    if (t->amount <= 0 || strcmp(t->debit, t->credit) == 0 || t->reference.len > REFERENCE_MAX)
        return E_INVALID;
    TRY(insert(b, t, &added));
    if (fresh)
        *fresh = added > 0;
    if (added == 0)
        return same(b, t);
    TRY(debit(b, t));
    return credit(b, t);
}

/* ---- Showing ---- */

int purses_list(struct books *b, json_t **out)
{
    AUTO(rows_free) struct rows *rows = NULL;
    int row;

    *out = json_array();
    TRY(db_select(&rows, b->db,
                  "SELECT name, currency, debits, credits FROM purses ORDER BY currency, name",
                  NULL, 0));
    while ((row = rows_next(rows)) > 0) {
        json_t *purse = record_object();
        record_set_text(purse, "name", rows_bytes(rows, 0));
        record_set_text(purse, "currency", rows_bytes(rows, 1));
        record_set_money(purse, "debits", rows_int(rows, 2));
        record_set_money(purse, "credits", rows_int(rows, 3));
        record_set_money(purse, "balance", rows_int(rows, 3) - rows_int(rows, 2));
        json_array_append_new(*out, purse);
    }
    return row;
}

static json_t *transfer_json(const struct rows *rows)
{
    json_t *t = record_object();
    char id[2 * TRANSFER_ID_LEN + 1] = "";

    if (rows_bytes(rows, 0).len == TRANSFER_ID_LEN)
        hex_encode(id, rows_bytes(rows, 0));
    record_set_text(t, "id", span_str(id));
    record_set_int(t, "seq", rows_int(rows, 1));
    record_set_text(t, "debit", rows_bytes(rows, 2));
    record_set_text(t, "credit", rows_bytes(rows, 3));
    record_set_text(t, "currency", rows_bytes(rows, 4));
    record_set_money(t, "amount", rows_int(rows, 5));
    record_set_text(t, "code", rows_bytes(rows, 6));
    record_set_text(t, "reference", rows_bytes(rows, 7));
    record_set_int(t, "time", rows_int(rows, 8));
    return t;
}

int transfers_list(struct books *b, const char *purse, int64_t before, size_t limit, json_t **out)
{
    AUTO(rows_free) struct rows *rows = NULL;

    *out = NULL;
    TRY(DB_SELECT(&rows, b->db,
                  "SELECT id, seq, debit, credit, currency, amount, code, reference, time FROM "
                  "transfers WHERE ($1 = '' OR debit = $1 OR credit = $1) AND "
                  "(CAST($2 AS BIGINT) = 0 OR seq < $2) ORDER BY seq DESC LIMIT $3",
                  value_str(purse), value_int(before), value_int((int64_t)limit + 1)));
    return record_page(rows, limit, transfer_json, out);
}
