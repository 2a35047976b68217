/* OHTTP key configuration, application/ohttp-keys (RFC 9458 §3, wire.md §2). */
#ifndef OHTTP_KEY_CONFIG_H
#define OHTTP_KEY_CONFIG_H

#include "base/buf.h"
#include "crypto/hpke.h"

enum { KEY_CONFIG_LEN = 45, KFP_LEN = 32, OHTTP_HDR_LEN = 7 };

/* A parsed configuration; it borrows nothing. */
struct key_config {
    uint8_t key_id;
    uint8_t public_key[HPKE_KEY_LEN];
    bool aes_256_gcm, chacha20_poly1305; /* suites offered, KDF SHA-256 */
    uint8_t kfp[KFP_LEN];                /* SHA-256 of the configuration's exact bytes */
};

/* Writes the 45 bytes with both suites. */
void key_config_make(uint8_t out[static KEY_CONFIG_LEN], uint8_t key_id,
                     const uint8_t public_key[static HPKE_KEY_LEN]);
/* One configuration without its length prefix: KEM 0x0020 and at least one suite we speak.
 * E_INVALID, E_UNSUPPORTED. */
MUST_CHECK int key_config_parse(struct key_config *out, struct span bytes);
/* True when the configuration offers that suite: a request with another one is refused before it is
 * opened (wire.md §7.1). */
bool key_config_offers(const struct key_config *config, unsigned kem, unsigned kdf, unsigned aead);
/* Walks an application/ohttp-keys document: *at starts at 0; E_NOT_FOUND at the end, E_INVALID when
 * cut short. */
MUST_CHECK int key_config_next(struct span document, size_t *at, struct span *config);
/* Appends one configuration with its 16-bit length prefix. */
void key_config_append(struct buf *document, struct span config);

#endif
