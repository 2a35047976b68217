/* TLS ends here: bytes go between a client's socket and a pair's, a buffer's worth at a time each
 * way, so that who is slow on one side stops the other. */
#include "net/tls_front.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "base/log.h"
#include "net/tls_impl.h"

enum {
    NAME_MAX_LEN = 255,
    NAMES_MAX = 32,  /* of one certificate */
    STEP = 16 << 10, /* a TLS record */
    STEPS_A_TURN = 16,
};

struct tls_front {
    struct loop *loop;
    struct tls_front_options o;
    tls_front_fn *fn;
    void *arg;
    struct tls_ctx *ctx;
    struct list opening, links; /* during the handshake, after it */
    size_t link_count;          /* of both */
    uint64_t refused;
};

/* A client's connection: outer is its socket, inner our end of the pair. */
struct link {
    struct tls_front *front;
    struct list link;
    struct net_addr peer;
    SSL *ssl;
    int outer, inner; /* inner: -1 until the handshake is over */
    struct loop_fd outer_watch, inner_watch;
    struct loop_timer timer; /* the handshake's end; then: more to do than fits a turn */
    struct loop_timer leave; /* the other side is gone, and the client does not read the rest */
    struct buf in, out;      /* plain text on its way to inner, to outer */
    bool inner_shut;         /* nobody reads what goes to inner */
    bool inner_over;         /* all that came from it is in `out` */
    bool inner_gone;         /* its other end is closed both ways */
    bool said_end;           /* close_notify is out */
};

// ---- Who it is ----------------------------------------------------------------------------------

void tls_client_free(struct tls_client *c)
{
    if (!c)
        return;
    buf_fini(&c->names);
    free(c);
}

bool tls_client_is(const struct tls_client *c, struct span name)
{
    struct span rest = buf_span(&c->names);

    while (rest.len > 0) {
        if (span_eq(span_split(&rest, '\n'), name))
            return true;
    }
    return false;
}

static void add_name(struct tls_client *c, const char *kind, const ASN1_IA5STRING *text, bool small)
{
    const struct span name = span_of(ASN1_STRING_get0_data(text), (size_t)ASN1_STRING_length(text));

    if (!span_visible(name, NAME_MAX_LEN))
        return; /* a NUL or a line's end would make one name look like another */
    buf_append_str(&c->names, kind);
    for (size_t i = 0; i < name.len; i++) {
        const uint8_t b = name.data[i];
        buf_byte(&c->names, small && b >= 'A' && b <= 'Z' ? (uint8_t)(b | 0x20) : b);
    }
    buf_byte(&c->names, '\n');
}

static void add_names(struct tls_client *c, const X509 *cert)
{
    GENERAL_NAMES *all = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);

    for (int i = 0; i < sk_GENERAL_NAME_num(all) && i < NAMES_MAX; i++) {
        const GENERAL_NAME *n = sk_GENERAL_NAME_value(all, i);
        if (n->type == GEN_DNS)
            add_name(c, "DNS:", n->d.dNSName, true);
        else if (n->type == GEN_URI)
            add_name(c, "URI:", n->d.uniformResourceIdentifier, false);
    }
    GENERAL_NAMES_free(all);
}

static struct tls_client *client_new(SSL *ssl)
{
    struct tls_client *c = mem_zero(sizeof(*c));
    const X509 *cert = SSL_get0_peer_certificate(ssl);
    struct tm end;

    CHECK(cert);
    add_names(c, cert);
    if (ASN1_TIME_to_tm(X509_get0_notAfter(cert), &end) == 1) {
        const time_t at = timegm(&end);
        c->until_s = at > 0 ? (uint64_t)at : 0;
    }
    return c;
}

// ---- A connection's end -------------------------------------------------------------------------

static void link_close(struct link *k)
{
    struct tls_front *f = k->front;

    loop_fd_del(f->loop, &k->outer_watch);
    loop_fd_del(f->loop, &k->inner_watch);
    loop_timer_cancel(f->loop, &k->timer);
    loop_timer_cancel(f->loop, &k->leave);
    SSL_free(k->ssl);
    close(k->outer);
    if (k->inner >= 0)
        close(k->inner);
    buf_wipe(&k->in);
    buf_wipe(&k->out);
    list_del(&k->link);
    f->link_count--;
    loop_defer_free(f->loop, k, free);
}

/* What OpenSSL said with ret <= 0 is only that it waits for the socket. */
static bool only_waits(const SSL *ssl, int ret)
{
    const int why = SSL_get_error(ssl, ret);

    return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE;
}

// ---- Bytes --------------------------------------------------------------------------------------

