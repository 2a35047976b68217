/* Checking credentials against a real Redis: changes published by another client, a server that
 * stops, comes back, is emptied. */
#include "auth/keys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/encode.h"

struct fixture {
    char folder[64], socket[96];
    pid_t server;
    struct loop *loop;
    struct redis *redis;
    struct auth *auth;
    struct buf key;
    char lookup[2 * KEY_LOOKUP_LEN + 1], hash[2 * SHA256_LEN + 1];
    unsigned told, replies;
    enum auth_result result;
    struct key_record *record;
};

static void start_server(struct fixture *f)
{
    f->server = fork();
    if (f->server == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        const int null = dup2(open("/dev/null", O_WRONLY), 1);
        execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", f->socket, "--save",
               "", "--dir", f->folder, (char *)NULL);
        _exit(null < 0 ? 1 : 127);
    }
    assert_true(f->server > 0);
}

static void stop_server(struct fixture *f)
{
    kill(f->server, SIGKILL);
    waitpid(f->server, NULL, 0);
}

// Turns the loop until the condition holds, for 5 s at most.
#define AWAIT(f, condition)                                                                        \
    do {                                                                                           \
        const uint64_t end_ = clock_mono_ms() + 5000;                                              \
        while (!(condition) && clock_mono_ms() < end_)                                             \
            loop_turn((f)->loop, 10);                                                              \
        assert_true(condition);                                                                    \
    } while (0)

static void await_redis(struct fixture *f)
{
    AWAIT(f, redis_up(f->redis) && redis_subscribed(f->redis));
    loop_turn(f->loop, 0);
}

static void count_reply(void *arg, int error, const struct redisReply *reply)
{
    struct fixture *f = arg;

    assert_int_equal(error, 0);
    assert_int_not_equal(redis_reply_type(reply), REDIS_FAILURE);
    f->replies++;
}

static void command(struct fixture *f, const struct span *argv, size_t argc)
{
    const unsigned before = f->replies;

    assert_int_equal(redis_command(f->redis, argv[0], argv, argc, count_reply, f), 0);
    AWAIT(f, f->replies > before);
}

static void store(struct fixture *f, unsigned version, const char *state)
{
    char key[64], record[512];

    snprintf(key, sizeof(key), "key:{%s}", f->lookup);
    snprintf(record, sizeof(record),
             "{\"format\":\"cgw/key/v1\",\"id\":\"0a1b2c3d4e5f\",\"account\":\"acme\","
             "\"version\":%u,\"state\":\"%s\",\"secret_sha256\":\"%s\"}",
             version, state, f->hash);
    command(f, (struct span[]){SPAN("SET"), span_str(key), span_str(record)}, 3);
}

static void mark(struct fixture *f)
{
    command(f, (struct span[]){SPAN("SET"), SPAN("keys:epoch"), SPAN("e:1")}, 3);
}

static void ignore_state(void *arg, bool up, const char *run_id)
{
    (void)arg, (void)up, (void)run_id;
}

static int setup(void **state)
{
    struct fixture *f = mem_zero(sizeof(*f));
    struct redis_options options = redis_defaults;
    char url[128];
    const struct auth_options o = {5000, 600000, 2000, 20, 100};
    struct api_key key;
    uint8_t hash[SHA256_LEN];

    strcpy(f->folder, "/tmp/test-auth-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->socket, sizeof(f->socket), "%s/redis.sock", f->folder);
    snprintf(url, sizeof(url), "unix:%s", f->socket);
    options.at.url = url;
    start_server(f);
    api_key_make(&key, &f->key);
    api_key_lookup(&key, f->lookup);
    sha256(hash, SPAN_OF(key.secret));
    hex_encode(f->hash, SPAN_OF(hash));
    assert_int_equal(loop_new(&f->loop), 0);
    assert_int_equal(redis_new(&f->redis, f->loop, &options, ignore_state, NULL), 0);
    assert_int_equal(auth_new(&f->auth, f->loop, f->redis, &o), 0);
    await_redis(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char remove[96];

    stop_server(f);
    auth_free(f->auth);
    redis_free(f->redis);
    loop_free(f->loop);
    key_record_unref(f->record);
    buf_wipe(&f->key);
    snprintf(remove, sizeof(remove), "rm -rf '%s'", f->folder);
    assert_int_equal(system(remove), 0);
    free(f);
    return 0;
}

static void done(void *arg, enum auth_result result, struct key_record *record)
{
    struct fixture *f = arg;

    key_record_unref(f->record);
    f->record = record;
    f->result = result;
    f->told++;
}

static enum auth_result check(struct fixture *f)
{
    const unsigned before = f->told;

    auth_check(f->auth, buf_span(&f->key), SPAN("10.0.0.1"), done, f);
    AWAIT(f, f->told > before);
    return f->result;
}

static void a_stored_key_is_good(void **state)
{
    struct fixture *f = *state;

    mark(f);
    store(f, 1, "active");
    assert_int_equal(check(f), AUTH_OK);
    assert_string_equal(f->record->account, "acme");
}

static void an_unmarked_redis_refuses_nobody(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(check(f), AUTH_UNAVAILABLE);
    mark(f);
    assert_int_equal(check(f), AUTH_INVALID);
}

static void a_published_revocation_is_noticed_within_a_second(void **state)
{
    struct fixture *f = *state;

    mark(f);
    store(f, 1, "active");
    assert_int_equal(check(f), AUTH_OK);
    store(f, 2, "revoked");
    const uint64_t began = clock_mono_ms();
    command(f, (struct span[]){SPAN("PUBLISH"), SPAN("keys:changed"), span_str(f->lookup)}, 3);
    AWAIT(f, !auth_still_valid(f->auth, f->record));
    assert_true(clock_mono_ms() - began < 1000);
    assert_int_equal(check(f), AUTH_INVALID);
}

static void known_keys_outlive_a_server_and_it_heals(void **state)
{
    struct fixture *f = *state;

    mark(f);
    store(f, 1, "active");
    assert_int_equal(check(f), AUTH_OK);
    stop_server(f);
    AWAIT(f, !redis_up(f->redis) && !redis_subscribed(f->redis));
    usleep(1100 * 1000); /* older than fresh */
    loop_turn(f->loop, 0);
    assert_int_equal(check(f), AUTH_OK);
    start_server(f);
    await_redis(f);
    assert_int_equal(check(f), AUTH_OK); /* the new server is empty, and has no marker */
    store(f, 2, "revoked");
    mark(f);
    usleep(300 * 1000);
    loop_turn(f->loop, 0);
    assert_int_equal(check(f), AUTH_INVALID);
}

static void a_server_that_hangs_does_not_hang_a_check(void **state)
{
    struct fixture *f = *state;

    mark(f);
    kill(f->server, SIGSTOP);
    const uint64_t began = clock_mono_ms();
    assert_int_equal(check(f), AUTH_UNAVAILABLE);
    assert_true(clock_mono_ms() - began < 1000);
    kill(f->server, SIGCONT);
    AWAIT(f, redis_up(f->redis) && redis_subscribed(f->redis));
    store(f, 1, "active");
    assert_int_equal(check(f), AUTH_OK);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_stored_key_is_good),
        CASE(an_unmarked_redis_refuses_nobody),
        CASE(a_published_revocation_is_noticed_within_a_second),
        CASE(known_keys_outlive_a_server_and_it_heals),
        CASE(a_server_that_hangs_does_not_hang_a_check),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
