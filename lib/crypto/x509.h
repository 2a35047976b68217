/* X.509 certificates and revocation lists (RFC 5280): read with bounds, verified to one root that
 * the caller pins. Any thread; objects are read-only once made. */
#ifndef CRYPTO_X509_H
#define CRYPTO_X509_H

#include "base/buf.h"
#include "base/error.h"
#include "base/span.h"
#include "crypto/hash.h"

enum { X509_MAX_CERT = 16 * 1024, X509_MAX_CRL = 256 * 1024, X509_MAX_CHAIN = 8 };

struct x509_cert;
struct x509_crl;

/* Certificates as they came, leaf first. */
struct x509_chain {
    struct x509_cert *certs[X509_MAX_CHAIN];
    size_t count;
};

/* PEM blocks one after another; NULs and white space around and between them are tolerated,
 * anything else is not. E_INVALID, E_TOO_LARGE (more than X509_MAX_CHAIN). */
MUST_CHECK int x509_chain_read_pem(struct x509_chain *out, struct span pem);
/* The same; a certificate that is byte for byte one of known shares what has been parsed of it
 * (a P-256 certificate costs about 0.1 ms to parse). */
MUST_CHECK int x509_chain_read_known(struct x509_chain *out, struct span pem,
                                     const struct x509_cert *const *known, size_t known_count);
void x509_chain_fini(struct x509_chain *chain);
AUTO_FINI(struct x509_chain, x509_chain_fini)

/* One certificate or list, DER or PEM, with nothing behind it. */
MUST_CHECK int x509_cert_read(struct x509_cert **out, struct span bytes);
/* Another handle to the same certificate, the caller's. */
struct x509_cert *x509_cert_share(const struct x509_cert *cert);
void x509_cert_free(struct x509_cert *cert);
AUTO_FREE(struct x509_cert, x509_cert_free)
MUST_CHECK int x509_crl_read(struct x509_crl **out, struct span bytes);
void x509_crl_free(struct x509_crl *crl);
AUTO_FREE(struct x509_crl, x509_crl_free)

struct span x509_cert_der(const struct x509_cert *cert); /* lives as long as cert */
void x509_cert_spki_sha256(const struct x509_cert *cert, uint8_t out[static SHA256_LEN]);
bool x509_cert_same(const struct x509_cert *a, const struct x509_cert *b); /* by DER */
bool x509_cert_is_ca(const struct x509_cert *cert);
/* Whether subject (or issuer) has exactly one common name and it is cn. */
bool x509_cert_subject_is(const struct x509_cert *cert, const char *cn);
bool x509_cert_issuer_is(const struct x509_cert *cert, const char *cn);
bool x509_crl_issuer_is(const struct x509_crl *crl, const char *cn);
bool x509_crl_issued_by(const struct x509_crl *crl, const struct x509_cert *ca); /* by name */
/* Serial number's magnitude, big-endian; lives as long as cert. */
struct span x509_cert_serial(const struct x509_cert *cert);
/* Seconds since 1970. */
uint64_t x509_cert_not_before(const struct x509_cert *cert);
uint64_t x509_cert_not_after(const struct x509_cert *cert);
uint64_t x509_crl_this_update(const struct x509_crl *crl);
uint64_t x509_crl_next_update(const struct x509_crl *crl); /* 0: it names none */
/* The value (inside the OCTET STRING) of the extension with this dotted OID, which must be there
 * exactly once; lives as long as cert. E_NOT_FOUND, E_INVALID (twice). */
MUST_CHECK int x509_cert_extension(const struct x509_cert *cert, const char *oid, struct span *out);

/* ECDSA by the certificate's key, sig = r ‖ s. E_INVALID: another curve or length; E_AUTH. */
MUST_CHECK int x509_cert_p256_verify(const struct x509_cert *cert, struct span message,
                                     struct span sig);
MUST_CHECK int x509_cert_p384_verify(const struct x509_cert *cert, struct span message,
                                     struct span sig); /* SHA-384; ~1.1 ms */

/* Why a chain does not verify. */
enum x509_fault {
    X509_OK,
    X509_CHAIN,   /* does not lead to the root, a signature, constraint or key usage is wrong */
    X509_ROOT,    /* leads to a self-signed certificate that is not the root */
    X509_NOT_YET, /* a certificate is not valid yet */
    X509_EXPIRED, /* a certificate has ended */
    X509_REVOKED_LEAF, /* on a list */
    X509_REVOKED_CA,
    X509_CRL_MISSING, /* no list for an issuer */
    X509_CRL_EXPIRED, /* a list is outside its time */
    X509_CRL_BAD,     /* a list's signature is wrong */
};

/* Verifies chain->certs[0] by the other certificates of chain as untrusted intermediates to root
 * alone at now_s (seconds since 1970; first and last second of a time count in), strictly
 * (X509_STRICT), every certificate looked up in crls when crl_count > 0: each issuer needs a list.
 * The path must be the certificates of chain in their order, the root at its end or left out; one
 * that takes no part is X509_CHAIN. *depth, when not NULL, is where the fault lies (0: leaf, or the
 * list of its issuer). Its cost is one signature a certificate and a list. */
enum x509_fault x509_chain_verify(const struct x509_chain *chain, const struct x509_cert *root,
                                  const struct x509_crl *const *crls, size_t crl_count,
                                  uint64_t now_s, int *depth);

#endif
