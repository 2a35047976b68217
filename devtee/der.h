/* Writes DER (X.690): the few types that certificates and revocation lists need. */
#ifndef DEVTEE_DER_H
#define DEVTEE_DER_H

#include "base/buf.h"

enum {
    DER_INTEGER = 0x02,
    DER_BIT_STRING = 0x03,
    DER_OCTET_STRING = 0x04,
    DER_ENUMERATED = 0x0a,
    DER_UTF8 = 0x0c,
    DER_UTC_TIME = 0x17,
    DER_SEQUENCE = 0x30,
    DER_SET = 0x31,
    DER_CONTEXT = 0xa0, /* + number: constructed */
};

/* One element. */
void der_put(struct buf *out, uint8_t tag, struct span content);
/* All bytes of out from mark on become the content of one element:
 * `const size_t mark = out->len; …; der_close(out, DER_SEQUENCE, mark);` */
void der_close(struct buf *out, uint8_t tag, size_t mark);

void der_uint(struct buf *out, uint64_t value);
void der_number(struct buf *out, struct span magnitude); /* positive, big-endian */
void der_true(struct buf *out);
void der_oid(struct buf *out, const char *dotted); /* of at least two arcs, the first below 3 */
void der_bits(struct buf *out, struct span bytes, uint8_t unused);
void der_time(struct buf *out, uint64_t seconds); /* UTCTime: 1970 … 2049 */

#endif
