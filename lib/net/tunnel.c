/* A tunnel's life: made from a descriptor, opened after the handshake, watched by pings, closed at
 * the end of a turn. */
#include "net/tunnel.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <openssl/err.h>

#include "net/tunnel_impl.h"
#include "net/socket.h"

const struct tunnel_limits tunnel_gateway_limits = {
    .header_max = 32 << 10,
    .streams = 1000 + TUNNEL_SMALL_STREAMS,
    .settings_per_minute = 64,
    .resets_per_second = 200,
    .stream_window = 64 << 10,
    .connection_window = 16 << 20,
    .ping_ms = 5000,
    .dead_ms = 15000,
    .handshake_ms = 10000,
};

const struct tunnel_limits tunnel_worker_limits = {
    .header_max = 32 << 10,
    .streams = 1000 + TUNNEL_SMALL_STREAMS,
    .settings_per_minute = 64,
    .resets_per_second = 200,
    .stream_window = 1 << 20,
    .connection_window = 16 << 20,
    .ping_ms = 5000,
    .dead_ms = 15000,
    .handshake_ms = 10000,
};

enum {
    NOTSENT_LOWAT = 128 << 10
}; /* cancels and young streams must not wait behind a full kernel buffer */

bool tunnel_meter_ok(struct tunnel_meter *m, uint64_t now_ms, uint64_t window_ms, unsigned max)
{
    if (now_ms - m->since_ms >= window_ms)
        *m = (struct tunnel_meter){.since_ms = now_ms};
    return ++m->count <= max;
}

/* ---- Making ---- */

