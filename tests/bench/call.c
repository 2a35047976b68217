/* One connection carries one call at a time; between calls it waits at the end of the idle list,
 * from where the next call takes it. */
#include "tests/bench/call.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "net/socket.h"
#include "net/sse.h"
#include "tests/bench/reply.h"
#include "tests/bench/stamp.h"

enum { READ_LEN = 64 * 1024, MAX_EVENT = 4 * 1024 * 1024, BODY_KEPT = 512 };

struct conn {
    struct calls *calls;
    int fd;
    struct loop_fd watch;
    struct list link;
    bool reused;
    /* The call it carries. */
    struct span request;
    void *user;
    size_t sent; /* bytes of the request */
    uint64_t scheduled_ns, read_ns, first_ns, last_ns, gap_ns;
    struct buf body; /* the beginning of what is no stream */
    struct reply reply;
    struct sse_parser sse;
    uint64_t events;
    bool with_event; /* this read has brought a content event already */
    bool done, failed;
};

static void conn_free(void *obj)
{
    struct conn *c = obj;

    reply_fini(&c->reply);
    sse_fini(&c->sse);
    buf_fini(&c->body);
    free(c);
}

static void conn_close(struct conn *c)
{
    if (c->fd < 0)
        return;
    loop_fd_del(c->calls->loop, &c->watch);
    close(c->fd);
    c->fd = -1;
    list_del(&c->link);
    loop_defer_free(c->calls->loop, c, conn_free);
}

/* ---- The end of a call ---- */

static void tell_over(const struct conn *c, bool ok, enum call_loss loss)
{
    const struct call_end end = {.ok = ok,
                                 .error_event = c->failed,
                                 .loss = loss,
                                 .status = c->reply.status,
                                 .scheduled_ns = c->scheduled_ns,
                                 .first_ns = c->first_ns,
                                 .last_ns = c->last_ns,
                                 .end_ns = stamp_now(),
                                 .gap_ns = c->gap_ns,
                                 .events = c->events,
                                 .body = buf_span(&c->body)};

    if (c->calls->watch)
        c->calls->watch->over(c->user, &end);
}

static void lose(struct conn *c, enum call_loss how)
{
    struct calls *calls = c->calls;

    calls->figures.lost[how]++;
    if (how == LOST_STATUS)
        calls->figures.bad_status = c->reply.status;
    tell_over(c, false, how);
    conn_close(c);
    calls->ended(calls->arg);
}

static bool is_short(const struct conn *c)
{
    const uint64_t wanted = c->calls->events;

    if (!c->calls->stream)
        return c->failed;
    return c->failed || !c->done || c->events == 0 || (wanted > 0 && c->events != wanted);
}

static void keep(struct conn *c)
{
    if (c->reply.closes || c->reply.state != REPLY_DONE) {
        conn_close(c);
        return;
    }
    list_del(&c->link);
    list_push(&c->calls->idle, &c->link);
}

static void finish(struct conn *c)
{
    struct calls *calls = c->calls;

    if (c->reply.status != 200) {
        lose(c, LOST_STATUS);
        return;
    }
    if (is_short(c)) {
        lose(c, LOST_SHORT);
        return;
    }
    samples_add(&calls->figures.latency, c->read_ns - c->scheduled_ns);
    calls->figures.ok++;
    tell_over(c, true, LOST_KINDS);
    keep(c);
    calls->ended(calls->arg);
}

/* ---- Reading ---- */

static void count_event(struct conn *c, uint64_t stamp)
{
    struct call_figures *f = &c->calls->figures;
    const uint64_t delay = c->read_ns > stamp ? c->read_ns - stamp : 0;

    f->events++;
    if (c->events++ == 0) {
        samples_add(&f->first, c->read_ns - c->scheduled_ns);
        c->first_ns = c->read_ns;
    } else if (c->read_ns - c->last_ns > c->gap_ns) {
        c->gap_ns = c->read_ns - c->last_ns;
    }
    c->last_ns = c->read_ns;
    if (c->calls->measuring) {
        f->window_events++;
        f->merged += c->with_event;
        f->late += delay > c->calls->late_ns;
        samples_add(&f->delay, delay);
    }
    c->with_event = true;
}

