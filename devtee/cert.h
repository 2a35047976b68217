/* Certificates and revocation lists of the dev platform (RFC 5280), as Intel's are made up. */
#ifndef DEVTEE_CERT_H
#define DEVTEE_CERT_H

#include "base/buf.h"
#include "devtee/key.h"

enum { CERT_SERIAL_LEN = 20 };

/* A name is O=INSECURE DEV with this common name. */
struct cert_form {
    const char *subject, *issuer;              /* common names */
    const struct devtee_key *key, *issuer_key; /* whose, and who signs */
    uint64_t not_before, not_after;
    bool ca;
    struct span sgx; /* value of the SGX extension; empty: none */
};

struct crl_form {
    const char *issuer;
    const struct devtee_key *issuer_key;
    uint64_t this_update, next_update;
    const uint8_t *revoked; /* one serial number, or NULL */
    bool bad_signature;
};

void cert_write(const struct cert_form *form, struct buf *der);
void crl_write(const struct crl_form *form, struct buf *der);
/* The serial number that cert_write gives: it follows from subject and key. */
void cert_serial(const char *subject, const struct devtee_key *key,
                 uint8_t out[static CERT_SERIAL_LEN]);

void pem_write(struct buf *out, struct span der); /* a CERTIFICATE block */

#endif
