/* The HTTP server's frame: our accept spreads connections over many libmicrohttpd daemons, which
 * run once a turn when there is something to do (libraries: suspended connections cost each daemon
 * a walk, so few are kept in each). */
#include "net/http_server.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/http_impl.h"
#include "net/tls_front.h"

const struct http_server_options http_server_defaults = {
    .daemons = 64,
    .connection_limit = 10000,
    .header_max = 32 << 10,
    .header_ms = 10000,
    .body_ms = 30000,
    .body_ms_per_64k = 1000,
    .idle_s = 75,
    .drain_ms = 5000,
};

enum {
    POOL_MIN = 64 << 10,
    FREE_STEP_MS = 10,
    LONGEST_WAIT_MS = 60000,
    STRANGERS_MAX = 64,
    FRONT_MORE = 64,
    RUNS_A_TURN = 8, /* MHD sends one chunk a run: a burst must not cost the loop a turn for each */
};

/* ---- Connections ---- */

/* Half a request for too long: the shutdown makes MHD close. */
static void on_header_late(void *arg)
{
    struct http_conn *c = arg;

    (void)shutdown(c->fd, SHUT_RDWR);
}

/* Edge-triggered and kept for the connection's whole life, so that it costs no system call a
 * request. */
static void on_conn_event(void *arg, uint32_t events)
{
    struct http_conn *c = arg;
    struct http_server *s = c->daemon->server;

    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
        c->gone = true;
        if (c->ex)
            http_exchange_gone(c->ex);
        return;
    }
    if (c->ex && (events & EPOLLOUT))
        http_stream_writable(c->ex);
    if (!c->ex && !loop_timer_is_set(&c->header_timer))
        loop_timer_set(s->loop, &c->header_timer, s->o.header_ms, on_header_late, c);
}

static struct http_conn *conn_new(struct http_daemon *d, struct MHD_Connection *mhd)
{
    struct http_server *s = d->server;
    struct http_conn *c = mem_zero(sizeof(*c));

    c->daemon = d;
    c->mhd = mhd;
    c->fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    c->from = *s->accepting;
    s->accepting->client = NULL;
    d->connections++;
    s->connection_count++;
    s->stranger_count += c->from.stranger ? 1 : 0;
    loop_timer_set(s->loop, &c->header_timer, s->o.header_ms, on_header_late, c);
    if (loop_fd_add(s->loop, &c->watch, c->fd, EPOLLIN | EPOLLRDHUP | EPOLLET, on_conn_event, c) <
        0)
        (void)shutdown(c->fd, SHUT_RDWR); /* unwatched it must not live */
    return c;
}

static void conn_free(struct http_conn *c)
{
    struct http_server *s = c->daemon->server;

    c->daemon->connections--;
    s->connection_count--;
    s->stranger_count -= c->from.stranger ? 1 : 0;
    loop_fd_del(s->loop, &c->watch);
    loop_timer_cancel(s->loop, &c->header_timer);
    buf_wipe(&c->uri);
    tls_client_free(c->from.client);
    free(c);
}

static void on_connection(void *cls, struct MHD_Connection *mhd, void **context,
                          enum MHD_ConnectionNotificationCode what)
{
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        *context = conn_new(cls, mhd);
    } else if (*context) {
        conn_free(*context);
        *context = NULL;
    }
}

static struct http_daemon *emptiest_daemon(const struct http_server *s)
{
    struct http_daemon *best = &s->daemons[0];

    for (unsigned i = 1; i < s->o.daemons; i++)
        if (s->daemons[i].connections < best->connections)
            best = &s->daemons[i];
    return best;
}

/* -1: the peer is no UNIX socket. */
static int64_t user_of(int fd, const struct net_addr *peer)
{
    struct ucred who = {0};
    socklen_t len = sizeof(who);

    if (peer->sa.ss_family != AF_UNIX || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) < 0)
        return -1;
    return who.uid;
}

static bool has_place(const struct http_server *s, const struct http_arrival *from)
{
    return from->stranger ? s->stranger_count < STRANGERS_MAX
                          : s->connection_count - s->stranger_count < s->o.connection_limit;
}

