/* A gateway's journal (cgw/journal/v1) as a file: its bills taken in as from its stream. */
#ifndef LEDGER_BOOKS_JOURNAL_H
#define LEDGER_BOOKS_JOURNAL_H

#include "ledger/books/bills.h"

struct journal_result {
    char instance[65];
    int64_t taken, known, refused;
    int64_t n; /* the last row's number */
};

/* In a transaction; the instance's cursor moves to the journal's end. path: of the SQLite file,
 * absolute. E_INVALID (books_why): not there, not a journal, others may read it; E_IO. */
MUST_CHECK int journal_take(struct books *b, const struct bill_keys *keys, const char *path,
                            struct journal_result *out);

#endif
