/* Opening, and the clock of a transaction. */
#include "ledger/books/books.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "ledger/books/schema.h"

static _Thread_local char reason[200];

void books_why(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(reason, sizeof(reason), fmt, args);
    va_end(args);
}

const char *books_reason(void)
{
    return reason;
}

static int prepare(struct books *b, bool for_writing, struct buf *why)
{
    const int error = for_writing ? schema_migrate(b->db) : schema_check(b->db);

    if (error == E_UNSUPPORTED)
        buf_append_str(why, "these books have the tables of another version of this program");
    else if (error < 0)
        buf_printf(why, "the books' tables cannot be made (%s)", db_fault(b->db));
    return error;
}

int books_open(struct books **out, const char *where, bool for_writing, struct buf *why)
{
    AUTO(books_close) struct books *b = mem_zero(sizeof(*b));

    *out = NULL;
    TRY(db_open(&b->db, where, for_writing, why));
    TRY(prepare(b, for_writing, why));
    *out = b;
    b = NULL;
    return 0;
}

void books_close(struct books *b)
{
    if (!b)
        return;
    db_close(b->db);
    free(b);
}

int books_begin(struct books *b)
{
    b->now_ms = b->fixed_ms ? b->fixed_ms : clock_wall_ms();
    b->now_s = b->now_ms / 1000;
    reason[0] = '\0';
    return db_begin(b->db);
}

int books_end(struct books *b, int error)
{
    return db_end(b->db, error);
}
