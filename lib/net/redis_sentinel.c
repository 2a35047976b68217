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
    GOOD_MS = 200,    /* an answer is good for connecting for so long, unless the primary is lost */
    PATIENCE = 3,     /* refusals by what this Sentinel calls the primary */
    BEHIND_MS = 10000 /* a Sentinel may go on naming a primary that a promoted one has replaced */
};

struct redis_sentinel {
    struct redis *redis;
    struct redis_line line; /* to the present Sentinel */
    size_t at;              /* which of the URL's */
    struct loop_timer ask;
    bool asking;      /* a question is on its way */
    uint64_t said_ms; /* when it last said where the primary is; 0: before its loss */
    struct redis_scouts *scouts;
    char left[REDIS_PLACE_LEN]; /* the primary whose successor a scout has found, until left_ms */
    uint64_t left_ms;
};

static void ask_now(void *arg);

static void ask_in(struct redis_sentinel *s, uint64_t wait_ms)
{
    loop_timer_set(s->redis->loop, &s->ask, wait_ms / 2 + random_below(wait_ms), ask_now, s);
}

/* This one does not know, or cannot be had: the next one. */
static void next_sentinel(struct redis_sentinel *s)
{
    s->at = (s->at + 1) % s->redis->url.place_count;
}

static void move(struct redis_sentinel *s, const char *place)
{
    struct redis *r = s->redis;

    log_event(LOG_INFO, "redis_primary", "moved=%d", r->only->place[0] != 0);
    snprintf(r->only->place, sizeof(r->only->place), "%s", place);
    r->stats.maps++;
    redis_node_start(r->only);
    if (!r->freed)
        redis_pubsub_move(r);
}

/* The line connects by itself where the answer is the old one, after its back-off. */
static void take_place(struct redis_sentinel *s, const char *place)
{
    struct redis *r = s->redis;
    const uint64_t now = loop_now(r->loop);

    if (now < s->left_ms && strcmp(place, s->left) == 0)
        return;
    s->said_ms = now;
    if (strcmp(r->only->place, place) != 0)
        move(s, place);
}

void redis_sentinel_promoted(struct redis *r, const char *place)
{
    struct redis_sentinel *s = r->sentinel;

    snprintf(s->left, sizeof(s->left), "%s", r->only->place);
    s->left_ms = loop_now(r->loop) + BEHIND_MS;
    s->said_ms = loop_now(r->loop);
    if (strcmp(r->only->place, place) != 0)
        move(s, place);
}

static void got_replicas(void *arg, int error, const struct redisReply *reply)
{
    struct redis_sentinel *s = arg;

    if (error == 0 && !s->redis->freed && !redis_node_ready(s->redis->only))
        redis_scouts_send(s->scouts, reply);
}

static void got_place(void *arg, int error, const struct redisReply *reply)
{
    struct redis_sentinel *s = arg;
    struct redis *r = s->redis;
    char place[REDIS_PLACE_LEN];

    s->asking = false;
    if (error < 0 || r->freed)
        return; /* the line's loss takes care */
    error = redis_master_read(place, reply);
    if (error < 0) {
        next_sentinel(s);
        redis_line_refuse(&s->line, error == E_NOT_FOUND ? "sentinel_name" : "sentinel_reply");
        return;
    }
    redis_line_calm(&s->line);
    take_place(s, place);
    if (r->freed)
        return;
    const bool ready = redis_node_ready(r->only);
    if (ready)
        redis_scouts_recall(s->scouts);
    ask_in(s, ready ? ASK_MS : ASK_DOWN_MS);
}

static void ask_now(void *arg)
{
    struct redis_sentinel *s = arg;
    const struct span name = span_str(s->redis->url.master);
    const struct span place[] = {SPAN("SENTINEL"), SPAN("get-master-addr-by-name"), name};
    const struct span replicas[] = {SPAN("SENTINEL"), SPAN("REPLICAS"), name};

    if (!s->line.conn || s->asking)
        return; /* asked when it is there, or when the answer has come */
    s->asking = redis_conn_command(s->line.conn, place, 3, got_place, s) == 0;
    if (s->redis->only->place[0] && !redis_node_ready(s->redis->only) &&
        redis_conn_command(s->line.conn, replicas, 3, got_replicas, s) < 0)
        log_event(LOG_DEBUG, "redis_sentinel_busy", "step=replicas");
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
        ask_in(s, ASK_DOWN_MS / 2);
    }
}

void redis_sentinel_doubt(struct redis *r)
{
    if (!r->sentinel->asking && r->sentinel->line.conn)
        ask_in(r->sentinel, ASK_DOWN_MS / 2);
}

void redis_sentinel_start(struct redis *r)
{
    struct redis_sentinel *s = mem_zero(sizeof(*s));

    s->redis = r;
    s->at = random_below(r->url.place_count);
    s->scouts = redis_scouts_new(r);
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
    redis_scouts_free(s->scouts);
    loop_timer_cancel(r->loop, &s->ask);
    loop_defer_free(r->loop, s, free_sentinel);
}
