/* Owned bytes that grow: append at the end, consume from the front. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdarg.h>

#include "base/error.h"
#include "base/span.h"

/* Embedded by callers; {0} is an empty buffer. data[0..len) are the bytes; `head` bytes before data
 * are already consumed. */
struct buf {
    uint8_t *data;
    size_t len;
    size_t cap;  /* bytes allocated from data on */
    size_t head; /* bytes between the allocation's start and data */
};

/* Frees the memory; the buffer is empty and usable again. */
void buf_fini(struct buf *b);
/* The same, and wipes every byte first: for keys and plaintext. */
void buf_wipe(struct buf *b);
AUTO_FINI(struct buf, buf_fini)
AUTO_FINI(struct buf, buf_wipe)

/* Makes room for `more` bytes at the end; aborts when memory runs out, so bound a peer's sizes
 * first. Returns where they go. */
uint8_t *buf_reserve(struct buf *b, size_t more);
void buf_append(struct buf *b, struct span s);
void buf_append_str(struct buf *b, const char *s);
void buf_byte(struct buf *b, uint8_t byte);
void buf_u16be(struct buf *b, uint16_t v);
void buf_u32be(struct buf *b, uint32_t v);
void buf_u64be(struct buf *b, uint64_t v);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_vprintf(struct buf *b, const char *fmt, va_list args)
    __attribute__((format(printf, 2, 0)));
/* Appends s as the inside of a JSON string: quotes, backslashes and controls escaped; s must be
 * UTF-8. */
void buf_json_escape(struct buf *b, struct span s);
/* Drops n bytes from the front (n ≤ len); cheap, memory moves only when room is needed. */
void buf_consume(struct buf *b, size_t n);
/* len = 0, memory kept. */
void buf_clear(struct buf *b);
/* Moves src's bytes into dst, which is freed first; src is empty afterwards. */
void buf_take(struct buf *dst, struct buf *src);
/* NUL behind the bytes (not counted), returned as a C string that lives until the next change. */
const char *buf_cstr(struct buf *b);

static inline struct span buf_span(const struct buf *b)
{
    return span_of(b->data, b->len);
}

#endif
