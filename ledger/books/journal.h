/* A gateway's journal (cgw/journal/v1) as a file: its bills taken in as from its stream. */
#ifndef LEDGER_BOOKS_JOURNAL_H
#define LEDGER_BOOKS_JOURNAL_H

#include "ledger/books/bills.h"
#include "ledger/books/verify.h"

struct journal_result {
    char instance[65];
    int64_t taken, known, refused;
    int64_t n;     /* the last row's number */
    int64_t epoch; /* the first in which Redis charged one that was taken (0: in one that is over,
                      or nobody knows); LAYOUT_EPOCH_UNKNOWN: none was taken */
};

/* Of each that was taken. Its error ends the taking. */
typedef int journal_taken_fn(void *arg, const struct bill_outcome *out);

/* In a transaction; the instance's cursor moves to the journal's end. path: of the SQLite file,
 * absolute. E_INVALID (books_why): not there, not a journal, others may read it; E_DENIED: its key
 * is none of keys; E_IO; fn's. */
MUST_CHECK int journal_take(struct books *b, const struct bill_keys *keys, const char *path,
                            journal_taken_fn *fn, void *arg, struct journal_result *out);
/* Whether every charge of the journal at path is in the books as well (I8): what a gateway that
 * lived has on disk is billed. Reading only, between books_begin and books_end; a line of which
 * *good is part. E_INVALID as above; E_IO. */
MUST_CHECK int journal_verify(struct books *b, const char *path, verify_line_fn *fn, void *arg,
                              bool *good);

#endif
