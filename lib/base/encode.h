/* Bytes as text: hex, base64 (RFC 4648), base62, forms, and CRC-32. */
#ifndef BASE_ENCODE_H
#define BASE_ENCODE_H

#include "base/buf.h"

/* Lower-case hex; out takes 2·len + 1 bytes with its NUL. */
void hex_encode(char *out, struct span in);
/* Exactly out_len bytes from 2·out_len lower- or upper-case digits; E_INVALID otherwise. */
MUST_CHECK int hex_decode(uint8_t *out, size_t out_len, struct span in);

/* Standard alphabet with padding. */
void base64_encode(struct buf *out, struct span in);
/* URL alphabet without padding (RFC 7515). */
void base64url_encode(struct buf *out, struct span in);
/* Strict: right alphabet, right padding, zero trailing bits, no white space. E_INVALID leaves out
 * as it was. */
MUST_CHECK int base64_decode(struct buf *out, struct span in);
MUST_CHECK int base64url_decode(struct buf *out, struct span in);

/* Big-endian number in base 62 (0–9 A–Z a–z), left-padded with '0' to base62_len(in.len)
 * characters; at most 64 bytes, as callers choose the length. */
size_t base62_len(size_t bytes);
void base62_encode(struct buf *out, struct span in);
/* Exactly out_len bytes from exactly base62_len(out_len) characters; E_INVALID otherwise (out is
 * then undefined). */
MUST_CHECK int base62_decode(uint8_t *out, size_t out_len, struct span in);

/* A name or a value of a form or a query (WHATWG URL, application/x-www-form-urlencoded), strict:
 * every '%' escapes, and what comes out is UTF-8 without control characters. out is not terminated
 * and may not overlap `in`. E_INVALID; E_TOO_LARGE above size. */
MUST_CHECK int form_decode(uint8_t *out, size_t size, size_t *len, struct span in);
/* The same of a segment of a path (RFC 3986 §3.3), where '+' is a letter as others. */
MUST_CHECK int segment_decode(uint8_t *out, size_t size, size_t *len, struct span in);

/* A value of a query or a segment of a path (RFC 3986): what is not unreserved is escaped, so both
 * decoders above give `in` again, if it is text that they take. */
void percent_encode(struct buf *out, struct span in);

/* CRC-32 as in zlib (reflected 0xEDB88320). */
uint32_t crc32_of(struct span s);

#endif
