/* ECDSA on OpenSSL's EVP. OpenSSL wants the signature as DER, so the two raw numbers are wrapped
 * first. */
#include "crypto/ecdsa.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>

#include "crypto/ecdsa_impl.h"

enum { POINT_LEN = 1 + P256_KEY_LEN, UNCOMPRESSED = 0x04, MAX_SIG_DER = 128 };

/* Length of the DER form, 0 when it does not fit; r and s are at most 48 bytes each. */
static size_t sig_to_der(uint8_t out[static MAX_SIG_DER], struct span sig)
{
    const int half = (int)(sig.len / 2);
    ECDSA_SIG *pair = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(sig.data, half, NULL);
    BIGNUM *s = BN_bin2bn(sig.data + half, half, NULL);
    uint8_t *at = out;
    int len = 0;

    CHECK(pair != NULL && r != NULL && s != NULL);
    CHECK(ECDSA_SIG_set0(pair, r, s) == 1); /* takes r and s */
    if (i2d_ECDSA_SIG(pair, NULL) <= MAX_SIG_DER)
        len = i2d_ECDSA_SIG(pair, &at);
    ECDSA_SIG_free(pair);
    return len > 0 ? (size_t)len : 0;
}

int ecdsa_pkey_verify(EVP_PKEY *key, const char *digest, struct span message, struct span sig)
{
    uint8_t der[MAX_SIG_DER];
    const uint8_t *bytes = message.len > 0 ? message.data : (const uint8_t *)"";
    EVP_MD_CTX *ctx;
    size_t len;
    bool good;

    if (sig.len == 0 || sig.len > P384_SIG_LEN || sig.len % 2 != 0)
        return E_AUTH;
    len = sig_to_der(der, sig);
    ctx = EVP_MD_CTX_new();
    CHECK(ctx != NULL);
    good = len > 0 && EVP_DigestVerifyInit_ex(ctx, NULL, digest, NULL, NULL, key, NULL) == 1 &&
           EVP_DigestVerify(ctx, der, len, bytes, message.len) == 1;
    EVP_MD_CTX_free(ctx);
    if (good)
        return 0;
    ERR_clear_error();
    return E_AUTH;
}

/* OpenSSL refuses a point that is not on the curve. */
static EVP_PKEY *p256_key(struct span public_xy)
{
    static const char group[] = "prime256v1";
    uint8_t point[POINT_LEN] = {UNCOMPRESSED};
    char name[sizeof(group)];
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    EVP_PKEY *key = NULL;
    OSSL_PARAM params[3];

    memcpy(point + 1, public_xy.data, P256_KEY_LEN);
    memcpy(name, group, sizeof(group));
    params[0] = OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, name, 0);
    params[1] = OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point));
    params[2] = OSSL_PARAM_construct_end();
    CHECK(ctx != NULL);
    if (EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
        key = NULL;
    EVP_PKEY_CTX_free(ctx);
    return key;
}

int ecdsa_p256_verify(struct span public_xy, struct span message, struct span sig)
{
    EVP_PKEY *key;
    int error;

    if (public_xy.len != P256_KEY_LEN || sig.len != P256_SIG_LEN)
        return E_INVALID;
    key = p256_key(public_xy);
    if (!key) {
        ERR_clear_error();
        return E_INVALID;
    }
    error = ecdsa_pkey_verify(key, "SHA256", message, sig);
    EVP_PKEY_free(key);
    return error;
}
