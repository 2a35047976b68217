/* An engine's prefix cache: blocks of prompts whose keys and values are still in memory, the least
 * recently used one goes first. */
#ifndef TESTS_SIM_PREFIX_H
#define TESTS_SIM_PREFIX_H

#include <stddef.h>
#include <stdint.h>

struct prefix_cache;

/* A block's hash names all that stands before it too, so equal hashes are equal prefixes. */
struct prefix_cache *prefix_new(size_t max_blocks);
void prefix_free(struct prefix_cache *c);
/* How many of the leading blocks are there; those become the most recently used. */
size_t prefix_match(struct prefix_cache *c, const uint64_t *blocks, size_t count);
/* The same without touching them. */
size_t prefix_peek(const struct prefix_cache *c, const uint64_t *blocks, size_t count);
/* All of them are there now, as far as there is room; the first block stays longest. */
void prefix_put(struct prefix_cache *c, const uint64_t *blocks, size_t count);
/* At most so many blocks from now on (≤ max_blocks): what runs needs the memory. */
void prefix_limit(struct prefix_cache *c, size_t blocks);

#endif
