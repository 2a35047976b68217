/* The price book: immutable, versioned, known by the hash of its bytes. */
#ifndef BILLING_PRICE_BOOK_H
#define BILLING_PRICE_BOOK_H

#include "base/buf.h"
#include "base/map.h"
#include "billing/price.h"
#include "crypto/hash.h"

/* Shared: price_book_ref/unref. Every field is read-only. */
struct price_book {
    unsigned refs;
    int64_t version;        /* 1 … 2^31 − 1: 0 stands for "no price" in Cocoon-Price */
    int64_t commission_bps; /* of what is charged, in 1/10000 */
    uint64_t valid_from_s;  /* Unix; 0: from its application on */
    uint8_t sha256[SHA256_LEN];
    struct buf json;   /* its very bytes */
    struct map models; /* name → struct price */
};

enum { PRICE_BOOK_MAX = 4 * 1024 * 1024, PRICE_MODELS_MAX = 10000 };

/* The bytes of a book ("cgw/prices/v1"):
 *   {"commission_bps":500,"currency":"TON","format":"cgw/prices/v1","models":{"<name>":{
 *    "cached":"…","completion":"…","minimum":"…","per_request":"…","prompt":"…","reasoning":"…"}},
 *    "version":12}
 * money as decimal strings of nano; a model may say "context" (integer), a book "valid_from" (Unix
 * seconds). An unknown member refuses it, as does a missing one: no price is ever guessed.
 * E_INVALID, E_TOO_LARGE. Any thread. The caller owns *out. */
MUST_CHECK int price_book_parse(struct price_book **out, struct span json);
struct price_book *price_book_ref(struct price_book *b);
void price_book_unref(struct price_book *b);
AUTO_FREE(struct price_book, price_book_unref)
/* NULL: the model has no price, so it is not for sale. Borrowed from the book. */
const struct price *price_book_find(const struct price_book *b, struct span model);

#endif
