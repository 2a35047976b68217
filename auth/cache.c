/* The cache of key records: freshness, bounds, and passing changes on to records that calls hold.
 */
#include "auth/auth_impl.h"

#include <stdlib.h>

enum { UNSUBSCRIBED_FRESH_MS = 1000, EVICT_TRIES = 16 };

void cache_init(struct auth *a)
{
    list_init(&a->known);
    list_init(&a->unknown);
}

static struct span key_of(const struct auth_entry *e)
{
    return span_of(e->lookup, sizeof(e->lookup) - 1);
}

static void entry_unlink(struct auth *a, struct auth_entry *e)
{
    if (!e->record && e->known_ms)
        a->unknown_count--;
    list_del(&e->link);
}

static void entry_free(struct auth *a, struct auth_entry *e)
{
    entry_unlink(a, e);
    loop_timer_cancel(a->loop, &e->patience);
    map_del(&a->entries, key_of(e));
    key_record_unref(e->record);
    free(e);
}

void cache_fini(struct auth *a)
{
    size_t at = 0;
    void *value;
    struct span key;

    while (map_next(&a->entries, &at, &key, &value)) {
        struct auth_entry *e = value;
        LIST_FOREACH_SAFE(it, &e->waits)
            free(CONTAINER(it, struct auth_wait, link));
        entry_free(a, e);
    }
    map_fini(&a->entries);
}

struct auth_entry *cache_get(struct auth *a, const char *lookup)
{
    return map_get(&a->entries, span_str(lookup));
}

// A record that calls hold stays, so that they hear of its revocation; so does an entry in
// question.
static bool evictable(const struct auth_entry *e)
{
    return !e->fetch && (!e->record || e->record->refs == 1);
}

static void evict_one(struct auth *a, struct list *from)
{
    for (int i = 0; i < EVICT_TRIES && !list_empty(from); i++) {
        struct auth_entry *e = CONTAINER(from->next, struct auth_entry, link);
        if (evictable(e)) {
            entry_free(a, e);
            return;
        }
        cache_touch(a, e);
    }
}

static void make_room(struct auth *a)
{
    const uint64_t now = loop_now(a->loop);

    while (!list_empty(&a->unknown)) {
        struct auth_entry *oldest = CONTAINER(a->unknown.next, struct auth_entry, link);
        if (now - oldest->known_ms < a->o.negative_ms || oldest->fetch)
            break;
        entry_free(a, oldest);
    }
    if (a->unknown_count >= a->o.cache_max)
        evict_one(a, &a->unknown);
    if (a->entries.len - a->unknown_count >= a->o.cache_max)
        evict_one(a, &a->known);
}

struct auth_entry *cache_need(struct auth *a, const char *lookup)
{
    struct auth_entry *e = cache_get(a, lookup);

    if (e)
        return e;
    make_room(a);
    e = mem_zero(sizeof(*e));
    memcpy(e->lookup, lookup, sizeof(e->lookup));
    list_init(&e->waits);
    map_put(&a->entries, key_of(e), e);
    return e;
}

void cache_touch(struct auth *a, struct auth_entry *e)
{
    list_del(&e->link);
    list_push(e->record ? &a->known : &a->unknown, &e->link);
}

// Calls that hold the old record follow `newer`; a key that is gone is a revoked one.
static void replace(struct auth_entry *e, struct key_record *record)
{
    struct key_record *old = e->record;

    e->record = record;
    if (!old)
        return;
    if (record)
        old->newer = key_record_ref(record);
    else
        old->revoked = true;
    key_record_unref(old);
}

void cache_put(struct auth *a, struct auth_entry *e, struct key_record *take, uint64_t seq)
{
    entry_unlink(a, e);
    if (take && e->record && span_eq(SPAN_OF(take->json_sha256), SPAN_OF(e->record->json_sha256)))
        key_record_unref(take);
    else
        replace(e, take);
    e->known_ms = loop_now(a->loop);
    e->known_seq = seq;
    e->failed_ms = 0;
    if (!e->record)
        a->unknown_count++;
    cache_touch(a, e);
}

void cache_drop_empty(struct auth *a, struct auth_entry *e)
{
    if (!e->known_ms && !e->fetch && list_empty(&e->waits))
        entry_free(a, e);
}

bool cache_changed(const struct auth *a, const struct auth_entry *e)
{
    return e->known_seq < e->changed_seq || e->known_seq < a->all_changed_seq;
}

bool cache_fresh(const struct auth *a, const struct auth_entry *e)
{
    const uint64_t age = loop_now(a->loop) - e->known_ms;
    uint64_t fresh_ms = e->record ? a->o.fresh_ms : a->o.negative_ms;

    if (!e->known_ms || cache_changed(a, e) || e->known_seq < a->gap_seq)
        return false;
    if (!a->subscribed && fresh_ms > UNSUBSCRIBED_FRESH_MS)
        fresh_ms = UNSUBSCRIBED_FRESH_MS;
    return age < fresh_ms;
}

bool cache_usable(const struct auth *a, const struct auth_entry *e)
{
    return e->record && !cache_changed(a, e) && loop_now(a->loop) - e->known_ms < a->o.stale_ms;
}