static void take(void *arg, int fd, const struct net_addr *peer, struct tls_client *client)
{
    struct http_server *s = arg;
    struct http_daemon *d = emptiest_daemon(s);
    struct http_arrival from = {.peer = *peer, .client = client, .uid = user_of(fd, peer)};

    from.stranger = s->h.stranger && s->h.stranger(s->arg, client, from.uid);
    if (!has_place(s, &from)) {
        tls_client_free(client);
        http_refuse(s, fd);
        return;
    }
    s->accepting = &from;
    /* From here on fd is MHD's, which closes it on failure too. */
    (void)MHD_add_connection(d->mhd, fd, (const struct sockaddr *)&peer->sa, peer->len);
    s->accepting = NULL;
    tls_client_free(from.client); /* MHD did not begin with it */
    d->due = true;
}

static void on_accept(void *arg, int fd, const struct net_addr *peer)
{
    struct http_server *s = arg;

    if (s->front)
        tls_front_accept(s->front, fd, peer);
    else
        take(s, fd, peer, NULL);
}

/* ---- Daemons ---- */

static void on_daemon_event(void *arg, uint32_t events)
{
    (void)events;
    ((struct http_daemon *)arg)->due = true;
}

void http_wake(struct http_exchange *ex)
{
    if (!ex->suspended)
        return;
    ex->suspended = ex->resting = false;
    MHD_resume_connection(ex->conn->mhd);
    ex->conn->daemon->due = true;
}

static void daemon_run(struct http_daemon *d, uint64_t now)
{
    MHD_UNSIGNED_LONG_LONG ms;

    d->due = false;
    (void)MHD_run(d->mhd);
    d->due_ms = MHD_get_timeout(d->mhd, &ms) == MHD_YES ? now + ms : UINT64_MAX;
}

static void daemons_run(void *arg)
{
    struct http_server *s = arg;
    const uint64_t now = loop_now(s->loop);

    for (unsigned i = 0; i < s->o.daemons; i++) {
        struct http_daemon *d = &s->daemons[i];
        for (int n = 0; n < RUNS_A_TURN && (d->due || d->due_ms <= now); n++)
            daemon_run(d, now);
    }
}

/* Milliseconds until a daemon has work without an event; -1: none in sight. */
static int daemons_wait(void *arg)
{
    const struct http_server *s = arg;
    const uint64_t now = clock_mono_ms();
    uint64_t first = UINT64_MAX;

    for (unsigned i = 0; i < s->o.daemons; i++) {
        const struct http_daemon *d = &s->daemons[i];
        if (d->due)
            return 0;
        first = d->due_ms < first ? d->due_ms : first;
    }
    if (first == UINT64_MAX)
        return -1;
    return first <= now ? 0 : first - now > LONGEST_WAIT_MS ? LONGEST_WAIT_MS : (int)(first - now);
}

/* MHD's messages may quote what a client sent. */
__attribute__((format(printf, 2, 0))) static void on_log(void *cls, const char *fmt, va_list args)
{
    (void)fmt;
    (void)args;
    ((struct http_daemon *)cls)->server->log_lines++;
}

/* Paths are compared and passed on as sent. */
static size_t no_unescape(void *cls, struct MHD_Connection *mhd, char *s)
{
    (void)cls;
    (void)mhd;
    return strlen(s);
}

/* A target in absolute form means its path (RFC 9112 §3.2.2). */
static const char *origin_form(const char *uri)
{
    static const char *const schemes[] = {"http://", "https://"};

    for (size_t i = 0; i < sizeof(schemes) / sizeof(*schemes); i++)
        if (strncasecmp(uri, schemes[i], strlen(schemes[i])) == 0) {
            const char *path = uri + strlen(schemes[i]);
            path += strcspn(path, "/?");
            return path;
        }
    return uri;
}

/* MHD cuts the URI up in place and gives no raw query later, so it is kept here. */
static void *on_uri(void *cls, const char *uri, struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct http_conn *c = info->socket_context;

    (void)cls;
    buf_clear(&c->uri);
    uri = origin_form(uri);
    buf_append_str(&c->uri, uri[0] == '?' || uri[0] == 0 ? "/" : "");
    buf_append_str(&c->uri, uri);
    return NULL;
}

