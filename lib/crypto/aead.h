/* AEAD of HPKE's registry: AES-128-GCM, AES-256-GCM, ChaCha20-Poly1305, with a context reused over
 * a stream. */
#ifndef CRYPTO_AEAD_H
#define CRYPTO_AEAD_H

#include "base/buf.h"

enum aead_id {
    AEAD_AES_128_GCM = 1,
    AEAD_AES_256_GCM = 2,
    AEAD_CHACHA20_POLY1305 = 3,
    AEAD_EXPORT_ONLY = 0xFFFF
};
enum { AEAD_NONCE_LEN = 12, AEAD_TAG_LEN = 16, AEAD_KEY_MAX = 32 };

struct aead;

/* Bytes of a key (RFC 9180 §7.3); 0 for an id that cannot seal. */
size_t aead_key_len(enum aead_id id);
/* One direction of one stream; the key is copied into OpenSSL's context. E_UNSUPPORTED, E_INVALID
 * (key length). */
MUST_CHECK int aead_new(struct aead **out, enum aead_id id, struct span key, bool sealing);
void aead_free(struct aead *a);
AUTO_FREE(struct aead, aead_free)

/* base XOR the sequence number in its last bytes (RFC 9180 §5.2, RFC 9458 §4.4). */
void aead_nonce(uint8_t out[static AEAD_NONCE_LEN], const uint8_t base[static AEAD_NONCE_LEN],
                uint64_t sequence);

/* Appends ciphertext and tag. plain must not lie in out. */
MUST_CHECK int aead_seal(struct aead *a, const uint8_t nonce[static AEAD_NONCE_LEN],
                         struct span aad, struct span plain, struct buf *out);
/* Appends the plaintext only after the tag has been verified; E_AUTH leaves out as it was. sealed
 * must not lie in out. */
MUST_CHECK int aead_open(struct aead *a, const uint8_t nonce[static AEAD_NONCE_LEN],
                         struct span aad, struct span sealed, struct buf *out);

#endif
