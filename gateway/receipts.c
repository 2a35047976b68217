/* The records that GET /v1/billing/receipts/{call} gives where there is no bill. */
#include "gateway/receipts.h"

#include <stdlib.h>

#include "base/clock.h"
#include "gateway/call.h"

enum { LIFE_MS = 24 * 3600 * 1000, BYTES_MAX = 64 << 20, RECORD_MAX = 24 * 1024 };

struct receipts {
    struct map by_call;
    struct list order; /* oldest first */
    size_t bytes;
};

struct entry {
    struct list link;
    uint64_t until_ms;
    char call[CALL_ID_LEN + 1], key[2 * KEY_ID_LEN + 1];
    size_t usage_len, content_len;
    uint8_t jws[]; /* both, one behind the other */
};

struct receipts *receipts_new(void)
{
    struct receipts *r = mem_zero(sizeof(*r));

    list_init(&r->order);
    return r;
}

static size_t size_of(const struct entry *e)
{
    return sizeof(*e) + e->usage_len + e->content_len;
}

static void drop(struct receipts *r, struct entry *e)
{
    (void)map_del(&r->by_call, span_str(e->call));
    list_del(&e->link);
    r->bytes -= size_of(e);
    free(e);
}

void receipts_free(struct receipts *r)
{
    if (!r)
        return;
    LIST_FOREACH_SAFE(it, &r->order)
        drop(r, CONTAINER(it, struct entry, link));
    map_fini(&r->by_call);
    free(r);
}

/* The oldest go: those whose time is over, and as many as there is no room for. */
static void make_room(struct receipts *r, uint64_t now_ms)
{
    LIST_FOREACH_SAFE(it, &r->order) {
        struct entry *e = CONTAINER(it, struct entry, link);
        if (e->until_ms > now_ms && r->bytes <= BYTES_MAX)
            return;
        drop(r, e);
    }
}

static void copy(struct entry *e, const struct receipt *receipt)
{
    e->usage_len = receipt->usage.len;
    e->content_len = receipt->content.len;
    memcpy(e->jws, receipt->usage.data, e->usage_len);
    if (e->content_len > 0)
        memcpy(e->jws + e->usage_len, receipt->content.data, e->content_len);
}

void receipts_put(struct receipts *r, const char *call, const char *key,
                  const struct receipt *receipt)
{
    struct entry *e = map_get(&r->by_call, span_str(call));
    const size_t len = receipt->usage.len + receipt->content.len;

    if (receipt->usage.len == 0 || len > RECORD_MAX)
        return;
    if (e)
        drop(r, e);
    make_room(r, clock_mono_ms());
    e = mem_zero(sizeof(*e) + len);
    e->until_ms = clock_mono_ms() + LIFE_MS;
    snprintf(e->call, sizeof(e->call), "%s", call);
    snprintf(e->key, sizeof(e->key), "%s", key);
    copy(e, receipt);
    map_put(&r->by_call, span_str(e->call), e);
    list_push(&r->order, &e->link);
    r->bytes += size_of(e);
}

struct receipt receipts_find(struct receipts *r, struct span call, const char *key)
{
    const struct entry *e = map_get(&r->by_call, call);

    if (!e || strcmp(e->key, key) != 0 || e->until_ms <= clock_mono_ms())
        return (struct receipt){SPAN(""), SPAN("")};
    return (struct receipt){span_of(e->jws, e->usage_len),
                            span_of(e->jws + e->usage_len, e->content_len)};
}