static int daemon_start(struct http_server *s, struct http_daemon *d)
{
    size_t pool = 2 * s->o.header_max > POOL_MIN ? 2 * s->o.header_max : POOL_MIN;

    d->server = s;
    d->due_ms = UINT64_MAX;
    d->mhd = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0,
        NULL, NULL, http_on_request, d,        /* */
        MHD_OPTION_EXTERNAL_LOGGER, on_log, d, /* first: it hears of the others */
        MHD_OPTION_CONNECTION_LIMIT, s->o.connection_limit + STRANGERS_MAX, /* */
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, pool,                           /* */
        MHD_OPTION_CONNECTION_TIMEOUT, s->o.idle_s,                         /* */
        MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1,                               /* */
        MHD_OPTION_STRICT_FOR_CLIENT, 1,                                    /* */
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, d,                     /* */
        MHD_OPTION_NOTIFY_COMPLETED, http_on_completed, d,                  /* */
        MHD_OPTION_URI_LOG_CALLBACK, on_uri, d,                             /* */
        MHD_OPTION_UNESCAPE_CALLBACK, no_unescape, d,                       /* */
        MHD_OPTION_END);
    if (!d->mhd)
        return E_IO;
    int fd = MHD_get_daemon_info(d->mhd, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
    return loop_fd_add(s->loop, &d->watch, fd, EPOLLIN, on_daemon_event, d);
}

/* ---- The server ---- */

/* Some more connections than are served: those beyond are told so. */
static struct tls_front *front_new(struct http_server *s)
{
    const struct tls_front_options o = {.connections =
                                            s->o.connection_limit + STRANGERS_MAX + FRONT_MORE,
                                        .handshake_ms = s->o.header_ms,
                                        .idle_ms = s->o.idle_s * UINT64_C(1000)};

    return tls_front_new(s->loop, &o, s->o.tls, take, s);
}

int http_server_new(struct http_server **out, struct loop *l, const struct http_server_options *o,
                    const struct http_handler *h, void *arg)
{
    struct http_server *s = mem_zero(sizeof(*s));
    int error = 0;

    CHECK(o->daemons > 0);
    (void)signal(SIGPIPE, SIG_IGN);
    *s = (struct http_server){.loop = l, .o = *o, .h = *h, .arg = arg};
    list_init(&s->exchanges);
    list_init(&s->lingering);
    s->hook = (struct loop_hook){
        .step = LOOP_SERVE, .run = daemons_run, .before_wait = daemons_wait, .arg = s};
    loop_hook_add(l, &s->hook);
    if (o->tls)
        s->front = front_new(s);
    s->daemons = mem_zero(o->daemons * sizeof(*s->daemons));
    for (unsigned i = 0; i < o->daemons && !error; i++)
        error = daemon_start(s, &s->daemons[i]);
    if (error < 0) {
        http_server_free(s);
        return error;
    }
    *out = s;
    return 0;
}

typedef int listen_fn(struct net_listener **out, struct loop *l, const struct net_addr *at,
                      net_accept_fn *fn, void *arg);

static int listener_add(struct http_server *s, const struct net_addr *at, listen_fn *listen)
{
    if (s->listener_count == HTTP_LISTENERS)
        return E_TOO_LARGE;
    TRY(listen(&s->listeners[s->listener_count], s->loop, at, on_accept, s));
    s->listener_count++;
    return 0;
}

int http_server_listen(struct http_server *s, const struct net_addr *at, int fd_inherited)
{
    if (fd_inherited < 0)
        return listener_add(s, at, net_listen);
    if (s->listener_count == HTTP_LISTENERS)
        return E_TOO_LARGE;
    TRY(net_listen_fd(&s->listeners[s->listener_count], s->loop, fd_inherited, on_accept, s));
    s->listener_count++;
    return 0;
}

int http_server_listen_alone(struct http_server *s, const struct net_addr *at)
{
    return listener_add(s, at, net_listen_alone);
}

int http_server_bind(struct http_server *s, const struct net_addr *at)
{
    return listener_add(s, at, net_bind);
}

