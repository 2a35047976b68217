/* What certificates and lists are made of; inside lib/crypto only. */
#ifndef CRYPTO_X509_IMPL_H
#define CRYPTO_X509_IMPL_H

#include <openssl/x509.h>

#include "crypto/x509.h"

struct x509_cert {
    X509 *x;
    struct buf der;
    uint64_t not_before, not_after; /* seconds since 1970 */
};

struct x509_crl {
    X509_CRL *x;
    uint64_t this_update, next_update;
};

/* The DER bytes of the next block with this label, NULs and white space before it skipped.
 * E_NOT_FOUND at the end; E_INVALID; E_TOO_LARGE. */
MUST_CHECK int pem_next(struct span *rest, const char *label, size_t max, struct buf *der);
/* The DER bytes of the one thing in bytes, be it DER or PEM. E_INVALID; E_TOO_LARGE. */
MUST_CHECK int pem_or_der(struct span bytes, const char *label, size_t max, struct buf *der);

/* Seconds since 1970, times before it as 0. */
MUST_CHECK int asn1_time_read(const ASN1_TIME *t, uint64_t *out);
bool x509_name_is(const X509_NAME *name, const char *cn);

#endif
