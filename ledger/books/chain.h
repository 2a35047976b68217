/* Bills in an order that nobody can change afterwards: a hash chain per account, and a Merkle tree
 * per day (RFC 9162 §2.1) over all of them. Pure. */
#ifndef LEDGER_BOOKS_CHAIN_H
#define LEDGER_BOOKS_CHAIN_H

#include "base/buf.h"
#include "crypto/hash.h"

/* Head before an account's first bill: SHA-256("cgw/bill-chain/v1" | account). */
void chain_begin(uint8_t head[static SHA256_LEN], const char *account);
/* head = SHA-256(head | SHA-256(the bill's JWS)). */
void chain_add(uint8_t head[static SHA256_LEN], struct span bill);

/* SHA-256(0x00 | bytes), the hash of a leaf. */
void tree_leaf(uint8_t out[static SHA256_LEN], struct span bytes);

/* A tree that grows leaf by leaf, in memory for 64 hashes. {0} is empty. */
struct tree {
    uint64_t leaves;
    uint8_t stack[64][SHA256_LEN]; /* roots of the full subtrees, largest first */
    unsigned depth;
};
void tree_add(struct tree *t, const uint8_t leaf[static SHA256_LEN]);
/* Of no leaves: SHA-256 of nothing. */
void tree_root(const struct tree *t, uint8_t out[static SHA256_LEN]);

/* Appends the inclusion path of leaf `index` among `count` leaf hashes, 32 bytes each, lowest
 * first; index < count. */
void tree_path(struct buf *out, const uint8_t *leaves, uint64_t count, uint64_t index);
/* RFC 9162 §2.1.3.2. 0 or E_AUTH. */
MUST_CHECK int tree_verify(const uint8_t root[static SHA256_LEN],
                           const uint8_t leaf[static SHA256_LEN], uint64_t index, uint64_t count,
                           struct span path);

#endif