static int on_event(void *arg, struct span name, struct span data)
{
    struct conn *c = arg;
    const uint64_t stamp = stamp_read(data);

    (void)name;
    if (c->calls->watch)
        c->calls->watch->event(c->user, data);
    if (stamp != 0)
        count_event(c, stamp);
    else if (span_is(data, "[DONE]"))
        c->done = true;
    else if (span_starts(data, SPAN("{\"error\"")))
        c->failed = true;
    return 0;
}

static int on_body(void *arg, struct span bytes)
{
    struct conn *c = arg;

    if (c->reply.events)
        return sse_feed(&c->sse, bytes, on_event, c);
    buf_append(&c->body, span_cut(bytes, 0, BODY_KEPT - c->body.len));
    return 0;
}

static void begin(struct conn *c);
static struct conn *conn_open(struct calls *calls);

/* A kept connection that the peer closed before it read our request: the call goes on a new one. */
static void retry(struct conn *c)
{
    struct conn *fresh = conn_open(c->calls);

    c->calls->figures.retried++;
    if (!fresh) {
        lose(c, LOST_CONNECT);
        return;
    }
    fresh->scheduled_ns = c->scheduled_ns;
    fresh->request = c->request;
    fresh->user = c->user;
    conn_close(c);
    begin(fresh);
}

static void peer_closed(struct conn *c)
{
    if (c->reply.state == REPLY_TO_CLOSE)
        finish(c);
    else if (c->reused && c->reply.status == 0)
        retry(c);
    else
        lose(c, c->sent == 0 ? LOST_CONNECT : LOST_CLOSED);
}

static bool is_idle(const struct conn *c)
{
    return c->sent == 0 && c->scheduled_ns == 0;
}

static void read_some(struct conn *c)
{
    const ssize_t n = recv(c->fd, c->calls->scratch, READ_LEN, 0);

    if (n < 0 && errno == EAGAIN)
        return;
    if (is_idle(c)) {
        conn_close(c);
        return;
    }
    c->read_ns = stamp_now();
    c->with_event = false;
    if (n <= 0)
        peer_closed(c);
    else if (reply_feed(&c->reply, span_of(c->calls->scratch, (size_t)n), on_body, c) < 0)
        lose(c, LOST_PROTOCOL);
    else if (c->reply.state == REPLY_DONE)
        finish(c);
    if (c->fd >= 0 && c->reply.state == REPLY_DONE)
        c->sent = c->scheduled_ns = 0;
}

/* ---- Sending ---- */

