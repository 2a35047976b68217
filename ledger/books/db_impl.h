/* What a database must be able to do for db.c. */
#ifndef LEDGER_BOOKS_DB_IMPL_H
#define LEDGER_BOOKS_DB_IMPL_H

#include "ledger/books/db.h"

struct db_driver {
    int (*script)(struct db *s, const char *sql);
    int (*run)(struct db *s, const char *sql, const struct value *args, size_t count,
               int64_t *changed);
    int (*select)(struct rows **out, struct db *s, const char *sql, const struct value *args,
                  size_t count);
    void (*close)(struct db *s);
};

struct rows_driver {
    int (*next)(struct rows *r);
    int64_t (*number)(const struct rows *r, size_t column);
    struct span (*bytes)(const struct rows *r, size_t column);
    bool (*is_null)(const struct rows *r, size_t column);
    void (*free)(struct rows *r);
};

/* First member of each driver's own struct. */
struct db {
    const struct db_driver *driver;
    const char *begin; /* SQL */
    bool in_transaction;
    char fault[32];
};
struct rows {
    const struct rows_driver *driver;
};

MUST_CHECK int db_sqlite_open(struct db **out, const char *path, bool for_writing, struct buf *why);
MUST_CHECK int db_pg_open(struct db **out, const char *url, bool for_writing, struct buf *why);

#endif
