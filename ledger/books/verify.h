/* Whether the books hold what they must (money.md §9): each check reads everything and says a
 * figure.
 */
#ifndef LEDGER_BOOKS_VERIFY_H
#define LEDGER_BOOKS_VERIFY_H

#include "ledger/books/books.h"

struct verify_line {
    const char *name; /* "I1", "I9", … */
    const char *what; /* a sentence */
    bool good;
    int64_t looked_at;  /* rows */
    int64_t difference; /* nano, or rows that are wrong; 0 when good */
    char detail[120];   /* the first thing that is wrong; "" */
};
typedef void verify_line_fn(void *arg, const struct verify_line *line);

/* Runs every check of one snapshot of the books; *good: all were. Reading only; inside
 * books_begin/books_end. E_IO. */
MUST_CHECK int books_verify(struct books *b, verify_line_fn *fn, void *arg, bool *good);

#endif