static void send_some(struct conn *c)
{
    const struct span rest = span_from(c->request, c->sent);
    const ssize_t n = send(c->fd, rest.data, rest.len, MSG_NOSIGNAL);

    if (n < 0 && errno != EAGAIN && errno != ENOTCONN) {
        peer_closed(c);
        return;
    }
    c->sent += n > 0 ? (size_t)n : 0;
    loop_fd_want(c->calls->loop, &c->watch,
                 c->sent < c->request.len ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static void on_socket(void *arg, uint32_t events)
{
    struct conn *c = arg;

    if ((events & EPOLLOUT) && !is_idle(c))
        send_some(c);
    if (c->fd >= 0 && (events & ~(uint32_t)EPOLLOUT))
        read_some(c);
}

static struct conn *conn_open(struct calls *calls)
{
    struct conn *c = mem_zero(sizeof(*c));

    c->calls = calls;
    c->sse.max_event = MAX_EVENT;
    if (net_connect(&calls->to, &c->fd) < 0) {
        free(c);
        return NULL;
    }
    if (loop_fd_add(calls->loop, &c->watch, c->fd, EPOLLIN, on_socket, c) < 0) {
        close(c->fd);
        free(c);
        return NULL;
    }
    calls->figures.connections++;
    return c;
}

static void begin(struct conn *c)
{
    list_del(&c->link);
    list_push(&c->calls->busy, &c->link);
    c->sent = 0;
    c->events = c->first_ns = c->last_ns = c->gap_ns = 0;
    c->done = c->failed = false;
    buf_clear(&c->body);
    reply_reset(&c->reply);
    send_some(c);
}

/* There is no connection that it could go on. */
static void lose_unsent(struct calls *calls, uint64_t scheduled_ns, void *user)
{
    const struct conn none = {.calls = calls, .scheduled_ns = scheduled_ns, .user = user};

    calls->figures.lost[LOST_CONNECT]++;
    tell_over(&none, false, LOST_CONNECT);
    calls->ended(calls->arg);
}

void calls_send(struct calls *calls, struct span request, uint64_t scheduled_ns, void *user)
{
    struct list *kept = list_empty(&calls->idle) ? NULL : calls->idle.prev;
    struct conn *c = kept ? CONTAINER(kept, struct conn, link) : conn_open(calls);

    calls->figures.started++;
    if (!c) {
        lose_unsent(calls, scheduled_ns, user);
        return;
    }
    c->reused = kept != NULL;
    c->scheduled_ns = scheduled_ns;
    c->request = request;
    c->user = user;
    begin(c);
}

void calls_start(struct calls *calls, uint64_t scheduled_ns)
{
    calls_send(calls, calls->request, scheduled_ns, NULL);
}

/* ---- All of them ---- */

void calls_init(struct calls *c)
{
    list_init(&c->idle);
    list_init(&c->busy);
    c->scratch = mem_alloc(READ_LEN);
}

void calls_release(struct calls *calls)
{
    LIST_FOREACH_SAFE(it, &calls->busy) {
        struct conn *c = CONTAINER(it, struct conn, link);
        if (c->events == 0 || c->failed) {
            lose(c, LOST_TIMEOUT);
            continue;
        }
        calls->figures.ok++;
        tell_over(c, true, LOST_KINDS);
        conn_close(c);
        calls->ended(calls->arg);
    }
}

void calls_give_up(struct calls *calls)
{
    LIST_FOREACH_SAFE(it, &calls->busy)
        lose(CONTAINER(it, struct conn, link), LOST_TIMEOUT);
}

uint64_t calls_over(const struct calls *c)
{
    uint64_t over = c->figures.ok;

    for (size_t i = 0; i < LOST_KINDS; i++)
        over += c->figures.lost[i];
    return over;
}

void calls_json(struct calls *c, struct buf *out)
{
    static const char *const kinds[LOST_KINDS] = {"connect", "closed", "protocol",
                                                  "status",  "short",  "timeout"};
    struct call_figures *f = &c->figures;

    buf_printf(out, "\"started\":%lu,\"ok\":%lu,\"lost\":%lu,\"losses\":{", f->started, f->ok,
               f->started - f->ok);
    for (size_t i = 0; i < LOST_KINDS; i++)
        buf_printf(out, "%s\"%s\":%lu", i ? "," : "", kinds[i], f->lost[i]);
    buf_printf(out,
               "},\"bad_status\":%u,\"retried\":%lu,\"connections\":%lu,\"events\":%lu,"
               "\"window_events\":%lu,\"merged\":%lu,\"late\":%lu,\"delay_us\":",
               f->bad_status, f->retried, f->connections, f->events, f->window_events, f->merged,
               f->late);
    samples_json(&f->delay, out);
    buf_append(out, SPAN(",\"first_us\":"));
    samples_json(&f->first, out);
    buf_append(out, SPAN(",\"latency_us\":"));
    samples_json(&f->latency, out);
}

void calls_fini(struct calls *c)
{
    LIST_FOREACH_SAFE(it, &c->idle)
        conn_close(CONTAINER(it, struct conn, link));
    samples_fini(&c->figures.delay);
    samples_fini(&c->figures.first);
    samples_fini(&c->figures.latency);
    free(c->scratch);
}
