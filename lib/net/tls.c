/* TLS contexts of both ends of a tunnel and the two checks of a peer's certificate: the gateway
 * takes any self-signed key, the worker wants a chain that ends in a pinned CA (wire.md §1). */
#include "net/tls.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "net/tls_impl.h"

/* One name in ALPN's wire form: its length, then the name. */
static const uint8_t alpn[] = "\x13"
                              "cocoon-h2-reverse/1";
enum { ALPN_LEN = sizeof(alpn) - 1, CERT_LIST_MAX = 32 << 10 };

/* ---- Checks of the peer's certificate ---- */

static bool key_is_accepted(X509 *cert)
{
    EVP_PKEY *key = X509_get0_pubkey(cert);
    char group[32] = "";

    if (!key)
        return false;
    if (EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519)
        return true;
    return EVP_PKEY_get_base_id(key) == EVP_PKEY_EC &&
           EVP_PKEY_get_group_name(key, group, sizeof(group), NULL) == 1 &&
           strcmp(group, "prime256v1") == 0;
}

static struct tls_peer *peer_of(X509_STORE_CTX *x)
{
    const SSL *ssl = X509_STORE_CTX_get_ex_data(x, SSL_get_ex_data_X509_STORE_CTX_idx());

    return SSL_get_app_data(ssl);
}

static int refuse(X509_STORE_CTX *x, struct tls_peer *peer, int why)
{
    peer->refused = true;
    X509_STORE_CTX_set_error(x, why);
    return 0;
}

/* The gateway's view: who the worker is comes later, from its attestation; here one well-formed
 * self-signed key suffices. */
static int verify_worker(X509_STORE_CTX *x, void *arg)
{
    struct tls_peer *peer = peer_of(x);
    X509 *cert = X509_STORE_CTX_get0_cert(x);

    (void)arg;
    if (!cert || !key_is_accepted(cert))
        return refuse(x, peer, X509_V_ERR_EE_KEY_TOO_SMALL);
    if (X509_self_signed(cert, 1) != 1)
        return refuse(x, peer, X509_V_ERR_CERT_SIGNATURE_FAILURE);
    if (tls_spki_hash(cert, peer->spki) < 0)
        return refuse(x, peer, X509_V_ERR_UNSPECIFIED);
    X509_STORE_CTX_set_error(x, X509_V_OK);
    return 1;
}

/* The chain from leaf up to ca as the only anchor: signatures, dates, CA flags, and serverAuth
 * named in the leaf. */
static int chain_verify(X509 *leaf, STACK_OF(X509) * chain, X509 *ca)
{
    AUTO(X509_STORE_free) X509_STORE *store = X509_STORE_new();
    AUTO(X509_STORE_CTX_free) X509_STORE_CTX *x = X509_STORE_CTX_new();
    uint32_t usage = X509_get_extended_key_usage(leaf);

    CHECK(store && x);
    if (usage == UINT32_MAX || !(usage & XKU_SSL_SERVER))
        return X509_V_ERR_INVALID_PURPOSE;
    if (X509_STORE_add_cert(store, ca) != 1 || X509_STORE_CTX_init(x, store, leaf, chain) != 1 ||
        X509_STORE_CTX_set_purpose(x, X509_PURPOSE_SSL_SERVER) != 1)
        return X509_V_ERR_UNSPECIFIED;
    /* A pinned CA is an anchor even when another CA signed it. */
    X509_STORE_CTX_set_flags(x, X509_V_FLAG_PARTIAL_CHAIN);
    X509_VERIFY_PARAM_set_auth_level(X509_STORE_CTX_get0_param(x), 2);
    if (X509_verify_cert(x) == 1)
        return X509_V_OK;
    int why = X509_STORE_CTX_get_error(x);
    return why == X509_V_OK ? X509_V_ERR_UNSPECIFIED : why;
}

static const uint8_t *pin_find(const struct tls_peer *peer, const uint8_t spki[static TLS_SPKI_LEN])
{
    for (size_t i = 0; i < peer->pin_count; i++)
        if (memcmp(peer->pins[i], spki, TLS_SPKI_LEN) == 0)
            return peer->pins[i];
    return NULL;
}

/* The worker's view: some CA of the chain that was sent is pinned, and the leaf verifies up to it.
 */
