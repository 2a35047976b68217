/* Reads DER (X.690), an element at a time: definite lengths in their shortest form alone. */
#ifndef CRYPTO_DER_H
#define CRYPTO_DER_H

#include "base/error.h"
#include "base/span.h"

/* Identifier bytes of the types that are read. */
enum {
    TAG_BOOLEAN = 0x01,
    TAG_INTEGER = 0x02,
    TAG_OCTET_STRING = 0x04,
    TAG_OID = 0x06,
    TAG_ENUMERATED = 0x0a,
    TAG_SEQUENCE = 0x30
};

/* The first element of *rest, which is moved behind it. E_NOT_FOUND when rest is empty; E_INVALID
 * when it is no whole element, or its tag takes more than one byte. */
MUST_CHECK int der_next(struct span *rest, uint8_t *tag, struct span *content);
/* The same for an element that must be there and of that type; E_INVALID otherwise. */
MUST_CHECK int der_take(struct span *rest, uint8_t tag, struct span *content);
/* An INTEGER's or ENUMERATED's content as a number; E_INVALID when it is negative, not in its
 * shortest form or above max. */
MUST_CHECK int der_number(struct span content, uint32_t max, uint32_t *out);

#endif
