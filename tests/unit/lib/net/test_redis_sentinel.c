/* Sentinel with real processes: one primary, one replica, three Sentinels; the primary is killed,
 * frozen, and replaced by order. */
#include "redis_fleet.h"

enum { PRIMARY, REPLICA, SENTINEL, SENTINELS = 3 };
/* What Sentinel takes itself depends on the machine and its load: an unloaded one promotes within
 * 0.6 s of a kill. What we add to that is ours. */
enum { PAUSE_MS = 4000, ADDED_MS = 250 };

static char primary_port[12];

static void start_sentinel(struct fleet *f, size_t i)
{
    char name[16], text[512];

    f->ports[i] = fleet_port();
    snprintf(name, sizeof(name), "sentinel-%zu", i);
    snprintf(text, sizeof(text),
             "port %d\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 %d 2\n"
             "sentinel down-after-milliseconds main 200\nsentinel failover-timeout main 2000\n",
             f->ports[i], f->ports[PRIMARY]);
    const char *argv[FLEET_WORDS] = {"redis-server", fleet_file(f, name, text), "--sentinel"};
    fleet_run(f, i, argv);
}

static const char *url_of(struct fleet *f)
{
    static char url[160];

    snprintf(url, sizeof(url), "redis+sentinel://127.0.0.1:%d,127.0.0.1:%d,127.0.0.1:%d/main",
             f->ports[SENTINEL], f->ports[SENTINEL + 1], f->ports[SENTINEL + 2]);
    return url;
}

static int setup_sentinels(void **state)
{
    fleet_setup(state);
    struct fleet *f = *state;

    fleet_start(f, PRIMARY, "--port", "PORT", "--repl-diskless-sync-delay", "0", NULL);
    fleet_await(f, PRIMARY);
    snprintf(primary_port, sizeof(primary_port), "%d", f->ports[PRIMARY]);
    fleet_start(f, REPLICA, "--port", "PORT", "--replicaof", "127.0.0.1", primary_port, NULL);
    /* Sentinels ask for replicas at once and then every 10 s. */
    FLEET_UNTIL(strstr(fleet_order(f, REPLICA, "INFO replication"), "master_link_status:up"));
    for (size_t i = 0; i < SENTINELS; i++)
        start_sentinel(f, SENTINEL + i);
    for (size_t i = 0; i < SENTINELS; i++) {
        fleet_await(f, SENTINEL + i);
        FLEET_UNTIL(strstr(fleet_order(f, SENTINEL + i, "SENTINEL CKQUORUM main"), "OK 3"));
        FLEET_UNTIL(strstr(fleet_order(f, SENTINEL + i, "INFO sentinel"), "slaves=1"));
    }
    const struct redis_access at = {.url = url_of(f)};
    fleet_client(f, &at, 50, 500);
    WAIT_FOR(&f->w, redis_up(f->w.redis));
    return 0;
}

/* Traffic of one counter: how many were said to be done, the longest time without one and when it
 * ended; and when the replica became the primary. */
struct traffic {
    struct fleet *f;
    unsigned done, failed;
    uint64_t last_ms, longest_ms, back_ms, promoted_ms;
};

static void on_count(void *arg, int error, const struct redisReply *reply)
{
    struct traffic *t = arg;
    const uint64_t now = clock_mono_ms();

    if (error < 0 || redis_reply_type(reply) != REDIS_NUMBER) {
        assert_true(error < 0); /* READONLY and the like never reach a caller */
        t->failed++;
        return;
    }
    t->done++;
    if (now - t->last_ms > t->longest_ms) {
        t->longest_ms = now - t->last_ms;
        t->back_ms = now;
    }
    t->last_ms = now;
}

static void count_for(struct traffic *t, uint64_t ms)
{
    struct world *w = &t->f->w;

    for (uint64_t end = clock_mono_ms() + ms; clock_mono_ms() < end;) {
        if (redis_commandf(w->redis, on_count, t, "INCR counter") < 0)
            t->failed++;
        run_for(w, 5);
        if (!t->promoted_ms && strstr(fleet_order(t->f, REPLICA, "ROLE"), "master"))
            t->promoted_ms = clock_mono_ms();
    }
    WAIT_FOR(w, redis_in_flight(w->redis) == 0);
}

static void expect_short_pause(const struct traffic *t)
{
    const uint64_t added = t->back_ms > t->promoted_ms ? t->back_ms - t->promoted_ms : 0;

    print_message("pause of %llu ms, %llu ms of it after the promotion; %u commands failed\n",
                  (unsigned long long)t->longest_ms, (unsigned long long)added, t->failed);
    assert_true(t->promoted_ms > 0);
    assert_in_range(t->longest_ms, 1, PAUSE_MS);
    assert_in_range(added, 0, ADDED_MS);
}

