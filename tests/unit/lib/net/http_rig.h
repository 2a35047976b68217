/* Test helper: an HTTP server whose handler does what the path says and notes what it was told, and
 * raw sockets in the same loop for its clients. */
#ifndef TESTS_NET_HTTP_RIG_H
#define TESTS_NET_HTTP_RIG_H

#include "operator.h"

#include <errno.h>
#include <sys/socket.h>

#include "net/http_server.h"
#include "net/socket.h"

enum { WAIT_MS = 5000, EX_MAX = 300, LIMIT = 1 << 20 };

/* What the handler noted of one exchange. */
struct seen {
    struct http_exchange *ex;
    struct buf body;
    unsigned heads, parts, body_ends, drains, lates, gones, dones;
    bool complete;
};

struct rig {
    struct loop *loop;
    struct http_server *server;
    struct http_server_options o;
    struct net_addr at;
    struct seen seen[EX_MAX];
    unsigned count;
};

/* ---- The handler: what it does hangs on the path ---- */

static inline void reply_text(struct http_exchange *ex, unsigned status, const char *text)
{
    struct buf body = {0};
    const struct http_field fields[] = {{"Content-Type", "text/plain"}};

    buf_append_str(&body, text);
    http_reply(ex, status, fields, 1, &body, false);
}

static inline bool path_is(const struct http_exchange *ex, const char *path)
{
    return span_is(http_path(ex), path);
}

static inline void begin(struct http_exchange *ex)
{
    const struct http_field fields[] = {{"Content-Type", "text/event-stream"},
                                        {"Trailer", "Cocoon-Usage"}};

    http_stream_begin(ex, 200, fields, 2);
}

static inline void on_head(void *arg, struct http_exchange *ex)
{
    struct rig *r = arg;
    struct seen *x = &r->seen[r->count++ % EX_MAX];

    x->ex = ex;
    x->heads++;
    http_set_user(ex, x);
    if (http_content_length(ex) == -3)
        http_reply(ex, 400, NULL, 0, NULL, true);
    else if (http_content_length(ex) > LIMIT && path_is(ex, "/limit"))
        reply_text(ex, 413, "too large");
    else if (http_header_bytes(ex) > r->o.header_max)
        reply_text(ex, 431, "head too large");
    else if (path_is(ex, "/hello"))
        reply_text(ex, 200, "hello");
    else if (path_is(ex, "/echo") || path_is(ex, "/limit") || path_is(ex, "/late"))
        http_receive(ex);
    else if (path_is(ex, "/stream"))
        begin(ex);
    /* else it is parked, and the test decides */
}

static inline void on_body(void *arg, struct http_exchange *ex, struct span part)
{
    struct seen *x = http_user(ex);

    (void)arg;
    x->parts++;
    buf_append(&x->body, part);
    if (path_is(ex, "/limit") && x->body.len > LIMIT)
        reply_text(ex, 413, "too large");
}

static inline void on_body_end(void *arg, struct http_exchange *ex)
{
    struct seen *x = http_user(ex);
    struct buf copy = {0};

    (void)arg;
    x->body_ends++;
    buf_append(&copy, buf_span(&x->body));
    if (path_is(ex, "/park"))
        buf_fini(&copy);
    else
        http_reply(ex, 200, NULL, 0, &copy, false);
}

static inline void on_drained(void *arg, struct http_exchange *ex)
{
    (void)arg;
    ((struct seen *)http_user(ex))->drains++;
}

static inline void on_body_late(void *arg, struct http_exchange *ex)
{
    (void)arg;
    ((struct seen *)http_user(ex))->lates++;
    if (path_is(ex, "/late"))
        reply_text(ex, 408, "too slow");
}

static inline void on_gone(void *arg, struct http_exchange *ex)
{
    struct seen *x = http_user(ex);

    (void)arg;
    assert_int_equal(x->dones, 0);
    x->gones++;
}

static inline void on_done(void *arg, struct http_exchange *ex, bool complete)
{
    struct seen *x = http_user(ex);

    (void)arg;
    x->dones++;
    x->complete = complete;
    x->ex = NULL;
}

static const struct http_handler handler = {
    .head = on_head,
    .body = on_body,
    .body_end = on_body_end,
    .drained = on_drained,
    .body_late = on_body_late,
    .gone = on_gone,
    .done = on_done,
};

