/* A binary heap in a growing table of pointers to its members' links. */
#include "base/heap.h"

#include <stdlib.h>

#include "base/error.h"

enum { CAP_FIRST = 64 };

static void put(struct heap *h, size_t i, struct heap_link *m)
{
    h->members[i] = m;
    m->slot = i + 1;
}

/* Finds the place of m, with i free: up while it goes before its parent, else down. */
static void settle(struct heap *h, size_t i, struct heap_link *m)
{
    while (i > 0 && h->before(m, h->members[(i - 1) / 2])) {
        put(h, i, h->members[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    for (size_t child = 2 * i + 1; child < h->len; child = 2 * i + 1) {
        if (child + 1 < h->len && h->before(h->members[child + 1], h->members[child]))
            child++;
        if (!h->before(h->members[child], m))
            break;
        put(h, i, h->members[child]);
        i = child;
    }
    put(h, i, m);
}

void heap_set(struct heap *h, struct heap_link *m)
{
    if (m->slot == 0) {
        if (h->len == h->cap) {
            h->cap = h->cap ? 2 * h->cap : CAP_FIRST;
            h->members = mem_grow(h->members, h->cap * sizeof(struct heap_link *));
        }
        m->slot = ++h->len;
    }
    settle(h, m->slot - 1, m);
}

void heap_del(struct heap *h, struct heap_link *m)
{
    if (m->slot == 0)
        return;
    const size_t at = m->slot - 1;
    struct heap_link *last = h->members[--h->len];
    m->slot = 0;
    if (last != m)
        settle(h, at, last);
}

void heap_fini(struct heap *h)
{
    free(h->members);
    *h = (struct heap){.before = h->before};
}
