/* Where the primary is, asked of one Sentinel after the other: a few times a second for ever, so
 * that a fail-over is noticed even when the old primary still answers us. Sentinel's own advice: a
 * client asks before each connect and checks the role (redis.io, "Guidelines for Redis clients with
 * support for Redis Sentinel"). */
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/random.h"
#include "net/redis_impl.h"

enum {
    ASK_MS = 250,
    ASK_DOWN_MS = 50,
    GOOD_MS = 200, /* an answer is good for connecting for so long, unless the primary is lost */
    PATIENCE = 3   /* refusals by what this Sentinel calls the primary */
};

struct redis_sentinel {
    struct redis *redis;
    struct redis_line line; /* to the present Sentinel */
    size_t at;              /* which of the URL's */
    struct loop_timer ask;
    bool asking;      /* a question is on its way */
    uint64_t said_ms; /* when it last said where the primary is; 0: before its loss */
};

static void ask_now(void *arg);

static void ask_later(struct redis_sentinel *s)
{
    const bool up = s->redis->only->signed_in;
    const uint64_t wait = up ? ASK_MS : ASK_DOWN_MS;

    loop_timer_set(s->redis->loop, &s->ask, wait / 2 + random_below(wait), ask_now, s);
}

/* This one does not know, or cannot be had: the next one. */
static void next_sentinel(struct redis_sentinel *s)
{
    s->at = (s->at + 1) % s->redis->url.place_count;
}

/* The line connects by itself where the answer is the old one, after its back-off. */
static void take_place(struct redis_sentinel *s, const char *place)
{
    struct redis *r = s->redis;
    struct redis_node *n = r->only;

    s->said_ms = loop_now(r->loop);
    if (strcmp(n->place, place) == 0)
        return;
    log_event(LOG_INFO, "redis_primary", "moved=%d", n->place[0] != 0);
    snprintf(n->place, sizeof(n->place), "%s", place);
    r->stats.maps++;
    redis_node_start(n);
    if (!r->freed)
        redis_pubsub_move(r);
}

static void got_place(void *arg, int error, const struct redisReply *reply)
{
    struct redis_sentinel *s = arg;
    char place[REDIS_PLACE_LEN];

    s->asking = false;
    if (error < 0)
        return; /* the line's loss takes care */
    error = redis_master_read(place, reply);
    if (error < 0) {
        next_sentinel(s);
        redis_line_refuse(&s->line, error == E_NOT_FOUND ? "sentinel_name" : "sentinel_reply");
        return;
    }
    redis_line_calm(&s->line);
    take_place(s, place);
    if (!s->redis->freed)
        ask_later(s);
}

static void ask_now(void *arg)
{
    struct redis_sentinel *s = arg;
    const struct span argv[] = {SPAN("SENTINEL"), SPAN("get-master-addr-by-name"),
                                span_str(s->redis->url.master)};

    if (!s->line.conn || s->asking)
        return; /* asked when it is there, or when the answer has come */
    s->asking = redis_conn_command(s->line.conn, argv, 3, got_place, s) == 0;
}

static const char *place(void *arg)
{
    const struct redis_sentinel *s = arg;

    return s->redis->url.places[s->at];
}

static void sign_in(void *arg)
{
    ask_now(arg);
}

static void lost(void *arg, int error)
{
    struct redis_sentinel *s = arg;

    log_event(LOG_DEBUG, "redis_sentinel_lost", "error=%s", error_name(error));
    s->asking = false;
    loop_timer_cancel(s->redis->loop, &s->ask);
    if (error != E_DENIED)
        next_sentinel(s);
}

static const struct redis_line_events events = {.place = place, .sign_in = sign_in, .lost = lost};

bool redis_sentinel_said(const struct redis *r)
{
    const struct redis_sentinel *s = r->sentinel;

    return s->said_ms > 0 && loop_now(r->loop) - s->said_ms <= GOOD_MS;
}

void redis_sentinel_ask(struct redis *r)
{
    struct redis_sentinel *s = r->sentinel;

    s->said_ms = 0;
    if (!s->line.conn)
        return;
    if (r->only->line.tries >= PATIENCE && !s->asking) {
        next_sentinel(s); /* this one may be cut off from the others */
        redis_line_start(&s->line);
    } else if (!s->asking) {
        loop_timer_set(r->loop, &s->ask, random_below(ASK_DOWN_MS), ask_now, s);
    }
}

void redis_sentinel_start(struct redis *r)
{
    struct redis_sentinel *s = mem_zero(sizeof(*s));

    s->redis = r;
    s->at = random_below(r->url.place_count);
    r->sentinel = s;
    r->only = redis_node_new(r, "");
    r->only->line.backoff_max_ms = ASK_MS;
    redis_line_init(&s->line, &r->setup, &r->setup.sentinel, &events, s);
    s->line.backoff_max_ms = ASK_MS;
    redis_line_start(&s->line);
}

static void free_sentinel(void *obj)
{
    free(obj);
}

void redis_sentinel_free(struct redis *r)
{
    struct redis_sentinel *s = r->sentinel;

    if (!s)
        return;
    redis_line_stop(&s->line);
    loop_timer_cancel(r->loop, &s->ask);
    loop_defer_free(r->loop, s, free_sentinel);
}
