/* One process of an instance hands over to the next: SIGUSR2 starts the program that is now on the
 * disk as a child with the listening sockets (sd_listen_fds(3), with names). The child says U when
 * it is up: from then on this process leaves dialling workers to it and has its workers dial again.
 * It says R when it could serve: this process closes its copies of the sockets and drains. Nobody
 * is refused, for the sockets never close; when the child fails, all stays as it was. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backends/pool/gateways.h"
#include "base/clock.h"
#include "base/log.h"
#include "gateway/gateway.h"
#include "net/notify.h"

enum {
    LISTENING_MAX = NET_INHERITED_MAX - 1, /* the line, too, is handed over */
    LOOK_MS = 20,
    SERVE_MS = 10000,  /* the child serves so long after its start, with or without workers */
    UPGRADE_MS = 60000 /* the child is given up after so long */
};

extern char **environ;

struct upgrade {
    struct gateway *gateway;
    pid_t child; /* 0: this process is the child */
    int fd;      /* the line to the other process */
    struct loop_fd watch;
    struct loop_timer timer;
    bool up; /* child: it has said U */
};

/* ---- What was given ---- */

static bool has_role(const char *name, const char *role)
{
    static const char *const roles[] = {"internal", "internal-tls", "tunnel", "admin",
                                        "predecessor"};

    for (size_t i = 0; i < sizeof(roles) / sizeof(*roles); i++)
        if (strcmp(name, roles[i]) == 0)
            return strcmp(name, role) == 0;
    return strcmp(role, "api") == 0;
}

int gateway_given(const struct gateway *g, const char *role, int i)
{
    for (int at = 0; at < g->given.count; at++)
        if (has_role(g->given.names[at], role) && i-- == 0)
            return NET_INHERITED_FIRST + at;
    return -1;
}

bool upgrade_has_predecessor(const struct gateway *g)
{
    return gateway_given(g, "predecessor", 0) >= 0;
}

/* It is this process's parent until it ends. */
bool upgrade_predecessor_lives(const struct gateway *g)
{
    return g->predecessor > 0 && getppid() == g->predecessor;
}

/* ---- The line between both ---- */

void upgrade_end(struct gateway *g)
{
    struct upgrade *u = g->upgrade;

    if (!u)
        return;
    g->upgrade = NULL;
    loop_timer_cancel(g->loop, &u->timer);
    loop_fd_del(g->loop, &u->watch);
    close(u->fd);
    if (u->child > 0)
        (void)kill(u->child, SIGTERM); /* it has not taken over: nobody needs it */
    free(u);
}

static void say(const struct upgrade *u, char word)
{
    if (write(u->fd, &word, 1) < 0)
        log_event(LOG_WARN, "upgrade_unheard", "errno=%d", errno);
}

/* ---- The child ---- */

static void child_serve(struct upgrade *u)
{
    struct gateway *g = u->gateway;

    say(u, 'R');
    log_event(LOG_INFO, "took_over", "ready=%s", gateway_unready(g) ? "no" : "yes");
    gateway_takeover(g);
    upgrade_end(g);
}

static void child_look(void *arg)
{
    struct upgrade *u = arg;
    struct gateway *g = u->gateway;

    if (!u->up && redis_up(g->redis)) {
        say(u, 'U');
        u->up = true;
    }
    if (u->up && (!gateway_unready(g) || clock_mono_ms() - g->started_ms >= SERVE_MS))
        child_serve(u);
    else
        loop_timer_set(g->loop, &u->timer, LOOK_MS, child_look, u);
}

/* The predecessor says nothing: only its end is heard. */
static void on_predecessor_gone(void *arg, uint32_t events)
{
    (void)events;
    child_serve(arg);
}

