/* A few entries, looked through one by one under a lock: there is one for each kind of platform in
 * the pool. */
#include "attest/collateral_cache.h"

#include <pthread.h>
#include <stdlib.h>

struct cache_slot {
    struct checked_collateral *checked; /* NULL: free */
    uint64_t used;                      /* value of `turn` when it was last used */
};

struct collateral_cache {
    pthread_mutex_t lock;
    uint64_t turn;
    size_t count;
    struct cache_slot slots[];
};

struct checked_collateral *checked_collateral_new(void)
{
    struct checked_collateral *c = mem_zero(sizeof(*c));

    c->refs = 1;
    c->until = UINT64_MAX;
    return c;
}

static struct checked_collateral *checked_collateral_ref(struct checked_collateral *c)
{
    __atomic_add_fetch(&c->refs, 1, __ATOMIC_RELAXED);
    return c;
}

void checked_collateral_unref(struct checked_collateral *c)
{
    if (!c || __atomic_sub_fetch(&c->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    x509_crl_free(c->pck_crl);
    x509_crl_free(c->root_crl);
    x509_cert_free(c->ca);
    x509_cert_free(c->signer);
    tcb_info_free(c->tcb_info);
    qe_identity_free(c->qe_identity);
    free(c);
}

void checked_collateral_within(struct checked_collateral *c, uint64_t from, uint64_t until)
{
    if (from > c->from)
        c->from = from;
    if (until < c->until)
        c->until = until;
}

void checked_collateral_key(const struct collateral *c, const struct x509_cert *root,
                            uint8_t out[static SHA256_LEN])
{
    uint8_t digest[SHA256_LEN];
    const struct span parts[] = {SPAN_OF(digest), x509_cert_der(root)};

    collateral_digest(c, digest);
    sha256_parts(out, parts, 2);
}

struct collateral_cache *collateral_cache_new(size_t entries)
{
    struct collateral_cache *cache = mem_zero(sizeof(*cache) + entries * sizeof(cache->slots[0]));

    cache->count = entries;
    CHECK(pthread_mutex_init(&cache->lock, NULL) == 0);
    return cache;
}

void collateral_cache_free(struct collateral_cache *cache)
{
    if (!cache)
        return;
    for (size_t i = 0; i < cache->count; i++)
        checked_collateral_unref(cache->slots[i].checked);
    pthread_mutex_destroy(&cache->lock);
    free(cache);
}

static struct cache_slot *slot_find(struct collateral_cache *cache, const uint8_t *key)
{
    for (size_t i = 0; i < cache->count; i++) {
        struct cache_slot *slot = &cache->slots[i];

        if (slot->checked && memcmp(slot->checked->key, key, SHA256_LEN) == 0)
            return slot;
    }
    return NULL;
}

/* A free one, or the one that was not used for longest; NULL when the cache has none at all. */
static struct cache_slot *slot_spare(struct collateral_cache *cache)
{
    struct cache_slot *spare = NULL;

    for (size_t i = 0; i < cache->count; i++) {
        struct cache_slot *slot = &cache->slots[i];

        if (!slot->checked)
            return slot;
        if (!spare || slot->used < spare->used)
            spare = slot;
    }
    return spare;
}

struct checked_collateral *collateral_cache_get(struct collateral_cache *cache,
                                                const uint8_t key[static SHA256_LEN],
                                                uint64_t now_s)
{
    struct checked_collateral *found = NULL;
    struct cache_slot *slot;

    pthread_mutex_lock(&cache->lock);
    slot = slot_find(cache, key);
    if (slot && now_s >= slot->checked->from && now_s <= slot->checked->until) {
        slot->used = ++cache->turn;
        found = checked_collateral_ref(slot->checked);
    }
    pthread_mutex_unlock(&cache->lock);
    return found;
}

void collateral_cache_put(struct collateral_cache *cache, struct checked_collateral *c)
{
    struct cache_slot *slot;

    pthread_mutex_lock(&cache->lock);
    slot = slot_find(cache, c->key);
    if (!slot)
        slot = slot_spare(cache);
    if (slot) {
        checked_collateral_unref(slot->checked);
        slot->checked = checked_collateral_ref(c);
        slot->used = ++cache->turn;
    }
    pthread_mutex_unlock(&cache->lock);
}
