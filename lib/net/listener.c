/* Listening sockets: made or inherited, accepting into the loop, and given up without losing who
 * waits in them. */
#include "net/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "net/socket.h"

enum {
    ACCEPTS_A_TURN = 64,
    ACCEPT_PAUSE_MS =
        100, /* out of descriptors: the socket stays readable, so rest instead of spinning */
    RETIRE_MS = 500,
    SWEEP_MAX = 1 << 16
};

struct net_listener {
    struct loop *loop;
    int fd; /* -1 once freed */
    struct loop_fd watch;
    struct loop_timer pause, retire;
    struct net_addr addr;
    struct stat file; /* the UNIX socket file made here; st_ino 0: none */
    bool bound_only;  /* listen(2) is still to come */
    bool shared;      /* another process has the same socket: it loses nothing by our close */
    net_accept_fn *fn;
    void *arg;
};

static void resume_accept(void *arg)
{
    struct net_listener *n = arg;

    loop_fd_want(n->loop, &n->watch, EPOLLIN);
}

static void pause_accept(struct net_listener *n)
{
    log_event(LOG_WARN, "accept_failed", "errno=%d", errno);
    loop_fd_want(n->loop, &n->watch, 0);
    loop_timer_set(n->loop, &n->pause, ACCEPT_PAUSE_MS, resume_accept, n);
}

static bool is_out_of_resources(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

/* accept(2) also reports errors of the connection it would have returned: those are passed over. */
static void accept_up_to(struct net_listener *n, int most)
{
    for (int i = 0; i < most && n->fd >= 0; i++) {
        struct net_addr peer = {.len = sizeof(peer.sa)};
        int fd = accept4(n->fd, net_addr_ptr(&peer), &peer.len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            net_addr_unmap(&peer);
            net_nodelay(fd, peer.sa.ss_family);
            n->fn(n->arg, fd, &peer);
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return;
        } else if (is_out_of_resources(errno)) {
            pause_accept(n);
            return;
        }
    }
}

static void accept_some(void *arg, uint32_t events)
{
    (void)events;
    accept_up_to(arg, ACCEPTS_A_TURN);
}

/* Takes fd when it succeeds. */
static int watch_listener(struct net_listener **out, struct loop *l, int fd, uint32_t events,
                          net_accept_fn *fn, void *arg)
{
    struct net_listener *n = mem_zero(sizeof(*n));

    n->loop = l;
    n->fd = fd;
    n->fn = fn;
    n->arg = arg;
    n->addr.len = sizeof(n->addr.sa);
    if (getsockname(fd, net_addr_ptr(&n->addr), &n->addr.len) < 0 ||
        loop_fd_add(l, &n->watch, fd, events, accept_some, n) < 0) {
        free(n);
        return E_IO;
    }
    *out = n;
    return 0;
}

/* A socket file that nobody listens on is left over from a process that died; anything else stays.
 */
static int remove_stale(const struct net_addr *at)
{
    struct sockaddr_un un;
    struct stat st;

    memcpy(&un, &at->sa, sizeof(un));
    if (lstat(un.sun_path, &st) < 0)
        return 0;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return E_IO;
    bool stale = S_ISSOCK(st.st_mode) && connect(fd, (struct sockaddr *)&un, at->len) < 0 &&
                 errno == ECONNREFUSED;
    close(fd);
    if (!stale) {
        errno = EADDRINUSE;
        return E_IO;
    }
    return unlink(un.sun_path) < 0 ? E_IO : 0;
}

/* The mode is set before anybody can connect: that takes listen(2). */
static int bind_unix(int fd, struct net_addr *at)
{
    struct sockaddr_un un;

    memcpy(&un, &at->sa, sizeof(un));
    TRY(remove_stale(at));
    if (bind(fd, net_addr_ptr(at), at->len) < 0)
        return E_IO;
    if (chmod(un.sun_path, 0660) < 0) {
        unlink(un.sun_path);
        return E_IO;
    }
    return 0;
}

static int bind_tcp(int fd, struct net_addr *at, bool shared)
{
    int on = 1, off = 0;

    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        (shared && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) < 0))
        return E_IO;
    if (at->sa.ss_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    return bind(fd, net_addr_ptr(at), at->len) < 0 ? E_IO : 0;
}

