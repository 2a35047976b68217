/* SHA-256, SHA-384, HMAC-SHA-256, HKDF-SHA-256 (RFC 5869) and constant-time comparison. */
#ifndef CRYPTO_HASH_H
#define CRYPTO_HASH_H

#include "base/error.h"
#include "base/span.h"

enum { SHA256_LEN = 32, SHA384_LEN = 48 };

void sha256(uint8_t out[static SHA256_LEN], struct span in);
/* Over the concatenation of parts. */
void sha256_parts(uint8_t out[static SHA256_LEN], const struct span *parts, size_t count);
void sha384(uint8_t out[static SHA384_LEN], struct span in);
/* Running hash of a stream. */
struct sha256_ctx;
struct sha256_ctx *sha256_new(void);
void sha256_update(struct sha256_ctx *ctx, struct span in);
void sha256_final(struct sha256_ctx *ctx,
                  uint8_t out[static SHA256_LEN]); /* the context is spent: only free it */
void sha256_free(struct sha256_ctx *ctx);
AUTO_FREE(struct sha256_ctx, sha256_free)

void hmac_sha256(uint8_t out[static SHA256_LEN], struct span key, struct span in);
void hmac_sha256_parts(uint8_t out[static SHA256_LEN], struct span key, const struct span *parts,
                       size_t count);

void hkdf_extract(uint8_t prk[static SHA256_LEN], struct span salt, struct span ikm);
/* len ≤ 255·32, else E_TOO_LARGE. */
MUST_CHECK int hkdf_expand(uint8_t *out, size_t len, struct span prk, struct span info);
/* The same with info as the concatenation of parts. */
MUST_CHECK int hkdf_expand_parts(uint8_t *out, size_t len, struct span prk, const struct span *info,
                                 size_t count);

/* False when lengths differ; otherwise takes the same time whatever the bytes. */
bool crypto_equal(struct span a, struct span b);
/* Overwrites memory in a way that the compiler does not remove. */
void crypto_wipe(void *p, size_t len);

#endif
