/* Runs the owner's command every few seconds in the offload pool, with a deadline. */
#include "worker/watts.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

enum {
    EVERY_MS = 5000,
    COMMAND_MS = 3000,
    OUTPUT_MAX = 256,
    FAILURES_TO_UNKNOWN = 3,
    WATTS_MAX = 10000000,
};

struct watts {
    struct loop *loop;
    struct offload *offload;
    char *command;
    int64_t ceiling, now; /* now -1: not known */
    bool over, busy, stopped;
    unsigned failures;
    struct loop_timer timer;

    /* Of the job while it runs. */
    struct offload_job job;
    char *running;
    int error;
    int64_t read;
};

int watts_parse(struct span text, int64_t *out)
{
    size_t at = 0;
    int64_t whole = 0;
    bool more = false;

    text = span_trim(text);
    while (at < text.len && text.data[at] >= '0' && text.data[at] <= '9' && whole <= WATTS_MAX)
        whole = whole * 10 + (text.data[at++] - '0');
    if (at == 0 || whole > WATTS_MAX)
        return E_INVALID;
    if (at < text.len && text.data[at] == '.')
        for (at++; at < text.len && text.data[at] >= '0' && text.data[at] <= '9'; at++)
            more = more || text.data[at] != '0';
    *out = whole + more;
    return 0;
}

/* ---- The command, in a pool thread ---- */

static int spawn_shell(char *command, int out_fd, pid_t *pid)
{
    char *argv[] = {(char[]){"sh"}, (char[]){"-c"}, command, NULL};
    char *env[] = {(char[]){"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
                   NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t none,
        pipe_signal; /* what this process blocks and ignores is not the command's matter */

    sigemptyset(&none);
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    if (posix_spawn_file_actions_init(&actions) != 0)
        return E_IO;
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &pipe_signal);
    posix_spawnattr_setpgroup(&attr, 0); /* its children die with it */
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                        POSIX_SPAWN_SETPGROUP);
    int error = posix_spawn_file_actions_adddup2(&actions, out_fd, STDOUT_FILENO);
    if (!error)
        error = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (!error)
        error = posix_spawn(pid, "/bin/sh", &actions, &attr, argv, env);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attr);
    return error ? E_IO : 0;
}

/* Until the end of the output, the bound or the deadline. */
static int read_output(int fd, struct buf *out)
{
    const uint64_t end = clock_mono_ms() + COMMAND_MS;
    uint64_t now;

    while ((now = clock_mono_ms()) < end && out->len < OUTPUT_MAX) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        const int ready = poll(&p, 1, (int)(end - now));
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready <= 0)
            break;
        const ssize_t n = read(fd, buf_reserve(out, OUTPUT_MAX), OUTPUT_MAX);
        if (n <= 0)
            return n < 0 ? E_IO : 0;
        out->len += (size_t)n;
    }
    return out->len >= OUTPUT_MAX ? E_TOO_LARGE : E_TIMEOUT;
}

static int run_command(char *command, int64_t *watts)
{
    AUTO(buf_fini) struct buf out = {0};
    int pipes[2];
    pid_t pid = 0;
    int status = 0;

    if (pipe2(pipes, O_CLOEXEC) < 0)
        return E_IO;
    int error = spawn_shell(command, pipes[1], &pid);
    close(pipes[1]);
    if (!error) {
        error = read_output(pipes[0], &out);
        kill(-pid, SIGKILL);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            continue;
    }
    close(pipes[0]);
    return error < 0 ? error : watts_parse(buf_span(&out), watts);
}

static void watts_work(struct offload_job *job)
{
    struct watts *w = CONTAINER(job, struct watts, job);

    w->error = run_command(w->running, &w->read);
}

/* ---- In the loop ---- */

static void judge(struct watts *w)
{
    const bool was = w->over;
    const int64_t limit = w->over ? w->ceiling - w->ceiling / 10 : w->ceiling;

    w->over = w->ceiling > 0 && (w->now < 0 || w->now > limit);
    if (w->over != was)
        log_event(LOG_INFO, "watts", "now=%lld ceiling=%lld over=%d", (long long)w->now,
                  (long long)w->ceiling, w->over);
}

static void on_tick(void *arg);

static void watts_done(struct offload_job *job)
{
    struct watts *w = CONTAINER(job, struct watts, job);

    w->busy = false;
    free(w->running);
    w->running = NULL;
    if (w->stopped)
        return;
    w->failures = w->error < 0 ? w->failures + 1 : 0;
    if (w->error == 0)
        w->now = w->read;
    else if (w->failures >= FAILURES_TO_UNKNOWN)
        w->now = -1;
    if (w->error < 0)
        log_event(LOG_WARN, "watts_command", "error=%s failures=%u", error_name(w->error),
                  w->failures);
    judge(w);
}

static void on_tick(void *arg)
{
    struct watts *w = arg;

    loop_timer_set(w->loop, &w->timer, EVERY_MS, on_tick, w);
    if (w->busy || w->ceiling == 0 || !w->command[0])
        return;
    w->job = (struct offload_job){.work = watts_work, .done = watts_done};
    w->running = mem_strdup(w->command);
    w->busy = offload_submit(w->offload, &w->job) == 0;
    if (!w->busy) {
        free(w->running);
        w->running = NULL;
    }
}

struct watts *watts_new(struct loop *l, struct offload *o, const char *command)
{
    struct watts *w = mem_zero(sizeof(*w));

    *w = (struct watts){.loop = l, .offload = o, .now = -1};
    w->command = mem_strdup(command);
    return w;
}

void watts_command(struct watts *w, const char *command)
{
    if (strcmp(w->command, command) == 0)
        return;
    free(w->command);
    w->command = mem_strdup(command);
    w->now = -1;
    w->failures = 0;
    judge(w);
}

void watts_ceiling(struct watts *w, int64_t watts)
{
    if (w->ceiling != watts)
        w->over = false;
    w->ceiling = watts;
    if (watts == 0)
        w->now = -1;
    judge(w);
    on_tick(w);
}

bool watts_over(const struct watts *w)
{
    return w->over;
}

int64_t watts_now(const struct watts *w)
{
    return w->now;
}

void watts_stop(struct watts *w)
{
    w->stopped = true;
    loop_timer_cancel(w->loop, &w->timer);
}

void watts_free(struct watts *w)
{
    if (!w)
        return;
    free(w->command);
    free(w);
}
