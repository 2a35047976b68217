/* HPKE base mode with X25519 and HKDF-SHA-256 on OpenSSL's EVP (3.0 has no HPKE of its own). */
#include "crypto/hpke.h"

#include <stdlib.h>
#include <openssl/err.h>
#include <openssl/evp.h>

struct hpke_private {
    EVP_PKEY *pkey;
    uint8_t public_key[HPKE_KEY_LEN];
};

struct hpke_public {
    EVP_PKEY *pkey;
    uint8_t raw[HPKE_KEY_LEN];
};

struct hpke_ctx {
    enum aead_id id;
    struct aead *aead; /* NULL when export-only */
    uint64_t sequence;
    uint8_t enc[HPKE_ENC_LEN];
    uint8_t base_nonce[AEAD_NONCE_LEN];
    uint8_t exporter[SHA256_LEN];
};

/* ---- Keys ---- */

/* Takes pkey, which may be NULL. */
static int private_take(struct hpke_private **out, EVP_PKEY *pkey)
{
    AUTO(hpke_private_free) struct hpke_private *key = mem_zero(sizeof(*key));
    size_t len = HPKE_KEY_LEN;

    key->pkey = pkey;
    if (!pkey || EVP_PKEY_get_raw_public_key(pkey, key->public_key, &len) != 1 ||
        len != HPKE_KEY_LEN) {
        ERR_clear_error();
        return E_CRYPTO;
    }
    *out = key;
    key = NULL;
    return 0;
}

int hpke_private_generate(struct hpke_private **out)
{
    return private_take(out, EVP_PKEY_Q_keygen(NULL, NULL, "X25519"));
}

int hpke_private_from(struct hpke_private **out, struct span raw32)
{
    if (raw32.len != HPKE_KEY_LEN)
        return E_INVALID;
    return private_take(
        out, EVP_PKEY_new_raw_private_key_ex(NULL, "X25519", NULL, raw32.data, raw32.len));
}

void hpke_private_public(const struct hpke_private *key, uint8_t out[static HPKE_KEY_LEN])
{
    memcpy(out, key->public_key, HPKE_KEY_LEN);
}

void hpke_private_free(struct hpke_private *key)
{
    if (!key)
        return;
    EVP_PKEY_free(key->pkey); /* wipes the private part */
    free(key);
}

int hpke_public_from(struct hpke_public **out, struct span raw32)
{
    AUTO(hpke_public_free) struct hpke_public *key = NULL;

    if (raw32.len != HPKE_KEY_LEN)
        return E_INVALID;
    key = mem_zero(sizeof(*key));
    memcpy(key->raw, raw32.data, HPKE_KEY_LEN);
    key->pkey = EVP_PKEY_new_raw_public_key_ex(NULL, "X25519", NULL, raw32.data, raw32.len);
    if (!key->pkey) {
        ERR_clear_error();
        return E_CRYPTO;
    }
    *out = key;
    key = NULL;
    return 0;
}

void hpke_public_free(struct hpke_public *key)
{
    if (!key)
        return;
    EVP_PKEY_free(key->pkey);
    free(key);
}

int hpke_dh(const struct hpke_private *mine, const struct hpke_public *peer,
            uint8_t out[static HPKE_KEY_LEN])
{
    static const uint8_t zero[HPKE_KEY_LEN];
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, mine->pkey, NULL);
    size_t len = HPKE_KEY_LEN;
    bool good = ctx && EVP_PKEY_derive_init(ctx) == 1 &&
                EVP_PKEY_derive_set_peer(ctx, peer->pkey) == 1 &&
                EVP_PKEY_derive(ctx, out, &len) == 1 && len == HPKE_KEY_LEN;

    EVP_PKEY_CTX_free(ctx);
    /* OpenSSL refuses an all-zero result by itself; RFC 9180 §7.1.4 makes it our duty. */
    if (good && !crypto_equal(span_of(out, HPKE_KEY_LEN), SPAN_OF(zero)))
        return 0;
    ERR_clear_error();
    return E_AUTH;
}

/* ---- KEM (RFC 9180 §4.1) ---- */

static void labeled_extract(uint8_t out[static SHA256_LEN], struct span suite, struct span salt,
                            struct span label, struct span ikm)
{
    const struct span parts[] = {SPAN("HPKE-v1"), suite, label, ikm};

    hmac_sha256_parts(out, salt, parts, sizeof(parts) / sizeof(parts[0]));
}

