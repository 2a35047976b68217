/* Commands on their way: given to a node, answered, abandoned at the deadline, or sent again where
 * a server says that it did nothing: another has the slot, or it does not know the script. */
#include <stdlib.h>

#include "base/clock.h"
#include "net/redis_impl.h"

enum {
    HOPS_MAX = 16,
    AGAIN_MS = 5 /* a slot of several keys that is being moved */
};

const uint64_t redis_latency_bounds_us[REDIS_LATENCY_BUCKETS] = {250,   500,   1000,  2500, 5000,
                                                                 10000, 25000, 50000, 0};

struct redis_request {
    struct redis *redis;
    struct list live; /* in redis.live until answered or abandoned */
    struct list held; /* in redis.held */
    redis_reply_fn *fn;
    void *arg;
    const struct redis_script *script;
    struct redis_node *node; /* where it is; valid while it is there */
    struct buf rest;         /* words behind a script's, or all; kept where it may be sent again */
    size_t rest_argc;
    uint64_t given_us; /* end of the turn that gave it; 0: still in that turn */
    uint16_t slot;
    unsigned hops;
    bool by_source, asking, abandoned;
};

static struct redis_node *node_of(const struct redis *r, uint16_t slot)
{
    return r->cluster ? redis_cluster_node(r, slot) : r->only;
}

/* ---- The end ---- */

static void end(struct redis_request *q, int error, const struct redisReply *reply)
{
    redis_reply_fn *fn = q->fn;
    void *arg = q->arg;

    if (error < 0 && !q->abandoned)
        q->redis->stats.lost++;
    q->redis->in_flight--;
    list_del(&q->live);
    list_del(&q->held);
    buf_fini(&q->rest);
    free(q);
    if (fn)
        fn(arg, error, reply);
}

static void count_latency(struct redis_request *q)
{
    struct redis_stats *s = &q->redis->stats;
    const uint64_t now_us = clock_mono_us();
    const uint64_t us = q->given_us && q->given_us < now_us ? now_us - q->given_us : 0;
    size_t bucket = 0;

    while (redis_latency_bounds_us[bucket] && us > redis_latency_bounds_us[bucket])
        bucket++;
    s->latency[bucket]++;
    s->latency_sum_us += us;
    s->latency_last_us = us;
    if (us <= q->redis->command_ms * 1000)
        redis_node_hit(q->node);
}

/* ---- Sending ---- */

static void got(void *arg, int error, const struct redisReply *reply);

static int send_to(struct redis_request *q, struct redis_node *node)
{
    const struct redis_script *s = q->script;
    const struct span asking = SPAN("ASKING");
    const struct span head[] = {q->by_source ? SPAN("EVAL") : SPAN("EVALSHA"),
                                s ? span_str(q->by_source ? s->source : s->sha) : SPAN("")};

    if (!node || !node->line.conn || node->broken)
        return E_UNAVAILABLE;
    if (redis_conn_pending(node->line.conn) >= q->redis->queue_max)
        return E_BUSY;
    if (q->asking)
        TRY(redis_conn_command(node->line.conn, &asking, 1, NULL, NULL));
    TRY(redis_conn_words(node->line.conn, head, s ? 2 : 0, buf_span(&q->rest), q->rest_argc, got,
                         q));
    q->node = node;
    if (!s && !q->redis->cluster)
        buf_fini(&q->rest); /* nobody will say that it must be sent again */
    return 0;
}

static void send_held(void *arg);

static void hold(struct redis_request *q)
{
    struct redis *r = q->redis;

    list_push(&r->held, &q->held);
    if (!loop_timer_is_set(&r->again))
        loop_timer_set(r->loop, &r->again, AGAIN_MS, send_held, r);
}

/* Nothing has happened at the server, so the command may be sent again while its caller waits. */
static void send_again(struct redis_request *q, struct redis_node *node)
{
    if (node && !node->signed_in && !q->abandoned && !q->redis->freed && ++q->hops <= HOPS_MAX)
        hold(q); /* nothing goes to a server whose run_id its caller cannot know */
    else if (q->abandoned || q->redis->freed || ++q->hops > HOPS_MAX || send_to(q, node) < 0)
        end(q, E_UNAVAILABLE, NULL);
}

static void send_held(void *arg)
{
    struct redis *r = arg;
    struct list now, *link;

    list_init(&now);
    while ((link = list_pop(&r->held)))
        list_push(&now, link);
    while ((link = list_pop(&now))) {
        struct redis_request *q = CONTAINER(link, struct redis_request, held);
        q->asking = false;
        send_again(q, node_of(r, q->slot));
    }
}

void redis_request_end_held(struct redis *r)
{
    struct list *link;

    while ((link = list_pop(&r->held)))
        end(CONTAINER(link, struct redis_request, held), E_UNAVAILABLE, NULL);
}

/* ---- Answers that are none ---- */

static bool begins(struct span text, const char *code)
{
    return span_starts(text, span_str(code));
}

/* Redis before 7 reports what failed inside a script behind words of its own. */
static bool is_read_only(struct span text)
{
    return begins(text, "READONLY ") || span_find(text, SPAN(" -READONLY ")) >= 0;
}

