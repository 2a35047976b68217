/* One connection to Redis over our own non-blocking socket, with TLS in between where it is wanted.
 * Commands wait in one list in the order sent, and replies are matched from its front. */
#include "net/redis_conn.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/redis_reply.h"
#include "net/socket.h"

enum {
    OUT_MAX = 64 * 1024 * 1024, /* bytes queued and not sent */
    READ_SIZE = 64 * 1024,
    READS_A_TURN = 16
};

struct command {
    struct list link;
    redis_reply_fn *fn; /* NULL: nobody cares */
    void *arg;
};

enum stage { CONNECTING, HANDSHAKE, OPEN, DEAD };

struct redis_conn {
    struct loop *loop;
    struct redis_conn_events ev;
    void *arg;
    enum stage stage;
    int fd;
    struct ssl_st *ssl; /* NULL: plain */
    struct loop_fd watch;
    struct loop_hook flush;
    struct loop_timer timer; /* due no later than the deadline */
    struct loop_timer more;  /* OpenSSL may hold what epoll does not see */
    struct redis_reader *reader;
    struct buf out;

    struct list pending;
    size_t pending_len;
    uint64_t dead_ms;
    uint64_t waiting_since_ms; /* the last reply, or when the first command began to wait; 0: nobody
                                  waits */
    uint64_t heard;
};

/* ---- Loss ---- */

static struct command *take_first(struct redis_conn *c)
{
    struct list *link = list_pop(&c->pending);

    if (!link)
        return NULL;
    struct command *cmd = CONTAINER(link, struct command, link);
    c->pending_len--;
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

    redis_tls_end(c->ssl);
    redis_reader_free(c->reader);
    buf_wipe(&c->out); /* AUTH was in it */
    free(c);
}

static void lose(struct redis_conn *c, int error)
{
    if (c->stage == DEAD)
        return;
    c->stage = DEAD;
    loop_fd_del(c->loop, &c->watch);
    loop_timer_cancel(c->loop, &c->timer);
    loop_timer_cancel(c->loop, &c->more);
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
    if (c->stage == DEAD)
        fail_pending(c);
    else
        lose(c, E_CLOSED);
}

bool redis_conn_alive(const struct redis_conn *c)
{
    return c->stage != DEAD;
}

/* ---- Replies ---- */

static void take_reply(struct redis_conn *c, const struct redisReply *reply, uint64_t now_ms)
{
    c->heard++;
    c->waiting_since_ms = now_ms;
    if (c->ev.push && redis_reply_type(reply) == REDIS_LIST) {
        c->ev.push(c->arg, reply);
        return;
    }
    struct command *cmd = take_first(c);
    if (cmd)
        answer(cmd, 0, reply);
    else
        lose(c, E_PROTOCOL);
}

static void take_replies(struct redis_conn *c)
{
    const uint64_t now_ms = clock_mono_ms();

    while (c->stage == OPEN) {
        AUTO(redis_reply_free) struct redisReply *reply = NULL;
        const int error = redis_reader_next(c->reader, &reply);
        if (error == E_AGAIN)
            return;
        if (error < 0)
            lose(c, error);
        else
            take_reply(c, reply, now_ms);
    }
}

/* ---- Bytes ---- */

static ssize_t plain_result(ssize_t n)
{
    if (n > 0)
        return n;
    if (n == 0)
        return E_CLOSED;
    if (errno == EAGAIN || errno == EINTR)
        return E_AGAIN;
    return errno == ECONNRESET || errno == EPIPE ? E_CLOSED : E_IO;
}

static ssize_t bytes_in(struct redis_conn *c, void *out, size_t size)
{
    return c->ssl ? redis_tls_read(c->ssl, out, size) : plain_result(recv(c->fd, out, size, 0));
}

static ssize_t bytes_out(struct redis_conn *c, struct span bytes)
{
    return c->ssl ? redis_tls_write(c->ssl, bytes)
                  : plain_result(send(c->fd, bytes.data, bytes.len, MSG_NOSIGNAL));
}

/* False when there is nothing more to read now, or nobody to read it. */
static bool read_some(struct redis_conn *c)
{
    uint8_t part[READ_SIZE];
    const ssize_t n = bytes_in(c, part, sizeof(part));

    if (n == E_AGAIN)
        return false;
    const int error = n < 0 ? (int)n : redis_reader_feed(c->reader, span_of(part, (size_t)n));
    if (error < 0)
        lose(c, error);
    else
        take_replies(c);
    return c->stage == OPEN && (c->ssl || n == READ_SIZE);
}

static void receive(void *arg)
{
    struct redis_conn *c = arg;

    for (int i = 0; i < READS_A_TURN; i++)
        if (!read_some(c))
            return;
    if (c->ssl)
        loop_timer_set(c->loop, &c->more, 0, receive, c);
}

