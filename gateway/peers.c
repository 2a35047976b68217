/* A sorted set in Redis names the live gateways: each renews its own entry every second and removes
 * those whose time is over. */
#include "gateway/peers.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

#include "backends/pool/gateways.h"
#include "backends/pool/standing.h"
#include "base/json.h"
#include "base/log.h"
#include "config/check.h"
#include "gateway/call.h"
#include "gateway/reply.h"
#include "net/redis_script.h"

enum { EVERY_MS = 1000, NAME_MAX_LEN = 128 };

/* By Redis' own clock. ARGV: `{instance} {address}` of ours, and how long it lives; 0: it leaves.
 */
static const char announce[] = "local now = tonumber(redis.call('TIME')[1]) "
                               "redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now) "
                               "if ARGV[2] == '0' then redis.call('ZREM', KEYS[1], ARGV[1]) "
                               "else redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1]) "
                               "redis.call('EXPIRE', KEYS[1], ARGV[2] + 1) end "
                               "return redis.call('ZRANGE', KEYS[1], 0, -1)";
#define LIFE_S "14" /* the second that is added by rounding makes it 15 */

struct peer {
    char instance[NAME_MAX_LEN], address[NAME_MAX_LEN];
};

struct peers {
    const struct gateway *gateway; /* its settings */
    struct loop *loop;
    struct redis *redis;
    struct pool *pool;
    struct redis_script script;
    struct loop_timer timer;
    const char *instance, *address;
    char member[2 * NAME_MAX_LEN + 2];
    struct peer *list; /* as read last */
    size_t count;
    uint64_t seconds; /* turns of the timer */
    bool left;
};

/* ---- Addresses ---- */

static bool is_any(const struct net_addr *a)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;

    memcpy(&v4, &a->sa, sizeof(v4));
    memcpy(&v6, &a->sa, sizeof(v6));
    return a->sa.ss_family == AF_INET6 ? IN6_IS_ADDR_UNSPECIFIED(&v6.sin6_addr)
                                       : v4.sin_addr.s_addr == htonl(INADDR_ANY);
}

const char *peers_own_address(const struct gateway_config *s)
{
    struct net_addr at;

    if (s->tunnel_public[0])
        return s->tunnel_public;
    if (net_addr_parse(&at, s->tunnel_listen) < 0 || at.sa.ss_family == AF_UNIX || !is_any(&at))
        return s->tunnel_listen;
    log_event(LOG_WARN, "tunnel_unannounced", "hint=set-tunnel.public-where-there-are-several");
    return "";
}

/* ---- The live ones ---- */

static bool parse(struct peer *p, struct span member)
{
    const struct span instance = span_split(&member, ' ');

    return span_cstr(instance, p->instance, sizeof(p->instance)) == 0 &&
           span_cstr(member, p->address, sizeof(p->address)) == 0 && !setting_label(p->instance);
}

