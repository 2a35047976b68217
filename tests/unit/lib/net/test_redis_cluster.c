/* A Cluster of real processes: three primaries and a replica of the first. Redirects, a slot that
 * moves under traffic, a primary that is killed, messages. */
#include "redis_fleet.h"

#include "net/redis_parse.h"
#include "net/redis_script.h"

enum { PRIMARIES = 3, REPLICA = 3, NODES = 4 };

static int bus_ports[NODES];
static char ids[NODES][41];

static void start_node(struct fleet *f, size_t i)
{
    char bus[12];

    snprintf(bus, sizeof(bus), "%d", bus_ports[i]);
    fleet_start(f, i, "--port", "PORT", "--cluster-enabled", "yes", "--cluster-port", bus,
                "--cluster-node-timeout", "500", "--cluster-require-full-coverage", "no",
                "--repl-diskless-sync-delay", "0", NULL);
}

static void take_id(struct fleet *f, size_t i)
{
    const char *reply = fleet_order(f, i, "CLUSTER MYID");

    assert_true(strlen(reply) > 45);
    snprintf(ids[i], sizeof(ids[i]), "%.40s", reply + 5);
}

static int setup_cluster(void **state)
{
    fleet_setup(state);
    struct fleet *f = *state;
    static char url[128];

    for (size_t i = 0; i < NODES; i++) {
        bus_ports[i] = fleet_port();
        start_node(f, i);
    }
    for (size_t i = 0; i < NODES; i++) {
        fleet_await(f, i);
        take_id(f, i);
        fleet_order(f, i, "CLUSTER SET-CONFIG-EPOCH %zu", i + 1);
    }
    for (size_t i = 0; i < PRIMARIES; i++)
        fleet_order(f, i, "CLUSTER ADDSLOTSRANGE %zu %zu", i * REDIS_SLOTS / PRIMARIES,
                    (i + 1) * REDIS_SLOTS / PRIMARIES - 1);
    for (size_t i = 1; i < NODES; i++)
        fleet_order(f, 0, "CLUSTER MEET 127.0.0.1 %d %d", f->ports[i], bus_ports[i]);
    for (size_t i = 0; i < NODES; i++)
        FLEET_UNTIL(strstr(fleet_order(f, i, "CLUSTER INFO"), "cluster_known_nodes:4"));
    FLEET_UNTIL(strstr(fleet_order(f, REPLICA, "CLUSTER REPLICATE %s", ids[0]), "+OK"));
    FLEET_UNTIL(strstr(fleet_order(f, REPLICA, "INFO replication"), "master_link_status:up"));
    for (size_t i = 0; i < NODES; i++)
        FLEET_UNTIL(strstr(fleet_order(f, i, "CLUSTER INFO"), "cluster_state:ok"));
    snprintf(url, sizeof(url), "redis+cluster://127.0.0.1:%d,localhost:%d", f->ports[1],
             f->ports[2]);
    const struct redis_access at = {.url = url};
    fleet_client(f, &at, 2000, 1000);
    char runs[4][REDIS_RUN_ID_LEN + 1];
    WAIT_FOR(&f->w, redis_run_ids(f->w.redis, runs, 4) == PRIMARIES);
    return 0;
}

/* A name whose slot the node has at first. */
static const char *name_at(size_t node, unsigned n)
{
    static char names[8][32];
    static unsigned at;
    char *name = names[at++ % 8];

    for (unsigned i = 0;; i++) {
        snprintf(name, sizeof(names[0]), "a%u", i);
        if (redis_slot(span_str(name)) * PRIMARIES / REDIS_SLOTS == node && n-- == 0)
            return name;
    }
}

static void keys_of_all_slots_are_where_they_belong(void **state)
{
    struct world *w = &((struct fleet *)*state)->w;
    static struct told told[300];
    struct redis_stats stats;

    memset(told, 0, sizeof(told));
    for (size_t round = 0; round < 2; round++)
        for (size_t i = 0; i < 150; i++)
            assert_int_equal(redis_commandf(w->redis, on_reply, &told[150 * round + i],
                                            "%s k%lld x", round ? "APPEND" : "SET", (long long)i),
                             0);
    WAIT_FOR(w, redis_in_flight(w->redis) == 0);
    for (size_t i = 0; i < 150; i++) {
        assert_int_equal(told[i].error, 0);
        assert_string_equal(told[i].text, "OK");
        assert_int_equal(told[150 + i].number, 2);
    }
    redis_stats(w->redis, &stats);
    assert_int_equal(stats.moved + stats.asked, 0);
    assert_int_equal(stats.primaries, PRIMARIES);
    assert_int_equal(w->ups, PRIMARIES);
    assert_string_equal(redis_run_id(w->redis, SPAN("{x}1")), redis_run_id(w->redis, SPAN("{x}2")));
    assert_string_not_equal(redis_run_id(w->redis, span_str(name_at(0, 0))),
                            redis_run_id(w->redis, span_str(name_at(1, 0))));
}

