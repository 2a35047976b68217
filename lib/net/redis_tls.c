/* TLS towards Redis with OpenSSL. */
#include "net/redis_tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <signal.h>
#include <stdlib.h>

struct redis_tls {
    SSL_CTX *ctx;
};

static bool use_cas(SSL_CTX *ctx, const char *ca_file)
{
    return *ca_file ? SSL_CTX_load_verify_file(ctx, ca_file) == 1
                    : SSL_CTX_set_default_verify_paths(ctx) == 1;
}

static bool use_own(SSL_CTX *ctx, const char *cert_file, const char *key_file)
{
    if (!*cert_file && !*key_file)
        return true;
    return SSL_CTX_use_certificate_chain_file(ctx, cert_file) == 1 &&
           SSL_CTX_use_PrivateKey_file(ctx, key_file, SSL_FILETYPE_PEM) == 1 &&
           SSL_CTX_check_private_key(ctx) == 1;
}

int redis_tls_new(struct redis_tls **out, const char *ca_file, const char *cert_file,
                  const char *key_file)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

    CHECK(ctx);
    (void)signal(SIGPIPE, SIG_IGN); /* OpenSSL writes with write(2) */
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(ctx, 1); /* else every record costs two reads */
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    if (!use_cas(ctx, ca_file) || !use_own(ctx, cert_file, key_file)) {
        ERR_clear_error();
        SSL_CTX_free(ctx);
        return E_INVALID;
    }
    struct redis_tls *t = mem_zero(sizeof(*t));
    t->ctx = ctx;
    *out = t;
    return 0;
}

void redis_tls_free(struct redis_tls *t)
{
    if (!t)
        return;
    SSL_CTX_free(t->ctx);
    free(t);
}

/* An address is looked for among the certificate's addresses, and not sent as a name (RFC 6066
 * §3). */
static bool expect_host(SSL *ssl, const char *host)
{
    uint8_t bytes[sizeof(struct in6_addr)];
    char name[256]; /* OpenSSL's macro takes no const text */
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);

    if (snprintf(name, sizeof(name), "%s", host) >= (int)sizeof(name))
        return false;
    if (inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1)
        return X509_VERIFY_PARAM_set1_ip_asc(param, host) == 1;
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return X509_VERIFY_PARAM_set1_host(param, host, 0) == 1 &&
           SSL_set_tlsext_host_name(ssl, name) == 1;
}

int redis_tls_begin(struct ssl_st **out, const struct redis_tls *t, int fd, const char *host)
{
    SSL *ssl = SSL_new(t->ctx);

    CHECK(ssl);
    if (SSL_set_fd(ssl, fd) != 1 || !expect_host(ssl, host)) {
        ERR_clear_error();
        SSL_free(ssl);
        return E_INVALID;
    }
    SSL_set_connect_state(ssl);
    *out = ssl;
    return 0;
}

void redis_tls_end(struct ssl_st *ssl)
{
    SSL_free(ssl);
}

static int why(const SSL *ssl, int ret)
{
    const int saved = errno;

    switch (SSL_get_error(ssl, ret)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return E_AGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return E_CLOSED;
    case SSL_ERROR_SYSCALL:
        return saved == 0 || saved == ECONNRESET || saved == EPIPE ? E_CLOSED : E_IO;
    default:
        if (SSL_get_verify_result(ssl) != X509_V_OK)
            return E_AUTH;
        return ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING ? E_CLOSED
                                                                                      : E_PROTOCOL;
    }
}

static void forget_errors(void)
{
    ERR_clear_error();
    errno = 0;
}

int redis_tls_handshake(struct ssl_st *ssl)
{
    forget_errors();
    const int ret = SSL_do_handshake(ssl);
    return ret == 1 ? 0 : why(ssl, ret);
}

bool redis_tls_wants_out(const struct ssl_st *ssl)
{
    return SSL_want(ssl) == SSL_WRITING;
}

ssize_t redis_tls_read(struct ssl_st *ssl, void *out, size_t size)
{
    size_t n = 0;

    forget_errors();
    const int ret = SSL_read_ex(ssl, out, size, &n);
    return ret == 1 ? (ssize_t)n : why(ssl, ret);
}

ssize_t redis_tls_write(struct ssl_st *ssl, struct span bytes)
{
    size_t n = 0;

    forget_errors();
    const int ret = SSL_write_ex(ssl, bytes.data, bytes.len, &n);
    return ret == 1 ? (ssize_t)n : why(ssl, ret);
}
