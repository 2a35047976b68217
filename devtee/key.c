/* P-256 on OpenSSL's curve arithmetic: OpenSSL 3.0 has no ECDSA whose nonce follows from the
 * message. */
#include "devtee/key.h"

#include <stdlib.h>
#include <openssl/ec.h>
#include <openssl/obj_mac.h>

#include "crypto/hash.h"

enum { WIDE_LEN = 48 }; /* reduced by the order: the bias is below 2^-128 */

struct devtee_key {
    EC_GROUP *group;
    BIGNUM *d;
    uint8_t xy[DEVTEE_XY_LEN];
};

/* A number in [1, order) from prk and info. */
static BIGNUM *scalar_of(const EC_GROUP *group, struct span prk, struct span info, BN_CTX *ctx)
{
    uint8_t wide[WIDE_LEN];
    BIGNUM *most = BN_dup(EC_GROUP_get0_order(group));

    CHECK(hkdf_expand(wide, sizeof(wide), prk, info) == 0);
    BIGNUM *n = BN_bin2bn(wide, sizeof(wide), NULL);
    CHECK(most && n && BN_sub_word(most, 1) && BN_mod(n, n, most, ctx) && BN_add_word(n, 1));
    BN_free(most);
    return n;
}

/* x and y of n·G; y may be NULL. */
static void point_of(const EC_GROUP *group, const BIGNUM *n, BIGNUM *x, BIGNUM *y, BN_CTX *ctx)
{
    EC_POINT *point = EC_POINT_new(group);

    CHECK(point && EC_POINT_mul(group, point, n, NULL, NULL, ctx) == 1);
    CHECK(EC_POINT_get_affine_coordinates(group, point, x, y, ctx) == 1);
    EC_POINT_free(point);
}

struct devtee_key *devtee_key_new(const uint8_t *seed, const char *name)
{
    struct devtee_key *key = mem_zero(sizeof(*key));
    BN_CTX *ctx = BN_CTX_new();
    BIGNUM *x = BN_new(), *y = BN_new();
    uint8_t prk[SHA256_LEN];

    key->group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
    CHECK(key->group && ctx && x && y);
    hkdf_extract(prk, SPAN("cgw dev tee"), span_of(seed, DEVTEE_SEED_LEN));
    key->d = scalar_of(key->group, SPAN_OF(prk), span_str(name), ctx);
    point_of(key->group, key->d, x, y, ctx);
    CHECK(BN_bn2binpad(x, key->xy, 32) == 32 && BN_bn2binpad(y, key->xy + 32, 32) == 32);
    BN_free(x);
    BN_free(y);
    BN_CTX_free(ctx);
    return key;
}

void devtee_key_free(struct devtee_key *key)
{
    if (!key)
        return;
    BN_clear_free(key->d);
    EC_GROUP_free(key->group);
    free(key);
}

const uint8_t *devtee_key_xy(const struct devtee_key *key)
{
    return key->xy;
}

/* s = (h + r·d) / k mod order (SEC 1 §4.1.3). */
static void sign_digest(const struct devtee_key *key, const uint8_t digest[static SHA256_LEN],
                        const BIGNUM *k, uint8_t sig[static DEVTEE_SIG_LEN], BN_CTX *ctx)
{
    const BIGNUM *order = EC_GROUP_get0_order(key->group);
    BIGNUM *r = BN_new(), *s = BN_new(), *h = BN_bin2bn(digest, SHA256_LEN, NULL);
    BIGNUM *inverse = BN_mod_inverse(NULL, k, order, ctx);

    CHECK(r && s && h && inverse);
    point_of(key->group, k, r, NULL, ctx);
    CHECK(BN_mod(r, r, order, ctx) && BN_mod_mul(s, r, key->d, order, ctx) &&
          BN_mod_add(s, s, h, order, ctx) && BN_mod_mul(s, s, inverse, order, ctx));
    CHECK(BN_bn2binpad(r, sig, 32) == 32 && BN_bn2binpad(s, sig + 32, 32) == 32);
    BN_free(r);
    BN_free(s);
    BN_free(h);
    BN_clear_free(inverse);
}

void devtee_key_sign(const struct devtee_key *key, struct span message,
                     uint8_t sig[static DEVTEE_SIG_LEN])
{
    BN_CTX *ctx = BN_CTX_new();
    uint8_t digest[SHA256_LEN], d[32];

    CHECK(ctx && BN_bn2binpad(key->d, d, sizeof(d)) == sizeof(d));
    sha256(digest, message);
    BIGNUM *k = scalar_of(key->group, SPAN_OF(d), SPAN_OF(digest), ctx);
    sign_digest(key, digest, k, sig, ctx);
    BN_clear_free(k);
    BN_CTX_free(ctx);
    crypto_wipe(d, sizeof(d));
}
