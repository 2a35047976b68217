/* Subscriptions: a connection of their own to the server, Sentinel's primary, or any node of a
 * Cluster (which passes messages on to all). No loss is silent: a PING shows that the connection
 * lives, and a message to ourselves, published where commands go, that messages still get there. */
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/random.h"
#include "net/redis_impl.h"

enum { CHECKS_AN_ECHO = 4 };

struct subscription {
    struct list link;
    char *channel;
    redis_message_fn *fn;
    void *arg;
};

static void ask_channel(struct redis_pubsub *p, const char *channel)
{
    const struct span argv[] = {SPAN("SUBSCRIBE"), span_str(channel)};

    redis_conn_send(p->line.conn, argv, 2);
    p->asked++;
}

/* Whoever refuses or loses it says nothing of the subscription. */
static void got_published(void *arg, int error, const struct redisReply *reply)
{
    struct redis *r = arg;

    if (error < 0 || redis_reply_type(reply) != REDIS_NUMBER)
        r->pubsub.echo_due = false;
}

static const struct redis_node *draw(const struct redis *r, const char *other);

/* By another node than the one that is to hear it, where there is one. False: the last one was
 * published and has not come. */
static bool echo(struct redis *r)
{
    struct redis_pubsub *p = &r->pubsub;
    const struct span argv[] = {SPAN("PUBLISH"), span_str(p->echo), SPAN("1")};

    if (p->until_echo-- > 0)
        return true;
    p->until_echo = CHECKS_AN_ECHO - 1;
    if (p->echo_due)
        return false;
    const struct redis_node *n = draw(r, p->place);
    p->echo_due = n && redis_conn_command(n->line.conn, argv, 3, got_published, r) == 0;
    return true;
}

/* Every dead_ms: all must be confirmed, and something (the last PING's answer at least) must have
 * come since the last time. */
static void check(void *arg)
{
    struct redis *r = arg;
    struct redis_pubsub *p = &r->pubsub;
    const struct span ping = SPAN("PING");

    if (!p->line.conn)
        return;
    const uint64_t heard = redis_conn_heard(p->line.conn);

    if (p->confirmed < p->asked || heard == p->heard_before || !echo(r)) {
        redis_line_refuse(&p->line, "subscription_check");
        return;
    }
    p->heard_before = heard;
    redis_conn_send(p->line.conn, &ping, 1);
    loop_timer_set(r->loop, &p->check, r->setup.dead_ms, check, r);
}

static void sign_in(void *arg)
{
    struct redis *r = arg;
    struct redis_pubsub *p = &r->pubsub;

    p->asked = p->confirmed = 0;
    p->heard_before = 0;
    p->echo_due = false;
    p->until_echo = CHECKS_AN_ECHO - 1;
    ask_channel(p, p->echo);
    LIST_FOREACH(it, &p->subscriptions)
        ask_channel(p, CONTAINER(it, struct subscription, link)->channel);
    loop_timer_set(r->loop, &p->check, r->setup.dead_ms, check, r);
}

static void deliver(struct redis *r, struct span channel, struct span payload)
{
    if (span_is(channel, r->pubsub.echo))
        r->pubsub.echo_due = false;
    LIST_FOREACH(it, &r->pubsub.subscriptions) {
        struct subscription *s = CONTAINER(it, struct subscription, link);
        if (span_is(channel, s->channel))
            s->fn(s->arg, channel, payload);
        if (r->freed)
            return;
    }
}

static void push(void *arg, const struct redisReply *reply)
{
    struct redis *r = arg;

    if (redis_reply_count(reply) < 3)
        return; /* the answer to a PING */
    const struct span kind = redis_reply_text(redis_reply_at(reply, 0));
    const struct span channel = redis_reply_text(redis_reply_at(reply, 1));
    const struct span payload = redis_reply_text(redis_reply_at(reply, 2));
    if (span_is(kind, "subscribe")) {
        r->pubsub.confirmed++;
        redis_line_calm(&r->pubsub.line);
    } else if (span_is(kind, "message") && channel.data && payload.data) {
        deliver(r, channel, payload);
    }
}

static void lost(void *arg, int error)
{
    struct redis *r = arg;

    log_event(r->pubsub.confirmed > 0 ? LOG_WARN : LOG_DEBUG, "redis_subscription_lost", "error=%s",
              error_name(error));
    r->pubsub.asked = r->pubsub.confirmed = 0;
}

/* In a Cluster another node than this one, which may be cut off from the rest. */
static const struct redis_node *draw(const struct redis *r, const char *other)
{
    const struct redis_node *chosen = NULL;
    size_t count = 0;

    LIST_FOREACH(it, &r->nodes) {
        const struct redis_node *n = CONTAINER(it, struct redis_node, link);
        const bool fits = !r->cluster || strcmp(n->place, other) != 0;
        if (fits && redis_node_ready(n) && random_below(++count) == 0)
            chosen = n;
    }
    return chosen;
}

/* A stand-alone server is there or not; of the others the commands' connections know first. */
static const char *place(void *arg)
{
    struct redis *r = arg;
    const struct redis_node *n = r->sentinel || r->cluster ? draw(r, r->pubsub.place) : r->only;

    if (!n && r->cluster)
        n = draw(r, ""); /* no other is there */
    if (!n)
        return NULL;
    snprintf(r->pubsub.place, sizeof(r->pubsub.place), "%s", n->place);
    return r->pubsub.place;
}

static const struct redis_line_events events = {
    .place = place, .sign_in = sign_in, .push = push, .lost = lost};

int redis_subscribe(struct redis *r, const char *channel, redis_message_fn *fn, void *arg)
{
    struct redis_pubsub *p = &r->pubsub;

    if (channel[0] == 0 || strlen(channel) > REDIS_CHANNEL_MAX)
        return E_INVALID;
    struct subscription *s = mem_zero(sizeof(*s));
    s->channel = mem_strdup(channel);
    s->fn = fn;
    s->arg = arg;
    list_push(&p->subscriptions, &s->link);
    if (!p->line.running)
        redis_line_start(&p->line);
    else if (p->line.conn)
        ask_channel(p, s->channel);
    return 0;
}

bool redis_subscribed(const struct redis *r)
{
    const struct redis_pubsub *p = &r->pubsub;

    return p->line.conn && redis_conn_alive(p->line.conn) && p->asked > 0 &&
           p->confirmed >= p->asked;
}

void redis_pubsub_init(struct redis *r)
{
    list_init(&r->pubsub.subscriptions);
    snprintf(r->pubsub.echo, sizeof(r->pubsub.echo), "redis:echo:%llx",
             (unsigned long long)random_below(UINT64_MAX));
    redis_line_init(&r->pubsub.line, &r->setup, &r->setup.server, &events, r);
}

void redis_pubsub_move(struct redis *r)
{
    if (r->pubsub.line.running)
        redis_line_start(&r->pubsub.line);
}

void redis_pubsub_stop(struct redis *r)
{
    redis_line_stop(&r->pubsub.line);
    loop_timer_cancel(r->loop, &r->pubsub.check);
}

void redis_pubsub_fini(struct redis *r)
{
    struct list *link;

    while ((link = list_pop(&r->pubsub.subscriptions))) {
        struct subscription *s = CONTAINER(link, struct subscription, link);
        free(s->channel);
        free(s);
    }
}