/* -1: the client has ended, or broken, the connection. */
static int decrypt(struct link *k)
{
    ERR_clear_error();
    const int n = SSL_read(k->ssl, buf_reserve(&k->in, STEP), STEP);
    if (n > 0)
        k->in.len += (size_t)n;
    return n > 0 ? n : only_waits(k->ssl, n) ? 0 : -1;
}

/* False: it takes no more for now. */
static bool pass_in(struct link *k)
{
    const ssize_t n = send(k->inner, k->in.data, k->in.len, MSG_DONTWAIT | MSG_NOSIGNAL);

    if (n > 0)
        buf_consume(&k->in, (size_t)n);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        k->inner_shut = true;
        buf_wipe(&k->in);
    }
    return k->in.len == 0;
}

static void fetch_out(struct link *k)
{
    const ssize_t n = recv(k->inner, buf_reserve(&k->out, STEP), STEP, MSG_DONTWAIT);

    if (n > 0)
        k->out.len += (size_t)n;
    else if (n == 0 || (errno != EAGAIN && errno != EINTR))
        k->inner_over = true;
}

/* -1: the client is gone; 0: its socket is full. */
static int encrypt(struct link *k)
{
    ERR_clear_error();
    const int n = SSL_write(k->ssl, k->out.data, (int)k->out.len);
    if (n > 0)
        buf_consume(&k->out, (size_t)n);
    return n > 0 ? n : only_waits(k->ssl, n) ? 0 : -1;
}

/* Moves what can be moved towards the pair; 1: there is more; -1: the connection is over. */
static int move_in(struct link *k)
{
    for (int i = 0; i < STEPS_A_TURN; i++) {
        if (k->inner_shut || (k->in.len > 0 && !pass_in(k)))
            return 0;
        const int n = decrypt(k);
        if (n <= 0)
            return n;
        if (!pass_in(k))
            return 0;
    }
    return 1;
}

static int move_out(struct link *k)
{
    for (int i = 0; i < STEPS_A_TURN; i++) {
        if (k->out.len == 0 && !k->inner_over)
            fetch_out(k);
        if (k->out.len == 0)
            return 0;
        const int n = encrypt(k);
        if (n <= 0)
            return n;
    }
    return 1;
}

/* The answer's end is the connection's: what the client still sends is read on, as the other side
 * of the pair wants it, so that no reset overtakes the answer. */
static void say_end(struct link *k)
{
    k->said_end = true;
    ERR_clear_error();
    (void)SSL_shutdown(k->ssl);
    (void)shutdown(k->outer, SHUT_WR);
}

/* EPOLLPRI stands for nothing but the hang-up that comes with any mask. */
static void watch(struct link *k)
{
    const bool read_in = k->in.len == 0 && !k->inner_shut;
    const bool read_out = k->out.len == 0 && !k->inner_over;

    loop_fd_want(k->front->loop, &k->outer_watch,
                 EPOLLRDHUP | (read_in ? EPOLLIN : 0u) | (k->out.len > 0 ? EPOLLOUT : 0u));
    loop_fd_want(k->front->loop, &k->inner_watch,
                 (read_out ? EPOLLIN : 0u) | (k->in.len > 0 ? EPOLLOUT : 0u) |
                     (k->inner_gone ? 0u : EPOLLPRI));
}

/* Idle connections hold no memory, and no text. */
static void release(struct buf *b)
{
    if (b->len == 0)
        buf_wipe(b);
}

static void on_leave(void *arg)
{
    link_close(arg);
}

static void on_more(void *arg);

/* Each way only when its source or its sink is ready: a call that finds nothing costs as much as
 * one that does. What OpenSSL has read ahead is moved before the link rests. */
static void pump(struct link *k, bool inward, bool outward)
{
    const int in = inward ? move_in(k) : 0;
    const int out = in < 0 ? in : outward ? move_out(k) : 0;

    if (out < 0) {
        link_close(k);
        return;
    }
    if (k->inner_over && k->out.len == 0 && !k->said_end)
        say_end(k);
    if (k->said_end && (k->inner_gone || k->inner_shut)) {
        link_close(k);
        return;
    }
    if (k->inner_gone && (outward || !loop_timer_is_set(&k->leave)))
        loop_timer_set(k->front->loop, &k->leave, k->front->o.idle_ms, on_leave, k);
    release(&k->in);
    release(&k->out);
    watch(k);
    if (in > 0 || out > 0)
        loop_timer_set(k->front->loop, &k->timer, 0, on_more, k);
}

static void on_more(void *arg)
{
    pump(arg, true, true);
}

