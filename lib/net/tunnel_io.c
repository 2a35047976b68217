/* A tunnel's bytes: connect, TLS handshake, TLS records in to nghttp2 and frames out, gathered into
 * records once a turn. */
#include <errno.h>

#include <openssl/err.h>

#include "net/tunnel_impl.h"

enum {
    READS_A_TURN = 16
}; /* records' worth of 16 KiB: one busy tunnel must not hold up the others */

/* ---- What OpenSSL said ---- */

static void want(struct tunnel *t, bool out)
{
    loop_fd_want(t->loop, &t->watch, out ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

/* The error of a call that returned ≤ 0: 0 when it only has to wait. */
static int ssl_failed(struct tunnel *t, int ret)
{
    int saved = errno;

    switch (SSL_get_error(t->ssl, ret)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return 0;
    case SSL_ERROR_ZERO_RETURN:
        return E_CLOSED;
    case SSL_ERROR_SYSCALL:
        return saved == 0 || saved == ECONNRESET || saved == EPIPE ? E_CLOSED : E_IO;
    default:
        if (t->peer.refused)
            return E_AUTH;
        return ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING ? E_CLOSED
                                                                                      : E_PROTOCOL;
    }
}

/* ---- Beginning ---- */

static void handshake(struct tunnel *t)
{
    ERR_clear_error();
    errno = 0;
    int ret = SSL_do_handshake(t->ssl);
    if (ret == 1) {
        want(t, false);
        if (tls_session_agreed(t->ssl))
            tunnel_opened(t);
        else
            tunnel_fail(t, E_PROTOCOL);
        return;
    }
    int error = ssl_failed(t, ret);
    if (error < 0)
        tunnel_fail(t, error);
    else
        want(t, SSL_want_write(t->ssl));
}

static void connected(struct tunnel *t)
{
    int error = 0;
    socklen_t len = sizeof(error);

    if (getsockopt(t->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 || error) {
        errno = error ? error : errno;
        tunnel_fail(t, E_IO);
        return;
    }
    t->state = TUNNEL_HANDSHAKE;
    handshake(t);
}

/* ---- In ---- */

static void feed(struct tunnel *t, const uint8_t *bytes, size_t len)
{
    ssize_t used = nghttp2_session_mem_recv(t->h2, bytes, len);

    if (t->state != TUNNEL_OPEN)
        return;
    if (used < 0)
        tunnel_fail(t, E_PROTOCOL);
    else
        tunnel_dirty(t);
}

static void on_more(void *arg)
{
    tunnel_on_event(arg, EPOLLIN);
}

static void receive(struct tunnel *t)
{
    uint8_t bytes[TUNNEL_RECORD];

    for (int i = 0; i < READS_A_TURN && t->state == TUNNEL_OPEN; i++) {
        ERR_clear_error();
        errno = 0;
        int n = SSL_read(t->ssl, bytes, sizeof(bytes));
        if (n <= 0) {
            int error = ssl_failed(t, n);
            if (error < 0)
                tunnel_fail(t, error);
            return;
        }
        t->heard_ms = loop_now(t->loop);
        feed(t, bytes, (size_t)n);
        if (n < TUNNEL_RECORD && !SSL_has_pending(t->ssl))
            return; /* epoll tells if there is more: saves a read that finds nothing */
    }
    /* epoll does not see what OpenSSL has read ahead. */
    if (t->state == TUNNEL_OPEN)
        loop_timer_set(t->loop, &t->more, 0, on_more, t);
}

void tunnel_on_event(void *arg, uint32_t events)
{
    struct tunnel *t = arg;

    (void)events;
    if (t->state == TUNNEL_CONNECTING)
        connected(t);
    else if (t->state == TUNNEL_HANDSHAKE)
        handshake(t);
    if (t->state != TUNNEL_OPEN)
        return;
    receive(t);
    if (t->state == TUNNEL_OPEN && (t->watch.wanted & EPOLLOUT))
        tunnel_dirty(t);
}

/* ---- Out ---- */

/* Frames are serialised only as far as the socket takes them, so that a later, more urgent one
 * still finds room before them. */
static int gather(struct tunnel *t)
{
    while (t->out.len < TUNNEL_RECORD) {
        const uint8_t *bytes;
        ssize_t n = nghttp2_session_mem_send(t->h2, &bytes);

        if (n < 0)
            return E_PROTOCOL;
        if (n == 0)
            break;
        buf_append(&t->out, span_of(bytes, (size_t)n));
    }
    return 0;
}

/* 0: everything is out; 1: the socket is full. */
static int send_all(struct tunnel *t)
{
    for (;;) {
        TRY(gather(t));
        if (t->out.len == 0)
            return 0;
        ERR_clear_error();
        errno = 0;
        int n = SSL_write(t->ssl, t->out.data,
                          (int)(t->out.len < TUNNEL_RECORD ? t->out.len : TUNNEL_RECORD));
        if (n > 0) {
            buf_consume(&t->out, (size_t)n);
            continue;
        }
        TRY(ssl_failed(t, n));
        return 1;
    }
}

void tunnel_flush(struct tunnel *t)
{
    int full = send_all(t);

    if (t->state != TUNNEL_OPEN)
        return;
    if (full < 0)
        tunnel_fail(t, full);
    else if (!nghttp2_session_want_read(t->h2) && !nghttp2_session_want_write(t->h2) && !full)
        /* After a GOAWAY of either side and the last stream; or nghttp2 ended it for the peer's
         * faults. */
        tunnel_fail(t, t->goaway_sent || t->goaway_seen ? E_CLOSED : E_PROTOCOL);
    else
        want(t, full == 1);
}

static void on_flush(void *arg)
{
    struct tunnel *t = arg;

    loop_hook_del(t->loop, &t->flush);
    t->flush_due = false;
    if (t->state == TUNNEL_OPEN)
        tunnel_flush(t);
}

/* The hook is listed only when due: whatever is listed before the wait was missed by this turn's
 * walk. */
static int flush_wait(void *arg)
{
    (void)arg;
    return 0;
}

void tunnel_io_init(struct tunnel *t)
{
    t->flush = (struct loop_hook){
        .step = LOOP_FLUSH, .run = on_flush, .before_wait = flush_wait, .arg = t};
}

void tunnel_dirty(struct tunnel *t)
{
    if (t->flush_due || t->state != TUNNEL_OPEN)
        return;
    t->flush_due = true;
    loop_hook_add(t->loop, &t->flush);
}
