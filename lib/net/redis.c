/* The client: finds the server, signs in, learns its run_id, reconnects for ever, and keeps
 * subscriptions on a second connection. */
#include "net/redis.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/random.h"
#include "net/redis_conn.h"

enum {
    BACKOFF_MIN_MS = 50,
    BACKOFF_MAX_MS = 2000,
    DB_MAX = 1000000,
    CHANNEL_MAX = 512,
    WORDS_MAX = 64 /* of one format */
};

const struct redis_options redis_defaults = {
    .url = "redis://127.0.0.1:6379", .command_ms = 50, .dead_ms = 500, .queue_max = 10000};

/* A connection that comes back: the commands' one, and the subscriptions' one. */
struct line {
    struct redis *redis;
    struct redis_conn *conn; /* NULL while down */
    struct loop_timer retry;
    uint64_t backoff_ms;
    const struct redis_conn_events *events;
    void (*sign_in)(struct redis *r);
};

struct subscription {
    struct list link;
    char *channel;
    redis_message_fn *fn;
    void *arg;
};

struct redis {
    struct loop *loop;
    uint64_t command_ms, dead_ms;
    size_t queue_max;
    redis_state_fn *state;
    void *arg;
    struct net_addr addr;
    char password[sizeof(((struct redis_options *)0)->url)];
    char db[8]; /* "" for 0 */
    bool freed;

    struct line commands;
    bool up;
    char run_id[REDIS_RUN_ID_LEN + 1];

    struct line pubsub;
    struct list subscriptions;
    size_t asked, confirmed; /* on the present connection */
    struct loop_timer check;
    uint64_t heard_before;
};

/* ---- The URL ---- */

/* ":password@" before the rest; the password may hold any byte, so its last '@' ends it. */
static int take_password(struct redis *r, struct span *rest)
{
    const uint8_t *at = rest->len > 0 ? memrchr(rest->data, '@', rest->len) : NULL;

    if (rest->len == 0 || rest->data[0] != ':')
        return 0;
    if (!at)
        return E_INVALID;
    size_t len = (size_t)(at - rest->data) - 1;
    if (len == 0)
        return E_INVALID;
    TRY(span_cstr(span_cut(*rest, 1, len), r->password, sizeof(r->password)));
    *rest = span_from(*rest, len + 2);
    return 0;
}

static int take_db(struct redis *r, struct span db)
{
    uint64_t number;

    TRY(span_u64(db, DB_MAX, &number));
    return number > 0 ? span_cstr(db, r->db, sizeof(r->db)) : 0;
}

static int take_addr(struct redis *r, const char *prefix, struct span where)
{
    char text[sizeof(r->password) + 8];
    const int len = snprintf(text, sizeof(text), "%s%.*s", prefix, SPAN_FMT(where));

    if (len < 0 || (size_t)len >= sizeof(text))
        return E_INVALID;
    return net_addr_parse(&r->addr, text) < 0 ? E_INVALID : 0;
}

static int read_unix_url(struct redis *r, struct span rest)
{
    TRY(take_password(r, &rest));
    ptrdiff_t query = span_find(rest, SPAN("?db="));
    if (query >= 0)
        TRY(take_db(r, span_from(rest, (size_t)query + 4)));
    struct span path = query >= 0 ? span_cut(rest, 0, (size_t)query) : rest;
    return path.len > 0 && path.data[0] == '/' ? take_addr(r, "unix:", path) : E_INVALID;
}

static int read_tcp_url(struct redis *r, struct span rest)
{
    TRY(take_password(r, &rest));
    struct span where = span_split(&rest, '/');
    if (rest.len > 0)
        TRY(take_db(r, rest));
    return where.len > 0 && where.data[0] != ':' ? take_addr(r, "", where) : E_INVALID;
}

static int read_url(struct redis *r, const char *url)
{
    struct span all = span_of(url, strnlen(url, sizeof(r->password)));

    if (all.len == sizeof(r->password))
        return E_INVALID;
    if (span_starts(all, SPAN("unix:")))
        return read_unix_url(r, span_from(all, strlen("unix:")));
    if (span_starts(all, SPAN("redis://")))
        return read_tcp_url(r, span_from(all, strlen("redis://")));
    return E_INVALID;
}