/* ---- The rig ---- */

static inline void rig_start(struct rig *r, const char *listen_at)
{
    assert_int_equal(loop_new(&r->loop), 0);
    assert_int_equal(http_server_new(&r->server, r->loop, &r->o, &handler, r), 0);
    assert_int_equal(net_addr_parse(&r->at, listen_at), 0);
    assert_int_equal(http_server_listen(r->server, &r->at, -1), 0);
    http_server_addr(r->server, 0, &r->at);
}

static inline struct rig *rig_prepare(void)
{
    struct rig *r = mem_zero(sizeof(*r));

    r->o = http_server_defaults;
    r->o.daemons = 4;
    r->o.drain_ms = 1000;
    return r;
}

static inline struct rig *rig_new(void)
{
    struct rig *r = rig_prepare();

    rig_start(r, "127.0.0.1:0");
    return r;
}

static inline void rig_free(struct rig *r)
{
    http_server_free(r->server);
    loop_free(r->loop);
    for (unsigned i = 0; i < EX_MAX; i++) {
        assert_null(r->seen[i].ex);
        assert_int_equal(r->seen[i].dones, r->seen[i].heads);
        buf_fini(&r->seen[i].body);
    }
    free(r);
}

/* ---- Clients ---- */

struct client {
    int fd;
    struct buf got;
    const uint8_t *out; /* what is still to be sent */
    size_t out_len;
    bool eof, broken; /* …, a send or a read failed */
    bool no_read;
};

static inline struct client client_new(const struct rig *r)
{
    struct client c = {0};

    assert_int_equal(net_connect(&r->at, &c.fd), 0);
    return c;
}

static inline void client_send(struct client *c, const void *bytes, size_t len)
{
    assert_int_equal(c->out_len, 0);
    c->out = bytes;
    c->out_len = len;
}

static inline void client_say(struct client *c, const char *text)
{
    client_send(c, text, strlen(text));
}

static inline void client_pump(struct client *c)
{
    uint8_t in[16 << 10];
    ssize_t n;

    while (c->out_len > 0 && (n = send(c->fd, c->out, c->out_len, MSG_NOSIGNAL)) != 0) {
        if (n < 0) {
            if (errno != EAGAIN && errno != ENOTCONN) {
                c->broken = true;
                c->out_len = 0;
            }
            break;
        }
        c->out += n;
        c->out_len -= (size_t)n;
    }
    while (!c->eof && !c->no_read && (n = recv(c->fd, in, sizeof(in), MSG_DONTWAIT)) != -1) {
        if (n == 0)
            c->eof = true;
        else
            buf_append(&c->got, span_of(in, (size_t)n));
    }
    if (!c->eof && !c->no_read && errno == ECONNRESET)
        c->eof = c->broken = true;
}

static inline bool client_has(struct client *c, const char *text)
{
    return span_find(buf_span(&c->got), span_str(text)) >= 0;
}

static inline size_t client_count(struct client *c, const char *text)
{
    struct span rest = buf_span(&c->got);
    size_t count = 0;

    for (ptrdiff_t at; (at = span_find(rest, span_str(text))) >= 0; count++)
        rest = span_from(rest, (size_t)at + strlen(text));
    return count;
}

static inline void client_close(struct client *c)
{
    close(c->fd);
    c->fd = -1;
    buf_fini(&c->got);
}

/* Turns loop and client until cond holds. */
#define PUMP_UNTIL(r, c, cond, ms)                                                                 \
    do {                                                                                           \
        uint64_t end_ = clock_mono_ms() + (ms);                                                    \
        for (;;) {                                                                                 \
            client_pump(c);                                                                        \
            if ((cond) || clock_mono_ms() >= end_)                                                 \
                break;                                                                             \
            loop_turn((r)->loop, 1);                                                               \
        }                                                                                          \
        assert_true(cond);                                                                         \
    } while (0)

static inline void pump_for(struct rig *r, struct client *c, uint64_t ms)
{
    uint64_t end = clock_mono_ms() + ms;

    while (clock_mono_ms() < end) {
        client_pump(c);
        loop_turn(r->loop, 1);
    }
}

static inline void write_text(struct http_exchange *ex, const char *text)
{
    http_stream_write(ex, span_str(text));
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"

#endif
