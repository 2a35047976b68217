/* Memory of one call: blocks that are filled from the front and freed together. */
#include "base/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"

// The first block is small, as most arenas stay so; each further one is twice the one before.
enum { FIRST_LEN = 512 - 64, MOST_LEN = 4096 - 64, ALIGN = _Alignof(max_align_t) };

struct arena_block {
    struct arena_block *next;
    size_t used;
    size_t cap;
    _Alignas(max_align_t) uint8_t bytes[];
};

static struct arena_block *block_new(size_t cap, struct arena_block *next)
{
    struct arena_block *b = mem_alloc(sizeof(*b) + cap);

    b->next = next;
    b->used = 0;
    b->cap = cap;
    return b;
}

static size_t next_len(const struct arena_block *first)
{
    if (!first)
        return FIRST_LEN;
    return 2 * first->cap < MOST_LEN ? 2 * first->cap : MOST_LEN;
}

// A block with room for len. What is large gets its own, behind the first, so that the first goes
// on being filled.
static struct arena_block *block_for(struct arena *a, size_t len)
{
    struct arena_block *first = a->blocks;

    if (first && first->cap - first->used >= len)
        return first;
    if (first && len > MOST_LEN / 4)
        return first->next = block_new(len, first->next);
    const size_t room = next_len(first);
    return a->blocks = block_new(len > room ? len : room, first);
}

void *arena_alloc(struct arena *a, size_t len)
{
    CHECK(len <= SIZE_MAX / 4);
    len = len ? (len + ALIGN - 1) / ALIGN * ALIGN : ALIGN;
    struct arena_block *b = block_for(a, len);
    void *p = b->bytes + b->used;
    b->used += len;
    return p;
}

void *arena_zero(struct arena *a, size_t len)
{
    return memset(arena_alloc(a, len), 0, len);
}

char *arena_strdup(struct arena *a, struct span s)
{
    char *copy = arena_alloc(a, s.len + 1);

    if (s.len > 0)
        memcpy(copy, s.data, s.len);
    copy[s.len] = 0;
    return copy;
}

struct span arena_copy(struct arena *a, struct span s)
{
    return span_of(arena_strdup(a, s), s.len);
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list args, again;

    va_start(args, fmt);
    va_copy(again, args);
    const int len = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    CHECK(len >= 0);
    char *text = arena_alloc(a, (size_t)len + 1);
    vsnprintf(text, (size_t)len + 1, fmt, args);
    va_end(args);
    return text;
}

void arena_fini(struct arena *a)
{
    struct arena_block *next;

    for (struct arena_block *b = a->blocks; b; b = next) {
        next = b->next;
        explicit_bzero(b->bytes, b->used);
        free(b);
    }
    a->blocks = NULL;
}
