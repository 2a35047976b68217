/* Failed credentials by address: one window of a minute each, the oldest forgotten first. */
#include "auth/failures.h"

#include <stdlib.h>
#include <sys/socket.h>

#include "auth/cidr.h"

enum { WINDOW_MS = 60000, PEER_MAX = 64 };

struct window {
    struct list link;
    uint64_t began_ms;
    unsigned count;
    uint8_t key[PEER_MAX];
    size_t key_len;
};

static void set_key(struct window *w, struct span peer)
{
    struct cidr address;

    if (cidr_parse(&address, peer) == 0) {
        w->key_len = address.family == AF_INET ? 4 : 8;
        memcpy(w->key, address.address, w->key_len);
        return;
    }
    w->key_len = peer.len < PEER_MAX ? peer.len : PEER_MAX;
    if (w->key_len > 0)
        memcpy(w->key, peer.data, w->key_len);
}

static void forget(struct failures *f, struct window *w)
{
    map_del(&f->by_peer, span_of(w->key, w->key_len));
    list_del(&w->link);
    free(w);
}

void failures_init(struct failures *f, unsigned per_minute)
{
    *f = (struct failures){.per_minute = per_minute};
    list_init(&f->oldest);
}

void failures_fini(struct failures *f)
{
    LIST_FOREACH_SAFE(it, &f->oldest)
        forget(f, CONTAINER(it, struct window, link));
    map_fini(&f->by_peer);
}

static void forget_old(struct failures *f, uint64_t now_ms)
{
    LIST_FOREACH_SAFE(it, &f->oldest) {
        struct window *w = CONTAINER(it, struct window, link);
        if (now_ms - w->began_ms < WINDOW_MS && f->by_peer.len < FAILURES_MAX_PEERS)
            return;
        forget(f, w);
    }
}

bool failures_add(struct failures *f, struct span peer, uint64_t now_ms)
{
    struct window probe;

    forget_old(f, now_ms);
    set_key(&probe, peer);
    const struct span key = span_of(probe.key, probe.key_len);
    struct window *w = map_get(&f->by_peer, key);
    if (!w) {
        w = mem_zero(sizeof(*w));
        memcpy(w->key, probe.key, probe.key_len);
        w->key_len = probe.key_len;
        w->began_ms = now_ms;
        map_put(&f->by_peer, key, w);
        list_push(&f->oldest, &w->link);
    }
    return w->count++ >= f->per_minute;
}
