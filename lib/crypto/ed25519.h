/* Ed25519 signatures (RFC 8032). */
#ifndef CRYPTO_ED25519_H
#define CRYPTO_ED25519_H

#include "base/error.h"
#include "base/span.h"

enum { ED25519_KEY_LEN = 32, ED25519_SIG_LEN = 64 };

struct ed25519; /* a key pair, or a public key alone */

MUST_CHECK int ed25519_generate(struct ed25519 **out);
MUST_CHECK int ed25519_from_seed(struct ed25519 **out, struct span seed32);
MUST_CHECK int ed25519_from_public(struct ed25519 **out, struct span public32);
/* The same key once more, freed by itself: reading it anew costs a tenth of a verification. */
struct ed25519 *ed25519_share(const struct ed25519 *key);
void ed25519_free(struct ed25519 *key);
AUTO_FREE(struct ed25519, ed25519_free)

void ed25519_public(const struct ed25519 *key, uint8_t out[static ED25519_KEY_LEN]);
MUST_CHECK int ed25519_sign(const struct ed25519 *key, struct span message,
                            uint8_t sig[static ED25519_SIG_LEN]);
/* 0, or E_AUTH. ~121 µs: keep it off the path of an answer. Any thread. */
MUST_CHECK int ed25519_verify(const struct ed25519 *key, struct span message, struct span sig);

#endif