static int by_address(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void tell_pool(const struct peers *p)
{
    const char **list = mem_zero((p->count + 1) * sizeof(*list));
    size_t count = 0, kept = 0;

    if (p->address[0] && !p->left)
        list[count++] = p->address;
    for (size_t i = 0; i < p->count; i++)
        if (!setting_host_port(p->list[i].address))
            list[count++] = p->list[i].address;
    qsort(list, count, sizeof(*list), by_address);
    for (size_t i = 0; i < count; i++)
        if (kept == 0 || strcmp(list[kept - 1], list[i]) != 0)
            list[kept++] = list[i];
    pool_set_gateways(p->pool, list, kept);
    free(list);
}

static void read_list(struct peers *p, const struct redisReply *reply)
{
    const size_t count = redis_reply_count(reply);
    struct peer *list = mem_zero((count + 1) * sizeof(*list));
    size_t good = 0;

    for (size_t i = 0; i < count; i++)
        if (parse(&list[good], redis_reply_text(redis_reply_at(reply, i))))
            good++;
    free(p->list);
    p->list = list;
    p->count = good;
    tell_pool(p);
}

static void listed(void *arg, int error, const struct redisReply *reply)
{
    struct peers *p = arg;

    if (p->pool && error == 0 && redis_reply_type(reply) == REDIS_LIST)
        read_list(p, reply); /* else: what was known stays */
}

void peers_renew(struct peers *p)
{
    const struct span key = SPAN("gateways");
    const struct span args[] = {span_str(p->member), p->left ? SPAN("0") : SPAN(LIFE_S)};

    if (redis_script_run(p->redis, &p->script, &key, args, 2, listed, p) < 0)
        return; /* away: a second later */
}

/* ---- Their order for a worker ---- */

/* FNV-1a of both, and the end of MurmurHash3, as what differs stands at the names' ends. */
static uint64_t weight(const char *instance, const char *iid)
{
    uint64_t h = 0xcbf29ce484222325;

    for (const char *c = instance; *c; c++)
        h = (h ^ (uint8_t)*c) * 0x100000001b3;
    for (const char *c = iid; *c; c++)
        h = (h ^ (uint8_t)*c) * 0x100000001b3;
    h = (h ^ (h >> 33)) * 0xff51afd7ed558ccd;
    h = (h ^ (h >> 33)) * 0xc4ceb9fe1a85ec53;
    return h ^ (h >> 33);
}

size_t peers_rank(const struct peers *p, const char *iid)
{
    const uint64_t own = weight(p->instance, iid);
    size_t rank = 0;

    for (size_t i = 0; i < p->count; i++)
        if (weight(p->list[i].instance, iid) > own)
            rank++;
    return rank;
}

/* ---- Hints ---- */

struct hint {
    struct peers *peers;
    char instance[NAME_MAX_LEN], iid[IID_LEN + 1];
};

/* In numbers that mean the same here: a newer version's may be of other units. */
static bool is_understood(const json_t *load)
{
    struct span format;

    return json_obj_string(load, "format", &format) == 0 && span_is(format, "cgw/load/v1");
}

static void take_hint(const struct hint *h, const json_t *load)
{
    if (!is_understood(load)) {
        log_event(LOG_INFO, "format_unknown", "key=load:%s", h->instance);
        return;
    }
    pool_hint(h->peers->pool, h->iid, json_number_value(json_object_get(load, "first_token_ms")),
              json_number_value(json_object_get(load, "tokens_per_s")));
}

static void hinted(void *arg, int error, const struct redisReply *reply)
{
    struct hint *h = arg;
    AUTO_JSON json_t *doc = NULL;

    if (h->peers->pool && error == 0 && redis_reply_type(reply) == REDIS_BULK &&
        json_read(redis_reply_text(reply), &doc) == 0)
        take_hint(h, doc);
    free(h);
}

static void ask_one(struct peers *p, const char *instance, const char *iid)
{
    char key[NAME_MAX_LEN + 8];
    struct hint *h = mem_zero(sizeof(*h));

    h->peers = p;
    snprintf(h->instance, sizeof(h->instance), "%s", instance);
    snprintf(h->iid, sizeof(h->iid), "%s", iid);
    snprintf(key, sizeof(key), "load:%s", instance);
    const struct span argv[] = {SPAN("HGET"), span_str(key), span_str(iid)};
    if (redis_command(p->redis, argv[1], argv, 3, hinted, h) < 0)
        free(h);
}

/* ---- Standing ---- */

struct look_up {
    struct peers *peers;
    char wid[2 * SHA256_LEN + 1];
};

/* One bulk each in the order asked; what was never counted is none. */
static void standing_read(void *arg, int error, const struct redisReply *reply)
{
    struct look_up *u = arg;
    uint64_t total[STANDING_EVENTS] = {0};

    if (u->peers->pool && error == 0 && redis_reply_type(reply) == REDIS_LIST &&
        redis_reply_count(reply) == STANDING_EVENTS) {
        for (size_t e = 0; e < STANDING_EVENTS; e++)
            if (span_u64(redis_reply_text(redis_reply_at(reply, e)), INT64_MAX, &total[e]) < 0)
                total[e] = 0;
        pool_set_standing(u->peers->pool, u->wid, standing_value(total));
    }
    free(u);
}

static void ask_standing(struct peers *p, const char *wid)
{
    struct look_up *u = mem_zero(sizeof(*u));
    struct span argv[2 + STANDING_EVENTS] = {SPAN("HMGET")};
    char key[sizeof(u->wid) + 16];

    u->peers = p;
    snprintf(u->wid, sizeof(u->wid), "%s", wid);
    snprintf(key, sizeof(key), "standing:%s", wid);
    argv[1] = span_str(key);
    for (size_t e = 0; e < STANDING_EVENTS; e++)
        argv[2 + e] = span_str(standing_name((enum standing_event)e));
    if (redis_command(p->redis, argv[1], argv, 2 + STANDING_EVENTS, standing_read, u) < 0)
        free(u);
}

/* Each worker in a second of its own. */
static void refresh_standing(void *arg, const struct pool_view *v)
{
    struct peers *p = arg;
    const uint64_t every = (uint64_t)gateway_settings(p->gateway)->standing_s;

    if (v->state == POOL_READY && weight(p->instance, v->iid) % every == p->seconds % every)
        ask_standing(p, v->wid);
}

static void on_ready(void *arg, const char *iid, const char *wid)
{
    struct peers *p = arg;

    ask_standing(p, wid);
    for (size_t i = 0; i < p->count; i++)
        if (strcmp(p->list[i].instance, p->instance) != 0)
            ask_one(p, p->list[i].instance, iid);
}

/* ---- Its life ---- */

static void each_second(void *arg)
{
    struct peers *p = arg;

    p->seconds++;
    peers_renew(p);
    pool_each(p->pool, refresh_standing, p);
    loop_timer_set(p->loop, &p->timer, EVERY_MS, each_second, p);
}

struct peers *peers_new(const struct gateway *g, const char *address)
{
    struct peers *p = mem_zero(sizeof(*p));

    *p = (struct peers){.gateway = g,
                        .loop = g->loop,
                        .redis = g->redis,
                        .pool = g->pool,
                        .instance = g->instance,
                        .address = address};
    snprintf(p->member, sizeof(p->member), "%s %s", p->instance, address[0] ? address : "-");
    redis_script_init(&p->script, "gateways", announce, 1);
    pool_on_ready(p->pool, on_ready, p);
    loop_timer_set(p->loop, &p->timer, 0, each_second, p);
    return p;
}

void peers_leave(struct peers *p, bool successor)
{
    if (p->left)
        return;
    p->left = true;
    if (successor)
        loop_timer_cancel(p->loop, &p->timer); /* it renews the same entry */
    else
        peers_renew(p);
}

size_t peers_count(const struct peers *p)
{
    return p->count;
}

void peers_stop(struct peers *p)
{
    loop_timer_cancel(p->loop, &p->timer);
    peers_leave(p, false);
    p->pool = NULL;
}

void peers_free(struct peers *p)
{
    if (!p)
        return;
    free(p->list);
    free(p);
}

void peers_list(struct call *c)
{
    struct buf body = {0};

    buf_append(&body, pool_gateways(c->gateway->pool));
    reply_whole(c, 200, "application/json", &body);
}
