/* TLS towards Redis: a verified server, and our own certificate where the server asks for one. Only
 * for lib/net. */
#ifndef NET_REDIS_TLS_H
#define NET_REDIS_TLS_H

#include <sys/types.h>

#include "base/span.h"

struct ssl_st; /* OpenSSL's SSL */
struct redis_tls;

/* ca_file: PEM with the CAs that are trusted; "": the system's. cert_file and key_file: PEM, both
 * or neither (""). TLS 1.2 at least. E_INVALID when a file is unusable. */
MUST_CHECK int redis_tls_new(struct redis_tls **out, const char *ca_file, const char *cert_file,
                             const char *key_file);
void redis_tls_free(struct redis_tls *t);

/* A session over a non-blocking socket, which stays the caller's. The server's certificate must
 * carry `host`: a name, or an address as a number. */
MUST_CHECK int redis_tls_begin(struct ssl_st **out, const struct redis_tls *t, int fd,
                               const char *host);
void redis_tls_end(struct ssl_st *ssl);
/* 0: done. E_AGAIN: wait for the socket, for room when redis_tls_wants_out; E_AUTH: the certificate
 * is not acceptable; E_CLOSED, E_IO, E_PROTOCOL. */
MUST_CHECK int redis_tls_handshake(struct ssl_st *ssl);
bool redis_tls_wants_out(const struct ssl_st *ssl);
/* Bytes read or written (above 0), or the errors of the handshake. */
MUST_CHECK ssize_t redis_tls_read(struct ssl_st *ssl, void *out, size_t size);
MUST_CHECK ssize_t redis_tls_write(struct ssl_st *ssl, struct span bytes);

#endif
