/* Chooses the database by the form of its name, and keeps transactions whole. */
#include "ledger/books/db.h"

#include "base/log.h"
#include "ledger/books/db_impl.h"

int db_open(struct db **out, const char *where, bool for_writing, struct buf *why)
{
    const struct span s = span_str(where);

    *out = NULL;
    if (span_starts(s, SPAN("postgresql://")) || span_starts(s, SPAN("postgres://")))
        return db_pg_open(out, where, for_writing, why);
    return db_sqlite_open(out, where, for_writing, why);
}

void db_close(struct db *s)
{
    if (s)
        s->driver->close(s);
}

const char *db_fault(const struct db *s)
{
    return s->fault;
}

static int noted(const struct db *s, const char *what, int error)
{
    if (error == E_IO || error == E_UNAVAILABLE)
        log_event(LOG_ERROR, "books", "what=%s error=%s fault=%s", what, error_name(error),
                  s->fault);
    return error;
}

int db_begin(struct db *s)
{
    CHECK(!s->in_transaction);
    TRY(noted(s, "begin", s->driver->script(s, s->begin)));
    s->in_transaction = true;
    return 0;
}

int db_end(struct db *s, int error)
{
    CHECK(s->in_transaction);
    s->in_transaction = false;
    if (error >= 0) {
        const int committed = noted(s, "commit", s->driver->script(s, "COMMIT"));
        if (committed == 0)
            return error;
        error = committed;
    }
    (void)!s->driver->script(s,
                             "ROLLBACK"); /* or the connection is gone, which undoes it as well */
    return error;
}

int db_script(struct db *s, const char *sql)
{
    return noted(s, "script", s->driver->script(s, sql));
}

int db_run(struct db *s, const char *sql, const struct value *args, size_t count, int64_t *changed)
{
    int64_t ignored;

    return noted(s, "run", s->driver->run(s, sql, args, count, changed ? changed : &ignored));
}

int db_select(struct rows **out, struct db *s, const char *sql, const struct value *args,
              size_t count)
{
    *out = NULL;
    return noted(s, "select", s->driver->select(out, s, sql, args, count));
}

int rows_next(struct rows *r)
{
    return r->driver->next(r);
}

int64_t rows_int(const struct rows *r, size_t column)
{
    return r->driver->number(r, column);
}

struct span rows_bytes(const struct rows *r, size_t column)
{
    return r->driver->bytes(r, column);
}

const char *rows_text(const struct rows *r, size_t column)
{
    const struct span s = r->driver->bytes(r, column);

    return s.data ? (const char *)s.data : "";
}

bool rows_is_null(const struct rows *r, size_t column)
{
    return r->driver->is_null(r, column);
}

void rows_free(struct rows *r)
{
    if (r)
        r->driver->free(r);
}