void http_server_addr(const struct http_server *s, size_t i, struct net_addr *out)
{
    CHECK(i < s->listener_count);
    net_listener_addr(s->listeners[i], out);
}

void http_server_hold(struct http_server *s, bool held)
{
    for (size_t i = 0; i < s->listener_count; i++)
        net_listener_hold(s->listeners[i], held);
}

void http_server_quiesce(struct http_server *s)
{
    s->closing = true;
    for (size_t i = 0; i < s->listener_count; i++)
        net_listener_retire(s->listeners[i]);
}

bool http_server_listens(const struct http_server *s)
{
    for (size_t i = 0; i < s->listener_count; i++)
        if (net_listener_is_open(s->listeners[i]))
            return true;
    return false;
}

size_t http_server_fds(const struct http_server *s, int *fds, size_t max)
{
    size_t count = 0;

    for (size_t i = 0; i < s->listener_count && count < max; i++)
        fds[count++] = net_listener_fd(s->listeners[i]);
    return count;
}

void http_server_let_go(struct http_server *s)
{
    s->closing = true;
    for (size_t i = 0; i < s->listener_count; i++)
        net_listener_let_go(s->listeners[i]);
}

size_t http_server_exchanges(const struct http_server *s)
{
    return s->exchange_count;
}

size_t http_server_connections(const struct http_server *s)
{
    return s->front ? tls_front_connections(s->front) : s->connection_count;
}

uint64_t http_server_refused(const struct http_server *s)
{
    return s->refused;
}

void http_server_use_tls(struct http_server *s, struct tls_ctx *tls)
{
    tls_front_use(s->front, tls);
}

uint64_t http_server_tls_refused(const struct http_server *s)
{
    return s->front ? tls_front_refused(s->front) : 0;
}

/* ---- The end ---- */

/* What nobody has answered by now is cut. */
static void cut_all(struct http_server *s, bool answered_too)
{
    LIST_FOREACH_SAFE(it, &s->exchanges) {
        struct http_exchange *ex = CONTAINER(it, struct http_exchange, link);
        bool finishing = ex->answered && (!ex->stream || ex->ended || ex->aborted);
        if (answered_too || !finishing)
            http_exchange_gone(ex);
    }
}

static void wait_for_daemons(const struct http_server *s, int ms)
{
    struct pollfd *fds = mem_zero(s->o.daemons * sizeof(*fds));

    for (unsigned i = 0; i < s->o.daemons; i++)
        fds[i] = (struct pollfd){.fd = s->daemons[i].watch.fd, .events = POLLIN};
    (void)poll(fds, s->o.daemons, ms);
    free(fds);
}

/* Without the loop, which may be over already. */
static void drain(struct http_server *s)
{
    uint64_t end = clock_mono_ms() + s->o.drain_ms;

    cut_all(s, false);
    while (s->exchange_count > 0) {
        LIST_FOREACH_SAFE(it, &s->exchanges)
            http_stream_writable(CONTAINER(it, struct http_exchange, link));
        for (unsigned i = 0; i < s->o.daemons; i++)
            daemon_run(&s->daemons[i], clock_mono_ms());
        if (s->front)
            tls_front_pump(s->front);
        if (s->exchange_count == 0)
            break;
        if (clock_mono_ms() >= end)
            cut_all(s, true);
        int wait = daemons_wait(s);
        wait_for_daemons(s, wait >= 0 && wait < FREE_STEP_MS ? wait : FREE_STEP_MS);
    }
}

void http_server_free(struct http_server *s)
{
    if (!s)
        return;
    s->closing = true;
    while (s->listener_count > 0)
        net_listener_free(s->listeners[--s->listener_count]);
    drain(s);
    for (unsigned i = 0; i < s->o.daemons; i++) {
        loop_fd_del(s->loop, &s->daemons[i].watch);
        if (s->daemons[i].mhd)
            MHD_stop_daemon(s->daemons[i].mhd);
    }
    http_linger_stop_all(s);
    tls_front_free(s->front);
    loop_hook_del(s->loop, &s->hook);
    buf_wipe(&s->frame);
    free(s->daemons);
    free(s);
}
