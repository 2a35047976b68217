/* Hash map from bytes to pointers, for caches and registries; keys are copied, hashing is seeded
 * per process. */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include "base/span.h"

struct map_slot;

/* Embedded by callers; {0} is an empty map. */
struct map {
    struct map_slot *slots;
    size_t cap;  /* power of two, 0 when empty */
    size_t len;  /* live entries */
    size_t used; /* live entries and tombstones */
};

/* The value, or NULL. */
void *map_get(const struct map *m, struct span key);
/* Sets (value not NULL) and returns the value it replaces, or NULL. */
void *map_put(struct map *m, struct span key, void *value);
/* Removes and returns the value, or NULL. */
void *map_del(struct map *m, struct span key);
/* Walks entries in no order: *at starts at 0; false at the end. The map must not grow meanwhile;
 * deleting the current one is fine. */
bool map_next(const struct map *m, size_t *at, struct span *key, void **value);
/* Frees the table and keys; values are the caller's. */
void map_fini(struct map *m);

#endif
