/* Parts of ledger/books/verify.c. */
#ifndef LEDGER_BOOKS_VERIFY_IMPL_H
#define LEDGER_BOOKS_VERIFY_IMPL_H

#include "ledger/books/verify.h"

struct run {
    struct books *books;
    verify_line_fn *fn;
    void *arg;
    bool good;
};

/* Adds to the line's difference; the first sentence stays. */
void verify_wrong(struct verify_line *line, int64_t difference, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Hands the line over. */
void verify_tell(struct run *r, const struct verify_line *line);
/* The number that a query selects. */
MUST_CHECK int verify_count(struct books *b, const char *sql, int64_t *out);
/* Rows of (what, difference) that a query finds wrong. */
MUST_CHECK int verify_rows(struct books *b, const char *sql, struct verify_line *line,
                           const char *sentence);

/* verify_events.c: what happened is written once, by whom it may be (I4 to I8). */
MUST_CHECK int verify_ids(struct books *b, struct verify_line *line);
MUST_CHECK int verify_credits(struct run *r);
MUST_CHECK int verify_sources(struct run *r);
MUST_CHECK int verify_payouts(struct run *r);
MUST_CHECK int verify_usage(struct run *r);

#endif
