/* Memory that lives as long as one call and dies with it, all at once. */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include "base/span.h"

struct arena_block;

/* Embedded by callers; {0} is an empty arena. */
struct arena {
    struct arena_block *blocks;
};

/* Aligned for any type, uninitialised; aborts when memory runs out. */
void *arena_alloc(struct arena *a, size_t len) __attribute__((returns_nonnull));
void *arena_zero(struct arena *a, size_t len) __attribute__((returns_nonnull));
/* A NUL-terminated copy; the NUL is not counted by the span. */
struct span arena_copy(struct arena *a, struct span s);
char *arena_strdup(struct arena *a, struct span s);
char *arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Wipes and frees everything. */
void arena_fini(struct arena *a);

#endif
