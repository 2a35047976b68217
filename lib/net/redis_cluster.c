/* A Cluster: which node has which slot, as some node of it tells, and who tells when it may have
 * changed: a redirect, a node that is lost or comes, or nobody for a while. */
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/random.h"
#include "net/redis_impl.h"

enum {
    NODES_MAX = 1000,
    CALM_MS = 5000, /* between maps while all is well */
    DOUBT_MIN_MS = 20,
    DOUBT_MAX_MS = 400
};

struct redis_cluster {
    struct redis *redis;
    struct redis_node *by_slot[REDIS_SLOTS]; /* NULL: nobody is known */
    size_t node_count;
    struct loop_timer ask;
    uint64_t doubt_ms; /* wait before the next question while something is wrong */
    bool asking, doubt;
    char asked_place[REDIS_PLACE_LEN];
    uint32_t tags[REDIS_SLOTS]; /* a number of each slot */
};

/* ---- Nodes ---- */

static struct redis_node *find(const struct redis *r, const char *place)
{
    LIST_FOREACH(it, &r->nodes) {
        struct redis_node *n = CONTAINER(it, struct redis_node, link);
        if (strcmp(n->place, place) == 0)
            return n;
    }
    return NULL;
}

/* NULL when there are too many. */
static struct redis_node *need(struct redis *r, const char *place)
{
    struct redis_node *n = find(r, place);

    if (n || r->cluster->node_count >= NODES_MAX)
        return n;
    r->cluster->node_count++;
    n = redis_node_new(r, place);
    n->line.backoff_max_ms = DOUBT_MAX_MS;
    redis_node_start(n);
    return n;
}

static void drop(struct redis_node *n)
{
    struct redis_cluster *c = n->redis->cluster;

    c->node_count--;
    redis_node_drop(n);
}

struct redis_node *redis_cluster_node(const struct redis *r, uint16_t slot)
{
    return r->cluster->by_slot[slot];
}

static bool whole(const struct redis_cluster *c)
{
    for (size_t slot = 0; slot < REDIS_SLOTS; slot++) {
        const struct redis_node *n = c->by_slot[slot];
        if (!n || !redis_node_usable(n))
            return false;
    }
    return true;
}

/* ---- Taking a map ---- */

static int check(const struct redisReply *reply, const char *from)
{
    struct redis_range range;

    if (redis_reply_count(reply) == 0)
        return E_PROTOCOL; /* a node that has left the others, or not joined them yet */
    for (size_t i = 0; i < redis_reply_count(reply); i++)
        TRY(redis_range_read(&range, reply, i, from));
    return 0;
}

static void put_range(struct redis *r, const struct redis_range *range)
{
    struct redis_node *n = range->place[0] ? need(r, range->place) : NULL;

    for (size_t slot = range->first; slot <= range->last; slot++)
        r->cluster->by_slot[slot] = n;
}

static void count_slots(struct redis *r)
{
    LIST_FOREACH(it, &r->nodes)
        CONTAINER(it, struct redis_node, link)->slots = 0;
    for (size_t slot = 0; slot < REDIS_SLOTS; slot++)
        if (r->cluster->by_slot[slot])
            r->cluster->by_slot[slot]->slots++;
}

/* Whoever has no slot by the new map goes: a seed under another name, a node that was demoted or
 * left. Those with commands on their way go at the next map. */
static void sweep(struct redis *r)
{
    LIST_FOREACH_SAFE(it, &r->nodes) {
        struct redis_node *n = CONTAINER(it, struct redis_node, link);
        const bool busy = n->line.conn && redis_conn_pending(n->line.conn) > 0;
        if (n->slots == 0 && !busy)
            drop(n);
    }
}

static void tell_all(struct redis *r)
{
    LIST_FOREACH_SAFE(it, &r->nodes) {
        redis_node_tell(CONTAINER(it, struct redis_node, link));
        if (r->freed)
            return;
    }
}

static void take_map(struct redis *r, const struct redisReply *reply)
{
    struct redis_cluster *c = r->cluster;
    struct redis_range range;

    memset(c->by_slot, 0, sizeof(c->by_slot));
    for (size_t i = 0; i < redis_reply_count(reply); i++)
        if (redis_range_read(&range, reply, i, c->asked_place) == 0)
            put_range(r, &range);
    r->stats.maps++;
    count_slots(r);
    tell_all(r);
    if (!r->freed)
        sweep(r);
}

/* ---- Asking ---- */

static void ask_now(void *arg);

static void ask_in(struct redis *r, uint64_t wait_ms)
{
    loop_timer_set(r->loop, &r->cluster->ask, wait_ms / 2 + random_below(wait_ms), ask_now, r);
}