void upgrade_begin(struct gateway *g)
{
    struct upgrade *u = mem_zero(sizeof(*u));
    struct ucred made_by = {0};
    socklen_t len = sizeof(made_by);

    u->gateway = g;
    u->fd = gateway_given(g, "predecessor", 0);
    g->upgrade = u;
    if (getsockopt(u->fd, SOL_SOCKET, SO_PEERCRED, &made_by, &len) == 0)
        g->predecessor = made_by.pid;
    if (loop_fd_add(g->loop, &u->watch, u->fd, EPOLLIN, on_predecessor_gone, u) < 0)
        log_event(LOG_WARN, "upgrade_unwatched", "note=the-predecessor-may-die-unseen");
    child_look(u);
}

/* ---- The parent ---- */

static void parent_failed(struct upgrade *u, const char *why)
{
    struct gateway *g = u->gateway;
    const pid_t child = u->child;
    int status = 0;

    u->child = 0;
    upgrade_end(g);
    (void)kill(child, SIGKILL);
    (void)waitpid(child, &status, 0);
    log_event(LOG_ERROR, "upgrade_failed", "why=%s status=%d note=this-process-serves-on", why,
              status);
    pool_hold(g->pool, false);
}

static void parent_late(void *arg)
{
    parent_failed(arg, "late");
}

static void parent_hand_over(struct upgrade *u)
{
    struct gateway *g = u->gateway;
    char state[32];

    log_event(LOG_INFO, "handed_over", "pid=%d", (int)u->child);
    snprintf(state, sizeof(state), "MAINPID=%d", (int)u->child);
    notify_tell(state);
    u->child = 0;
    upgrade_end(g);
    gateway_drain(g, true);
}

static void on_child(void *arg, uint32_t events)
{
    struct upgrade *u = arg;
    char word = 0;
    const ssize_t n = read(u->fd, &word, 1);

    (void)events;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n == 1 && word == 'U') {
        pool_hold(u->gateway->pool, true);
        pool_dial_again(u->gateway->pool);
    } else if (n == 1 && word == 'R') {
        parent_hand_over(u);
    } else {
        parent_failed(u, "ended");
    }
}

/* What the child is given, and under which names. */
struct handed {
    int fds[NET_INHERITED_MAX];
    int high[NET_INHERITED_MAX]; /* copies above those that the child's will be */
    int count;
    struct buf names;
};

static void hand(struct handed *h, int fd, const char *name)
{
    buf_printf(&h->names, "%s%s", h->count ? ":" : "LISTEN_FDNAMES=", name);
    h->fds[h->count++] = fd;
}

/* s NULL: there is no such listener. */
static void hand_all(struct handed *h, const struct http_server *s, const char *name)
{
    int fds[LISTENING_MAX];
    const size_t count = s ? http_server_fds(s, fds, (size_t)(LISTENING_MAX - h->count)) : 0;

    for (size_t i = 0; i < count; i++)
        hand(h, fds[i], name);
}

static void hand_sockets(const struct gateway *g, struct handed *h)
{
    hand(h, pool_fd(g->pool), "tunnel");
    hand_all(h, g->admin, "admin");
    hand_all(h, g->internal_unix, "internal");
    hand_all(h, g->internal_tls, "internal-tls");
    hand_all(h, g->api, "api");
}

/* A watchdog that names a process means this one. */
static bool is_of_this_process(const char *variable)
{
    static const char *const names[] = {
        "LISTEN_PID=", "LISTEN_FDS=", "LISTEN_FDNAMES=", "WATCHDOG_PID="};

    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        if (strncmp(variable, names[i], strlen(names[i])) == 0)
            return true;
    return false;
}

/* Texts are borrowed; the list is freed by the caller. */
static char **environment(char *pid_text, char *count_text, char *names_text)
{
    size_t count = 0, kept = 0;

    while (environ[count])
        count++;
    char **env = mem_zero((count + 4) * sizeof(*env));
    for (size_t i = 0; i < count; i++)
        if (!is_of_this_process(environ[i]))
            env[kept++] = environ[i];
    env[kept++] = pid_text;
    env[kept++] = count_text;
    env[kept] = names_text;
    return env;
}