/* ":port" on a machine without IPv6 means every IPv4 address. */
static int any_as_v4(struct net_addr *a)
{
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = INADDR_ANY};
    struct sockaddr_in6 v6;

    if (a->sa.ss_family != AF_INET6)
        return E_IO;
    memcpy(&v6, &a->sa, sizeof(v6));
    if (!IN6_IS_ADDR_UNSPECIFIED(&v6.sin6_addr))
        return E_IO;
    any.sin_port = v6.sin6_port;
    memcpy(&a->sa, &any, sizeof(any));
    a->len = sizeof(any);
    return 0;
}

static int bound_socket(struct net_addr *at, bool shared, int *out)
{
    int fd = socket(at->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return E_IO;
    int error = at->sa.ss_family == AF_UNIX ? bind_unix(fd, at) : bind_tcp(fd, at, shared);
    if (error == 0) {
        *out = fd;
        return 0;
    }
    int why = errno;
    close(fd);
    errno = why;
    return error;
}

static void remember_file(struct net_listener *n)
{
    struct sockaddr_un un;

    memcpy(&un, &n->addr.sa, sizeof(un));
    if (un.sun_family == AF_UNIX && lstat(un.sun_path, &n->file) < 0)
        n->file = (struct stat){0};
}

bool net_is_served(const struct net_addr *at)
{
    struct net_addr where = *at;
    int on = 1, fd;

    if (at->sa.ss_family == AF_UNIX ||
        (fd = socket(at->sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0)) < 0)
        return false;
    const bool served = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
                        bind(fd, net_addr_ptr(&where), where.len) < 0 && errno == EADDRINUSE;
    close(fd);
    return served;
}

static int bind_at(struct net_listener **out, struct loop *l, const struct net_addr *at,
                   bool shared, net_accept_fn *fn, void *arg)
{
    struct net_addr where = *at;
    int fd = -1;

    int error = bound_socket(&where, shared, &fd);
    if (error < 0 && (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL) && any_as_v4(&where) == 0)
        error = bound_socket(&where, shared, &fd);
    TRY(error);
    if (watch_listener(out, l, fd, 0, fn, arg) < 0) {
        int why = errno;
        close(fd);
        errno = why;
        return E_IO;
    }
    (*out)->bound_only = true;
    remember_file(*out);
    return 0;
}

int net_bind(struct net_listener **out, struct loop *l, const struct net_addr *at,
             net_accept_fn *fn, void *arg)
{
    return bind_at(out, l, at, true, fn, arg);
}

static int begin(struct net_listener *n)
{
    if (n->bound_only && listen(n->fd, SOMAXCONN) < 0)
        return E_IO;
    n->bound_only = false;
    loop_fd_want(n->loop, &n->watch, EPOLLIN);
    return 0;
}

static int listen_at(struct net_listener **out, struct loop *l, const struct net_addr *at,
                     bool shared, net_accept_fn *fn, void *arg)
{
    TRY(bind_at(out, l, at, shared, fn, arg));
    const int error = begin(*out);
    if (error < 0) {
        int why = errno;
        net_listener_free(*out);
        *out = NULL;
        errno = why;
    }
    return error;
}

int net_listen(struct net_listener **out, struct loop *l, const struct net_addr *at,
               net_accept_fn *fn, void *arg)
{
    return listen_at(out, l, at, true, fn, arg);
}

int net_listen_alone(struct net_listener **out, struct loop *l, const struct net_addr *at,
                     net_accept_fn *fn, void *arg)
{
    return listen_at(out, l, at, false, fn, arg);
}

int net_listen_fd(struct net_listener **out, struct loop *l, int fd, net_accept_fn *fn, void *arg)
{
    int listening = 0;
    socklen_t len = sizeof(listening);

    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0)
        return E_IO;
    if (!listening)
        return E_INVALID;
    if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return E_IO;
    TRY(watch_listener(out, l, fd, EPOLLIN, fn, arg));
    (*out)->shared = true;
    return 0;
}

static int env_number(const char *name, uint64_t max, uint64_t *out)
{
    const char *value = getenv(name);

    return value ? span_u64(span_str(value), max, out) : E_NOT_FOUND;
}

