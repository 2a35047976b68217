/* What is hashed are the canonical bytes of price_file.h, also when people read them as JSON. */
#include "ledger/books/prices.h"

#include <stdio.h>

#include "base/encode.h"
#include "billing/price_book.h"
#include "crypto/hash.h"
#include "ledger/books/price_file.h"
#include "ledger/books/record.h"

static json_t *prices_json(const struct rows *rows)
{
    json_t *it = record_object();
    AUTO_JSON json_t *book = NULL;

    record_set_int(it, "version", rows_int(rows, 0));
    record_set_text(it, "sha256", rows_bytes(rows, 1));
    record_set_int(it, "applied", rows_int(rows, 2));
    record_set_text(it, "who", rows_bytes(rows, 3));
    if (rows_bytes(rows, 4).len > 0 && record_read(rows_bytes(rows, 4), &book) == 0)
        record_set(it, "book", json_incref(book));
    return it;
}

int prices_find(struct books *b, int64_t version, json_t **out)
{
    AUTO(rows_free) struct rows *rows = NULL;

    *out = NULL;
    TRY(DB_SELECT(&rows, b->db,
                  "SELECT version, sha256, applied, who, book FROM prices WHERE "
                  "CAST($1 AS BIGINT) = 0 OR version = $1 ORDER BY version DESC LIMIT 1",
                  value_int(version)));
    return record_one(rows, prices_json, out);
}

int prices_list(struct books *b, json_t **out)
{
    AUTO(rows_free) struct rows *rows = NULL;

    *out = NULL;
    TRY(db_select(&rows, b->db,
                  "SELECT version, sha256, applied, who, '' FROM prices ORDER BY version DESC",
                  NULL, 0));
    return record_page(rows, SIZE_MAX, prices_json, out);
}

int prices_each(struct books *b, prices_book_fn *fn, void *arg)
{
    AUTO(rows_free) struct rows *rows = NULL;
    int row;

    TRY(db_select(&rows, b->db, "SELECT version, book FROM prices ORDER BY version", NULL, 0));
    while ((row = rows_next(rows)) > 0)
        fn(arg, rows_int(rows, 0), rows_bytes(rows, 1));
    return row;
}

static json_t *result(const json_t *before, const json_t *book, const char *sha256, bool fresh)
{
    json_t *it = record_object();

    record_set_int(it, "version", record_int(book, "version", 0));
    record_set_text(it, "sha256", span_str(sha256));
    record_set(it, "fresh", json_boolean(fresh));
    record_set(it, "before", before ? json_deep_copy(record_at(before, "book")) : json_null());
    record_set(it, "after", json_deep_copy(book));
    return it;
}

static int insert(struct books *b, const struct actor *a, const json_t *book, const char *sha256,
                  struct span text)
{
    return DB_RUN(b->db, NULL,
                  "INSERT INTO prices (version, sha256, book, applied, who) VALUES "
                  "($1, $2, $3, $4, $5)",
                  value_int(record_int(book, "version", 0)), value_str(sha256), value_text(text),
                  value_int((int64_t)b->now_s), value_str(a->who));
}

// Whether the book may follow what is there; *fresh false when it is there already.
static int check_order(struct books *b, const json_t *newest, int64_t version, const char *sha256,
                       bool *fresh)
{
    AUTO_JSON json_t *same = NULL;
    const int error = prices_find(b, version, &same);

    if (error < 0 && error != E_NOT_FOUND)
        return error;
    *fresh = !same;
    if (same && strcmp(record_text(same, "sha256", ""), sha256) == 0)
        return 0;
    if (!same && (!newest || record_int(newest, "version", 0) < version))
        return 0;
    books_why("version must be above that of every book before: a book is never edited in place");
    return E_EXISTS;
}

int prices_apply(struct books *b, const struct actor *a, struct span yaml, bool dry, json_t **out)
{
    AUTO(buf_fini) struct buf text = {0};
    AUTO(buf_fini) struct buf why = {0};
    AUTO(price_book_unref) struct price_book *parsed = NULL;
    AUTO_JSON json_t *newest = NULL;
    AUTO_JSON json_t *book = NULL;
    char sha256_hex[2 * SHA256_LEN + 1], object[32];
    bool fresh = false;

    *out = NULL;
    if (price_file_read(yaml, &text, &why) < 0) {
        books_why("%s", buf_cstr(&why));
        return E_INVALID;
    }
    if (price_book_parse(&parsed, buf_span(&text)) < 0) {
        books_why("gateways would not take this book");
        return E_INVALID;
    }
    TRY(record_read(buf_span(&text), &book));
    hex_encode(sha256_hex, SPAN_OF(parsed->sha256));
    const int found = prices_find(b, 0, &newest);
    if (found < 0 && found != E_NOT_FOUND)
        return found;
    const int64_t version = record_int(book, "version", 0);
    TRY(check_order(b, newest, version, sha256_hex, &fresh));
    if (fresh && !dry) {
        TRY(insert(b, a, book, sha256_hex, buf_span(&text)));
        snprintf(object, sizeof(object), "prices/%lld", (long long)version);
        TRY(audit_note(b, a, "prices.apply", object, record_at(newest, "book"), book));
    }
    *out = result(newest, book, sha256_hex, fresh);
    return 0;
}
