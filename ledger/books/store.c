/* Chooses the database by the form of its name, and keeps transactions whole. */
#include "ledger/books/store.h"

#include "base/log.h"
#include "ledger/books/store_impl.h"

int store_open(struct store **out, const char *where, bool for_writing, struct buf *why)
{
    const struct span s = span_str(where);

    *out = NULL;
    if (span_starts(s, SPAN("postgresql://")) || span_starts(s, SPAN("postgres://")))
        return store_pg_open(out, where, for_writing, why);
    return store_sqlite_open(out, where, for_writing, why);
}

void store_close(struct store *s)
{
    if (s)
        s->driver->close(s);
}

const char *store_fault(const struct store *s)
{
    return s->fault;
}

static int noted(const struct store *s, const char *what, int error)
{
    if (error == E_IO || error == E_UNAVAILABLE)
        log_event(LOG_ERROR, "books", "what=%s error=%s fault=%s", what, error_name(error),
                  s->fault);
    return error;
}

int store_begin(struct store *s)
{
    CHECK(!s->in_transaction);
    TRY(noted(s, "begin", s->driver->script(s, s->begin)));
    s->in_transaction = true;
    return 0;
}

int store_end(struct store *s, int error)
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

int store_script(struct store *s, const char *sql)
{
    return noted(s, "script", s->driver->script(s, sql));
}

int store_run(struct store *s, const char *sql, const struct value *args, size_t count,
              int64_t *changed)
{
    int64_t ignored;

    return noted(s, "run", s->driver->run(s, sql, args, count, changed ? changed : &ignored));
}

int store_select(struct rows **out, struct store *s, const char *sql, const struct value *args,
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
