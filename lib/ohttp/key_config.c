/* Key configurations: key_id(1) ‖ kem(2) ‖ public key(32) ‖ length(2) ‖ pairs of kdf(2), aead(2).
 */
#include "ohttp/key_config.h"

enum { SUITES_AT = 1 + 2 + HPKE_KEY_LEN, SUITE_LEN = 4 };

static unsigned u16_at(const uint8_t *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

void key_config_make(uint8_t out[static KEY_CONFIG_LEN], uint8_t key_id,
                     const uint8_t public_key[static HPKE_KEY_LEN])
{
    static const uint8_t suites[] = {
        0, 8, 0, 1, 0, AEAD_AES_256_GCM, 0, 1, 0, AEAD_CHACHA20_POLY1305};

    out[0] = key_id;
    out[1] = HPKE_KEM_X25519 >> 8;
    out[2] = HPKE_KEM_X25519 & 0xFF;
    memcpy(out + 3, public_key, HPKE_KEY_LEN);
    memcpy(out + SUITES_AT, suites, sizeof(suites));
}

static void suite_note(struct key_config *config, unsigned kdf, unsigned aead)
{
    if (kdf != HPKE_KDF_SHA256)
        return;
    if (aead == AEAD_AES_256_GCM)
        config->aes_256_gcm = true;
    if (aead == AEAD_CHACHA20_POLY1305)
        config->chacha20_poly1305 = true;
}

int key_config_parse(struct key_config *out, struct span bytes)
{
    struct key_config config = {0};
    struct span suites;

    if (bytes.len < 3)
        return E_INVALID;
    if (u16_at(bytes.data + 1) != HPKE_KEM_X25519)
        return E_UNSUPPORTED; /* the length of its key, hence all that follows, is unknown */
    if (bytes.len < SUITES_AT + 2)
        return E_INVALID;
    suites = span_from(bytes, SUITES_AT + 2);
    if (u16_at(bytes.data + SUITES_AT) != suites.len || suites.len == 0 || suites.len % SUITE_LEN)
        return E_INVALID;
    for (; suites.len > 0; suites = span_from(suites, SUITE_LEN))
        suite_note(&config, u16_at(suites.data), u16_at(suites.data + 2));
    if (!config.aes_256_gcm && !config.chacha20_poly1305)
        return E_UNSUPPORTED;
    config.key_id = bytes.data[0];
    memcpy(config.public_key, bytes.data + 3, HPKE_KEY_LEN);
    sha256(config.kfp, bytes);
    *out = config;
    return 0;
}

bool key_config_offers(const struct key_config *config, unsigned kem, unsigned kdf, unsigned aead)
{
    return kem == HPKE_KEM_X25519 && kdf == HPKE_KDF_SHA256 &&
           ((aead == AEAD_AES_256_GCM && config->aes_256_gcm) ||
            (aead == AEAD_CHACHA20_POLY1305 && config->chacha20_poly1305));
}

int key_config_next(struct span document, size_t *at, struct span *config)
{
    struct span rest = span_from(document, *at);
    size_t len;

    if (rest.len == 0)
        return E_NOT_FOUND;
    if (rest.len < 2)
        return E_INVALID;
    len = u16_at(rest.data);
    if (rest.len - 2 < len)
        return E_INVALID;
    *config = span_cut(rest, 2, len);
    *at += 2 + len;
    return 0;
}

void key_config_append(struct buf *document, struct span config)
{
    CHECK(config.len <= UINT16_MAX);
    buf_u16be(document, (uint16_t)config.len);
    buf_append(document, config);
}