static int labeled_expand(uint8_t *out, size_t len, struct span suite, struct span prk,
                          struct span label, struct span info)
{
    const uint8_t length[] = {(uint8_t)(len >> 8), (uint8_t)len};
    const struct span parts[] = {SPAN_OF(length), SPAN("HPKE-v1"), suite, label, info};

    return hkdf_expand_parts(out, len, prk, parts, sizeof(parts) / sizeof(parts[0]));
}

static int extract_and_expand(uint8_t shared[static SHA256_LEN],
                              const uint8_t dh[static HPKE_KEY_LEN],
                              const uint8_t enc[static HPKE_ENC_LEN],
                              const uint8_t receiver[static HPKE_KEY_LEN])
{
    const struct span suite = SPAN("KEM\x00\x20");
    uint8_t context[HPKE_ENC_LEN + HPKE_KEY_LEN], prk[SHA256_LEN];
    int error;

    memcpy(context, enc, HPKE_ENC_LEN);
    memcpy(context + HPKE_ENC_LEN, receiver, HPKE_KEY_LEN);
    labeled_extract(prk, suite, SPAN(""), SPAN("eae_prk"), span_of(dh, HPKE_KEY_LEN));
    error = labeled_expand(shared, SHA256_LEN, suite, SPAN_OF(prk), SPAN("shared_secret"),
                           SPAN_OF(context));
    crypto_wipe(prk, sizeof(prk));
    return error;
}

/* ---- Key schedule (RFC 9180 §5.1) ---- */

enum { SUITE_LEN = 10 };

static void suite_make(uint8_t out[static SUITE_LEN], enum aead_id id)
{
    static const uint8_t start[] = {'H', 'P', 'K', 'E', 0x00, 0x20, 0x00, 0x01};

    memcpy(out, start, sizeof(start));
    out[8] = (uint8_t)((unsigned)id >> 8);
    out[9] = (uint8_t)id;
}

static int keys_expand(struct hpke_ctx *ctx, struct span suite, struct span secret,
                       struct span context, bool sealing)
{
    uint8_t key[AEAD_KEY_MAX];
    size_t key_len = aead_key_len(ctx->id);
    int error = labeled_expand(ctx->exporter, SHA256_LEN, suite, secret, SPAN("exp"), context);

    if (error == 0 && ctx->id != AEAD_EXPORT_ONLY) {
        error = labeled_expand(key, key_len, suite, secret, SPAN("key"), context);
        if (error == 0)
            error = labeled_expand(ctx->base_nonce, AEAD_NONCE_LEN, suite, secret,
                                   SPAN("base_nonce"), context);
        if (error == 0)
            error = aead_new(&ctx->aead, ctx->id, span_of(key, key_len), sealing);
        crypto_wipe(key, sizeof(key));
    }
    return error;
}

static int key_schedule(struct hpke_ctx *ctx, const uint8_t shared[static SHA256_LEN],
                        struct span info, bool sealing)
{
    uint8_t suite_bytes[SUITE_LEN], context[1 + 2 * SHA256_LEN] = {0}, secret[SHA256_LEN];
    struct span suite = SPAN_OF(suite_bytes);
    int error;

    suite_make(suite_bytes, ctx->id);
    labeled_extract(context + 1, suite, SPAN(""), SPAN("psk_id_hash"), SPAN(""));
    labeled_extract(context + 1 + SHA256_LEN, suite, SPAN(""), SPAN("info_hash"), info);
    labeled_extract(secret, suite, span_of(shared, SHA256_LEN), SPAN("secret"), SPAN(""));
    error = keys_expand(ctx, suite, SPAN_OF(secret), SPAN_OF(context), sealing);
    crypto_wipe(secret, sizeof(secret));
    return error;
}

/* ---- Contexts ---- */

static bool aead_known(enum aead_id id)
{
    return id == AEAD_EXPORT_ONLY || aead_key_len(id) > 0;
}

struct setup {
    const struct hpke_private *mine;
    const struct hpke_public *peer;
    const uint8_t *enc, *receiver; /* the encapsulated key, the receiver's public key */
    enum aead_id aead;
    struct span info;
    bool sealing;
};

