/* Writes DER (X.690): the few types that certificates and revocation lists need. */
#ifndef DEVTEE_ASN1_H
#define DEVTEE_ASN1_H

#include "base/buf.h"

enum {
    ASN1_INTEGER = 0x02,
    ASN1_BIT_STRING = 0x03,
    ASN1_OCTET_STRING = 0x04,
    ASN1_ENUMERATED = 0x0a,
    ASN1_UTF8 = 0x0c,
    ASN1_UTC_TIME = 0x17,
    ASN1_SEQUENCE = 0x30,
    ASN1_SET = 0x31,
    ASN1_CONTEXT = 0xa0, /* + number: constructed */
};

/* One element. */
void asn1_put(struct buf *out, uint8_t tag, struct span content);
/* All bytes of out from mark on become the content of one element:
 * `const size_t mark = out->len; …; asn1_close(out, ASN1_SEQUENCE, mark);` */
void asn1_close(struct buf *out, uint8_t tag, size_t mark);

void asn1_uint(struct buf *out, uint64_t value);
void asn1_number(struct buf *out, struct span magnitude); /* positive, big-endian */
void asn1_true(struct buf *out);
void asn1_oid(struct buf *out, const char *dotted); /* of at least two arcs, the first below 3 */
void asn1_bits(struct buf *out, struct span bytes, uint8_t unused);
void asn1_time(struct buf *out, uint64_t seconds); /* UTCTime: 1970 … 2049 */

#endif
