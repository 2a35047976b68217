/* ECDSA on P-256 with SHA-256 and P-384 with SHA-384, as raw numbers (IEEE P1363: r ‖ s, x ‖ y). */
#ifndef CRYPTO_ECDSA_H
#define CRYPTO_ECDSA_H

#include "base/error.h"
#include "base/span.h"

enum { P256_KEY_LEN = 64, P256_SIG_LEN = 64, P384_SIG_LEN = 96 };

/* Over message with a public key x ‖ y. E_INVALID: lengths, or a point not on the curve; E_AUTH.
 * ~84 µs. Any thread. */
MUST_CHECK int ecdsa_p256_verify(struct span public_xy, struct span message, struct span sig);

#endif
