/* Members of a signed payload, written and read alike by records, receipts and bills. */
#ifndef RECEIPT_MEMBERS_H
#define RECEIPT_MEMBERS_H

#include <jansson.h>

#include "base/buf.h"
#include "crypto/ed25519.h"
#include "crypto/hash.h"

enum { MEMBER_CALL_LEN = 32, MEMBER_MODEL_MAX = 256 };

/* What both sides hold a payload to. */
bool member_call_good(struct span call);   /* 32 lower-case hex */
bool member_model_good(struct span model); /* 1 … 256 bytes of UTF-8 without controls */
static inline bool member_count_good(int64_t n, int64_t max)
{
    return n >= 0 && n <= max;
}

/* Append `,"name":…`. */
void member_text_write(struct buf *out, const char *name, struct span value);
void member_digest_write(struct buf *out, const char *name,
                         const uint8_t digest[static SHA256_LEN]);

/* E_INVALID when the member is absent or is none of that kind; a text is borrowed from doc. */
MUST_CHECK int member_text_read(const json_t *doc, const char *name, struct span *out);
/* Into a char array, with its NUL. */
MUST_CHECK int member_chars_read(const json_t *doc, const char *name, char *out, size_t size);
MUST_CHECK int member_digest_read(const json_t *doc, const char *name,
                                  uint8_t out[static SHA256_LEN]);
MUST_CHECK int member_integer_read(const json_t *doc, const char *name, int64_t max, int64_t *out);
/* "v" is 1. */
MUST_CHECK int member_version_check(const json_t *doc);
/* Verifies the JWS, then reads its payload: *doc is the caller's. E_AUTH, E_INVALID. */
MUST_CHECK int member_payload_read(const struct ed25519 *key, const char *typ, struct span jws,
                                   json_t **doc);
/* Moves a borrowed text into storage, which has room for it. */
void member_own(struct buf *storage, struct span *s);

#endif