/* ---- Lines ---- */

static void line_connect(void *arg);

/* Half of the wait is random, so that many gateways don't come back in step. */
static void line_retry(struct line *line)
{
    uint64_t half = line->backoff_ms / 2;

    loop_timer_set(line->redis->loop, &line->retry, half + random_below(half + 1), line_connect,
                   line);
    line->backoff_ms =
        2 * line->backoff_ms < BACKOFF_MAX_MS ? 2 * line->backoff_ms : BACKOFF_MAX_MS;
}

static void line_connect(void *arg)
{
    struct line *line = arg;
    struct redis *r = line->redis;

    if (redis_conn_open(&line->conn, r->loop, &r->addr, r->dead_ms, line->events, r) < 0) {
        line->conn = NULL;
        line_retry(line);
        return;
    }
    line->sign_in(r);
}

static void line_start(struct line *line, struct redis *r, const struct redis_conn_events *events,
                       void (*sign_in)(struct redis *r))
{
    *line = (struct line){
        .redis = r, .backoff_ms = BACKOFF_MIN_MS, .events = events, .sign_in = sign_in};
    line_connect(line);
}

static void line_stop(struct line *line)
{
    struct redis_conn *conn = line->conn;

    line->conn = NULL;
    loop_timer_cancel(line->redis->loop, &line->retry);
    redis_conn_close(conn);
}

/* What the server answered makes the connection useless; trying again later may help. */
static void line_refuse(struct line *line, const char *step)
{
    log_event(LOG_WARN, "redis_refused", "step=%s", step);
    line_stop(line);
    line_retry(line);
}

/* A server that stays away is worth one warning, not one each attempt. */
static void log_loss(const char *event, int error, bool was_up)
{
    log_event(was_up ? LOG_WARN : LOG_DEBUG, event, "error=%s", error_name(error));
}

static void ask(struct line *line, const char *word, const char *argument, redis_reply_fn *fn)
{
    struct span argv[] = {span_str(word), span_str(argument)};

    /* A fresh connection has room for these few bytes. */
    CHECK(redis_conn_command(line->conn, argv, argument ? 2 : 1, fn, line) == 0);
}

static bool is_status(int error, const struct redisReply *reply)
{
    return error == 0 && redis_reply_type(reply) == REDIS_STATUS;
}

/* Error E_UNAVAILABLE means that the line is being stopped or lost already: that is handled there.
 */
static void expect_auth(void *arg, int error, const struct redisReply *reply)
{
    if (error == 0 && !is_status(error, reply))
        line_refuse(arg, "auth");
}

static void expect_select(void *arg, int error, const struct redisReply *reply)
{
    if (error == 0 && !is_status(error, reply))
        line_refuse(arg, "select");
}

/* A server that loads its data answers everything with -LOADING. */
static void expect_pong(void *arg, int error, const struct redisReply *reply)
{
    if (error == 0 && !is_status(error, reply))
        line_refuse(arg, "ping");
}

/* ---- Commands ---- */

static void expect_info(void *arg, int error, const struct redisReply *reply)
{
    struct line *line = arg;
    struct redis *r = line->redis;

    if (error < 0)
        return;
    if (redis_reply_type(reply) != REDIS_BULK ||
        redis_info_run_id(redis_reply_text(reply), r->run_id) < 0) {
        line_refuse(line, "info");
        return;
    }
    redis_conn_set_command_ms(line->conn, r->command_ms);
    line->backoff_ms = BACKOFF_MIN_MS;
    r->up = true;
    r->state(r->arg, true, r->run_id);
}

static void sign_in(struct redis *r)
{
    struct line *line = &r->commands;

    if (r->password[0])
        ask(line, "AUTH", r->password, expect_auth);
    if (r->db[0])
        ask(line, "SELECT", r->db, expect_select);
    ask(line, "PING", NULL, expect_pong);
    ask(line, "INFO", "server", expect_info);
}

