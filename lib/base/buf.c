/* Owned bytes that grow. Growing never leaves a copy behind in freed memory, as a buffer may hold a
 * key or a prompt. */
#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>

enum { MIN_CAP = 64 };

static uint8_t *start(const struct buf *b)
{
    return b->data ? b->data - b->head : NULL;
}

void buf_fini(struct buf *b)
{
    free(start(b));
    *b = (struct buf){0};
}

void buf_wipe(struct buf *b)
{
    uint8_t *from = start(b);

    if (from)
        explicit_bzero(from, b->head + b->cap);
    buf_fini(b);
}

// Moves the bytes to the allocation's start.
static void rewind_head(struct buf *b)
{
    uint8_t *to = start(b);

    if (!to)
        return;
    memmove(to, to + b->head, b->len);
    b->data = to;
    b->cap += b->head;
    b->head = 0;
}

static void grow(struct buf *b, size_t need)
{
    const size_t cap = need < MIN_CAP ? MIN_CAP : need;
    struct buf bigger = {.data = mem_alloc(cap), .len = b->len, .cap = cap};

    if (b->data && b->len > 0)
        memcpy(bigger.data, b->data, b->len);
    buf_wipe(b);
    *b = bigger;
}

uint8_t *buf_reserve(struct buf *b, size_t more)
{
    if (b->cap - b->len < more || !b->data) {
        CHECK(more <= SIZE_MAX / 4 && b->len <= SIZE_MAX / 4);
        // Moving costs len, so it must win back at least len: then n bytes through a buffer cost
        // O(n).
        if (b->head >= b->len && b->head > 0 && b->head + b->cap - b->len >= more)
            rewind_head(b);
        else
            grow(b, b->len + (more > b->len ? more : b->len));
    }
    return b->data + b->len;
}

void buf_append(struct buf *b, struct span s)
{
    if (s.len == 0)
        return;
    memcpy(buf_reserve(b, s.len), s.data, s.len);
    b->len += s.len;
}

void buf_append_str(struct buf *b, const char *s)
{
    buf_append(b, span_str(s));
}

void buf_byte(struct buf *b, uint8_t byte)
{
    *buf_reserve(b, 1) = byte;
    b->len++;
}

static void append_be(struct buf *b, uint64_t v, size_t len)
{
    uint8_t *to = buf_reserve(b, len);

    for (size_t i = 0; i < len; i++)
        to[i] = (uint8_t)(v >> (8 * (len - 1 - i)));
    b->len += len;
}

void buf_u16be(struct buf *b, uint16_t v)
{
    append_be(b, v, 2);
}

void buf_u32be(struct buf *b, uint32_t v)
{
    append_be(b, v, 4);
}

void buf_u64be(struct buf *b, uint64_t v)
{
    append_be(b, v, 8);
}

void buf_vprintf(struct buf *b, const char *fmt, va_list args)
{
    va_list again;

    va_copy(again, args);
    const int len = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    CHECK(len >= 0);
    vsnprintf((char *)buf_reserve(b, (size_t)len + 1), (size_t)len + 1, fmt, args);
    b->len += (size_t)len;
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    buf_vprintf(b, fmt, args);
    va_end(args);
}

static void escape_byte(struct buf *b, uint8_t c)
{
    static const char shorts[] = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f',
                                  ['\r'] = 'r', ['"'] = '"',  ['\\'] = '\\'};

    if (shorts[c])
        buf_append(b, SPAN_OF(((const char[]){'\\', shorts[c]})));
    else
        buf_printf(b, "\\u%04x", c);
}

void buf_json_escape(struct buf *b, struct span s)
{
    size_t done = 0;

    for (size_t i = 0; i < s.len; i++) {
        const uint8_t c = s.data[i];
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        buf_append(b, span_cut(s, done, i - done));
        escape_byte(b, c);
        done = i + 1;
    }
    buf_append(b, span_from(s, done));
}

void buf_consume(struct buf *b, size_t n)
{
    CHECK(n <= b->len);
    if (n == b->len) {
        buf_clear(b);
        return;
    }
    b->data += n;
    b->head += n;
    b->len -= n;
    b->cap -= n;
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    if (b->data)
        rewind_head(b);
}

void buf_take(struct buf *dst, struct buf *src)
{
    buf_fini(dst);
    *dst = *src;
    *src = (struct buf){0};
}

const char *buf_cstr(struct buf *b)
{
    *buf_reserve(b, 1) = 0;
    return (const char *)b->data;
}
