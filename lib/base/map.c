/* Open addressing with linear probing. Keys may be chosen by strangers, so each table has a secret
 * SipHash-1-3 key of its own. */
#include "base/map.h"

#include <stdlib.h>

#include "base/error.h"
#include "base/list.h"
#include "base/random.h"

enum { MIN_CAP = 16 };
enum {
    HASH_EMPTY = 0,
    HASH_DELETED = 1,
    HASH_LIVE = 2
}; // a live slot's hash is at least HASH_LIVE

struct map_slot {
    uint64_t hash;
    uint8_t *key;
    size_t key_len;
    void *value;
};

// What m->slots stands in.
struct table {
    uint64_t seed[2];
    struct map_slot slots[];
};

static struct table *table_of(const struct map *m)
{
    return CONTAINER(m->slots, struct table, slots);
}

// ---- SipHash-1-3 (Aumasson, Bernstein: "SipHash: a fast short-input PRF") ----

static uint64_t rotl(uint64_t v, int by)
{
    return v << by | v >> (64 - by);
}

static void sip_round(uint64_t v[static 4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotl(v[1], 13) ^ v[0];
    v[3] = rotl(v[3], 16) ^ v[2];
    v[0] = rotl(v[0], 32) + v[3];
    v[2] += v[1];
    v[3] = rotl(v[3], 21) ^ v[0];
    v[1] = rotl(v[1], 17) ^ v[2];
    v[2] = rotl(v[2], 32);
}

static void sip_absorb(uint64_t v[static 4], uint64_t word)
{
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
}

static uint64_t load_le(const uint8_t *p, size_t len)
{
    uint64_t word = 0;

    for (size_t i = 0; i < len; i++)
        word |= (uint64_t)p[i] << (8 * i);
    return word;
}

static uint64_t siphash13(const uint64_t seed[static 2], struct span s)
{
    uint64_t v[4] = {seed[0] ^ UINT64_C(0x736f6d6570736575), seed[1] ^ UINT64_C(0x646f72616e646f6d),
                     seed[0] ^ UINT64_C(0x6c7967656e657261),
                     seed[1] ^ UINT64_C(0x7465646279746573)};
    size_t at = 0;

    for (; s.len - at >= 8; at += 8)
        sip_absorb(v, load_le(s.data + at, 8));
    const struct span tail = span_from(s, at);
    sip_absorb(v, (uint64_t)s.len << 56 | load_le(tail.data, tail.len));
    v[2] ^= 0xFF;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static uint64_t key_hash(const struct map *m, struct span key)
{
    const uint64_t hash = siphash13(table_of(m)->seed, key);

    return hash < HASH_LIVE ? hash + HASH_LIVE : hash;
}

// ---- The table ----

static struct map_slot *slot_find(const struct map *m, struct span key)
{
    if (m->cap == 0)
        return NULL;
    const uint64_t hash = key_hash(m, key);
    for (size_t i = hash & (m->cap - 1);; i = (i + 1) & (m->cap - 1)) {
        struct map_slot *s = &m->slots[i];
        if (s->hash == HASH_EMPTY)
            return NULL;
        if (s->hash == hash && span_eq(span_of(s->key, s->key_len), key))
            return s;
    }
}

// Puts a live slot into the first empty place of its probe sequence.
static void slot_place(struct map *m, struct map_slot slot)
{
    size_t i = slot.hash & (m->cap - 1);

    while (m->slots[i].hash != HASH_EMPTY)
        i = (i + 1) & (m->cap - 1);
    m->slots[i] = slot;
    m->len++;
    m->used++;
}

// A new table with room for one more; tombstones do not come along.
static void rehash(struct map *m)
{
    const size_t cap = m->cap == 0 ? MIN_CAP : m->len >= m->cap / 2 ? m->cap * 2 : m->cap;
    struct table *t = mem_zero(sizeof(*t) + cap * sizeof(t->slots[0]));
    struct map old = *m;

    *m = (struct map){.slots = t->slots, .cap = cap};
    if (old.cap == 0) {
        random_bytes(t->seed, sizeof(t->seed));
        return;
    }
    memcpy(t->seed, table_of(&old)->seed, sizeof(t->seed));
    for (size_t i = 0; i < old.cap; i++)
        if (old.slots[i].hash >= HASH_LIVE)
            slot_place(m, old.slots[i]);
    free(table_of(&old));
}

void *map_get(const struct map *m, struct span key)
{
    const struct map_slot *s = slot_find(m, key);

    return s ? s->value : NULL;
}

void *map_put(struct map *m, struct span key, void *value)
{
    CHECK(value != NULL);
    struct map_slot *s = slot_find(m, key);
    if (s) {
        void *replaced = s->value;
        s->value = value;
        return replaced;
    }
    if (m->used >= m->cap / 4 * 3)
        rehash(m);
    struct map_slot added = {
        .hash = key_hash(m, key), .key = mem_alloc(key.len), .key_len = key.len, .value = value};
    if (key.len > 0)
        memcpy(added.key, key.data, key.len);
    slot_place(m, added);
    return NULL;
}

void *map_del(struct map *m, struct span key)
{
    struct map_slot *s = slot_find(m, key);

    if (!s)
        return NULL;
    void *value = s->value;
    free(s->key);
    *s = (struct map_slot){.hash = HASH_DELETED};
    m->len--;
    return value;
}

bool map_next(const struct map *m, size_t *at, struct span *key, void **value)
{
    while (*at < m->cap) {
        const struct map_slot *s = &m->slots[(*at)++];
        if (s->hash < HASH_LIVE)
            continue;
        *key = span_of(s->key, s->key_len);
        *value = s->value;
        return true;
    }
    return false;
}

void map_fini(struct map *m)
{
    if (m->cap == 0)
        return;
    for (size_t i = 0; i < m->cap; i++)
        free(m->slots[i].key);
    free(table_of(m));
    *m = (struct map){0};
}
