/* Blocks in an array, chained by hash and by age with indices. */
#include "tests/sim/prefix.h"

#include <stdbool.h>
#include <stdlib.h>

#include "base/error.h"

enum { NONE = UINT32_MAX };

struct block {
    uint64_t hash;
    uint32_t chain;        /* next in its bucket, or of the free ones */
    uint32_t newer, older; /* by use */
};

struct prefix_cache {
    struct block *blocks;
    uint32_t *buckets;
    size_t max, limit, used;
    uint32_t mask, unused, newest, oldest;
};

static size_t power_of_two(size_t n)
{
    size_t p = 16;

    while (p < n)
        p *= 2;
    return p;
}

struct prefix_cache *prefix_new(size_t max_blocks)
{
    struct prefix_cache *c = mem_zero(sizeof(*c));
    const size_t buckets = power_of_two(max_blocks);

    CHECK(max_blocks < NONE);
    c->blocks = mem_zero((max_blocks + 1) * sizeof(*c->blocks));
    c->buckets = mem_alloc(buckets * sizeof(*c->buckets));
    c->mask = (uint32_t)buckets - 1;
    c->max = c->limit = max_blocks;
    c->newest = c->oldest = c->unused = NONE;
    for (size_t i = 0; i < buckets; i++)
        c->buckets[i] = NONE;
    for (size_t i = max_blocks; i > 0; i--) {
        c->blocks[i - 1].chain = c->unused;
        c->unused = (uint32_t)i - 1;
    }
    return c;
}

void prefix_free(struct prefix_cache *c)
{
    if (!c)
        return;
    free(c->blocks);
    free(c->buckets);
    free(c);
}

static uint32_t *bucket_of(const struct prefix_cache *c, uint64_t hash)
{
    return &c->buckets[(uint32_t)((hash * 0x9e3779b97f4a7c15u) >> 32) & c->mask];
}

static uint32_t find(const struct prefix_cache *c, uint64_t hash)
{
    uint32_t at = *bucket_of(c, hash);

    while (at != NONE && c->blocks[at].hash != hash)
        at = c->blocks[at].chain;
    return at;
}

static void age_remove(struct prefix_cache *c, uint32_t at)
{
    const struct block *b = &c->blocks[at];

    *(b->newer == NONE ? &c->newest : &c->blocks[b->newer].older) = b->older;
    *(b->older == NONE ? &c->oldest : &c->blocks[b->older].newer) = b->newer;
}

static void age_newest(struct prefix_cache *c, uint32_t at)
{
    struct block *b = &c->blocks[at];

    b->newer = NONE;
    b->older = c->newest;
    *(c->newest == NONE ? &c->oldest : &c->blocks[c->newest].newer) = at;
    c->newest = at;
}

static void touch(struct prefix_cache *c, uint32_t at)
{
    age_remove(c, at);
    age_newest(c, at);
}

static void evict(struct prefix_cache *c)
{
    const uint32_t at = c->oldest;
    uint32_t *link = bucket_of(c, c->blocks[at].hash);

    while (*link != at)
        link = &c->blocks[*link].chain;
    *link = c->blocks[at].chain;
    age_remove(c, at);
    c->blocks[at].chain = c->unused;
    c->unused = at;
    c->used--;
}

static void insert(struct prefix_cache *c, uint64_t hash)
{
    if (c->used == c->limit)
        evict(c);
    const uint32_t at = c->unused;
    uint32_t *bucket = bucket_of(c, hash);
    c->unused = c->blocks[at].chain;
    c->blocks[at].hash = hash;
    c->blocks[at].chain = *bucket;
    *bucket = at;
    age_newest(c, at);
    c->used++;
}

size_t prefix_peek(const struct prefix_cache *c, const uint64_t *blocks, size_t count)
{
    size_t n = 0;

    while (n < count && find(c, blocks[n]) != NONE)
        n++;
    return n;
}

size_t prefix_match(struct prefix_cache *c, const uint64_t *blocks, size_t count)
{
    const size_t n = prefix_peek(c, blocks, count);

    for (size_t i = n; i > 0; i--)
        touch(c, find(c, blocks[i - 1]));
    return n;
}

void prefix_put(struct prefix_cache *c, const uint64_t *blocks, size_t count)
{
    if (count > c->limit)
        count = c->limit;
    for (size_t i = count; i > 0; i--) {
        const uint32_t at = find(c, blocks[i - 1]);
        if (at != NONE)
            touch(c, at);
        else
            insert(c, blocks[i - 1]);
    }
}

void prefix_limit(struct prefix_cache *c, size_t blocks)
{
    c->limit = blocks < c->max ? blocks : c->max;
    while (c->used > c->limit)
        evict(c);
}
