/* Whose signature makes a bill: the gateways' keys, as the books have come to know them. */
#ifndef LEDGER_BOOKS_BILL_KEYS_H
#define LEDGER_BOOKS_BILL_KEYS_H

#include "crypto/ed25519.h"
#include "ledger/books/audit.h"
#include "ledger/books/books.h"
#include "receipt/bill.h"

/* By their key id. {0} is none. */
struct bill_keys {
    struct bill_key *items;
    size_t count;
};
struct bill_key {
    char kid[24];
    struct ed25519 *key;
    bool revoked; /* none of its bills is taken */
};
void bill_keys_fini(struct bill_keys *k);
AUTO_FINI(struct bill_keys, bill_keys_fini)
/* Those that the books know. believed: as if none were revoked, for bills that are in the books, or
 * that the operator has looked through. E_IO; E_INVALID: a row is no key, and all others are
 * read. */
MUST_CHECK int bill_keys_read(struct books *b, bool believed, struct bill_keys *out);
enum bill_key_state { BILL_KEY_UNKNOWN, BILL_KEY_COUNTS, BILL_KEY_REVOKED };
enum bill_key_state bill_keys_state(const struct bill_keys *k, struct span kid);
/* A gateway's key: kept for ever, so that its bills can be verified later. hex: 64 digits that must
 * have this kid: E_INVALID. *added: the books did not know it; one that they say was revoked stays
 * so. On an error, or when the transaction fails, the set may hold what the books do not. E_IO. */
MUST_CHECK int bill_keys_add(struct books *b, struct bill_keys *k, struct span kid, struct span hex,
                             bool *added);
/* Reads a bill that one of them has signed. E_AUTH: none, or one that is revoked; E_INVALID. *out
 * is owned. */
MUST_CHECK int bill_keys_verify(const struct bill_keys *k, struct span jws, struct bill *out);

/* {data: [{kid, ed25519, since, revoked}], has_more} behind a kid. `account` is not looked at.
 * E_IO. */
MUST_CHECK int bill_keys_list(struct books *b, const char *account, const char *after, size_t limit,
                              json_t **out);
/* From now on none of its bills is taken, or they are again; those that were stay. *out as above.
 * E_NOT_FOUND; E_DENIED: it is so already. */
MUST_CHECK int bill_key_revoke(struct books *b, const struct actor *a, const char *kid,
                               bool revoked, json_t **out);

#endif
