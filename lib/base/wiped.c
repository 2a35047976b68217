/* free and realloc that zero what they give back. */
#include "base/wiped.h"

#include <jansson.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

void wiped_free(void *p)
{
    if (p)
        explicit_bzero(p, malloc_usable_size(p));
    free(p);
}

void *wiped_realloc(void *p, size_t len)
{
    void *moved = malloc(len);
    const size_t had = p ? malloc_usable_size(p) : 0;

    if (!moved)
        return NULL;
    if (had > 0)
        memcpy(moved, p, had < len ? had : len);
    wiped_free(p);
    return moved;
}

void wiped_json(void)
{
    json_set_alloc_funcs(malloc, wiped_free);
}
