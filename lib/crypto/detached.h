/* Detached signatures of published documents (attestation.md §6): lines, one for each signer. */
#ifndef CRYPTO_DETACHED_H
#define CRYPTO_DETACHED_H

#include "base/buf.h"
#include "crypto/ed25519.h"

/* A signature's line: `<b64u SHA-256(pub)[0:16]> <b64u signature>` over label ‖ 0x00 ‖ bytes. 0
 * when one line is by one of keys (32 bytes each); E_AUTH. */
MUST_CHECK int detached_verify(const char *label, struct span bytes, struct span sig_file,
                               const struct span *keys, size_t key_count);
/* Appends the line with its end. E_CRYPTO. */
MUST_CHECK int detached_sign(const char *label, struct span bytes, const struct ed25519 *key,
                             struct buf *out);

#endif
