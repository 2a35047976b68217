/* SHA-2, HMAC and HKDF on OpenSSL's EVP. They cannot fail but for want of memory, which aborts.
 */
#include "crypto/hash.h"

#include <stdlib.h>
#include <openssl/crypto.h>

#include "crypto/algorithms.h"

struct sha256_ctx {
    EVP_MD_CTX *md;
};

struct sha256_ctx *sha256_new(void)
{
    struct sha256_ctx *ctx = mem_zero(sizeof(*ctx));

    ctx->md = EVP_MD_CTX_new();
    CHECK(ctx->md != NULL);
    CHECK(EVP_DigestInit_ex2(ctx->md, crypto_algorithms()->sha256, NULL) == 1);
    return ctx;
}

void sha256_update(struct sha256_ctx *ctx, struct span in)
{
    if (in.len > 0)
        CHECK(EVP_DigestUpdate(ctx->md, in.data, in.len) == 1);
}

void sha256_final(struct sha256_ctx *ctx, uint8_t out[static SHA256_LEN])
{
    unsigned len = 0;

    CHECK(EVP_DigestFinal_ex(ctx->md, out, &len) == 1 && len == SHA256_LEN);
}

void sha256_free(struct sha256_ctx *ctx)
{
    if (!ctx)
        return;
    EVP_MD_CTX_free(ctx->md);
    free(ctx);
}

void sha256(uint8_t out[static SHA256_LEN], struct span in)
{
    sha256_parts(out, &in, 1);
}

void sha256_parts(uint8_t out[static SHA256_LEN], const struct span *parts, size_t count)
{
    AUTO(sha256_free) struct sha256_ctx *ctx = sha256_new();

    for (size_t i = 0; i < count; i++)
        sha256_update(ctx, parts[i]);
    sha256_final(ctx, out);
}

void sha384(uint8_t out[static SHA384_LEN], struct span in)
{
    const uint8_t *data = in.len > 0 ? in.data : (const uint8_t *)"";
    unsigned len = 0;

    CHECK(EVP_Digest(data, in.len, out, &len, crypto_algorithms()->sha384, NULL) == 1 &&
          len == SHA384_LEN);
}

static EVP_MAC_CTX *mac_new(void)
{
    EVP_MAC_CTX *mac = EVP_MAC_CTX_dup(crypto_algorithms()->hmac_sha256);

    CHECK(mac != NULL);
    return mac;
}

/* May be called again on the same context; an empty key needs a pointer, or the last one would
 * stay. */
static void mac_start(EVP_MAC_CTX *mac, struct span key)
{
    const uint8_t *data = key.len > 0 ? key.data : (const uint8_t *)"";

    CHECK(EVP_MAC_init(mac, data, key.len, NULL) == 1);
}

static void mac_add(EVP_MAC_CTX *mac, struct span in)
{
    if (in.len > 0)
        CHECK(EVP_MAC_update(mac, in.data, in.len) == 1);
}

static void mac_finish(EVP_MAC_CTX *mac, uint8_t out[static SHA256_LEN])
{
    size_t len = 0;

    CHECK(EVP_MAC_final(mac, out, &len, SHA256_LEN) == 1 && len == SHA256_LEN);
}

void hmac_sha256(uint8_t out[static SHA256_LEN], struct span key, struct span in)
{
    hmac_sha256_parts(out, key, &in, 1);
}

void hmac_sha256_parts(uint8_t out[static SHA256_LEN], struct span key, const struct span *parts,
                       size_t count)
{
    EVP_MAC_CTX *mac = mac_new();

    mac_start(mac, key);
    for (size_t i = 0; i < count; i++)
        mac_add(mac, parts[i]);
    mac_finish(mac, out);
    EVP_MAC_CTX_free(mac);
}

void hkdf_extract(uint8_t prk[static SHA256_LEN], struct span salt, struct span ikm)
{
    /* An absent salt is 32 zero bytes (RFC 5869 §2.2), which as a key of HMAC is the empty one. */
    hmac_sha256(prk, salt, ikm);
}

int hkdf_expand(uint8_t *out, size_t len, struct span prk, struct span info)
{
    return hkdf_expand_parts(out, len, prk, &info, 1);
}

int hkdf_expand_parts(uint8_t *out, size_t len, struct span prk, const struct span *info,
                      size_t count)
{
    uint8_t block[SHA256_LEN];
    struct span previous = {0};
    EVP_MAC_CTX *mac;

    if (len > (size_t)255 * SHA256_LEN)
        return E_TOO_LARGE;
    mac = mac_new();
    for (uint8_t n = 1; len > 0; n++) { /* RFC 5869 §2.3: T(n) = HMAC(prk, T(n-1) ‖ info ‖ n) */
        size_t take = len < SHA256_LEN ? len : SHA256_LEN;

        mac_start(mac, prk);
        mac_add(mac, previous);
        for (size_t i = 0; i < count; i++)
            mac_add(mac, info[i]);
        mac_add(mac, span_of(&n, 1));
        mac_finish(mac, block);
        memcpy(out, block, take);
        out += take;
        len -= take;
        previous = SPAN_OF(block);
    }
    EVP_MAC_CTX_free(mac);
    crypto_wipe(block, sizeof(block));
    return 0;
}

bool crypto_equal(struct span a, struct span b)
{
    return a.len == b.len && (a.len == 0 || CRYPTO_memcmp(a.data, b.data, a.len) == 0);
}

void crypto_wipe(void *p, size_t len)
{
    if (p)
        OPENSSL_cleanse(p, len);
}