static void commands_lost(void *arg, int error)
{
    struct redis *r = arg;
    bool was_up = r->up;

    log_loss("redis_lost", error, was_up);
    r->up = false;
    r->commands.conn = NULL;
    line_retry(&r->commands);
    if (was_up)
        r->state(r->arg, false, NULL);
}

bool redis_up(const struct redis *r)
{
    return r->up && redis_conn_alive(r->commands.conn);
}

uint64_t redis_latency_us(const struct redis *r)
{
    return redis_up(r) ? redis_conn_latency_us(r->commands.conn) : 0;
}

int redis_command(struct redis *r, struct span slot_key, const struct span *argv, size_t argc,
                  redis_reply_fn *fn, void *arg)
{
    (void)slot_key; /* a stand-alone server has all slots */
    if (!redis_up(r))
        return E_UNAVAILABLE;
    if (redis_conn_pending(r->commands.conn) >= r->queue_max)
        return E_BUSY;
    return redis_conn_command(r->commands.conn, argv, argc, fn, arg);
}

/* ---- Formats ---- */

struct words {
    struct buf bytes;
    size_t ends[WORDS_MAX]; /* of each word in bytes */
    size_t count;
};

/* *args is a va_list of the caller's. Returns the format behind the conversion. */
static const char *convert(struct words *w, const char *fmt, va_list *args)
{
    if (strncmp(fmt, "%s", 2) == 0) {
        buf_append_str(&w->bytes, va_arg(*args, const char *));
        return fmt + 2;
    }
    if (strncmp(fmt, "%b", 2) == 0) {
        buf_append(&w->bytes, *va_arg(*args, const struct span *));
        return fmt + 2;
    }
    CHECK(strncmp(fmt, "%lld", 4) == 0);
    buf_printf(&w->bytes, "%lld", va_arg(*args, long long));
    return fmt + 4;
}

static void split_format(struct words *w, const char *fmt, va_list *args)
{
    while (*fmt) {
        CHECK(w->count < WORDS_MAX);
        while (*fmt && *fmt != ' ') {
            if (*fmt == '%')
                fmt = convert(w, fmt, args);
            else
                buf_byte(&w->bytes, (uint8_t)*fmt++);
        }
        w->ends[w->count++] = w->bytes.len;
        while (*fmt == ' ')
            fmt++;
    }
}

int redis_commandf(struct redis *r, redis_reply_fn *fn, void *arg, const char *fmt, ...)
{
    struct words w = {0};
    struct span argv[WORDS_MAX];
    va_list args;

    va_start(args, fmt);
    split_format(&w, fmt, &args);
    va_end(args);
    size_t begin = 0;
    for (size_t i = 0; i < w.count; begin = w.ends[i++])
        argv[i] = span_cut(buf_span(&w.bytes), begin, w.ends[i] - begin);
    int error = redis_command(r, w.count > 1 ? argv[1] : (struct span){0}, argv, w.count, fn, arg);
    buf_fini(&w.bytes);
    return error;
}

/* ---- Subscriptions ---- */

static void ask_channel(struct redis *r, const struct subscription *s)
{
    struct span argv[] = {SPAN("SUBSCRIBE"), span_str(s->channel)};

    redis_conn_send(r->pubsub.conn, argv, 2);
    r->asked++;
}

/* Every dead_ms: all must be confirmed, and something (the last PING's answer at least) must have
 * come since the last time. */
static void check_pubsub(void *arg)
{
    struct redis *r = arg;
    struct span ping[] = {SPAN("PING")};

    if (!r->pubsub.conn)
        return;
    uint64_t heard = redis_conn_heard(r->pubsub.conn);

    if (r->confirmed < r->asked || heard == r->heard_before) {
        line_refuse(&r->pubsub, "subscription_check");
        return;
    }
    r->heard_before = heard;
    redis_conn_send(r->pubsub.conn, ping, 1);
    loop_timer_set(r->loop, &r->check, r->dead_ms, check_pubsub, r);
}