static void ask_later(struct redis *r)
{
    struct redis_cluster *c = r->cluster;

    c->doubt = !whole(c);
    if (!c->doubt) {
        c->doubt_ms = DOUBT_MIN_MS;
        ask_in(r, CALM_MS);
        return;
    }
    ask_in(r, c->doubt_ms);
    c->doubt_ms = 2 * c->doubt_ms < DOUBT_MAX_MS ? 2 * c->doubt_ms : DOUBT_MAX_MS;
}

static void got_map(void *arg, int error, const struct redisReply *reply)
{
    struct redis *r = arg;

    if (r->freed)
        return;
    r->cluster->asking = false;
    if (error == 0 && check(reply, r->cluster->asked_place) < 0) {
        log_event(LOG_WARN, "redis_refused", "step=cluster_slots");
        error = E_PROTOCOL;
    }
    if (error == 0)
        take_map(r, reply);
    if (!r->freed)
        ask_later(r);
}

/* Any that answers, drawn anew each time: one may be cut off from the others. */
static struct redis_node *draw(struct redis *r)
{
    struct redis_node *chosen = NULL;
    size_t count = 0;

    LIST_FOREACH(it, &r->nodes) {
        struct redis_node *n = CONTAINER(it, struct redis_node, link);
        if (n->signed_in && n->line.conn && !n->broken && random_below(++count) == 0)
            chosen = n;
    }
    return chosen;
}

static void seed(struct redis *r)
{
    for (size_t i = 0; i < r->url.place_count; i++)
        (void)need(r, r->url.places[i]);
}

static void ask_now(void *arg)
{
    struct redis *r = arg;
    struct redis_cluster *c = r->cluster;
    const struct span argv[] = {SPAN("CLUSTER"), SPAN("SLOTS")};
    struct redis_node *n = draw(r);

    if (c->asking)
        return;
    if (n) {
        snprintf(c->asked_place, sizeof(c->asked_place), "%s", n->place);
        c->asking = redis_conn_command(n->line.conn, argv, 2, got_map, r) == 0;
    } else {
        seed(r); /* nobody is left of those we knew */
    }
    if (!c->asking)
        ask_later(r);
}

void redis_cluster_doubt(struct redis *r)
{
    struct redis_cluster *c = r->cluster;

    if (c->doubt || r->freed)
        return; /* asked soon anyway */
    c->doubt = true;
    ask_in(r, c->doubt_ms);
}

/* The first that answers has the map; later ones end a doubt. */
void redis_cluster_joined(struct redis_node *n)
{
    struct redis *r = n->redis;

    if (n->slots == 0 && !r->cluster->asking)
        ask_now(r);
}

/* ---- Redirects ---- */

struct redis_node *redis_cluster_moved(struct redis *r, uint16_t slot, const char *place)
{
    struct redis_node *n = need(r, place);

    if (n) {
        struct redis_node *old = r->cluster->by_slot[slot];
        if (old && old->slots > 0)
            old->slots--;
        n->slots++;
        r->cluster->by_slot[slot] = n;
        redis_node_tell(n);
    }
    redis_cluster_doubt(r);
    return n;
}

struct redis_node *redis_cluster_asked(struct redis *r, const char *place)
{
    return need(r, place);
}

/* ---- Tags ---- */

static void find_tags(struct redis_cluster *c)
{
    char text[REDIS_TAG_LEN];
    size_t found = 0;

    for (uint32_t i = 1; found < REDIS_SLOTS; i++) { /* the last is found below 200,000 */
        snprintf(text, sizeof(text), "%u", i % 10000000);
        const uint16_t slot = redis_slot(span_str(text));
        if (c->tags[slot] == 0) {
            c->tags[slot] = i;
            found++;
        }
    }
}

void redis_slot_tag(const struct redis *r, uint16_t slot, char out[static REDIS_TAG_LEN])
{
    snprintf(out, REDIS_TAG_LEN, "%u", r->cluster->tags[slot] % 10000000);
}

/* ---- Life ---- */

void redis_cluster_start(struct redis *r)
{
    struct redis_cluster *c = mem_zero(sizeof(*c));

    c->redis = r;
    c->doubt = true;
    c->doubt_ms = DOUBT_MIN_MS;
    r->cluster = c;
    find_tags(c);
    seed(r);
    if (!r->freed)
        ask_in(r, c->doubt_ms);
}

static void free_cluster(void *obj)
{
    free(obj);
}

void redis_cluster_free(struct redis *r)
{
    if (!r->cluster)
        return;
    loop_timer_cancel(r->loop, &r->cluster->ask);
    loop_defer_free(r->loop, r->cluster, free_cluster);
}