static void a_script_is_learnt_by_every_node_and_touches_one_slot(void **state)
{
    struct world *w = &((struct fleet *)*state)->w;
    struct redis_script s;
    struct told told[6] = {0}, crossed = {0};
    struct redis_stats stats;

    redis_script_init(&s, "both", "redis.call('INCR', KEYS[1]) return redis.call('INCR', KEYS[2])",
                      2);
    for (size_t i = 0; i < 6; i++) {
        char keys[2][48];
        snprintf(keys[0], sizeof(keys[0]), "{%s}:1", name_at(i % 3, 0));
        snprintf(keys[1], sizeof(keys[1]), "{%s}:2", name_at(i % 3, 0));
        const struct span argv[] = {span_str(keys[0]), span_str(keys[1])};
        assert_int_equal(redis_script_run(w->redis, &s, argv, NULL, 0, on_reply, &told[i]), 0);
    }
    WAIT_FOR(w, redis_in_flight(w->redis) == 0);
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(told[i].error, 0);
    assert_int_equal(told[3].number + told[4].number + told[5].number, 6);
    redis_stats(w->redis, &stats);
    assert_int_equal(stats.loaded, 6); /* all six were under way before the first was known */

    const struct span apart[] = {span_str(name_at(0, 0)), span_str(name_at(1, 0))};
    assert_int_equal(redis_script_run(w->redis, &s, apart, NULL, 0, on_reply, &crossed), 0);
    WAIT_FOR(w, crossed.calls == 1);
    assert_int_equal(crossed.type, REDIS_FAILURE); /* a mistake of ours shows in every test */
}

/* Counters by script (two keys of a slot at once); what was said to be done, and what failed. */
struct traffic {
    struct world *w;
    struct redis_script script;
    unsigned done, failed;
    uint64_t last_ms, longest_ms;
};

static void on_count(void *arg, int error, const struct redisReply *reply)
{
    struct traffic *t = arg;
    const uint64_t now = clock_mono_ms();

    if (error < 0) {
        t->failed++;
        return;
    }
    assert_int_equal(redis_reply_type(reply), REDIS_NUMBER);
    t->done++;
    if (now - t->last_ms > t->longest_ms)
        t->longest_ms = now - t->last_ms;
    t->last_ms = now;
}

static void traffic_init(struct traffic *t, struct world *w)
{
    *t = (struct traffic){.w = w, .last_ms = clock_mono_ms()};
    redis_script_init(&t->script, "count",
                      "redis.call('INCR', KEYS[2]) return redis.call('INCR', KEYS[1])", 2);
}

static void count(struct traffic *t, const char *tag)
{
    char keys[2][64];

    snprintf(keys[0], sizeof(keys[0]), "{%s}:count", tag);
    snprintf(keys[1], sizeof(keys[1]), "{%s}:other", tag);
    const struct span argv[] = {span_str(keys[0]), span_str(keys[1])};
    if (redis_script_run(t->w->redis, &t->script, argv, NULL, 0, on_count, t) < 0)
        t->failed++;
    run_for(t->w, 2);
}

static void a_slot_that_moves_under_traffic_costs_no_command(void **state)
{
    struct fleet *f = *state;
    struct world *w = &f->w;
    const char *tag = name_at(0, 5);
    const unsigned slot = redis_slot(span_str(tag));
    struct traffic t;
    struct told got = {0};
    struct redis_stats stats;

    traffic_init(&t, w);
    for (int i = 0; i < 20; i++)
        count(&t, tag);
    fleet_order(f, 2, "CLUSTER SETSLOT %u IMPORTING %s", slot, ids[0]);
    fleet_order(f, 0, "CLUSTER SETSLOT %u MIGRATING %s", slot, ids[2]);
    for (int i = 0; i < 20; i++)
        count(&t, tag);
    fleet_order(f, 0, "MIGRATE 127.0.0.1 %d {%s}:count 0 1000", f->ports[2], tag);
    for (int i = 0; i < 2; i++) /* the two keys are apart: TRYAGAIN until they are together */
        count(&t, tag);
    fleet_order(f, 0, "MIGRATE 127.0.0.1 %d {%s}:other 0 1000", f->ports[2], tag);
    for (int i = 0; i < 20; i++)
        count(&t, tag);
    redis_stats(w->redis, &stats);
    assert_true(stats.asked > 0);
    fleet_order(f, 2, "CLUSTER SETSLOT %u NODE %s", slot, ids[2]);
    fleet_order(f, 0, "CLUSTER SETSLOT %u NODE %s", slot, ids[2]);
    for (int i = 0; i < 20; i++)
        count(&t, tag);
    WAIT_FOR(w, redis_in_flight(w->redis) == 0);
    redis_stats(w->redis, &stats);
    assert_in_range(stats.moved, 1, 20);
    assert_int_equal(t.failed, 0);
    assert_int_equal(t.done, 82);
    assert_int_equal(redis_commandf(w->redis, on_reply, &got, "GET {%s}:count", tag), 0);
    expect_text(w, &got, "82");
}

static void on_message(void *arg, struct span channel, struct span payload)
{
    (void)channel;
    (void)payload;
    ++*(int *)arg;
}