static int verify_gateway(X509_STORE_CTX *x, void *arg)
{
    struct tls_peer *peer = peer_of(x);
    X509 *leaf = X509_STORE_CTX_get0_cert(x);
    STACK_OF(X509) *chain = X509_STORE_CTX_get0_untrusted(x);
    int why = X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN;

    (void)arg;
    for (int i = 0; i < sk_X509_num(chain); i++) {
        X509 *ca = sk_X509_value(chain, i);
        uint8_t spki[TLS_SPKI_LEN];

        if (ca == leaf || X509_check_ca(ca) != 1 || tls_spki_hash(ca, spki) < 0)
            continue;
        const uint8_t *pin = pin_find(peer, spki);
        if (!pin)
            continue;
        why = chain_verify(leaf, chain, ca);
        if (why == X509_V_OK && tls_spki_hash(leaf, peer->spki) == 0) {
            memcpy(peer->pin, pin, TLS_SPKI_LEN);
            X509_STORE_CTX_set_error(x, X509_V_OK);
            return 1;
        }
    }
    return refuse(x, peer, why);
}

/* The view of who serves services: the chain leads to one of our own CAs, and the leaf says that it
 * is a client's. */
static int verify_service(X509_STORE_CTX *x, void *arg)
{
    const uint32_t usage = X509_get_extended_key_usage(X509_STORE_CTX_get0_cert(x));

    (void)arg;
    if (usage == UINT32_MAX || !(usage & XKU_SSL_CLIENT)) {
        X509_STORE_CTX_set_error(x, X509_V_ERR_INVALID_PURPOSE);
        return 0;
    }
    X509_VERIFY_PARAM_set_auth_level(X509_STORE_CTX_get0_param(x), 2);
    return X509_verify_cert(x);
}

/* ---- Contexts ---- */

