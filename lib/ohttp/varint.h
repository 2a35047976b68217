/* Variable-length integers (RFC 9000 §16), as Binary HTTP and chunked OHTTP use them. */
#ifndef OHTTP_VARINT_H
#define OHTTP_VARINT_H

#include "base/buf.h"

#define VARINT_MAX ((UINT64_C(1) << 62) - 1)
enum { VARINT_MAX_LEN = 8 };

/* Appends value, at most VARINT_MAX, in its shortest form. */
void varint_append(struct buf *out, uint64_t value);
/* Bytes that an encoding has which starts with this byte: 1, 2, 4 or 8. */
size_t varint_len(uint8_t first);
/* Reads from the front of in: the bytes used, or 0 when more are needed. Any encoding that fits is
 * accepted. */
size_t varint_read(struct span in, uint64_t *value);

#endif
