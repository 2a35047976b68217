/* What tls.c, tls_make.c and the tunnel share; nobody else sees OpenSSL's types. */
#ifndef NET_TLS_IMPL_H
#define NET_TLS_IMPL_H

#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "net/tls.h"

struct tls_ctx {
    SSL_CTX *ssl;
    uint8_t spki[TLS_SPKI_LEN]; /* server: of the chain's CA (the tunnel's `op`); client: of our own
                                   certificate */
};

/* What one connection knows and learns of its peer; lives as long as its SSL. */
struct tls_peer {
    uint8_t (*pins)[TLS_SPKI_LEN]; /* client: CAs that are trusted */
    size_t pin_count;
    uint8_t pin[TLS_SPKI_LEN];  /* client: the pin that matched */
    uint8_t spki[TLS_SPKI_LEN]; /* of the peer's certificate */
    bool refused;               /* the peer's certificate was not acceptable */
};

/* An SSL in the context's role over a non-blocking descriptor, which stays the caller's. */
MUST_CHECK int tls_session_new(SSL **out, struct tls_ctx *ctx, int fd, struct tls_peer *peer);
/* Both sides agreed on ALPN cocoon-h2-reverse/1. */
bool tls_session_agreed(const SSL *ssl);

/* ---- Certificates (tls_make.c) ---- */

MUST_CHECK int tls_spki_hash(X509 *cert, uint8_t out[static TLS_SPKI_LEN]);
/* A fresh P-256 key and its self-signed certificate. */
MUST_CHECK int tls_self_signed(EVP_PKEY **key, X509 **cert);

AUTO_FREE(EVP_PKEY, EVP_PKEY_free)
AUTO_FREE(X509, X509_free)
AUTO_FREE(X509_STORE, X509_STORE_free)
AUTO_FREE(X509_STORE_CTX, X509_STORE_CTX_free)
AUTO_FREE(SSL_CTX, SSL_CTX_free)
AUTO_FREE(BIO, BIO_free_all)

#endif
