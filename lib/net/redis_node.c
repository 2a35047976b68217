/* One data server: signing in, what it is, whether it answers in time. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "net/redis_impl.h"

enum {
    MISSES = 5, /* in a row open the breaker */
    PROBE_MS = 100
};

/* ---- Usable or not ---- */

bool redis_node_usable(const struct redis_node *n)
{
    return n->signed_in && n->slots > 0 && n->line.conn && redis_conn_alive(n->line.conn);
}

bool redis_node_ready(const struct redis_node *n)
{
    return redis_node_usable(n) && !n->broken;
}

static bool any_usable(const struct redis *r)
{
    LIST_FOREACH(it, &r->nodes) {
        if (redis_node_usable(CONTAINER(it, struct redis_node, link)))
            return true;
    }
    return false;
}

static void warn_unsafe(const struct redis_node *n)
{
    if (!n->info.noeviction || !n->info.aof)
        log_event(LOG_WARN, "redis_unsafe", "noeviction=%d aof=%d hint=maxmemory-policy,appendonly",
                  n->info.noeviction, n->info.aof);
}

void redis_node_tell(struct redis_node *n)
{
    struct redis *r = n->redis;
    const bool usable = redis_node_usable(n);

    if (usable == n->told || r->freed)
        return;
    n->told = usable;
    if (usable) {
        r->stats.connects++;
        warn_unsafe(n);
        r->state(r->arg, true, n->info.run_id);
    } else if (!any_usable(r)) {
        r->state(r->arg, false, NULL);
    }
}

/* ---- The breaker ---- */

static void probe(void *arg);

static void probe_later(struct redis_node *n)
{
    loop_timer_set(n->redis->loop, &n->probe, PROBE_MS, probe, n);
}

static void got_probe(void *arg, int error, const struct redisReply *reply)
{
    struct redis_node *n = arg;

    (void)reply;
    if (error < 0 || !n->broken)
        return;
    if (clock_mono_us() - n->probe_us > n->redis->command_ms * 1000) {
        probe_later(n);
        return;
    }
    n->broken = false;
    n->misses = 0;
    log_event(LOG_INFO, "redis_in_time_again", "after=probe");
}

static void probe(void *arg)
{
    struct redis_node *n = arg;
    const struct span ping = SPAN("PING");

    if (!n->broken || !n->line.conn)
        return;
    n->probe_us = clock_mono_us();
    if (redis_conn_command(n->line.conn, &ping, 1, got_probe, n) < 0)
        probe_later(n);
}

void redis_node_hit(struct redis_node *n)
{
    n->misses = 0;
}

void redis_node_miss(struct redis_node *n)
{
    if (n->broken || ++n->misses < MISSES)
        return;
    n->broken = true;
    n->redis->stats.breaker_opened++;
    log_event(LOG_WARN, "redis_late", "misses=%d", MISSES);
    probe(n);
    if (n->redis->sentinel)
        redis_sentinel_doubt(n->redis);
}

static void breaker_reset(struct redis_node *n)
{
    n->broken = false;
    n->misses = 0;
    loop_timer_cancel(n->redis->loop, &n->probe);
}

/* ---- Signing in ---- */

static const char *refusal(const struct redis *r, const struct redis_info *info)
{
    if (info->sentinel)
        return "is_sentinel";
    if (info->cluster != (r->cluster != NULL))
        return info->cluster ? "is_cluster" : "is_no_cluster";
    if (info->loading)
        return "loading";
    if (info->replica && !r->cluster)
        return "is_replica";
    if (r->durable && (!info->noeviction || !info->aof))
        return "not_durable";
    return NULL;
}

static void got_info(void *arg, int error, const struct redisReply *reply)
{
    struct redis_node *n = arg;
    struct redis *r = n->redis;

    if (error < 0)
        return;
    const bool text = redis_reply_type(reply) == REDIS_BULK;
    if (!text || redis_info_read(&n->info, redis_reply_text(reply)) < 0) {
        redis_line_refuse(&n->line, "info");
        return;
    }
    const char *why = refusal(r, &n->info);
    if (why) {
        redis_line_refuse(&n->line, why);
        return;
    }
    redis_line_calm(&n->line);
    n->signed_in = true;
    if (r->cluster)
        redis_cluster_joined(n);
    redis_node_tell(n);
}

static void expect_select(void *arg, int error, const struct redisReply *reply)
{
    struct redis_node *n = arg;

    if (error == 0 && redis_reply_type(reply) != REDIS_STATUS)
        redis_line_refuse(&n->line, "select");
}

static void sign_in(void *arg)
{
    struct redis_node *n = arg;

    if (n->redis->url.db[0])
        redis_line_ask(&n->line, "SELECT", n->redis->url.db, expect_select);
    redis_line_ask(&n->line, "INFO", NULL, got_info);
}

/* A server that stays away is worth one warning, not one each attempt. */
static void lost(void *arg, int error)
{
    struct redis_node *n = arg;
    struct redis *r = n->redis;

    log_event(n->signed_in ? LOG_WARN : LOG_DEBUG, "redis_lost", "error=%s", error_name(error));
    n->signed_in = false;
    breaker_reset(n);
    if (r->sentinel)
        redis_sentinel_ask(r);
    if (r->cluster)
        redis_cluster_doubt(r);
    redis_node_tell(n);
}

static const char *place(void *arg)
{
    const struct redis_node *n = arg;

    if (n->redis->sentinel && !redis_sentinel_said(n->redis))
        return NULL;
    return n->place[0] ? n->place : NULL;
}

/* ---- Life ---- */

static const struct redis_line_events events = {.place = place, .sign_in = sign_in, .lost = lost};

struct redis_node *redis_node_new(struct redis *r, const char *at)
{
    struct redis_node *n = mem_zero(sizeof(*n));

    n->redis = r;
    n->slots = r->cluster ? 0 : 1;
    snprintf(n->place, sizeof(n->place), "%s", at);
    redis_line_init(&n->line, &r->setup, &r->setup.server, &events, n);
    list_push(&r->nodes, &n->link);
    return n;
}

void redis_node_start(struct redis_node *n)
{
    const bool was = n->signed_in;

    n->signed_in = false;
    breaker_reset(n);
    redis_line_start(&n->line);
    if (was)
        redis_node_tell(n);
}

static void free_node(void *obj)
{
    free(obj);
}

void redis_node_drop(struct redis_node *n)
{
    if (n->gone)
        return;
    n->gone = true;
    n->signed_in = false;
    list_del(&n->link);
    breaker_reset(n);
    redis_line_stop(&n->line);
    redis_node_tell(n);
    loop_defer_free(n->redis->loop, n, free_node);
}
