/* HPKE base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 (RFC 9180): one sender, one receiver,
 * export. */
#ifndef CRYPTO_HPKE_H
#define CRYPTO_HPKE_H

#include "crypto/aead.h"
#include "crypto/hash.h"

enum { HPKE_KEM_X25519 = 0x0020, HPKE_KDF_SHA256 = 0x0001, HPKE_KEY_LEN = 32, HPKE_ENC_LEN = 32 };

/* A receiver's private key, or a peer's public key; immutable, shared by many contexts of one
 * thread. */
struct hpke_private;
struct hpke_public;

MUST_CHECK int hpke_private_generate(struct hpke_private **out);
MUST_CHECK int hpke_private_from(struct hpke_private **out, struct span raw32); /* for vectors */
void hpke_private_public(const struct hpke_private *key, uint8_t out[static HPKE_KEY_LEN]);
void hpke_private_free(struct hpke_private *key); /* wipes */
MUST_CHECK int hpke_public_from(struct hpke_public **out, struct span raw32);
void hpke_public_free(struct hpke_public *key);
AUTO_FREE(struct hpke_private, hpke_private_free)
AUTO_FREE(struct hpke_public, hpke_public_free)

/* X25519 alone (RFC 7748). E_AUTH when the result is all zero: a point of low order. The caller
 * wipes out. */
MUST_CHECK int hpke_dh(const struct hpke_private *mine, const struct hpke_public *peer,
                       uint8_t out[static HPKE_KEY_LEN]);

struct hpke_ctx;

/* SetupBaseS (§5.1.1). The ephemeral key is made here and gone afterwards; ~100 µs, so make
 * contexts ahead of need. */
MUST_CHECK int hpke_sender_new(struct hpke_ctx **out, const struct hpke_public *to,
                               enum aead_id aead, struct span info);
/* The same with a given ephemeral private key: for vectors only. */
MUST_CHECK int hpke_sender_from(struct hpke_ctx **out, const struct hpke_public *to,
                                enum aead_id aead, struct span info, struct span ephemeral32);
/* SetupBaseR. E_AUTH when the DH result is all zero (senders too). */
MUST_CHECK int hpke_receiver_new(struct hpke_ctx **out, const struct hpke_private *key,
                                 enum aead_id aead, struct span enc, struct span info);
void hpke_free(struct hpke_ctx *ctx); /* wipes */
AUTO_FREE(struct hpke_ctx, hpke_free)

/* The encapsulated key, 32 bytes, lives as long as ctx. */
struct span hpke_enc(const struct hpke_ctx *ctx);
enum aead_id hpke_aead(const struct hpke_ctx *ctx);
/* §5.2: sequence number counts up with each success; E_TOO_LARGE when it would wrap. */
MUST_CHECK int hpke_seal(struct hpke_ctx *ctx, struct span aad, struct span plain, struct buf *out);
MUST_CHECK int hpke_open(struct hpke_ctx *ctx, struct span aad, struct span sealed,
                         struct buf *out);
/* §5.3. */
MUST_CHECK int hpke_export(const struct hpke_ctx *ctx, struct span label, uint8_t *out, size_t len);

#endif
