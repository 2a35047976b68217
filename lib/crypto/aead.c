/* AEAD with one EVP context a direction: the key is scheduled once, each message only sets its
 * nonce. */
#include "crypto/aead.h"

#include <limits.h>
#include <stdlib.h>
#include <openssl/err.h>

#include "crypto/algorithms.h"
#include "crypto/hash.h"

struct aead {
    EVP_CIPHER_CTX *cipher;
    bool sealing;
};

size_t aead_key_len(enum aead_id id)
{
    switch (id) {
    case AEAD_AES_128_GCM:
        return 16;
    case AEAD_AES_256_GCM:
    case AEAD_CHACHA20_POLY1305:
        return 32;
    case AEAD_EXPORT_ONLY:
        break;
    }
    return 0;
}

static const EVP_CIPHER *cipher_of(enum aead_id id)
{
    const struct algorithms *algorithms = crypto_algorithms();

    switch (id) {
    case AEAD_AES_128_GCM:
        return algorithms->aes_128_gcm;
    case AEAD_AES_256_GCM:
        return algorithms->aes_256_gcm;
    case AEAD_CHACHA20_POLY1305:
        return algorithms->chacha20_poly1305;
    case AEAD_EXPORT_ONLY:
        break;
    }
    return NULL;
}

int aead_new(struct aead **out, enum aead_id id, struct span key, bool sealing)
{
    AUTO(aead_free) struct aead *a = NULL;
    const EVP_CIPHER *cipher = cipher_of(id);

    if (!cipher)
        return E_UNSUPPORTED;
    if (key.len != aead_key_len(id))
        return E_INVALID;
    a = mem_zero(sizeof(*a));
    a->sealing = sealing;
    a->cipher = EVP_CIPHER_CTX_new();
    if (!a->cipher || EVP_CipherInit_ex2(a->cipher, cipher, key.data, NULL, sealing, NULL) != 1)
        return E_CRYPTO;
    *out = a;
    a = NULL;
    return 0;
}

void aead_free(struct aead *a)
{
    if (!a)
        return;
    EVP_CIPHER_CTX_free(a->cipher); /* wipes the key */
    free(a);
}

void aead_nonce(uint8_t out[static AEAD_NONCE_LEN], const uint8_t base[static AEAD_NONCE_LEN],
                uint64_t sequence)
{
    memcpy(out, base, AEAD_NONCE_LEN);
    for (size_t i = AEAD_NONCE_LEN; sequence > 0; sequence >>= 8)
        out[--i] ^= (uint8_t)sequence;
}

static bool start(struct aead *a, const uint8_t *nonce, struct span aad)
{
    int len;

    return EVP_CipherInit_ex2(a->cipher, NULL, NULL, nonce, -1, NULL) == 1 &&
           (aad.len == 0 || EVP_CipherUpdate(a->cipher, NULL, &len, aad.data, (int)aad.len) == 1);
}

static bool run(struct aead *a, uint8_t *out, struct span in)
{
    int len = 0;

    return in.len == 0 || (EVP_CipherUpdate(a->cipher, out, &len, in.data, (int)in.len) == 1 &&
                           (size_t)len == in.len);
}

/* Stream modes hold nothing back: Final writes no bytes, it makes or checks the tag. */
static bool finish(struct aead *a)
{
    uint8_t none[AEAD_TAG_LEN];
    int len = 0;

    return EVP_CipherFinal_ex(a->cipher, none, &len) == 1 && len == 0;
}

static bool too_long(struct span aad, struct span in)
{
    return aad.len > INT_MAX || in.len > INT_MAX - AEAD_TAG_LEN;
}

int aead_seal(struct aead *a, const uint8_t nonce[static AEAD_NONCE_LEN], struct span aad,
              struct span plain, struct buf *out)
{
    uint8_t *at;

    if (!a->sealing)
        return E_INVALID;
    if (too_long(aad, plain))
        return E_TOO_LARGE;
    at = buf_reserve(out, plain.len + AEAD_TAG_LEN);
    if (!start(a, nonce, aad) || !run(a, at, plain) || !finish(a) ||
        EVP_CIPHER_CTX_ctrl(a->cipher, EVP_CTRL_AEAD_GET_TAG, AEAD_TAG_LEN, at + plain.len) != 1) {
        ERR_clear_error();
        return E_CRYPTO;
    }
    out->len += plain.len + AEAD_TAG_LEN;
    return 0;
}

int aead_open(struct aead *a, const uint8_t nonce[static AEAD_NONCE_LEN], struct span aad,
              struct span sealed, struct buf *out)
{
    uint8_t tag[AEAD_TAG_LEN];
    struct span text;
    uint8_t *at;

    if (a->sealing)
        return E_INVALID;
    if (sealed.len < AEAD_TAG_LEN)
        return E_AUTH;
    if (too_long(aad, sealed))
        return E_TOO_LARGE;
    text = span_cut(sealed, 0, sealed.len - AEAD_TAG_LEN);
    memcpy(tag, sealed.data + text.len, AEAD_TAG_LEN);
    at = buf_reserve(out, text.len); /* behind out's end: nobody's yet */
    if (!start(a, nonce, aad) || !run(a, at, text) ||
        EVP_CIPHER_CTX_ctrl(a->cipher, EVP_CTRL_AEAD_SET_TAG, AEAD_TAG_LEN, tag) != 1 ||
        !finish(a)) {
        crypto_wipe(at, text.len);
        ERR_clear_error();
        return E_AUTH;
    }
    out->len += text.len;
    return 0;
}
