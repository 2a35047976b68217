/* Borrowed bytes: a pointer and a length that somebody else owns. */
#ifndef BASE_SPAN_H
#define BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/error.h"

struct span {
    const uint8_t *data;
    size_t len;
};

/* A span over a string literal, without its NUL. */
#define SPAN(literal) ((struct span){(const uint8_t *)("" literal), sizeof("" literal) - 1})
/* A span over a whole array. */
#define SPAN_OF(array) ((struct span){(const uint8_t *)(array), sizeof(array)})
/* For printf's %.*s */
#define SPAN_FMT(s) (int)(s).len, (const char *)(s).data

static inline struct span span_of(const void *data, size_t len)
{
    return (struct span){(const uint8_t *)data, len};
}

static inline struct span span_str(const char *s)
{
    return span_of(s, s ? strlen(s) : 0);
}

/* The part from `from` to the end; empty when from is beyond it. */
static inline struct span span_from(struct span s, size_t from)
{
    const size_t skip = from < s.len ? from : s.len;

    return skip == 0 ? s : span_of(s.data + skip, s.len - skip);
}

/* At most `len` bytes from `from` on. */
static inline struct span span_cut(struct span s, size_t from, size_t len)
{
    s = span_from(s, from);
    if (s.len > len)
        s.len = len;
    return s;
}

static inline bool span_eq(struct span a, struct span b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static inline bool span_is(struct span a, const char *s)
{
    return span_eq(a, span_str(s));
}

bool span_starts(struct span s, struct span prefix);
bool span_ends(struct span s, struct span suffix);
/* ASCII case-insensitive equality. */
bool span_ieq(struct span a, struct span b);
/* Without spaces and tabs on both sides. */
struct span span_trim(struct span s);
/* Cuts `rest` at the first `sep`: returns what stands before it, moves rest behind it (empty at the
 * end). */
struct span span_split(struct span *rest, char sep);
/* Offset of `needle` in s, or -1. */
ptrdiff_t span_find(struct span s, struct span needle);
/* Copies s and a NUL into out; E_INVALID when they do not fit in `size` or s holds a NUL itself. */
MUST_CHECK int span_cstr(struct span s, char *out, size_t size);
/* Decimal digits only, no sign, no leading zero but "0" itself, at most `max`. Returns 0 or
 * E_INVALID. */
int span_u64(struct span s, uint64_t max, uint64_t *out);
/* True when every byte is visible ASCII (0x21–0x7E) and 1 ≤ len ≤ max_len. */
bool span_visible(struct span s, size_t max_len);
/* True when every byte is a letter or digit of ASCII, or one of `others` (never NUL), and
 * 1 ≤ len ≤ max_len: text that needs no quoting. */
bool span_plain(struct span s, const char *others, size_t max_len);
/* True when s is well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms, no more than
 * U+10FFFF). */
bool span_utf8(struct span s);

#endif
