/* Ed25519 on OpenSSL's EVP; a key is immutable, so any number of threads may sign and verify with
 * it. */
#include "crypto/ed25519.h"

#include <stdlib.h>
#include <openssl/err.h>
#include <openssl/evp.h>

struct ed25519 {
    EVP_PKEY *pkey;
    bool private;
    uint8_t public_key[ED25519_KEY_LEN];
};

/* Takes pkey, which may be NULL. */
static int key_take(struct ed25519 **out, EVP_PKEY *pkey, bool private)
{
    AUTO(ed25519_free) struct ed25519 *key = mem_zero(sizeof(*key));
    size_t len = ED25519_KEY_LEN;

    key->pkey = pkey;
    key->private = private;
    if (!pkey || EVP_PKEY_get_raw_public_key(pkey, key->public_key, &len) != 1 ||
        len != ED25519_KEY_LEN) {
        ERR_clear_error();
        return E_CRYPTO;
    }
    *out = key;
    key = NULL;
    return 0;
}

int ed25519_generate(struct ed25519 **out)
{
    return key_take(out, EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), true);
}

int ed25519_from_seed(struct ed25519 **out, struct span seed32)
{
    if (seed32.len != ED25519_KEY_LEN)
        return E_INVALID;
    return key_take(
        out, EVP_PKEY_new_raw_private_key_ex(NULL, "ED25519", NULL, seed32.data, seed32.len), true);
}

int ed25519_from_public(struct ed25519 **out, struct span public32)
{
    if (public32.len != ED25519_KEY_LEN)
        return E_INVALID;
    return key_take(
        out, EVP_PKEY_new_raw_public_key_ex(NULL, "ED25519", NULL, public32.data, public32.len),
        false);
}

struct ed25519 *ed25519_share(const struct ed25519 *key)
{
    struct ed25519 *same = mem_alloc(sizeof(*same));

    *same = *key;
    CHECK(EVP_PKEY_up_ref(key->pkey) == 1);
    return same;
}

void ed25519_free(struct ed25519 *key)
{
    if (!key)
        return;
    EVP_PKEY_free(key->pkey); /* wipes the private part */
    free(key);
}

void ed25519_public(const struct ed25519 *key, uint8_t out[static ED25519_KEY_LEN])
{
    memcpy(out, key->public_key, ED25519_KEY_LEN);
}

static const uint8_t *data_of(struct span s)
{
    return s.len > 0 ? s.data : (const uint8_t *)"";
}

int ed25519_sign(const struct ed25519 *key, struct span message,
                 uint8_t sig[static ED25519_SIG_LEN])
{
    EVP_MD_CTX *ctx;
    size_t len = ED25519_SIG_LEN;
    bool made;

    if (!key->private)
        return E_INVALID;
    ctx = EVP_MD_CTX_new();
    CHECK(ctx != NULL);
    made = EVP_DigestSignInit_ex(ctx, NULL, NULL, NULL, NULL, key->pkey, NULL) == 1 &&
           EVP_DigestSign(ctx, sig, &len, data_of(message), message.len) == 1 &&
           len == ED25519_SIG_LEN;
    EVP_MD_CTX_free(ctx);
    if (made)
        return 0;
    ERR_clear_error();
    return E_CRYPTO;
}

int ed25519_verify(const struct ed25519 *key, struct span message, struct span sig)
{
    EVP_MD_CTX *ctx;
    bool good;

    if (sig.len != ED25519_SIG_LEN)
        return E_AUTH;
    ctx = EVP_MD_CTX_new();
    CHECK(ctx != NULL);
    good = EVP_DigestVerifyInit_ex(ctx, NULL, NULL, NULL, NULL, key->pkey, NULL) == 1 &&
           EVP_DigestVerify(ctx, sig.data, sig.len, data_of(message), message.len) == 1;
    EVP_MD_CTX_free(ctx);
    if (good)
        return 0;
    ERR_clear_error();
    return E_AUTH;
}