static void expect_messages_from_everywhere(struct fleet *f, int *heard)
{
    WAIT_FOR(&f->w, redis_subscribed(f->w.redis));
    for (size_t i = 0; i < NODES; i++) {
        if (f->pids[i] <= 0)
            continue;
        *heard = 0;
        fleet_order(f, i, "PUBLISH news x");
        WAIT_FOR(&f->w, *heard == 1);
    }
}

static void a_killed_primary_costs_its_own_slots_a_pause_and_others_nothing(void **state)
{
    struct fleet *f = *state;
    struct world *w = &f->w;
    struct traffic hit, spared;
    char before[64];
    int heard = 0;

    assert_int_equal(redis_subscribe(w->redis, "news", on_message, &heard), 0);
    expect_messages_from_everywhere(f, &heard);
    traffic_init(&hit, w);
    traffic_init(&spared, w);
    const char *hit_name = name_at(0, 0), *spared_name = name_at(1, 0);
    snprintf(before, sizeof(before), "%s", redis_run_id(w->redis, span_str(hit_name)));
    for (int i = 0; i < 20; i++) {
        count(&hit, hit_name);
        count(&spared, spared_name);
    }
    assert_int_equal(hit.failed + spared.failed, 0);
    fleet_kill(f, 0);
    for (uint64_t end = clock_mono_ms() + 4000; clock_mono_ms() < end;) {
        count(&hit, hit_name);
        count(&spared, spared_name);
    }
    print_message("pause of %llu ms, %u failed; elsewhere %u failed\n",
                  (unsigned long long)hit.longest_ms, hit.failed, spared.failed);
    assert_int_equal(spared.failed, 0);
    assert_int_equal(w->downs, 0);
    assert_true(hit.failed > 0);
    WAIT_FOR(w, redis_run_id(w->redis, span_str(hit_name)));
    assert_string_not_equal(redis_run_id(w->redis, span_str(hit_name)), before);
    expect_messages_from_everywhere(f, &heard);

    /* It comes back as a replica of its own successor, with nothing for us to do. */
    struct traffic after;
    start_node(f, 0);
    traffic_init(&after, w);
    for (uint64_t end = clock_mono_ms() + 1000; clock_mono_ms() < end;)
        count(&after, hit_name);
    WAIT_FOR(w, redis_in_flight(w->redis) == 0);
    assert_int_equal(after.failed, 0);
}

/* A node that has left the Cluster answers PINGs, and hears nothing of what is published. */
static void a_node_that_hears_no_messages_any_more_is_left(void **state)
{
    struct fleet *f = *state;
    struct world *w = &f->w;
    size_t at = 0;
    int heard = 0;

    assert_int_equal(redis_subscribe(w->redis, "news", on_message, &heard), 0);
    expect_messages_from_everywhere(f, &heard);
    while (!strstr(fleet_order(f, at, "PUBSUB NUMSUB news"), ":1"))
        assert_true(++at < PRIMARIES);
    fleet_order(f, at, "FLUSHALL");
    assert_non_null(strstr(fleet_order(f, at, "CLUSTER RESET HARD"), "+OK"));
    heard = 0;
    for (uint64_t end = clock_mono_ms() + 15000; heard == 0 && clock_mono_ms() < end;) {
        fleet_order(f, (at + 1) % PRIMARIES, "PUBLISH news x");
        run_for(w, 50);
    }
    assert_true(heard > 0);
}

static void a_cluster_that_is_gone_is_found_again_through_its_seeds(void **state)
{
    struct fleet *f = *state;
    struct world *w = &f->w;
    struct told set = {0};

    for (size_t i = 0; i < NODES; i++)
        fleet_kill(f, i);
    WAIT_FOR(w, w->downs == 1);
    assert_false(redis_up(w->redis));
    assert_null(redis_run_id(w->redis, SPAN("k")));
    run_for(w, 300);
    for (size_t i = 0; i < NODES; i++)
        start_node(f, i);
    char runs[4][REDIS_RUN_ID_LEN + 1];
    WAIT_FOR(w, redis_run_ids(w->redis, runs, 4) == PRIMARIES);
    assert_int_equal(redis_commandf(w->redis, on_reply, &set, "SET k v"), 0);
    WAIT_FOR(w, set.calls == 1);
}

static void a_server_of_another_kind_is_refused(void **state)
{
    struct fleet *f = *state;
    char url[64];

    snprintf(url, sizeof(url), "redis://127.0.0.1:%d", f->ports[0]);
    const struct redis_access alone = {.url = url};
    f->w.ups = 0;
    fleet_client(f, &alone, 200, 500);
    run_for(&f->w, 300);
    assert_int_equal(f->w.ups, 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup_cluster, fleet_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(keys_of_all_slots_are_where_they_belong),
        CASE(a_script_is_learnt_by_every_node_and_touches_one_slot),
        CASE(a_slot_that_moves_under_traffic_costs_no_command),
        CASE(a_killed_primary_costs_its_own_slots_a_pause_and_others_nothing),
        CASE(a_node_that_hears_no_messages_any_more_is_left),
        CASE(a_cluster_that_is_gone_is_found_again_through_its_seeds),
        CASE(a_server_of_another_kind_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