static void subscribe_all(struct redis *r)
{
    r->asked = r->confirmed = 0;
    r->heard_before = 0;
    if (r->password[0])
        ask(&r->pubsub, "AUTH", r->password, expect_auth);
    LIST_FOREACH(it, &r->subscriptions)
        ask_channel(r, CONTAINER(it, struct subscription, link));
    loop_timer_set(r->loop, &r->check, r->dead_ms, check_pubsub, r);
}

static void deliver_message(struct redis *r, struct span channel, struct span payload)
{
    LIST_FOREACH(it, &r->subscriptions) {
        struct subscription *s = CONTAINER(it, struct subscription, link);
        if (span_is(channel, s->channel))
            s->fn(s->arg, channel, payload);
        if (r->freed)
            return;
    }
}

static void take_push(void *arg, const struct redisReply *reply)
{
    struct redis *r = arg;

    if (redis_reply_count(reply) < 3)
        return; /* the answer to a PING */
    struct span kind = redis_reply_text(redis_reply_at(reply, 0));
    struct span channel = redis_reply_text(redis_reply_at(reply, 1));
    struct span payload = redis_reply_text(redis_reply_at(reply, 2));
    if (span_is(kind, "subscribe")) {
        r->confirmed++;
        r->pubsub.backoff_ms = BACKOFF_MIN_MS;
    } else if (span_is(kind, "message") && channel.data && payload.data) {
        deliver_message(r, channel, payload);
    }
}

static void pubsub_lost(void *arg, int error)
{
    struct redis *r = arg;

    log_loss("redis_subscription_lost", error, r->confirmed > 0);
    r->confirmed = 0;
    r->pubsub.conn = NULL;
    line_retry(&r->pubsub);
}

static const struct redis_conn_events command_events = {.closed = commands_lost};
static const struct redis_conn_events pubsub_events = {.push = take_push, .closed = pubsub_lost};

int redis_subscribe(struct redis *r, const char *channel, redis_message_fn *fn, void *arg)
{
    if (channel[0] == 0 || strlen(channel) > CHANNEL_MAX)
        return E_INVALID;
    struct subscription *s = mem_zero(sizeof(*s));
    s->channel = mem_strdup(channel);
    s->fn = fn;
    s->arg = arg;
    list_push(&r->subscriptions, &s->link);
    if (!r->pubsub.redis)
        line_start(&r->pubsub, r, &pubsub_events, subscribe_all);
    else if (r->pubsub.conn)
        ask_channel(r, s);
    return 0;
}

bool redis_subscribed(const struct redis *r)
{
    return r->pubsub.conn && redis_conn_alive(r->pubsub.conn) && r->asked > 0 &&
           r->confirmed >= r->asked;
}

/* ---- Life ---- */

static void free_redis(void *obj)
{
    struct redis *r = obj;
    struct list *link;

    while ((link = list_pop(&r->subscriptions))) {
        struct subscription *s = CONTAINER(link, struct subscription, link);
        free(s->channel);
        free(s);
    }
    explicit_bzero(r->password, sizeof(r->password));
    free(r);
}

int redis_new(struct redis **out, struct loop *l, const struct redis_options *o,
              redis_state_fn *state, void *arg)
{
    struct redis *r = mem_zero(sizeof(*r));

    r->loop = l;
    r->command_ms = o->command_ms;
    r->dead_ms = o->dead_ms;
    r->queue_max = o->queue_max;
    r->state = state;
    r->arg = arg;
    list_init(&r->subscriptions);
    int error = read_url(r, o->url);
    if (error < 0) {
        free_redis(r);
        return error;
    }
    line_start(&r->commands, r, &command_events, sign_in);
    *out = r;
    return 0;
}

void redis_free(struct redis *r)
{
    if (!r || r->freed)
        return;
    r->freed = true;
    r->up = false;
    line_stop(&r->commands);
    if (r->pubsub.redis)
        line_stop(&r->pubsub);
    loop_timer_cancel(r->loop, &r->check);
    loop_defer_free(r->loop, r, free_redis);
}
