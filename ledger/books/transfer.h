/* Double entry (money.md §8): immutable transfers from one purse to another, and the purses' sums.
 */
#ifndef LEDGER_BOOKS_TRANSFER_H
#define LEDGER_BOOKS_TRANSFER_H

#include "ledger/books/books.h"

enum { TRANSFER_ID_LEN = 16, PURSE_LEN = 96 };
#define CURRENCY_TON "TON" /* amounts in nano */

struct transfer {
    uint8_t id[TRANSFER_ID_LEN];
    const char *debit, *credit; /* purses: what leaves the one enters the other */
    const char *currency;
    int64_t amount; /* > 0 */
    const char *code;
    struct span reference; /* text for people, at most 256 bytes of UTF-8 */
};

/* The id of what happened: SHA-256 over the kind and the parts, each with its length before it,
 * cut to 16 bytes. The same event has the same id whoever tells of it, and how often. */
void transfer_id(uint8_t out[static TRANSFER_ID_LEN], const char *kind, const struct span *parts,
                 size_t count);

/* Posts it once: a transfer of that id and content that is there already is a success with *fresh
 * (may be NULL) false. E_EXISTS: one with that id and other content; E_DENIED: the debited purse
 * would go below zero (world and asset:… may); E_TOO_LARGE: a sum above int64; E_INVALID; E_IO. */
MUST_CHECK int transfer_post(struct books *b, const struct transfer *t, bool *fresh);

/* "client:<account>" and the like. */
void purse_client(char out[static PURSE_LEN], const char *account);

struct purse_sums {
    int64_t debits, credits;
};
/* Of a purse that nobody has used: zeros. */
MUST_CHECK int purse_read(struct books *b, const char *name, const char *currency,
                          struct purse_sums *out);

/* All purses [{name, currency, debits, credits, balance}], money as text. */
MUST_CHECK int purses_list(struct books *b, json_t **out);
/* The transfers of a purse (all when ""), newest first, from before seq `before` on (0: the
 * newest): {data: [{id, seq, debit, credit, currency, amount, code, reference, time}], has_more}.
 */
MUST_CHECK int transfers_list(struct books *b, const char *purse, int64_t before, size_t limit,
                              json_t **out);

#endif