static int alpn_find(struct span ours, const uint8_t **out, uint8_t *out_len, const uint8_t *in,
                     unsigned in_len)
{
    for (unsigned at = 0; at < in_len; at += 1u + in[at])
        if (in_len - at >= ours.len && memcmp(in + at, ours.data, ours.len) == 0) {
            *out = in + at + 1;
            *out_len = (uint8_t)(ours.len - 1);
            return SSL_TLSEXT_ERR_OK;
        }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static int alpn_select(SSL *ssl, const uint8_t **out, uint8_t *out_len, const uint8_t *in,
                       unsigned in_len, void *arg)
{
    (void)ssl;
    (void)arg;
    return alpn_find(span_of(alpn, ALPN_LEN), out, out_len, in, in_len);
}

static int alpn_select_http(SSL *ssl, const uint8_t **out, uint8_t *out_len, const uint8_t *in,
                            unsigned in_len, void *arg)
{
    (void)ssl;
    (void)arg;
    return alpn_find(SPAN("\x08"
                          "http/1.1"),
                     out, out_len, in, in_len);
}

static SSL_CTX *context_new(const SSL_METHOD *method, int (*verify)(X509_STORE_CTX *, void *))
{
    SSL_CTX *ssl = SSL_CTX_new(method);

    CHECK(ssl);
    SSL_CTX_set_min_proto_version(ssl, TLS1_3_VERSION);
    SSL_CTX_set_max_proto_version(ssl, TLS1_3_VERSION);
    SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_num_tickets(ssl, 0);
    SSL_CTX_set_max_early_data(ssl, 0);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(ssl, 1); /* else every record costs two reads */
    SSL_CTX_set_max_cert_list(ssl, CERT_LIST_MAX);
    SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_cert_verify_callback(ssl, verify, NULL);
    return ssl;
}

static struct tls_ctx *ctx_wrap(SSL_CTX **take)
{
    struct tls_ctx *ctx = mem_zero(sizeof(*ctx));

    ctx->ssl = *take;
    *take = NULL;
    return ctx;
}

/* What a worker will ask of our chain, asked at start: a bad file shows up here and not at every
 * worker. */
static int chain_check(SSL_CTX *ssl, uint8_t op[static TLS_SPKI_LEN])
{
    STACK_OF(X509) *chain = NULL;
    X509 *leaf = SSL_CTX_get0_certificate(ssl);

    if (!leaf || SSL_CTX_get0_chain_certs(ssl, &chain) != 1 || sk_X509_num(chain) < 1)
        return E_INVALID;
    X509 *ca = sk_X509_value(chain, sk_X509_num(chain) - 1);
    if (X509_check_ca(ca) != 1 || chain_verify(leaf, chain, ca) != X509_V_OK)
        return E_INVALID;
    return tls_spki_hash(ca, op);
}

int tls_server_new(struct tls_ctx **out, const char *chain_file, const char *key_file)
{
    AUTO(SSL_CTX_free) SSL_CTX *ssl = context_new(TLS_server_method(), verify_worker);
    uint8_t op[TLS_SPKI_LEN];

    SSL_CTX_set_alpn_select_cb(ssl, alpn_select, NULL);
    if (SSL_CTX_use_certificate_chain_file(ssl, chain_file) != 1 ||
        SSL_CTX_use_PrivateKey_file(ssl, key_file, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(ssl) != 1 || chain_check(ssl, op) < 0) {
        ERR_clear_error();
        return E_INVALID;
    }
    *out = ctx_wrap(&ssl);
    memcpy((*out)->spki, op, sizeof(op));
    return 0;
}

int tls_services_new(struct tls_ctx **out, const char *chain_file, const char *key_file,
                     const char *client_ca_file)
{
    AUTO(SSL_CTX_free) SSL_CTX *ssl = context_new(TLS_server_method(), verify_service);
    STACK_OF(X509_NAME) *authorities = SSL_load_client_CA_file(client_ca_file);

    SSL_CTX_set_client_CA_list(ssl, authorities); /* takes it; tells clients which one to show */
    SSL_CTX_set_alpn_select_cb(ssl, alpn_select_http, NULL);
    if (!authorities || SSL_CTX_load_verify_file(ssl, client_ca_file) != 1 ||
        SSL_CTX_use_certificate_chain_file(ssl, chain_file) != 1 ||
        SSL_CTX_use_PrivateKey_file(ssl, key_file, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(ssl) != 1) {
        ERR_clear_error();
        return E_INVALID;
    }
    *out = ctx_wrap(&ssl);
    return 0;
}

void tls_server_op(const struct tls_ctx *ctx, uint8_t out[static TLS_SPKI_LEN])
{
    memcpy(out, ctx->spki, TLS_SPKI_LEN);
}

int tls_client_new(struct tls_ctx **out)
{
    AUTO(SSL_CTX_free) SSL_CTX *ssl = context_new(TLS_client_method(), verify_gateway);
    AUTO(EVP_PKEY_free) EVP_PKEY *key = NULL;
    AUTO(X509_free) X509 *cert = NULL;
    uint8_t spki[TLS_SPKI_LEN];

    CHECK(SSL_CTX_set_alpn_protos(ssl, alpn, ALPN_LEN) == 0);
    TRY(tls_self_signed(&key, &cert));
    TRY(tls_spki_hash(cert, spki));
    if (SSL_CTX_use_certificate(ssl, cert) != 1 || SSL_CTX_use_PrivateKey(ssl, key) != 1)
        return E_CRYPTO;
    *out = ctx_wrap(&ssl);
    memcpy((*out)->spki, spki, sizeof(spki));
    return 0;
}

void tls_client_spki(const struct tls_ctx *ctx, uint8_t out[static TLS_SPKI_LEN])
{
    memcpy(out, ctx->spki, TLS_SPKI_LEN);
}

void tls_ctx_free(struct tls_ctx *ctx)
{
    if (!ctx)
        return;
    SSL_CTX_free(ctx->ssl);
    free(ctx);
}

/* ---- Connections ---- */

int tls_session_new(SSL **out, struct tls_ctx *ctx, int fd, struct tls_peer *peer)
{
    SSL *ssl = SSL_new(ctx->ssl);

    CHECK(ssl);
    SSL_set_app_data(ssl, peer);
    if (SSL_set_fd(ssl, fd) != 1) {
        SSL_free(ssl);
        return E_CRYPTO;
    }
    if (SSL_is_server(ssl))
        SSL_set_accept_state(ssl);
    else
        SSL_set_connect_state(ssl);
    *out = ssl;
    return 0;
}

bool tls_session_agreed(const SSL *ssl)
{
    const uint8_t *name;
    unsigned len;

    SSL_get0_alpn_selected(ssl, &name, &len);
    return len == ALPN_LEN - 1 && memcmp(name, alpn + 1, len) == 0;
}
