/* One connection to Redis over our own non-blocking socket. Commands wait in one list in the order
 * sent, and replies are matched from its front. All share one deadline, so those abandoned are
 * always a prefix of the list: they keep their slots. */
#include "net/redis_conn.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"

enum {
    OUT_MAX = 64 * 1024 * 1024, /* bytes queued and not sent */
    READ_SIZE = 64 * 1024,
    READS_A_TURN = 16
};

struct command {
    struct list link;
    redis_reply_fn *fn; /* NULL once abandoned, or when nobody cares */
    void *arg;
    uint64_t sent_us; /* end of the turn that gave it; 0: still in that turn */
};

struct redis_conn {
    struct loop *loop;
    struct redis_conn_events ev;
    void *arg;
    int fd;
    bool connected, dead;
    struct loop_fd watch;
    struct loop_hook flush;
    struct loop_timer timer; /* due no later than the first deadline */
    struct redis_reader *reader;
    struct buf out;

    struct list pending;
    struct list *first_live; /* first one not abandoned; the list's head when there is none */
    size_t pending_len;
    uint64_t command_ms, dead_ms;
    uint64_t waiting_since_us; /* the last reply, or when the first command began to wait; 0: nobody
                                  waits */
    uint64_t latency_us, heard;
};

/* ---- Loss ---- */

static struct command *take_first(struct redis_conn *c)
{
    struct list *link = list_pop(&c->pending);

    if (!link)
        return NULL;
    struct command *cmd = CONTAINER(link, struct command, link);
    c->pending_len--;
    if (c->first_live == link)
        c->first_live = c->pending.next;
    return cmd;
}

static void answer(struct command *cmd, int error, const struct redisReply *reply)
{
    redis_reply_fn *fn = cmd->fn;
    void *arg = cmd->arg;

    free(cmd);
    if (fn)
        fn(arg, error, reply);
}

/* Runs again from inside itself when a callback closes the connection: then the inner run leaves
 * nothing to the outer. */
static void fail_pending(struct redis_conn *c)
{
    struct command *cmd;

    while ((cmd = take_first(c)))
        answer(cmd, E_UNAVAILABLE, NULL);
}

static void free_conn(void *obj)
{
    struct redis_conn *c = obj;

    redis_reader_free(c->reader);
    buf_wipe(&c->out); /* AUTH was in it */
    free(c);
}

static void lose(struct redis_conn *c, int error)
{
    if (c->dead)
        return;
    c->dead = true;
    loop_fd_del(c->loop, &c->watch);
    loop_timer_cancel(c->loop, &c->timer);
    loop_hook_del(c->loop, &c->flush);
    close(c->fd);
    loop_defer_free(c->loop, c, free_conn);
    fail_pending(c);
    if (c->ev.closed)
        c->ev.closed(c->arg, error);
}

void redis_conn_close(struct redis_conn *c)
{
    if (!c)
        return;
    c->ev.closed = NULL;
    if (c->dead)
        fail_pending(c);
    else
        lose(c, E_CLOSED);
}

bool redis_conn_alive(const struct redis_conn *c)
{
    return !c->dead;
}

/* ---- Replies ---- */

static void take_reply(struct redis_conn *c, const struct redisReply *reply, uint64_t now_us)
{
    c->heard++;
    c->waiting_since_us = now_us;
    if (c->ev.push && redis_reply_type(reply) == REDIS_LIST) {
        c->ev.push(c->arg, reply);
        return;
    }
    struct command *cmd = take_first(c);
    if (!cmd) {
        lose(c, E_PROTOCOL);
        return;
    }
    c->latency_us = cmd->sent_us == 0 || cmd->sent_us > now_us ? 0 : now_us - cmd->sent_us;
    answer(cmd, 0, reply);
}

static void take_replies(struct redis_conn *c)
{
    uint64_t now_us = clock_mono_us();

    while (!c->dead) {
        AUTO(redis_reply_free) struct redisReply *reply = NULL;
        int error = redis_reader_next(c->reader, &reply);
        if (error == E_AGAIN)
            return;
        if (error < 0)
            lose(c, error);
        else
            take_reply(c, reply, now_us);
    }
}

/* False when there is nothing more to read, or nobody to read it. */
static bool read_some(struct redis_conn *c)
{
    uint8_t part[READ_SIZE];
    ssize_t n = recv(c->fd, part, sizeof(part), 0);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n <= 0) {
        lose(c, n == 0 ? E_CLOSED : E_IO);
        return false;
    }
    int error = redis_reader_feed(c->reader, span_of(part, (size_t)n));
    if (error < 0)
        lose(c, error);
    else
        take_replies(c);
    return !c->dead && n == READ_SIZE;
}

/* ---- Deadlines ---- */

static bool has_live(const struct redis_conn *c)
{
    return c->first_live != &c->pending;
}

static struct command *live(const struct redis_conn *c)
{
    return CONTAINER(c->first_live, struct command, link);
}

static uint64_t first_deadline_us(const struct redis_conn *c)
{
    uint64_t due = c->waiting_since_us + c->dead_ms * 1000;

    if (c->command_ms > 0 && has_live(c) && live(c)->sent_us + c->command_ms * 1000 < due)
        due = live(c)->sent_us + c->command_ms * 1000;
    return due;
}

static void deadline_due(void *arg);

/* Called at the end of a turn, when every command has its time. A timer that is due too early looks
 * again. */
