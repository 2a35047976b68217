/* What tests of the Redis client share: a real redis-server that the test starts, stops, freezes
 * and kills, a client of it, and what commands were told. */
#ifndef TESTS_NET_REDIS_WORLD_H
#define TESTS_NET_REDIS_WORLD_H

#include "net/redis.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"

struct world {
    struct loop *loop;
    struct redis *redis;
    char dir[32], socket[64], url[160];
    pid_t server;
    int ups, downs;
    bool free_when_down;
    char run_id[64];
};

/* ---- The server ---- */

static inline void start_server(struct world *w, const char *option, const char *value)
{
    w->server = fork();
    if (w->server == 0) {
        int null = open("/dev/null", O_RDWR);
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that crashes leaves no server */
        dup2(null, 1);
        dup2(null, 2);
        execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", w->socket, "--dir",
               w->dir, "--save", "", option, value, (char *)NULL);
        _exit(127);
    }
    assert_true(w->server > 0);
}

static inline void stop_server(struct world *w)
{
    if (w->server <= 0)
        return;
    kill(w->server, SIGKILL);
    waitpid(w->server, NULL, 0);
    w->server = 0;
}

static inline void freeze(struct world *w)
{
    assert_int_equal(kill(w->server, SIGSTOP), 0);
    waitpid(w->server, NULL, WUNTRACED);
}

static inline void thaw(struct world *w)
{
    assert_int_equal(kill(w->server, SIGCONT), 0);
}

/* ---- The client ---- */

static inline void on_state(void *arg, bool up, const char *run_id)
{
    struct world *w = arg;

    if (up) {
        w->ups++;
        snprintf(w->run_id, sizeof(w->run_id), "%s", run_id);
    } else {
        w->downs++;
        assert_null(run_id);
        if (w->free_when_down) {
            redis_free(w->redis);
            w->redis = NULL;
        }
    }
}

static inline void run_for(struct world *w, uint64_t ms)
{
    for (uint64_t end = clock_mono_ms() + ms; clock_mono_ms() < end;)
        loop_turn(w->loop, 5);
}

#define WAIT_FOR(w, condition)                                                                     \
    do {                                                                                           \
        for (uint64_t end_ = clock_mono_ms() + 8000; !(condition) && clock_mono_ms() < end_;)      \
            loop_turn((w)->loop, 5);                                                               \
        assert_true(condition);                                                                    \
    } while (0)

static inline void make_client(struct world *w, const char *url, uint64_t command_ms,
                               uint64_t dead_ms)
{
    struct redis_options o = redis_defaults;

    redis_free(w->redis);
    o.at.url = url;
    o.command_ms = command_ms;
    o.dead_ms = dead_ms;
    o.queue_max = 200;
    assert_int_equal(redis_new(&w->redis, w->loop, &o, on_state, w), 0);
}

static inline int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));

    assert_int_equal(loop_new(&w->loop), 0);
    snprintf(w->dir, sizeof(w->dir), "/tmp/redis-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    snprintf(w->socket, sizeof(w->socket), "%s/s", w->dir);
    snprintf(w->url, sizeof(w->url), "unix:%s", w->socket);
    *state = w;
    return 0;
}

/* Most cases: a plain server, a client with patient deadlines, up. */
static inline int setup_up(void **state)
{
    setup(state);
    struct world *w = *state;
    start_server(w, "--appendonly", "no");
    make_client(w, w->url, 2000, 5000);
    WAIT_FOR(w, redis_up(w->redis));
    return 0;
}

static inline int teardown(void **state)
{
    struct world *w = *state;

    redis_free(w->redis);
    loop_free(w->loop);
    stop_server(w);
    unlink(w->socket);
    rmdir(w->dir);
    free(w);
    return 0;
}

/* What one command was told. */
struct told {
    int calls, error;
    enum redis_type type;
    char text[128];
    int64_t number;
    int order; /* among all answers of the test */
    struct world *free_in;
};

static int answers;

static inline void on_reply(void *arg, int error, const struct redisReply *reply)
{
    struct told *t = arg;

    t->calls++;
    t->error = error;
    t->order = ++answers;
    if (reply) {
        struct span text = redis_reply_text(reply);
        t->type = redis_reply_type(reply);
        t->number = redis_reply_number(reply);
        snprintf(t->text, sizeof(t->text), "%.*s", SPAN_FMT(text));
    }
    if (t->free_in) {
        redis_free(t->free_in->redis);
        t->free_in->redis = NULL;
    }
}

static inline void expect_text(struct world *w, struct told *t, const char *text)
{
    WAIT_FOR(w, t->calls > 0);
    assert_int_equal(t->calls, 1);
    assert_int_equal(t->error, 0);
    assert_string_equal(t->text, text);
}

#endif