static void on_inner(void *arg, uint32_t events)
{
    struct link *k = arg;

    if (events & (EPOLLHUP | EPOLLERR))
        k->inner_gone = true;
    pump(k, events & EPOLLOUT, events & (EPOLLIN | EPOLLHUP | EPOLLERR));
}

// ---- A connection's beginning -------------------------------------------------------------------

/* verify: OpenSSL's X509_V_ERR_… of the certificate (verify(1)), 0: it did not come to that. */
static void refuse(struct link *k)
{
    char peer[128];

    net_addr_text(&k->peer, peer, sizeof(peer));
    log_event(LOG_DEBUG, "tls_client_refused", "peer=%s verify=%ld", peer,
              SSL_get_verify_result(k->ssl));
    k->front->refused++;
    link_close(k);
}

static void on_late(void *arg)
{
    refuse(arg);
}

static void opened(struct link *k)
{
    struct tls_front *f = k->front;
    int pair[2];

    loop_timer_cancel(f->loop, &k->timer);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0) {
        link_close(k);
        return;
    }
    k->inner = pair[0];
    list_del(&k->link);
    list_push(&f->links, &k->link);
    if (loop_fd_add(f->loop, &k->inner_watch, k->inner, EPOLLIN, on_inner, k) < 0) {
        close(pair[1]);
        link_close(k);
        return;
    }
    f->fn(f->arg, pair[1], &k->peer, client_new(k->ssl));
    pump(k, true, true); /* the request may have come with the handshake's last bytes */
}

static void handshake(struct link *k)
{
    ERR_clear_error();
    const int ret = SSL_do_handshake(k->ssl);
    if (ret == 1)
        opened(k);
    else if (only_waits(k->ssl, ret))
        loop_fd_want(k->front->loop, &k->outer_watch, SSL_want_write(k->ssl) ? EPOLLOUT : EPOLLIN);
    else
        refuse(k);
}

static void on_outer(void *arg, uint32_t events)
{
    struct link *k = arg;

    if (k->inner < 0)
        handshake(k);
    else if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        link_close(k); /* as of a plain connection: who has left waits for nothing */
    else
        pump(k, events & EPOLLIN, events & EPOLLOUT);
}

/* Who has waited longest without a good certificate makes room. False: all have shown one. */
static bool make_room(struct tls_front *f)
{
    if (f->link_count < f->o.connections)
        return true;
    if (list_empty(&f->opening))
        return false;
    refuse(CONTAINER(f->opening.next, struct link, link));
    return true;
}

void tls_front_accept(struct tls_front *f, int fd, const struct net_addr *peer)
{
    SSL *ssl = NULL;

    if (!make_room(f) || tls_session_new(&ssl, f->ctx, fd, NULL) < 0) {
        f->refused++;
        close(fd);
        return;
    }
    struct link *k = mem_zero(sizeof(*k));
    *k = (struct link){.front = f, .peer = *peer, .ssl = ssl, .outer = fd, .inner = -1};
    list_push(&f->opening, &k->link);
    f->link_count++;
    loop_timer_set(f->loop, &k->timer, f->o.handshake_ms, on_late, k);
    if (loop_fd_add(f->loop, &k->outer_watch, fd, EPOLLIN, on_outer, k) < 0)
        link_close(k);
}

// ---- All of them --------------------------------------------------------------------------------

struct tls_front *tls_front_new(struct loop *l, const struct tls_front_options *o,
                                struct tls_ctx *ctx, tls_front_fn *fn, void *arg)
{
    struct tls_front *f = mem_zero(sizeof(*f));

    *f = (struct tls_front){.loop = l, .o = *o, .ctx = ctx, .fn = fn, .arg = arg};
    list_init(&f->opening);
    list_init(&f->links);
    return f;
}

void tls_front_use(struct tls_front *f, struct tls_ctx *ctx)
{
    f->ctx = ctx;
}

void tls_front_pump(struct tls_front *f)
{
    LIST_FOREACH_SAFE(it, &f->links)
        pump(CONTAINER(it, struct link, link), true, true);
}

size_t tls_front_connections(const struct tls_front *f)
{
    return f->link_count;
}

uint64_t tls_front_refused(const struct tls_front *f)
{
    return f->refused;
}

void tls_front_free(struct tls_front *f)
{
    if (!f)
        return;
    tls_front_pump(f);
    LIST_FOREACH_SAFE(it, &f->opening)
        link_close(CONTAINER(it, struct link, link));
    LIST_FOREACH_SAFE(it, &f->links)
        link_close(CONTAINER(it, struct link, link));
    free(f);
}