static void arm_timer(struct redis_conn *c)
{
    if (list_empty(&c->pending))
        return;
    uint64_t now = loop_now(c->loop), due = first_deadline_us(c) / 1000 + 1;
    if (!loop_timer_is_set(&c->timer) || due < c->timer.due_ms)
        loop_timer_set(c->loop, &c->timer, due > now ? due - now : 0, deadline_due, c);
}

static void abandon_late(struct redis_conn *c, uint64_t now_us)
{
    while (!c->dead && c->command_ms > 0 && has_live(c)) {
        struct command *cmd = live(c);
        if (cmd->sent_us == 0 || cmd->sent_us + c->command_ms * 1000 > now_us)
            return;
        redis_reply_fn *fn = cmd->fn;
        c->first_live = c->first_live->next;
        cmd->fn = NULL;
        if (fn)
            fn(cmd->arg, E_TIMEOUT, NULL);
    }
}

/* Judged by the time the turn began, after its descriptors: a reply that came while something else
 * took long is read first. */
static void deadline_due(void *arg)
{
    struct redis_conn *c = arg;
    uint64_t now_us = loop_now(c->loop) * 1000;

    if (!list_empty(&c->pending) && c->waiting_since_us > 0 &&
        now_us >= c->waiting_since_us + c->dead_ms * 1000)
        lose(c, E_TIMEOUT);
    else
        abandon_late(c, now_us);
}

/* ---- Sending ---- */

static void write_out(struct redis_conn *c)
{
    while (c->out.len > 0) {
        ssize_t n = send(c->fd, c->out.data, c->out.len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN) {
            lose(c, E_IO);
            return;
        }
        if (n < 0)
            break;
        buf_consume(&c->out, (size_t)n);
    }
    loop_fd_want(c->loop, &c->watch, c->out.len > 0 ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

/* A long turn is no fault of Redis: time counts from the end of the turn that gave the command. */
static void stamp_new(struct redis_conn *c)
{
    uint64_t now_us = clock_mono_us();

    for (struct list *it = c->pending.prev; it != &c->pending; it = it->prev) {
        struct command *cmd = CONTAINER(it, struct command, link);
        if (cmd->sent_us != 0)
            break;
        cmd->sent_us = now_us;
    }
    if (list_empty(&c->pending))
        c->waiting_since_us = 0;
    else if (c->waiting_since_us == 0)
        c->waiting_since_us = now_us;
}

static void flush(void *arg)
{
    struct redis_conn *c = arg;

    stamp_new(c);
    arm_timer(c);
    if (c->connected && c->out.len > 0)
        write_out(c);
}

static void append_command(struct buf *out, const struct span *argv, size_t argc)
{
    buf_printf(out, "*%zu\r\n", argc);
    for (size_t i = 0; i < argc; i++) {
        buf_printf(out, "$%zu\r\n", argv[i].len);
        buf_append(out, argv[i]);
        buf_append(out, SPAN("\r\n"));
    }
}

void redis_conn_send(struct redis_conn *c, const struct span *argv, size_t argc)
{
    append_command(&c->out, argv, argc);
}

int redis_conn_command(struct redis_conn *c, const struct span *argv, size_t argc,
                       redis_reply_fn *fn, void *arg)
{
    if (c->out.len > OUT_MAX)
        return E_BUSY;
    struct command *cmd = mem_zero(sizeof(*cmd));
    cmd->fn = fn;
    cmd->arg = arg;
    list_push(&c->pending, &cmd->link);
    c->pending_len++;
    if (!has_live(c))
        c->first_live = &cmd->link;
    append_command(&c->out, argv, argc);
    return 0;
}

/* ---- Life ---- */

static bool finish_connect(struct redis_conn *c)
{
    int error = 0;
    socklen_t len = sizeof(error);

    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 || error != 0) {
        lose(c, E_IO);
        return false;
    }
    c->connected = true;
    loop_fd_want(c->loop, &c->watch, EPOLLIN);
    return true;
}

static void fd_event(void *arg, uint32_t events)
{
    struct redis_conn *c = arg;

    if (!c->connected && !finish_connect(c))
        return;
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        for (int i = 0; i < READS_A_TURN && read_some(c); i++)
            ;
}

int redis_conn_open(struct redis_conn **out, struct loop *l, const struct net_addr *to,
                    uint64_t dead_ms, const struct redis_conn_events *ev, void *arg)
{
    struct redis_conn *c = mem_zero(sizeof(*c));

    c->loop = l;
    c->ev = *ev;
    c->arg = arg;
    c->dead_ms = dead_ms;
    list_init(&c->pending);
    c->first_live = &c->pending;
    int error = net_connect(to, &c->fd);
    if (error < 0) {
        free(c);
        return error;
    }
    error = loop_fd_add(l, &c->watch, c->fd, EPOLLIN | EPOLLOUT, fd_event, c);
    if (error < 0) {
        close(c->fd);
        free(c);
        return error;
    }
    c->reader = redis_reader_new();
    c->flush = (struct loop_hook){.step = LOOP_FLUSH, .run = flush, .arg = c};
    loop_hook_add(l, &c->flush);
    *out = c;
    return 0;
}

void redis_conn_set_command_ms(struct redis_conn *c, uint64_t command_ms)
{
    c->command_ms = command_ms;
}

size_t redis_conn_pending(const struct redis_conn *c)
{
    return c->pending_len;
}

uint64_t redis_conn_latency_us(const struct redis_conn *c)
{
    return c->latency_us;
}

uint64_t redis_conn_heard(const struct redis_conn *c)
{
    return c->heard;
}