static void write_pid(char *digits, pid_t pid)
{
    char reversed[12];
    size_t n = 0;

    do
        reversed[n++] = (char)('0' + pid % 10);
    while ((pid /= 10) > 0);
    while (n > 0)
        *digits++ = reversed[--n];
    *digits = 0;
}

/* In the forked child: only what is safe in a program that has threads (signal-safety(7)). */
static _Noreturn void become(const char *program, char **argv, char **env, const struct handed *h,
                             char *pid_digits)
{
    sigset_t none;

    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    for (int i = 0; i < h->count; i++)
        if (dup2(h->high[i], NET_INHERITED_FIRST + i) < 0)
            _exit(126);
    write_pid(pid_digits, getpid());
    (void)execve(program, argv, env);
    _exit(127);
}

static bool dup_high(struct handed *h)
{
    for (int i = 0; i < h->count; i++) {
        h->high[i] = fcntl(h->fds[i], F_DUPFD_CLOEXEC, NET_INHERITED_FIRST + h->count);
        if (h->high[i] >= 0)
            continue;
        while (i > 0)
            close(h->high[--i]);
        return false;
    }
    return true;
}

/* Where this process was started from: a new version stands in the same place. */
static const char *program_path(const struct gateway *g, char out[static PATH_MAX])
{
    static const struct span deleted = {(const uint8_t *)" (deleted)", 10};

    if (strchr(g->argv[0], '/'))
        return g->argv[0];
    const ssize_t n = readlink("/proc/self/exe", out, PATH_MAX - 1);
    out[n > 0 ? n : 0] = 0;
    if (n > 0 && span_ends(span_str(out), deleted))
        out[(size_t)n - deleted.len] = 0;
    return out;
}

static pid_t spawn(const struct gateway *g, struct handed *h)
{
    char pid_text[32] = "LISTEN_PID=", count_text[32], path[PATH_MAX];
    AUTO(buf_fini) struct buf names = {0};

    if (!dup_high(h))
        return -1;
    snprintf(count_text, sizeof(count_text), "LISTEN_FDS=%d", h->count);
    buf_take(&names, &h->names);
    buf_byte(&names, 0);
    char **env = environment(pid_text, count_text, (char *)names.data);
    const char *program = program_path(g, path);
    const pid_t pid = fork();
    if (pid == 0)
        become(program, g->argv, env, h, pid_text + strlen(pid_text));
    for (int i = 0; i < h->count; i++)
        close(h->high[i]);
    free(env);
    return pid;
}

static int upgrade_start(struct gateway *g, struct upgrade *u)
{
    struct handed h = {0};
    int line[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, line) < 0)
        return E_IO;
    hand_sockets(g, &h);
    hand(&h, line[1], "predecessor");
    u->child = spawn(g, &h);
    close(line[1]);
    buf_fini(&h.names);
    u->fd = line[0];
    if (u->child < 0 || loop_fd_add(g->loop, &u->watch, u->fd, EPOLLIN, on_child, u) < 0) {
        close(u->fd); /* the child sees that and ends */
        return E_IO;
    }
    return 0;
}

void gateway_upgrade(struct gateway *g)
{
    if (g->draining || g->upgrade) {
        log_event(LOG_WARN, "upgrade_refused", "why=%s", g->draining ? "draining" : "under_way");
        return;
    }
    struct upgrade *u = mem_zero(sizeof(*u));
    u->gateway = g;
    if (upgrade_start(g, u) < 0) {
        log_event(LOG_ERROR, "upgrade_failed", "why=start errno=%d", errno);
        free(u);
        return;
    }
    g->upgrade = u;
    loop_timer_set(g->loop, &u->timer, UPGRADE_MS, parent_late, u);
    log_event(LOG_INFO, "upgrading", "pid=%d", (int)u->child);
}
