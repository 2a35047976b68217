/* One connection to the books' database, SQLite or PostgreSQL, behind the same few calls: the only
 * place that knows which. SQL is the part that both understand, with $1 … $n for its arguments. */
#ifndef LEDGER_BOOKS_DB_H
#define LEDGER_BOOKS_DB_H

#include "base/buf.h"

struct db;
struct rows;

enum value_type { VALUE_NULL, VALUE_INT, VALUE_TEXT, VALUE_BLOB };
/* An argument or a cell. Bytes are borrowed. */
struct value {
    enum value_type type;
    int64_t number;
    struct span bytes;
};

static inline struct value value_int(int64_t number)
{
    return (struct value){VALUE_INT, number, {NULL, 0}};
}
/* UTF-8 without NULs. */
static inline struct value value_text(struct span s)
{
    return (struct value){VALUE_TEXT, 0, s};
}
static inline struct value value_str(const char *s)
{
    return value_text(span_str(s));
}
static inline struct value value_blob(struct span s)
{
    return (struct value){VALUE_BLOB, 0, s};
}

/* `where` is a path, or postgresql://… as libpq reads it. for_writing: makes the file (0600) when
 * there is none and takes the writer's lock; without it nothing can be changed. On failure `why`
 * says what to do, without a value of the database. E_BUSY: another process writes these books;
 * E_NOT_FOUND (reading only); E_DENIED (writing): others may read the file; E_UNAVAILABLE, E_IO.
 * One thread at a time. */
MUST_CHECK int db_open(struct db **out, const char *where, bool for_writing, struct buf *why);
void db_close(struct db *s);
AUTO_FREE(struct db, db_close)
bool db_is_postgres(const struct db *s);
/* What the database said of the last failure: a code, for logs. */
const char *db_fault(const struct db *s);

/* Transactions. A commit is on disk when it returns 0. db_end commits when error ≥ 0, else
 * undoes everything; it returns the error, or the commit's own. */
MUST_CHECK int db_begin(struct db *s);
MUST_CHECK int db_end(struct db *s, int error);

/* Runs statements without arguments, split by the database. E_IO. */
MUST_CHECK int db_script(struct db *s, const char *sql);
/* Runs one statement. *changed (may be NULL): rows inserted, changed or deleted. E_IO; E_EXISTS
 * when a constraint forbids it; E_BUSY. */
MUST_CHECK int db_run(struct db *s, const char *sql, const struct value *args, size_t count,
                      int64_t *changed);

/* Asks; rows come one at a time. E_IO. Free the rows before the next db_end. */
MUST_CHECK int db_select(struct rows **out, struct db *s, const char *sql, const struct value *args,
                         size_t count);
/* 1: a row is there; 0: none is left; E_IO. */
MUST_CHECK int rows_next(struct rows *r);
/* Cells of the present row, from 0 on; the bytes live until the next call. NULL reads as 0 or
 * empty. */
int64_t rows_int(const struct rows *r, size_t column);
struct span rows_bytes(const struct rows *r, size_t column);
const char *rows_text(const struct rows *r, size_t column);
bool rows_is_null(const struct rows *r, size_t column);
void rows_free(struct rows *r);
AUTO_FREE(struct rows, rows_free)

/* Arguments written in place: DB_RUN(s, &changed, sql, value_int(1), value_str("x")). */
#define DB_VALUES(...) ((const struct value[]){__VA_ARGS__})
#define DB_COUNT(...)  (sizeof(DB_VALUES(__VA_ARGS__)) / sizeof(struct value))
#define DB_RUN(s, changed, sql, ...)                                                               \
    db_run(s, sql, DB_VALUES(__VA_ARGS__), DB_COUNT(__VA_ARGS__), changed)
#define DB_SELECT(out, s, sql, ...)                                                                \
    db_select(out, s, sql, DB_VALUES(__VA_ARGS__), DB_COUNT(__VA_ARGS__))

#endif
