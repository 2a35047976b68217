/* Verification of a chain to one root: OpenSSL's X509_verify_cert, with nothing trusted but that
 * root, and its answer sorted into the few kinds that callers tell apart. */
#include <openssl/err.h>
#include <openssl/x509_vfy.h>

#include "crypto/x509_impl.h"

static const struct {
    int error; /* X509_V_ERR_… */
    enum x509_fault fault;
} FAULTS[] = {
    {X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, X509_ROOT},
    {X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, X509_ROOT},
    {X509_V_ERR_CERT_NOT_YET_VALID, X509_NOT_YET},
    {X509_V_ERR_CERT_HAS_EXPIRED, X509_EXPIRED},
    {X509_V_ERR_CERT_REVOKED, X509_REVOKED_CA},
    {X509_V_ERR_UNABLE_TO_GET_CRL, X509_CRL_MISSING},
    {X509_V_ERR_CRL_NOT_YET_VALID, X509_CRL_EXPIRED},
    {X509_V_ERR_CRL_HAS_EXPIRED, X509_CRL_EXPIRED},
    {X509_V_ERR_UNABLE_TO_DECRYPT_CRL_SIGNATURE, X509_CRL_BAD},
    {X509_V_ERR_CRL_SIGNATURE_FAILURE, X509_CRL_BAD},
    {X509_V_ERR_ERROR_IN_CRL_LAST_UPDATE_FIELD, X509_CRL_BAD},
    {X509_V_ERR_ERROR_IN_CRL_NEXT_UPDATE_FIELD, X509_CRL_BAD},
    {X509_V_ERR_UNABLE_TO_GET_CRL_ISSUER, X509_CRL_BAD},
    {X509_V_ERR_KEYUSAGE_NO_CRL_SIGN, X509_CRL_BAD},
    {X509_V_ERR_UNHANDLED_CRITICAL_CRL_EXTENSION, X509_CRL_BAD},
    {X509_V_ERR_DIFFERENT_CRL_SCOPE, X509_CRL_BAD},
    {X509_V_ERR_CRL_PATH_VALIDATION_ERROR, X509_CRL_BAD},
};

static enum x509_fault fault_of(int error, int depth)
{
    for (size_t i = 0; i < sizeof(FAULTS) / sizeof(FAULTS[0]); i++)
        if (FAULTS[i].error == error)
            return error == X509_V_ERR_CERT_REVOKED && depth == 0 ? X509_REVOKED_LEAF
                                                                  : FAULTS[i].fault;
    return X509_CHAIN;
}

/* The verified path must be the one that was given, each certificate in its place: callers judge
 * names by position. The root itself may be left out of what is given. */
static bool path_is(STACK_OF(X509) * path, const struct x509_chain *chain)
{
    const size_t count = (size_t)sk_X509_num(path);

    if (count != chain->count && count != chain->count + 1)
        return false;
    for (size_t i = 0; i < chain->count; i++)
        if (X509_cmp(sk_X509_value(path, (int)i), chain->certs[i]->x) != 0)
            return false;
    return true;
}

static X509_STORE *store_make(const struct x509_cert *root, const struct x509_crl *const *crls,
                              size_t crl_count)
{
    X509_STORE *store = X509_STORE_new();

    CHECK(store != NULL);
    CHECK(X509_STORE_add_cert(store, root->x) == 1);
    for (size_t i = 0; i < crl_count; i++)
        CHECK(X509_STORE_add_crl(store, crls[i]->x) == 1);
    return store;
}

static STACK_OF(X509) * untrusted_make(const struct x509_chain *chain)
{
    STACK_OF(X509) *certs = sk_X509_new_null();

    CHECK(certs != NULL);
    for (size_t i = 1; i < chain->count; i++)
        CHECK(sk_X509_push(certs, chain->certs[i]->x) > 0);
    return certs;
}

/* OpenSSL ends a time one second early: RFC 5280 §4.1.2.5 counts the last second in. */
static int forgive_last_second(int ok, X509_STORE_CTX *ctx)
{
    const time_t *now = X509_STORE_CTX_get_app_data(ctx);
    const ASN1_TIME *end = NULL;

    if (ok)
        return ok;
    if (X509_STORE_CTX_get_error(ctx) == X509_V_ERR_CERT_HAS_EXPIRED)
        end = X509_get0_notAfter(X509_STORE_CTX_get_current_cert(ctx));
    else if (X509_STORE_CTX_get_error(ctx) == X509_V_ERR_CRL_HAS_EXPIRED)
        end = X509_CRL_get0_nextUpdate(X509_STORE_CTX_get0_current_crl(ctx));
    return end != NULL && ASN1_TIME_cmp_time_t(end, *now) == 0;
}

static enum x509_fault verify(X509_STORE_CTX *ctx, const struct x509_chain *chain, int *depth)
{
    if (X509_verify_cert(ctx) != 1) {
        *depth = X509_STORE_CTX_get_error_depth(ctx);
        return fault_of(X509_STORE_CTX_get_error(ctx), *depth);
    }
    *depth = 0;
    return path_is(X509_STORE_CTX_get0_chain(ctx), chain) ? X509_OK : X509_CHAIN;
}

enum x509_fault x509_chain_verify(const struct x509_chain *chain, const struct x509_cert *root,
                                  const struct x509_crl *const *crls, size_t crl_count,
                                  uint64_t now_s, int *depth)
{
    X509_STORE *store;
    X509_STORE_CTX *ctx;
    STACK_OF(X509) * untrusted;
    X509_VERIFY_PARAM *param;
    time_t now = (time_t)now_s;
    enum x509_fault fault;
    int ignored;

    if (chain->count == 0)
        return X509_CHAIN;
    store = store_make(root, crls, crl_count);
    untrusted = untrusted_make(chain);
    ctx = X509_STORE_CTX_new();
    CHECK(ctx != NULL && X509_STORE_CTX_init(ctx, store, chain->certs[0]->x, untrusted) == 1);
    param = X509_STORE_CTX_get0_param(ctx);
    X509_VERIFY_PARAM_set_time(param, now);
    X509_STORE_CTX_set_app_data(ctx, &now);
    X509_STORE_CTX_set_verify_cb(ctx, forgive_last_second);
    CHECK(X509_VERIFY_PARAM_set_flags(
              param, X509_V_FLAG_X509_STRICT |
                         (crl_count > 0 ? X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL : 0)) ==
          1);
    fault = verify(ctx, chain, depth ? depth : &ignored);
    X509_STORE_CTX_free(ctx);
    sk_X509_free(untrusted);
    X509_STORE_free(store);
    ERR_clear_error();
    return fault;
}
