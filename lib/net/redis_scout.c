/* Looks among the replicas for the one that has been promoted, while the primary is away. Sentinel
 * itself learns of that from an INFO once a second only, and would name the new primary that much
 * later. A replica that has become a primary was made one by Sentinel: nobody else promotes. */
#include <stdio.h>
#include <stdlib.h>

#include "base/random.h"
#include "net/redis_impl.h"

enum { SCOUTS_MAX = 16, ASK_MS = 50 };

struct scout {
    struct list link; /* in redis_scouts.all */
    struct redis_scouts *scouts;
    struct redis_line line;
    struct loop_timer ask;
    char place[REDIS_PLACE_LEN];
};

struct redis_scouts {
    struct redis *redis;
    struct list all;
    size_t count;
};

static void got_info(void *arg, int error, const struct redisReply *reply);

static void ask_now(void *arg)
{
    struct scout *s = arg;
    const struct span argv[] = {SPAN("INFO")};

    if (s->line.conn && redis_conn_command(s->line.conn, argv, 1, got_info, s) < 0)
        redis_line_refuse(&s->line, "scout");
}

static void got_info(void *arg, int error, const struct redisReply *reply)
{
    struct scout *s = arg;
    struct redis *r = s->scouts->redis;
    struct redis_info info;

    if (error < 0 || r->freed)
        return;
    if (redis_info_read(&info, redis_reply_text(reply)) == 0 && !info.replica && !info.loading &&
        !info.sentinel) {
        redis_sentinel_promoted(r, s->place);
        return;
    }
    redis_line_calm(&s->line);
    loop_timer_set(r->loop, &s->ask, ASK_MS / 2 + random_below(ASK_MS), ask_now, s);
}

static const char *place(void *arg)
{
    const struct scout *s = arg;

    return s->place;
}

static void lost(void *arg, int error)
{
    struct scout *s = arg;

    (void)error;
    loop_timer_cancel(s->scouts->redis->loop, &s->ask);
}

static const struct redis_line_events events = {.place = place, .sign_in = ask_now, .lost = lost};

static bool known(const struct redis_scouts *scouts, const char *at)
{
    LIST_FOREACH(it, &scouts->all) {
        if (strcmp(CONTAINER(it, struct scout, link)->place, at) == 0)
            return true;
    }
    return strcmp(scouts->redis->only->place, at) == 0;
}

static void send_scout(struct redis_scouts *scouts, const char *at)
{
    struct scout *s = mem_zero(sizeof(*s));

    s->scouts = scouts;
    snprintf(s->place, sizeof(s->place), "%s", at);
    redis_line_init(&s->line, &scouts->redis->setup, &scouts->redis->setup.server, &events, s);
    s->line.backoff_max_ms = 2 * ASK_MS;
    list_push(&scouts->all, &s->link);
    scouts->count++;
    redis_line_start(&s->line);
}

void redis_scouts_send(struct redis_scouts *scouts, const struct redisReply *replicas)
{
    char at[REDIS_PLACE_LEN];

    for (size_t i = 0; i < redis_reply_count(replicas) && scouts->count < SCOUTS_MAX; i++)
        if (redis_replica_read(at, redis_reply_at(replicas, i)) == 0 && !known(scouts, at))
            send_scout(scouts, at);
}

static void free_any(void *obj)
{
    free(obj);
}

void redis_scouts_recall(struct redis_scouts *scouts)
{
    struct list *link;

    while ((link = list_pop(&scouts->all))) {
        struct scout *s = CONTAINER(link, struct scout, link);
        redis_line_stop(&s->line);
        loop_timer_cancel(scouts->redis->loop, &s->ask);
        loop_defer_free(scouts->redis->loop, s, free_any);
    }
    scouts->count = 0;
}

struct redis_scouts *redis_scouts_new(struct redis *r)
{
    struct redis_scouts *scouts = mem_zero(sizeof(*scouts));

    scouts->redis = r;
    list_init(&scouts->all);
    return scouts;
}

void redis_scouts_free(struct redis_scouts *scouts)
{
    redis_scouts_recall(scouts);
    loop_defer_free(scouts->redis->loop, scouts, free_any);
}
