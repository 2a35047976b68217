/* What a database must be able to do for store.c. */
#ifndef LEDGER_BOOKS_STORE_IMPL_H
#define LEDGER_BOOKS_STORE_IMPL_H

#include "ledger/books/store.h"

struct store_driver {
    int (*script)(struct store *s, const char *sql);
    int (*run)(struct store *s, const char *sql, const struct value *args, size_t count,
               int64_t *changed);
    int (*select)(struct rows **out, struct store *s, const char *sql, const struct value *args,
                  size_t count);
    void (*close)(struct store *s);
};

struct rows_driver {
    int (*next)(struct rows *r);
    int64_t (*number)(const struct rows *r, size_t column);
    struct span (*bytes)(const struct rows *r, size_t column);
    bool (*is_null)(const struct rows *r, size_t column);
    void (*free)(struct rows *r);
};

/* First member of each driver's own struct. */
struct store {
    const struct store_driver *driver;
    const char *begin; /* SQL */
    bool in_transaction;
    char fault[32];
};
struct rows {
    const struct rows_driver *driver;
};

MUST_CHECK int store_sqlite_open(struct store **out, const char *path, bool for_writing,
                                 struct buf *why);
MUST_CHECK int store_pg_open(struct store **out, const char *url, bool for_writing,
                             struct buf *why);

#endif