static int ctx_make(struct hpke_ctx **out, const struct setup *s)
{
    AUTO(hpke_free) struct hpke_ctx *ctx = NULL;
    uint8_t dh[HPKE_KEY_LEN], shared[SHA256_LEN];
    int error;

    if (!aead_known(s->aead))
        return E_UNSUPPORTED;
    ctx = mem_zero(sizeof(*ctx));
    ctx->id = s->aead;
    memcpy(ctx->enc, s->enc, HPKE_ENC_LEN);
    error = hpke_dh(s->mine, s->peer, dh);
    if (error == 0)
        error = extract_and_expand(shared, dh, s->enc, s->receiver);
    if (error == 0)
        error = key_schedule(ctx, shared, s->info, s->sealing);
    crypto_wipe(dh, sizeof(dh));
    crypto_wipe(shared, sizeof(shared));
    if (error < 0)
        return error;
    *out = ctx;
    ctx = NULL;
    return 0;
}

static int sender_make(struct hpke_ctx **out, const struct hpke_public *to, enum aead_id aead,
                       struct span info, const struct hpke_private *ephemeral)
{
    return ctx_make(out, &(struct setup){.mine = ephemeral,
                                         .peer = to,
                                         .enc = ephemeral->public_key,
                                         .receiver = to->raw,
                                         .aead = aead,
                                         .info = info,
                                         .sealing = true});
}

int hpke_sender_new(struct hpke_ctx **out, const struct hpke_public *to, enum aead_id aead,
                    struct span info)
{
    AUTO(hpke_private_free) struct hpke_private *ephemeral = NULL;

    TRY(hpke_private_generate(&ephemeral));
    return sender_make(out, to, aead, info, ephemeral);
}

int hpke_sender_from(struct hpke_ctx **out, const struct hpke_public *to, enum aead_id aead,
                     struct span info, struct span ephemeral32)
{
    AUTO(hpke_private_free) struct hpke_private *ephemeral = NULL;

    TRY(hpke_private_from(&ephemeral, ephemeral32));
    return sender_make(out, to, aead, info, ephemeral);
}

int hpke_receiver_new(struct hpke_ctx **out, const struct hpke_private *key, enum aead_id aead,
                      struct span enc, struct span info)
{
    AUTO(hpke_public_free) struct hpke_public *peer = NULL;

    TRY(hpke_public_from(&peer, enc));
    return ctx_make(out, &(struct setup){.mine = key,
                                         .peer = peer,
                                         .enc = peer->raw,
                                         .receiver = key->public_key,
                                         .aead = aead,
                                         .info = info,
                                         .sealing = false});
}

void hpke_free(struct hpke_ctx *ctx)
{
    if (!ctx)
        return;
    aead_free(ctx->aead);
    crypto_wipe(ctx, sizeof(*ctx));
    free(ctx);
}

struct span hpke_enc(const struct hpke_ctx *ctx)
{
    return SPAN_OF(ctx->enc);
}

enum aead_id hpke_aead(const struct hpke_ctx *ctx)
{
    return ctx->id;
}

/* RFC 9180 §5.2. The sequence number has 64 bits of the nonce's 96: it cannot wrap in practice, and
 * is refused to. */
static int nonce_make(const struct hpke_ctx *ctx, uint8_t out[static AEAD_NONCE_LEN])
{
    if (!ctx->aead)
        return E_UNSUPPORTED;
    if (ctx->sequence == UINT64_MAX)
        return E_TOO_LARGE;
    aead_nonce(out, ctx->base_nonce, ctx->sequence);
    return 0;
}

int hpke_seal(struct hpke_ctx *ctx, struct span aad, struct span plain, struct buf *out)
{
    uint8_t nonce[AEAD_NONCE_LEN];

    TRY(nonce_make(ctx, nonce));
    TRY(aead_seal(ctx->aead, nonce, aad, plain, out));
    ctx->sequence++;
    return 0;
}

int hpke_open(struct hpke_ctx *ctx, struct span aad, struct span sealed, struct buf *out)
{
    uint8_t nonce[AEAD_NONCE_LEN];

    TRY(nonce_make(ctx, nonce));
    TRY(aead_open(ctx->aead, nonce, aad, sealed, out));
    ctx->sequence++;
    return 0;
}

int hpke_export(const struct hpke_ctx *ctx, struct span label, uint8_t *out, size_t len)
{
    uint8_t suite[SUITE_LEN];

    suite_make(suite, ctx->id);
    return labeled_expand(out, len, SPAN_OF(suite), SPAN_OF(ctx->exporter), SPAN("sec"), label);
}