static void socket_tune(int fd)
{
    const int one = 1;
    const int lowat = NOTSENT_LOWAT;

    /* A UNIX socket knows neither; that is no error. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, sizeof(lowat));
}

static void tunnel_destroy(struct tunnel *t)
{
    loop_timer_cancel(t->loop, &t->timer);
    loop_timer_cancel(t->loop, &t->more);
    if (t->flush_due)
        loop_hook_del(t->loop, &t->flush);
    loop_fd_del(t->loop, &t->watch);
    nghttp2_session_del(t->h2);
    SSL_free(t->ssl);
    close(t->fd);
    buf_wipe(&t->out);
    free(t->peer.pins);
    free(t);
}

static void on_handshake_late(void *arg)
{
    tunnel_fail(arg, E_TIMEOUT);
}

/* Takes fd: on failure it is closed. */
static int tunnel_new(struct tunnel **out, struct loop *l, struct tls_ctx *ctx, int fd,
                      const struct tunnel_limits *limits, const struct tunnel_events *ev, void *arg,
                      uint32_t wait_for)
{
    struct tunnel *t = mem_zero(sizeof(*t));

    *t = (struct tunnel){.loop = l, .limits = *limits, .ev = *ev, .arg = arg, .fd = fd};
    list_init(&t->streams);
    tunnel_io_init(t);
    (void)signal(SIGPIPE, SIG_IGN); /* OpenSSL writes with write(2) */
    socket_tune(fd);
    int error = tls_session_new(&t->ssl, ctx, fd, &t->peer);
    if (!error)
        error = loop_fd_add(l, &t->watch, fd, wait_for, tunnel_on_event, t);
    if (error < 0) {
        tunnel_destroy(t);
        return error;
    }
    loop_timer_set(l, &t->timer, limits->handshake_ms, on_handshake_late, t);
    *out = t;
    return 0;
}

int tunnel_accept(struct tunnel **out, struct loop *l, struct tls_ctx *ctx, int fd,
                  const struct tunnel_limits *limits, const struct tunnel_events *ev, void *arg)
{
    struct tunnel *t;

    TRY(tunnel_new(&t, l, ctx, fd, limits, ev, arg, EPOLLIN));
    t->state = TUNNEL_HANDSHAKE;
    memcpy(t->peer.pin, ctx->spki, TLS_SPKI_LEN);
    t->addr.len = sizeof(t->addr.sa);
    if (getpeername(fd, (struct sockaddr *)&t->addr.sa, &t->addr.len) < 0)
        t->addr = (struct net_addr){0};
    *out = t;
    return 0;
}

int tunnel_dial(struct tunnel **out, struct loop *l, struct tls_ctx *ctx, const struct net_addr *to,
                const uint8_t (*pins)[TLS_SPKI_LEN], size_t pin_count,
                const struct tunnel_limits *limits, const struct tunnel_events *ev, void *arg)
{
    struct tunnel *t;
    int fd;

    TRY(net_connect(to, &fd));
    TRY(tunnel_new(&t, l, ctx, fd, limits, ev, arg, EPOLLOUT));
    t->state = TUNNEL_CONNECTING;
    t->worker = true;
    t->addr = *to;
    t->peer.pins = mem_zero((pin_count + 1) * sizeof(*pins));
    memcpy(t->peer.pins, pins, pin_count * sizeof(*pins));
    t->peer.pin_count = pin_count;
    *out = t;
    return 0;
}

/* ---- Open: pings ---- */

/* Fires at the next ping or when silence has lasted too long, whichever comes first. */
static void on_tick(void *arg)
{
    struct tunnel *t = arg;
    uint64_t now = loop_now(t->loop);

    if (now - t->heard_ms >= t->limits.dead_ms) {
        tunnel_fail(t, E_TIMEOUT);
        return;
    }
    if (now - t->ping_ms >= t->limits.ping_ms) {
        t->ping_ms = now;
        tunnel_h2_ping(t);
    }
    uint64_t next = t->ping_ms + t->limits.ping_ms;
    if (next > t->heard_ms + t->limits.dead_ms)
        next = t->heard_ms + t->limits.dead_ms;
    loop_timer_set(t->loop, &t->timer, next - now, on_tick, t);
}

void tunnel_opened(struct tunnel *t)
{
    int error = tunnel_h2_new(t);

    if (error < 0) {
        tunnel_fail(t, error);
        return;
    }
    t->state = TUNNEL_OPEN;
    t->heard_ms = t->ping_ms = loop_now(t->loop);
    loop_timer_set(t->loop, &t->timer, t->limits.ping_ms, on_tick, t);
    tunnel_dirty(t);
    if (t->ev.open)
        t->ev.open(t->arg, t);
}

/* ---- The end ---- */

/* What was queued goes out as far as the socket takes it; the socket's close drops the rest. */
static void say_goodbye(struct tunnel *t)
{
    if (t->h2 && t->error == E_CLOSED) {
        (void)nghttp2_submit_goaway(t->h2, NGHTTP2_FLAG_NONE,
                                    nghttp2_session_get_last_proc_stream_id(t->h2),
                                    NGHTTP2_NO_ERROR, NULL, 0);
        tunnel_flush(t);
    }
    if (SSL_is_init_finished(t->ssl))
        (void)SSL_shutdown(t->ssl);
    ERR_clear_error();
}

static void tunnel_finish(void *arg)
{
    struct tunnel *t = arg;

    say_goodbye(t);
    while (!list_empty(&t->streams))
        tunnel_stream_close(CONTAINER(t->streams.next, struct tunnel_stream, link),
                            t->error == E_TIMEOUT ? E_TIMEOUT : E_CLOSED);
    if (t->ev.closed)
        t->ev.closed(t->arg, t, t->error);
    tunnel_destroy(t);
}

void tunnel_fail(struct tunnel *t, int error)
{
    if (t->state == TUNNEL_CLOSING)
        return;
    t->state = TUNNEL_CLOSING;
    t->error = error;
    loop_timer_cancel(t->loop, &t->timer);
    loop_timer_cancel(t->loop, &t->more);
    loop_fd_del(t->loop, &t->watch);
    loop_defer_free(t->loop, t, tunnel_finish);
}

void tunnel_close(struct tunnel *t)
{
    tunnel_fail(t, E_CLOSED);
}

void tunnel_goaway(struct tunnel *t)
{
    if (t->state != TUNNEL_OPEN || t->goaway_sent)
        return;
    t->goaway_sent = true;
    (void)nghttp2_submit_goaway(t->h2, NGHTTP2_FLAG_NONE,
                                nghttp2_session_get_last_proc_stream_id(t->h2), NGHTTP2_NO_ERROR,
                                NULL, 0);
    tunnel_dirty(t);
}

/* ---- Questions ---- */

bool tunnel_is_open(const struct tunnel *t)
{
    return t->state == TUNNEL_OPEN && !t->goaway_sent && !t->goaway_seen;
}

void tunnel_peer_spki(const struct tunnel *t, uint8_t out[static TLS_SPKI_LEN])
{
    memcpy(out, t->peer.spki, TLS_SPKI_LEN);
}

void tunnel_pin(const struct tunnel *t, uint8_t out[static TLS_SPKI_LEN])
{
    memcpy(out, t->peer.pin, TLS_SPKI_LEN);
}

const struct net_addr *tunnel_peer(const struct tunnel *t)
{
    return &t->addr;
}

size_t tunnel_streams(const struct tunnel *t)
{
    return t->stream_count;
}

uint64_t tunnel_rtt_ms(const struct tunnel *t)
{
    return t->rtt_ms;
}