int net_inherited(struct net_inherited *out)
{
    uint64_t pid = 0, count = 0;
    const char *names = getenv("LISTEN_FDNAMES");
    bool ours = env_number("LISTEN_PID", INT32_MAX, &pid) == 0 && pid == (uint64_t)getpid() &&
                env_number("LISTEN_FDS", NET_INHERITED_MAX, &count) == 0;
    struct span rest = names && ours ? span_str(names) : SPAN("");

    *out = (struct net_inherited){0};
    for (size_t i = 0; ours && i < count; i++) {
        const int fd = NET_INHERITED_FIRST + (int)i;
        if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
            break;
        if (span_cstr(span_split(&rest, ':'), out->names[i], sizeof(out->names[i])) < 0)
            out->names[i][0] = 0;
        out->count++;
    }
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    return out->count;
}

void net_listener_hold(struct net_listener *n, bool held)
{
    if (n->fd < 0)
        return;
    loop_timer_cancel(n->loop, &n->pause);
    if (held)
        loop_fd_want(n->loop, &n->watch, 0);
    else if (begin(n) < 0)
        log_event(LOG_ERROR, "listen_failed", "errno=%d", errno);
}

void net_listener_addr(const struct net_listener *n, struct net_addr *out)
{
    *out = n->addr;
}

/* A successor may have bound the same path meanwhile: only the file made here is removed. */
static void remove_file(const struct net_listener *n)
{
    struct sockaddr_un un;
    struct stat now;

    memcpy(&un, &n->addr.sa, sizeof(un));
    if (n->file.st_ino != 0 && lstat(un.sun_path, &now) == 0 && now.st_ino == n->file.st_ino &&
        now.st_dev == n->file.st_dev)
        unlink(un.sun_path);
}

static void close_listener(struct net_listener *n)
{
    loop_timer_cancel(n->loop, &n->pause);
    loop_timer_cancel(n->loop, &n->retire);
    if (n->fd < 0)
        return;
    loop_fd_del(n->loop, &n->watch);
    if (!n->shared)
        remove_file(n);
    if (n->fd >= 0)
        close(n->fd);
    n->fd = -1;
}

static void retire_now(void *arg)
{
    struct net_listener *n = arg;

    if (!n->shared) {
        remove_file(n); /* nobody finds it any more: the queue only shrinks */
        accept_up_to(n, SWEEP_MAX);
    }
    close_listener(n);
}

/* Drops SYNs and lets everything else pass, so that handshakes under way are finished while no new
 * one begins. The client sends its SYN again after 1 s, and by then another socket of the group
 * takes it. Offsets are those of the TCP header. */
static void refuse_syns(const struct net_listener *n)
{
    static struct sock_filter ops[] = {
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 13), /* flags */
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0x12),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x02, 0, 1), /* SYN without ACK */
        BPF_STMT(BPF_RET | BPF_K, 0),
        BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
    };
    const struct sock_fprog program = {sizeof(ops) / sizeof(*ops), ops};

    if (setsockopt(n->fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0)
        log_event(LOG_WARN, "listener_unfiltered", "errno=%d", errno);
}

/* Handshakes of this machine are over before connect(2) returns. */
static bool is_far(const struct net_addr *a)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;

    memcpy(&v4, &a->sa, sizeof(v4));
    memcpy(&v6, &a->sa, sizeof(v6));
    if (a->sa.ss_family == AF_INET)
        return (ntohl(v4.sin_addr.s_addr) >> 24) != 127;
    return a->sa.ss_family == AF_INET6 && !IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr);
}

void net_listener_retire(struct net_listener *n)
{
    if (n->fd < 0 || n->shared || !is_far(&n->addr)) {
        retire_now(n);
        return;
    }
    loop_fd_want(n->loop, &n->watch, EPOLLIN);
    refuse_syns(n);
    loop_timer_set(n->loop, &n->retire, RETIRE_MS, retire_now, n);
}

bool net_listener_is_open(const struct net_listener *n)
{
    return n->fd >= 0;
}

int net_listener_fd(const struct net_listener *n)
{
    return n->fd;
}

void net_listener_let_go(struct net_listener *n)
{
    n->shared = true;
    retire_now(n);
}

void net_listener_free(struct net_listener *n)
{
    if (!n)
        return;
    close_listener(n);
    loop_defer_free(n->loop, n, free); /* it may be freed from its own callback */
}
