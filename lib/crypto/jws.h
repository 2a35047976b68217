/* Compact JWS with EdDSA (RFC 7515, RFC 8037), the header fixed by us:
 * {"alg":"EdDSA","kid":…,"typ":…}. */
#ifndef CRYPTO_JWS_H
#define CRYPTO_JWS_H

#include "base/buf.h"
#include "crypto/ed25519.h"

enum { JWS_KID_LEN = 22 }; /* characters of b64u(SHA-256(public)[0:16]) */

/* Key id with its NUL. */
void jws_kid(char out[static JWS_KID_LEN + 1], const uint8_t public_key[static ED25519_KEY_LEN]);
/* The key id that a JWS' header names, with its NUL; nothing is verified. E_INVALID. */
MUST_CHECK int jws_named_kid(char out[static JWS_KID_LEN + 1], struct span jws);
/* Appends header.payload.signature over the payload's exact bytes. */
MUST_CHECK int jws_sign(const struct ed25519 *key, const char *typ, struct span payload,
                        struct buf *out);
/* Checks form, the exact header for this key and typ, then the signature; only then appends the
 * payload's bytes. E_INVALID: not three strict base64url parts, too long (16 KiB). E_AUTH: other
 * alg, kid, typ or signature. */
MUST_CHECK int jws_verify(const struct ed25519 *key, const char *typ, struct span jws,
                          struct buf *payload);

#endif
