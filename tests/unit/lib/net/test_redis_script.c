/* Scripts by their SHA-1 against a real redis-server that knows them, forgets them, and hangs. */
#include "net/redis_script.h"

#include "redis_world.h"

static const char count_source[] =
    "redis.call('INCRBY', KEYS[1], ARGV[1]) return redis.call('INCRBY', KEYS[2], ARGV[2])";

static struct redis_script count_script(void)
{
    struct redis_script s;

    redis_script_init(&s, "count", count_source, 2);
    return s;
}

static void count(struct world *w, const struct redis_script *s, struct told *t)
{
    const struct span keys[] = {SPAN("{a}:1"), SPAN("{a}:2")}, args[] = {SPAN("1"), SPAN("10")};

    assert_int_equal(redis_script_run(w->redis, s, keys, args, 2, on_reply, t), 0);
}

static void expect_number(struct world *w, struct told *t, int64_t number)
{
    WAIT_FOR(w, t->calls > 0);
    assert_int_equal(t->calls, 1);
    assert_int_equal(t->error, 0);
    assert_int_equal(t->type, REDIS_NUMBER);
    assert_int_equal(t->number, number);
}

static void the_hash_is_the_one_that_redis_computes(void **state)
{
    struct world *w = *state;
    struct told t = {0};
    const struct redis_script s = count_script();
    const struct span source = span_str(count_source);

    assert_int_equal(redis_commandf(w->redis, on_reply, &t, "SCRIPT LOAD %b", &source), 0);
    expect_text(w, &t, s.sha);
}

static void a_script_that_redis_does_not_know_runs_once(void **state)
{
    struct world *w = *state;
    const struct redis_script s = count_script();
    struct told first = {0}, again = {0}, flushed = {0}, third = {0};

    count(w, &s, &first);
    expect_number(w, &first, 10);
    count(w, &s, &again);
    expect_number(w, &again, 20);
    assert_int_equal(redis_commandf(w->redis, on_reply, &flushed, "SCRIPT FLUSH"), 0);
    expect_text(w, &flushed, "OK");
    count(w, &s, &third);
    expect_number(w, &third, 30);
}

static void runs_given_before_it_is_known_all_happen_once(void **state)
{
    struct world *w = *state;
    const struct redis_script s = count_script();
    static struct told told[50];
    struct told last = {0};

    memset(told, 0, sizeof(told));
    for (size_t i = 0; i < 50; i++)
        count(w, &s, &told[i]);
    for (size_t i = 0; i < 50; i++)
        WAIT_FOR(w, told[i].calls == 1 && told[i].error == 0);
    count(w, &s, &last);
    expect_number(w, &last, 510);
}

static void an_error_of_the_script_is_its_answer(void **state)
{
    struct world *w = *state;
    struct redis_script s;
    struct told t[2] = {0};

    redis_script_init(&s, "refuse", "return redis.error_reply('FUNDS 12 too little')", 1);
    for (size_t i = 0; i < 2; i++) {
        const struct span key = SPAN("k");
        assert_int_equal(redis_script_run(w->redis, &s, &key, NULL, 0, on_reply, &t[i]), 0);
        WAIT_FOR(w, t[i].calls == 1);
        assert_int_equal(t[i].type, REDIS_FAILURE);
        assert_string_equal(t[i].text, "FUNDS 12 too little");
    }
}

static void a_run_that_was_abandoned_is_not_sent_again(void **state)
{
    struct world *w = *state;
    const struct redis_script s = count_script();
    struct told late = {0}, get = {0};

    make_client(w, w->url, 50, 5000);
    WAIT_FOR(w, redis_up(w->redis));
    freeze(w);
    count(w, &s, &late);
    WAIT_FOR(w, late.calls == 1);
    assert_int_equal(late.error, E_TIMEOUT);
    thaw(w);
    run_for(w, 100);
    assert_int_equal(redis_commandf(w->redis, on_reply, &get, "EXISTS {a}:1"), 0);
    expect_number(w, &get, 0);
    assert_int_equal(late.calls, 1);
}

static void without_redis_nothing_is_taken(void **state)
{
    struct world *w = *state;
    const struct redis_script s = count_script();
    const struct span keys[] = {SPAN("{a}:1"), SPAN("{a}:2")}, args[] = {SPAN("1"), SPAN("10")};
    struct told t = {0};

    stop_server(w);
    WAIT_FOR(w, !redis_up(w->redis));
    assert_int_equal(redis_script_run(w->redis, &s, keys, args, 2, on_reply, &t), E_UNAVAILABLE);
    run_for(w, 20);
    assert_int_equal(t.calls, 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup_up, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(the_hash_is_the_one_that_redis_computes),
        CASE(a_script_that_redis_does_not_know_runs_once),
        CASE(runs_given_before_it_is_known_all_happen_once),
        CASE(an_error_of_the_script_is_its_answer),
        CASE(a_run_that_was_abandoned_is_not_sent_again),
        CASE(without_redis_nothing_is_taken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
