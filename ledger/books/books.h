/* The books: the system of record of accounts, keys, prices, transfers and bills (money.md §1, §8).
 * Everything below is done in one thread, between books_begin and books_end. */
#ifndef LEDGER_BOOKS_BOOKS_H
#define LEDGER_BOOKS_BOOKS_H

#include "base/json.h"
#include "ledger/books/db.h"

struct books {
    struct db *db;
    /* Seconds and milliseconds since 1970 of the present transaction, read at its beginning; tests
     * set fixed_ms instead. */
    uint64_t now_s, now_ms;
    uint64_t fixed_ms;
};

/* Opens, and brings the schema up to date when for_writing. Errors and `why` of db_open;
 * E_UNSUPPORTED: the books were written by a newer version, or (reading) by an older one. */
MUST_CHECK int books_open(struct books **out, const char *where, bool for_writing, struct buf *why);
void books_close(struct books *b);
AUTO_FREE(struct books, books_close)

/* One transaction; books_end commits when error ≥ 0 and else undoes all of it. Returns the error,
 * or the commit's. */
MUST_CHECK int books_begin(struct books *b);
MUST_CHECK int books_end(struct books *b, int error);

/* Why the last call refused what somebody asked for, as a constant or a short text that names
 * members and never a value. Set by calls that return E_INVALID, E_EXISTS, E_DENIED. */
void books_why(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
const char *books_reason(void);

#endif