static bool follow(struct redis_request *q, struct span text)
{
    struct redis *r = q->redis;
    char place[REDIS_PLACE_LEN];
    uint16_t slot;

    switch (redis_redirect_read(text, q->node->place, &slot, place)) {
    case REDIS_MOVED:
        r->stats.moved++;
        q->asking = false;
        send_again(q, redis_cluster_moved(r, slot, place));
        return true;
    case REDIS_ASK:
        r->stats.asked++;
        q->asking = true;
        send_again(q, redis_cluster_asked(r, place));
        return true;
    default:
        return false;
    }
}

static bool cluster_took(struct redis_request *q, struct span text)
{
    if (follow(q, text))
        return true;
    if (begins(text, "TRYAGAIN ")) {
        if (q->abandoned)
            end(q, E_UNAVAILABLE, NULL);
        else
            hold(q);
        return true;
    }
    if (!begins(text, "CLUSTERDOWN "))
        return false;
    redis_cluster_doubt(q->redis);
    end(q, E_UNAVAILABLE, NULL);
    return true;
}

/* True when the error was dealt with: the server did nothing, and the request is on its way again
 * or has ended. */
static bool took_error(struct redis_request *q, struct span text)
{
    struct redis_node *node = q->node;

    if (begins(text, "NOSCRIPT ") && q->script && !q->by_source) {
        q->by_source = true;
        q->redis->stats.loaded++;
        send_again(q, node);
        return true;
    }
    if (q->redis->cluster && cluster_took(q, text))
        return true;
    const char *why = is_read_only(text)            ? "is_replica"
                      : begins(text, "LOADING ")    ? "loading"
                      : begins(text, "MASTERDOWN ") ? "is_replica"
                                                    : NULL;
    if (!why)
        return false;
    end(q, E_UNAVAILABLE, NULL);
    redis_line_refuse(&node->line, why);
    return true;
}

static void got(void *arg, int error, const struct redisReply *reply)
{
    struct redis_request *q = arg;

    if (error == 0) {
        count_latency(q);
        if (redis_reply_type(reply) == REDIS_FAILURE && took_error(q, redis_reply_text(reply)))
            return;
    }
    end(q, error, reply);
}

/* ---- Deadlines ---- */

static void deadline_due(void *arg);

static uint64_t oldest_given_us(const struct redis *r)
{
    const struct redis_request *q = CONTAINER(r->live.next, struct redis_request, live);

    return q->given_us; /* NOLINT(clang-analyzer-unix.Malloc): it follows no list_del */
}

/* A timer that is due too early looks again. */
static void arm(struct redis *r)
{
    if (list_empty(&r->live) || loop_timer_is_set(&r->deadline))
        return;
    const uint64_t now = loop_now(r->loop), due = oldest_given_us(r) / 1000 + 1 + r->command_ms;
    loop_timer_set(r->loop, &r->deadline, due > now ? due - now : 0, deadline_due, r);
}

static void abandon(struct redis_request *q)
{
    redis_reply_fn *fn = q->fn;
    void *arg = q->arg;

    q->redis->stats.timeouts++;
    q->abandoned = true;
    q->fn = NULL;
    list_del(&q->live);
    if (!list_empty(&q->held))
        end(q, E_TIMEOUT, NULL);
    else
        redis_node_miss(q->node);
    if (fn)
        fn(arg, E_TIMEOUT, NULL);
}

/* Judged by the time the turn began, after its descriptors: a reply that came while something else
 * took long is read first. */
static void deadline_due(void *arg)
{
    struct redis *r = arg;
    const uint64_t now_us = loop_now(r->loop) * 1000;

    while (!r->freed && !list_empty(&r->live)) {
        const uint64_t given_us = oldest_given_us(r);
        if (given_us == 0 || given_us + r->command_ms * 1000 > now_us)
            break;
        abandon(CONTAINER(r->live.next, struct redis_request, live));
    }
    if (!r->freed)
        arm(r);
}

/* A long turn is no fault of Redis: time counts from the end of the turn that gave the command. */
void redis_request_flush(void *arg)
{
    struct redis *r = arg;
    const uint64_t now_us = clock_mono_us();

    for (struct list *it = r->live.prev; it != &r->live; it = it->prev) {
        struct redis_request *q = CONTAINER(it, struct redis_request, live);
        if (q->given_us != 0)
            break;
        q->given_us = now_us;
    }
    arm(r);
}

/* ---- Giving ---- */

int redis_request_give(struct redis *r, struct span slot_key, struct redis_words words,
                       redis_reply_fn *fn, void *arg)
{
    const uint16_t slot = r->cluster ? redis_slot(slot_key) : 0;
    struct redis_node *node = node_of(r, slot);

    if (!node || !redis_node_ready(node)) {
        r->stats.refused++;
        return E_UNAVAILABLE;
    }
    struct redis_request *q = mem_zero(sizeof(*q));
    q->redis = r;
    q->fn = fn;
    q->arg = arg;
    q->slot = slot;
    q->script = words.script;
    q->rest_argc = words.argc;
    redis_words_append(&q->rest, words.argv, words.argc);
    const int error = send_to(q, node);
    if (error < 0) {
        buf_fini(&q->rest);
        free(q);
        return error;
    }
    list_push(&r->live, &q->live);
    r->in_flight++;
    return 0;
}
