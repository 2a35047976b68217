/* Real Redis processes in all forms for tests: servers with options, orders given to them one by
 * one over a plain connection, free ports, files. */
#ifndef TESTS_NET_REDIS_FLEET_H
#define TESTS_NET_REDIS_FLEET_H

#include "redis_world.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/random.h"

enum { FLEET_MAX = 8 };

struct fleet {
    struct world w; /* loop and client; its own server is not used */
    char dir[32];
    struct offload *offload;
    int ports[FLEET_MAX];
    pid_t pids[FLEET_MAX];
};

/* Free, and of a range that the kernel gives to nobody's connections; another each time. */
static inline int fleet_port(void)
{
    static uint16_t next;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    bool taken = true;

    if (!next)
        next = (uint16_t)(4000 + random_below(7000));
    while (taken) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        next = next < 11000 ? (uint16_t)(next + 1) : 4000;
        at.sin_port = htons(next);
        taken = bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0;
        close(fd);
    }
    return next;
}

enum { FLEET_WORDS = 64 };

static inline void fleet_run(struct fleet *f, size_t i, const char *const argv[FLEET_WORDS])
{
    f->pids[i] = fork();
    if (f->pids[i] == 0) {
        int null = open("/dev/null", O_RDWR);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(null, 1);
        dup2(null, 2);
        char *words[FLEET_WORDS];
        memcpy(words, argv, sizeof(words)); /* execvp's words are not const for history's sake */
        execvp(words[0], words);
        _exit(127);
    }
    assert_true(f->pids[i] > 0);
}

/* A server on a free port (kept from an earlier start) with these options, up to a NULL. */
static inline void fleet_start(struct fleet *f, size_t i, ...)
{
    const char *argv[FLEET_WORDS] = {"redis-server", "--bind", "127.0.0.1", "--save", "", "--dir"};
    char port[12], dir[64];
    size_t argc = 6;
    va_list args;

    if (!f->ports[i])
        f->ports[i] = fleet_port();
    snprintf(port, sizeof(port), "%d", f->ports[i]);
    snprintf(dir, sizeof(dir), "%s/%zu", f->dir, i);
    mkdir(dir, 0700);
    argv[argc++] = dir;
    va_start(args, i);
    for (const char *word; (word = va_arg(args, const char *));)
        argv[argc++] = strcmp(word, "PORT") == 0 ? port : word;
    va_end(args);
    argv[argc] = NULL;
    fleet_run(f, i, argv);
}

static inline void fleet_kill(struct fleet *f, size_t i)
{
    if (f->pids[i] <= 0)
        return;
    kill(f->pids[i], SIGKILL);
    waitpid(f->pids[i], NULL, 0);
    f->pids[i] = 0;
}

/* The reply's first bytes; "" when the server does not answer. One inline command. */
static inline const char *fleet_order(struct fleet *f, size_t i, const char *fmt, ...)
{
    static char reply[4096];
    char line[512];
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)f->ports[i]),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval wait = {.tv_sec = 2};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    va_list args;

    va_start(args, fmt);
    vsnprintf(line, sizeof(line) - 2, fmt, args);
    va_end(args);
    strcat(line, "\r\n");
    reply[0] = 0;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
    if (connect(fd, (struct sockaddr *)&at, sizeof(at)) == 0 &&
        send(fd, line, strlen(line), MSG_NOSIGNAL) > 0) {
        ssize_t n = recv(fd, reply, sizeof(reply) - 1, 0);
        reply[n > 0 ? n : 0] = 0;
    }
    close(fd);
    return reply;
}

#define FLEET_UNTIL(condition)                                                                     \
    do {                                                                                           \
        for (uint64_t end_ = clock_mono_ms() + 15000; !(condition) && clock_mono_ms() < end_;)     \
            usleep(10000);                                                                         \
        assert_true(condition);                                                                    \
    } while (0)

static inline void fleet_await(struct fleet *f, size_t i)
{
    FLEET_UNTIL(strstr(fleet_order(f, i, "PING"), "PONG"));
}

static inline const char *fleet_file(const struct fleet *f, const char *name, const char *content)
{
    static char paths[8][96];
    static size_t at;
    char *path = paths[at++ % 8];

    snprintf(path, sizeof(paths[0]), "%s/%s", f->dir, name);
    if (content) {
        int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
        assert_int_equal(write(fd, content, strlen(content)), strlen(content));
        close(fd);
    }
    return path;
}

static inline void fleet_client(struct fleet *f, const struct redis_access *at, uint64_t command_ms,
                                uint64_t dead_ms)
{
    const struct redis_options o = {.at = *at,
                                    .offload = f->offload,
                                    .command_ms = command_ms,
                                    .dead_ms = dead_ms,
                                    .queue_max = 10000};

    redis_free(f->w.redis);
    f->w.redis = NULL;
    assert_int_equal(redis_new(&f->w.redis, f->w.loop, &o, on_state, &f->w), 0);
}

static inline int fleet_setup(void **state)
{
    struct fleet *f = calloc(1, sizeof(*f));

    snprintf(f->dir, sizeof(f->dir), "/tmp/fleet-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    assert_int_equal(loop_new(&f->w.loop), 0);
    assert_int_equal(offload_new(&f->offload, f->w.loop, 1), 0);
    *state = f;
    return 0;
}

static inline int fleet_teardown(void **state)
{
    struct fleet *f = *state;
    char remove[64];

    redis_free(f->w.redis);
    offload_free(f->offload);
    loop_free(f->w.loop);
    for (size_t i = 0; i < FLEET_MAX; i++)
        fleet_kill(f, i);
    snprintf(remove, sizeof(remove), "rm -r %s", f->dir);
    assert_int_equal(system(remove), 0);
    free(f);
    return 0;
}

#endif
