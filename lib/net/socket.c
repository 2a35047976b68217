/* Addresses as text, listeners that accept into the loop, non-blocking connects, look-ups in the
 * offload pool. */
#include "net/socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"

enum {
    ACCEPTS_A_TURN = 64,
    ACCEPT_PAUSE_MS =
        100,        /* out of descriptors: the socket stays readable, so rest instead of spinning */
    HOST_MAX = 253, /* RFC 1035 §2.3.4 */
    RETIRE_MS = 500,
    SWEEP_MAX = 1 << 16
};

/* ---- Addresses ---- */

static int parse_unix(struct net_addr *out, struct span path)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};

    if (path.len == 0 || path.len >= sizeof(sun.sun_path) || memchr(path.data, 0, path.len))
        return E_INVALID;
    memcpy(sun.sun_path, path.data, path.len);
    memcpy(&out->sa, &sun, sizeof(sun));
    out->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.len + 1);
    return 0;
}

/* Whether an unresolved host may be a name: RFC 1123 letters, and a last label that is not a number
 * (a mistyped address). */
static bool is_host_name(struct span host)
{
    size_t label = 0;
    bool has_letter = false;

    for (size_t i = 0; i < host.len; i++) {
        uint8_t c = host.data[i];
        bool letter = (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
        if (!letter && !(c >= '0' && c <= '9') && c != '-' && c != '.' && c != '_')
            return false;
        label = c == '.' ? 0 : label + 1;
        has_letter = c == '.' ? false : has_letter || letter;
    }
    return label > 0 && has_letter;
}

static int parse_v4(struct net_addr *out, const char *host, uint16_t port)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};

    if (inet_pton(AF_INET, host, &in.sin_addr) != 1)
        return E_INVALID;
    memcpy(&out->sa, &in, sizeof(in));
    out->len = sizeof(in);
    return 0;
}

static int parse_v6(struct net_addr *out, const char *host, uint16_t port)
{
    struct sockaddr_in6 in = {.sin6_family = AF_INET6, .sin6_port = htons(port)};

    if (inet_pton(AF_INET6, host, &in.sin6_addr) != 1)
        return E_INVALID;
    memcpy(&out->sa, &in, sizeof(in));
    out->len = sizeof(in);
    return 0;
}

/* Cuts "host:port" at its last colon; the host keeps its brackets. */
static int split_port(const char *text, char host[static HOST_MAX + 1], uint16_t *port)
{
    const char *colon = strrchr(text, ':');
    uint64_t number;

    if (!colon || (size_t)(colon - text) > HOST_MAX)
        return E_INVALID;
    TRY(span_u64(span_str(colon + 1), UINT16_MAX, &number));
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = 0;
    *port = (uint16_t)number;
    return 0;
}

int net_addr_parse(struct net_addr *out, const char *text)
{
    char host[HOST_MAX + 1];
    uint16_t port;

    memset(out, 0, sizeof(*out));
    if (span_starts(span_str(text), SPAN("unix:")))
        return parse_unix(out, span_from(span_str(text), strlen("unix:")));
    TRY(split_port(text, host, &port));
    size_t len = strlen(host);
    if (len == 0)
        return parse_v6(out, "::", port);
    if (host[0] == '[') {
        if (host[len - 1] != ']')
            return E_INVALID;
        host[len - 1] = 0;
        return parse_v6(out, host + 1, port);
    }
    if (parse_v4(out, host, port) == 0)
        return 0;
    return is_host_name(span_str(host)) ? E_NOT_FOUND : E_INVALID;
}

void net_addr_text(const struct net_addr *a, char *out, size_t out_len)
{
    char host[INET6_ADDRSTRLEN] = "";
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un un;

    switch (a->sa.ss_family) {
    case AF_INET:
        memcpy(&v4, &a->sa, sizeof(v4));
        inet_ntop(AF_INET, &v4.sin_addr, host, sizeof(host));
        snprintf(out, out_len, "%s:%u", host, ntohs(v4.sin_port));
        break;
    case AF_INET6:
        memcpy(&v6, &a->sa, sizeof(v6));
        inet_ntop(AF_INET6, &v6.sin6_addr, host, sizeof(host));
        snprintf(out, out_len, "[%s]:%u", host, ntohs(v6.sin6_port));
        break;
    default: /* UNIX; an unnamed peer has no path */
        memset(&un, 0, sizeof(un));
        memcpy(&un, &a->sa, a->len < sizeof(un) ? a->len : sizeof(un));
        snprintf(out, out_len, "unix:%.*s", (int)sizeof(un.sun_path), un.sun_path);
    }
}

/* An IPv4 client of a dual-stack socket comes as ::ffff:a.b.c.d (RFC 4291 §2.5.5.2); everybody
 * wants to see a.b.c.d. */
static void unmap_v4(struct net_addr *a)
{
    struct sockaddr_in6 v6;
    struct sockaddr_in v4 = {.sin_family = AF_INET};

    if (a->sa.ss_family != AF_INET6)
        return;
    memcpy(&v6, &a->sa, sizeof(v6));
    if (!IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr))
        return;
    v4.sin_port = v6.sin6_port;
    memcpy(&v4.sin_addr, v6.sin6_addr.s6_addr + 12, 4);
    memset(a, 0, sizeof(*a));
    memcpy(&a->sa, &v4, sizeof(v4));
    a->len = sizeof(v4);
}

static struct sockaddr *addr_ptr(struct net_addr *a)
{
    return (struct sockaddr *)&a->sa;
}

/* ---- Look-ups ---- */

struct resolve_job {
    struct offload_job job;
    char host[HOST_MAX + 1];
    uint16_t port;
    unsigned nth;
    struct net_addr addr;
    int error;
    net_resolve_fn *done;
    void *arg;
};