static void on_message(void *arg, struct span channel, struct span payload)
{
    (void)channel;
    (void)payload;
    ++*(int *)arg;
}

static void hear_one(struct world *w, int *heard)
{
    struct told told = {0};

    WAIT_FOR(w, redis_subscribed(w->redis));
    *heard = 0;
    assert_int_equal(redis_commandf(w->redis, on_reply, &told, "PUBLISH news x"), 0);
    WAIT_FOR(w, *heard == 1);
}

static void begin(struct traffic *t, struct fleet *f)
{
    *t = (struct traffic){.f = f, .last_ms = clock_mono_ms()};
    count_for(t, 100);
    assert_int_equal(t->failed, 0);
    t->longest_ms = t->promoted_ms = 0;
}

static void after_a_killed_primary_the_promoted_one_is_used_at_once(void **state)
{
    struct fleet *f = *state;
    struct world *w = &f->w;
    struct traffic t;
    struct redis_stats stats;
    char before[64];
    int heard = 0;

    assert_int_equal(redis_subscribe(w->redis, "news", on_message, &heard), 0);
    hear_one(w, &heard);
    snprintf(before, sizeof(before), "%s", w->run_id);
    assert_string_equal(redis_run_id(w->redis, SPAN("any")), before);
    begin(&t, f);
    fleet_kill(f, PRIMARY);
    count_for(&t, 2500);
    expect_short_pause(&t);
    assert_string_not_equal(w->run_id, before);
    assert_int_equal(w->downs, 1);
    assert_int_equal(w->ups, 2);
    hear_one(w, &heard);
    redis_stats(w->redis, &stats);
    assert_int_equal(stats.maps, 2);

    /* The old one comes back, and is nobody's primary any more. */
    fleet_start(f, PRIMARY, "--port", "PORT", NULL);
    begin(&t, f);
    count_for(&t, 1500);
    assert_int_equal(t.failed, 0);
}

static void a_frozen_primary_is_left_too(void **state)
{
    struct fleet *f = *state;
    struct world *w = &f->w;
    struct traffic t;

    begin(&t, f);
    assert_int_equal(kill(f->pids[PRIMARY], SIGSTOP), 0);
    count_for(&t, 2500);
    expect_short_pause(&t);
    assert_true(redis_up(w->redis));
    assert_int_equal(kill(f->pids[PRIMARY], SIGCONT), 0);
    begin(&t, f);
    count_for(&t, 1000);
    assert_int_equal(t.failed, 0);
}

/* Sentinel promotes the replica while the old primary still takes writes, and turns that one about
 * a second later: we go with it, and nobody is told READONLY. */
static void a_fail_over_by_order_moves_us_without_a_refused_write(void **state)
{
    struct fleet *f = *state;
    struct traffic t;

    begin(&t, f);
    fleet_order(f, SENTINEL, "SENTINEL FAILOVER main");
    count_for(&t, 2500);
    print_message("pause of %llu ms, %u commands failed\n", (unsigned long long)t.longest_ms,
                  t.failed);
    assert_true(t.promoted_ms > 0);
    assert_in_range(t.longest_ms, 1, ADDED_MS);
    assert_int_equal(f->w.ups, 2);
    begin(&t, f);
    count_for(&t, 200);
    assert_int_equal(t.failed, 0);
}

static void sentinels_that_are_away_or_do_not_know_are_passed_over(void **state)
{
    struct fleet *f = *state;
    struct world *w = &f->w;
    char url[200];

    fleet_kill(f, SENTINEL);
    snprintf(url, sizeof(url), "redis+sentinel://127.0.0.1:%d,127.0.0.1:%d,localhost:%d/main",
             f->ports[SENTINEL], f->ports[PRIMARY], f->ports[SENTINEL + 1]);
    const struct redis_access at = {.url = url};
    for (int i = 0; i < 3; i++) { /* whichever is asked first */
        fleet_client(f, &at, 50, 500);
        WAIT_FOR(w, redis_up(w->redis));
    }
    snprintf(url, sizeof(url), "redis+sentinel://127.0.0.1:%d/other", f->ports[SENTINEL + 1]);
    w->ups = 0;
    fleet_client(f, &at, 50, 500);
    run_for(w, 300);
    assert_int_equal(w->ups, 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup_sentinels, fleet_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(after_a_killed_primary_the_promoted_one_is_used_at_once),
        CASE(a_frozen_primary_is_left_too),
        CASE(a_fail_over_by_order_moves_us_without_a_refused_write),
        CASE(sentinels_that_are_away_or_do_not_know_are_passed_over),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
