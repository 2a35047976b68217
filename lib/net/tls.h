/* TLS 1.3 for tunnels (wire.md §1) and for services with certificates: contexts of both sides,
 * pins, self-signed certificates, SPKI hashes. */
#ifndef NET_TLS_H
#define NET_TLS_H

#include "base/buf.h"

enum { TLS_SPKI_LEN = 32 }; /* SHA-256 of a DER SubjectPublicKeyInfo */

struct tls_ctx;

/* Gateway's side: PEM chain (leaf first, the CA certificate last) and key from files. Any
 * well-formed client certificate (P-256 or Ed25519, self-signed) is accepted at this level. TLS 1.3
 * only, no tickets, no early data, ALPN cocoon-h2-reverse/1. E_INVALID when a file is unusable. */
MUST_CHECK int tls_server_new(struct tls_ctx **out, const char *chain_file, const char *key_file);
/* SHA-256 of the SPKI of the chain's CA (its last certificate): the tunnel's `op`. */
void tls_server_op(const struct tls_ctx *ctx, uint8_t out[static TLS_SPKI_LEN]);
/* Worker's side: makes a fresh self-signed P-256 certificate in memory. The peer's chain must end
 * in a CA whose SPKI is one of the pins; dates and serverAuth are checked, names are not. */
MUST_CHECK int tls_client_new(struct tls_ctx **out);
/* SHA-256 of our own certificate's SPKI. */
void tls_client_spki(const struct tls_ctx *ctx, uint8_t out[static TLS_SPKI_LEN]);
/* The side that services dial (tls_front.h): HTTP/1.1. A client's certificate must say clientAuth
 * and lead to a CA of client_ca_file, dates checked. E_INVALID when a file is unusable. */
MUST_CHECK int tls_services_new(struct tls_ctx **out, const char *chain_file, const char *key_file,
                                const char *client_ca_file);
void tls_ctx_free(struct tls_ctx *ctx);
AUTO_FREE(struct tls_ctx, tls_ctx_free)

/* For `cocoonctl operator init`: writes a CA and a leaf signed by it (P-256, `days` valid):
 * dir/ca.key, dir/ca.pem, dir/tunnel.key, dir/tunnel.pem (leaf + CA); keys 0600. Existing files are
 * not touched: E_EXISTS. */
MUST_CHECK int tls_operator_make(const char *dir, unsigned days,
                                 uint8_t ca_spki[static TLS_SPKI_LEN]);
/* SPKI pin of the (first) certificate in a PEM file. */
MUST_CHECK int tls_pem_spki(const char *file, uint8_t out[static TLS_SPKI_LEN]);

#endif
