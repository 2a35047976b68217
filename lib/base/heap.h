/* Intrusive binary heap: the link lives inside the object and knows its place, so that any member
 * moves or leaves in logarithmic time. */
#ifndef BASE_HEAP_H
#define BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>

/* Each member's; {0} is in no heap. */
struct heap_link {
    size_t slot; /* 1 + index; 0: in none */
};

/* A strict weak order; where it says neither, which of the two goes first is not defined. */
typedef bool heap_before_fn(struct heap_link *a, struct heap_link *b);

/* Embedded by callers; empty with `before` set and all else 0. Members are the caller's. */
struct heap {
    heap_before_fn *before;
    struct heap_link **members;
    size_t len, cap;
};

/* The member that goes before all others; NULL when empty. */
static inline struct heap_link *heap_first(const struct heap *h)
{
    return h->len > 0 ? h->members[0] : NULL;
}

/* Puts it in, or, when it is in already and its order has changed, where it belongs now. Between
 * two calls the order of one member only may change. */
void heap_set(struct heap *h, struct heap_link *m);
/* Takes it out of this heap; harmless when it is in none. Its own order may have changed. */
void heap_del(struct heap *h, struct heap_link *m);
/* Frees the table; nobody is in it any more, or its members are not used as such again. */
void heap_fini(struct heap *h);

#endif