static void want(struct redis_conn *c)
{
    const bool out = c->out.len > 0 || (c->ssl && redis_tls_wants_out(c->ssl));

    loop_fd_want(c->loop, &c->watch, out ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static void write_out(struct redis_conn *c)
{
    while (c->out.len > 0) {
        const ssize_t n = bytes_out(c, buf_span(&c->out));
        if (n == E_AGAIN)
            break;
        if (n < 0) {
            lose(c, (int)n);
            return;
        }
        buf_consume(&c->out, (size_t)n);
    }
    want(c);
}

/* ---- Deadline ---- */

static void deadline_due(void *arg);

/* A timer that is due too early looks again. */
static void arm_timer(struct redis_conn *c)
{
    if (c->waiting_since_ms == 0 || loop_timer_is_set(&c->timer))
        return;
    const uint64_t now = loop_now(c->loop), due = c->waiting_since_ms + c->dead_ms;
    loop_timer_set(c->loop, &c->timer, due > now ? due - now : 0, deadline_due, c);
}

/* Judged by the time the turn began, after its descriptors: a reply that came while something else
 * took long is read first. */
static void deadline_due(void *arg)
{
    struct redis_conn *c = arg;

    if (c->waiting_since_ms > 0 && loop_now(c->loop) >= c->waiting_since_ms + c->dead_ms)
        lose(c, E_TIMEOUT);
    else
        arm_timer(c);
}

/* A long turn is no fault of Redis: time counts from the end of the turn that gave the command. */
static void flush(void *arg)
{
    struct redis_conn *c = arg;

    if (list_empty(&c->pending))
        c->waiting_since_ms = 0;
    else if (c->waiting_since_ms == 0)
        c->waiting_since_ms = clock_mono_ms();
    arm_timer(c);
    if (c->stage == OPEN && c->out.len > 0)
        write_out(c);
}

/* ---- Commands ---- */

void redis_words_append(struct buf *out, const struct span *argv, size_t argc)
{
    for (size_t i = 0; i < argc; i++) {
        buf_printf(out, "$%zu\r\n", argv[i].len);
        buf_append(out, argv[i]);
        buf_append(out, SPAN("\r\n"));
    }
}

void redis_conn_send(struct redis_conn *c, const struct span *argv, size_t argc)
{
    buf_printf(&c->out, "*%zu\r\n", argc);
    redis_words_append(&c->out, argv, argc);
}

int redis_conn_words(struct redis_conn *c, const struct span *head, size_t head_argc,
                     struct span rest, size_t rest_argc, redis_reply_fn *fn, void *arg)
{
    if (c->out.len > OUT_MAX)
        return E_BUSY;
    struct command *cmd = mem_zero(sizeof(*cmd));
    cmd->fn = fn;
    cmd->arg = arg;
    list_push(&c->pending, &cmd->link);
    c->pending_len++;
    buf_printf(&c->out, "*%zu\r\n", head_argc + rest_argc);
    redis_words_append(&c->out, head, head_argc);
    buf_append(&c->out, rest);
    return 0;
}

int redis_conn_command(struct redis_conn *c, const struct span *argv, size_t argc,
                       redis_reply_fn *fn, void *arg)
{
    return redis_conn_words(c, argv, argc, (struct span){0}, 0, fn, arg);
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
    c->stage = c->ssl ? HANDSHAKE : OPEN;
    return true;
}

static bool finish_handshake(struct redis_conn *c)
{
    const int error = redis_tls_handshake(c->ssl);

    if (error == 0)
        c->stage = OPEN;
    else if (error != E_AGAIN)
        lose(c, error);
    else
        loop_fd_want(c->loop, &c->watch,
                     redis_tls_wants_out(c->ssl) ? EPOLLIN | EPOLLOUT : EPOLLIN);
    return c->stage == OPEN;
}

static void fd_event(void *arg, uint32_t events)
{
    struct redis_conn *c = arg;

    if (c->stage == CONNECTING && !finish_connect(c))
        return;
    if (c->stage == HANDSHAKE && !finish_handshake(c))
        return;
    if (c->ssl || (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
        receive(c);
    if (c->stage == OPEN)
        write_out(c);
}

static int begin(struct redis_conn *c, const struct net_addr *to,
                 const struct redis_conn_options *o)
{
    TRY(net_connect(to, &c->fd));
    int error = o->tls ? redis_tls_begin(&c->ssl, o->tls, c->fd, o->host) : 0;
    if (error == 0)
        error = loop_fd_add(c->loop, &c->watch, c->fd, EPOLLIN | EPOLLOUT, fd_event, c);
    if (error < 0)
        close(c->fd);
    return error;
}

int redis_conn_open(struct redis_conn **out, struct loop *l, const struct net_addr *to,
                    const struct redis_conn_options *o, const struct redis_conn_events *ev,
                    void *arg)
{
    struct redis_conn *c = mem_zero(sizeof(*c));

    c->loop = l;
    c->ev = *ev;
    c->arg = arg;
    c->dead_ms = o->dead_ms;
    list_init(&c->pending);
    c->reader = redis_reader_new();
    const int error = begin(c, to, o);
    if (error < 0) {
        free_conn(c);
        return error;
    }
    c->flush = (struct loop_hook){.step = LOOP_FLUSH, .run = flush, .arg = c};
    loop_hook_add(l, &c->flush);
    *out = c;
    return 0;
}

size_t redis_conn_pending(const struct redis_conn *c)
{
    return c->pending_len;
}

uint64_t redis_conn_heard(const struct redis_conn *c)
{
    return c->heard;
}