static const struct addrinfo *nth_of(const struct addrinfo *list, unsigned nth)
{
    unsigned count = 0;

    for (const struct addrinfo *a = list; a; a = a->ai_next)
        count++;
    for (nth %= count; nth > 0; nth--)
        list = list->ai_next;
    return list;
}

static void resolve_work(struct offload_job *job)
{
    struct resolve_job *r = CONTAINER(job, struct resolve_job, job);
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    char port[6];

    snprintf(port, sizeof(port), "%u", r->port);
    r->error = E_NOT_FOUND;
    if (getaddrinfo(r->host, port, &hints, &list) != 0 || !list)
        return;
    const struct addrinfo *chosen = nth_of(list, r->nth);
    if (chosen->ai_addrlen <= sizeof(r->addr.sa)) {
        memcpy(&r->addr.sa, chosen->ai_addr, chosen->ai_addrlen);
        r->addr.len = chosen->ai_addrlen;
        r->error = 0;
    }
    freeaddrinfo(list);
}

static void already_resolved(struct offload_job *job)
{
    (void)job;
}

static void resolve_done(struct offload_job *job)
{
    struct resolve_job *r = CONTAINER(job, struct resolve_job, job);

    r->done(r->arg, r->error, r->error < 0 ? NULL : &r->addr);
    free(r);
}

int net_resolve_nth(struct offload *o, const char *host_port, unsigned nth, net_resolve_fn *done,
                    void *arg)
{
    struct net_addr addr;
    int parsed = net_addr_parse(&addr, host_port);
    if (parsed < 0 && parsed != E_NOT_FOUND)
        return parsed;

    struct resolve_job *r = mem_zero(sizeof(*r));
    r->job.work = parsed == 0 ? already_resolved : resolve_work;
    r->job.done = resolve_done;
    r->addr = addr;
    r->nth = nth;
    r->done = done;
    r->arg = arg;
    int error = parsed == 0 ? 0 : split_port(host_port, r->host, &r->port);
    if (error == 0)
        error = offload_submit(o, &r->job);
    if (error < 0)
        free(r);
    return error;
}

int net_resolve(struct offload *o, const char *host_port, net_resolve_fn *done, void *arg)
{
    return net_resolve_nth(o, host_port, 0, done, arg);
}

/* ---- Listening ---- */

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

static void set_nodelay(int fd, int family)
{
    int on = 1;

    if (family != AF_UNIX)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

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
        int fd = accept4(n->fd, addr_ptr(&peer), &peer.len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            unmap_v4(&peer);
            set_nodelay(fd, peer.sa.ss_family);
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
    if (getsockname(fd, addr_ptr(&n->addr), &n->addr.len) < 0 ||
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
    if (bind(fd, addr_ptr(at), at->len) < 0)
        return E_IO;
    if (chmod(un.sun_path, 0660) < 0) {
        unlink(un.sun_path);
        return E_IO;
    }
    return 0;
}

static int bind_tcp(int fd, struct net_addr *at)
{
    int on = 1, off = 0;

    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) < 0)
        return E_IO;
    if (at->sa.ss_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    return bind(fd, addr_ptr(at), at->len) < 0 ? E_IO : 0;
}

/* ":port" on a machine without IPv6 means every IPv4 address. */
static int any_as_v4(struct net_addr *a)
{
    struct sockaddr_in6 v6;

    if (a->sa.ss_family != AF_INET6)
        return E_IO;
    memcpy(&v6, &a->sa, sizeof(v6));
    if (!IN6_IS_ADDR_UNSPECIFIED(&v6.sin6_addr))
        return E_IO;
    return parse_v4(a, "0.0.0.0", ntohs(v6.sin6_port));
}

static int bound_socket(struct net_addr *at, int *out)
{
    int fd = socket(at->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return E_IO;
    int error = at->sa.ss_family == AF_UNIX ? bind_unix(fd, at) : bind_tcp(fd, at);
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
                        bind(fd, addr_ptr(&where), where.len) < 0 && errno == EADDRINUSE;
    close(fd);
    return served;
}

int net_bind(struct net_listener **out, struct loop *l, const struct net_addr *at,
             net_accept_fn *fn, void *arg)
{
    struct net_addr where = *at;
    int fd = -1;

    int error = bound_socket(&where, &fd);
    if (error < 0 && (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL) && any_as_v4(&where) == 0)
        error = bound_socket(&where, &fd);
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

static int begin(struct net_listener *n)
{
    if (n->bound_only && listen(n->fd, SOMAXCONN) < 0)
        return E_IO;
    n->bound_only = false;
    loop_fd_want(n->loop, &n->watch, EPOLLIN);
    return 0;
}

int net_listen(struct net_listener **out, struct loop *l, const struct net_addr *at,
               net_accept_fn *fn, void *arg)
{
    TRY(net_bind(out, l, at, fn, arg));
    const int error = begin(*out);
    if (error < 0) {
        int why = errno;
        net_listener_free(*out);
        *out = NULL;
        errno = why;
    }
    return error;
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

/* ---- Connecting ---- */

int net_connect(const struct net_addr *to, int *fd)
{
    struct net_addr where = *to;
    int s = socket(where.sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (s < 0)
        return E_IO;
    set_nodelay(s, where.sa.ss_family);
    if (connect(s, addr_ptr(&where), where.len) < 0 && errno != EINPROGRESS) {
        int why = errno;
        close(s);
        errno = why;
        return E_IO;
    }
    *fd = s;
    return 0;
}

uint64_t net_raise_nofile(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return 0;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    getrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur;
}
