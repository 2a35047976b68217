/* Who takes a call: what keeps a worker out, and the one expected to be done first. */
#include "rig.h"

enum { HOUR_MS = 3600000, CHOICES = 1000 };

struct crew {
    struct rig *rig;
    struct pool_worker *w[RIG_WORKERS];
};

/* So many ready workers, whose own words do not change while choices are made. */
static struct crew crew_new(size_t count)
{
    struct crew c = {.rig = rig_new(HOUR_MS)};

    for (size_t i = 0; i < count; i++)
        c.w[i] = rig_join(c.rig, NULL);
    return c;
}

static struct pool_excluded excluded(struct crew *c, const struct pool_query *q)
{
    struct pool_excluded why;

    assert_null(pool_choose(c->rig->pool, q, &why));
    assert_int_equal(why.total, 1);
    return why;
}

static size_t times_chosen(struct crew *c, const struct pool_worker *w)
{
    size_t times = 0;

    for (size_t i = 0; i < CHOICES; i++)
        times += rig_choose(c->rig) == w ? 1 : 0;
    return times;
}

static void each_condition_is_told_apart(void **state)
{
    struct crew c = crew_new(1);
    struct pool_worker *w = c.w[0];
    struct pool_query q = rig_query();

    (void)state;
    q.model = SPAN("another");
    assert_int_equal(excluded(&c, &q).model, 1);
    q = rig_query();
    q.endpoint = EP_EMBEDDINGS;
    assert_int_equal(excluded(&c, &q).endpoint, 1);
    q = rig_query();
    q.tried[q.tried_count++] = w;
    assert_int_equal(excluded(&c, &q).tried, 1);
    q = rig_query();
    w->skewed = true;
    assert_int_equal(excluded(&c, &q).not_ready, 1);
    w->skewed = false;
    w->state = POOL_DESCRIBING;
    assert_int_equal(excluded(&c, &q).not_ready, 1);
    w->state = POOL_READY;
    w->about.accepting = false;
    assert_int_equal(excluded(&c, &q).draining, 1);
    w->about.accepting = true;
    w->about.ask = 1001;
    assert_int_equal(excluded(&c, &q).price, 1);
    assert_int_equal(excluded(&c, &q).lowest_ask, 1001);
    w->about.ask = 1000;
    assert_ptr_equal(rig_choose(c.rig), w);
    rig_free(c.rig);
}

static void a_price_that_was_refused_is_not_offered_again(void **state)
{
    struct crew c = crew_new(1);
    struct pool_query q = rig_query();

    (void)state;
    c.w[0]->refused_coefficient = 1000;
    assert_int_equal(excluded(&c, &q).price, 1);
    assert_int_equal(excluded(&c, &q).lowest_ask, 1001);
    q.coefficient = 1001;
    struct pool_excluded why;
    assert_ptr_equal(pool_choose(c.rig->pool, &q, &why), c.w[0]);
    rig_free(c.rig);
}

static void a_full_worker_takes_nothing(void **state)
{
    struct crew c = crew_new(1);
    struct pool_worker *w = c.w[0];
    struct pool_query q = rig_query();

    (void)state;
    assert_int_equal(w->load.max, 8);
    for (int i = 0; i < 8; i++) {
        assert_ptr_equal(rig_choose(c.rig), w);
        worker_took(w, 100);
    }
    assert_int_equal(excluded(&c, &q).full, 1);
    unsigned capacity = c.rig->capacity;
    worker_freed(w, 100);
    assert_int_equal(c.rig->capacity, capacity + 1);
    assert_ptr_equal(rig_choose(c.rig), w);
    /* What it runs for other gateways counts as well. */
    w->load_others = 1;
    assert_int_equal(excluded(&c, &q).full, 1);
    for (int i = 0; i < 7; i++)
        worker_freed(w, 100);
    rig_free(c.rig);
}

static void what_others_run_there_is_not_counted_twice(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct pool_worker *w = rig_join(r, &(struct fake_script){.running = 5});

    (void)state;
    worker_took(w, 100);
    worker_took(w, 100);
    r->workers[0].running = 2; /* ours, as the worker counts them */
    records_fetch(w);
    TURN_UNTIL(r->loop, w->load.running == 7, WAIT_MS);
    assert_int_equal(w->load_others, 5);
    worker_freed(w, 100);
    worker_freed(w, 100);
    rig_free(r);
}

static void equals_get_equal_shares(void **state)
{
    struct crew c = crew_new(4);

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        size_t times = times_chosen(&c, c.w[i]);
        assert_true(times > CHOICES / 8 && times < CHOICES / 2);
    }
    rig_free(c.rig);
}

/* Own work in flight counts at once, so no herd runs to one. */
static void work_in_flight_spreads_evenly(void **state)
{
    struct crew c = crew_new(4);

    (void)state;
    for (size_t i = 0; i < 4; i++)
        c.w[i]->load.max = 1000;
    for (int i = 0; i < 100; i++)
        worker_took(rig_choose(c.rig), 100);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(c.w[i]->in_flight, 25);
    for (size_t i = 0; i < 4; i++)
        while (c.w[i]->in_flight > 0)
            worker_freed(c.w[i], 100);
    rig_free(c.rig);
}

static void the_faster_gets_more(void **state)
{
    struct crew c = crew_new(2);

    (void)state;
    worker_served(c.w[0], 10, 300);
    worker_served(c.w[1], 10, 100);
    for (size_t i = 0; i < 2; i++)
        c.w[i]->load.max = 1000;
    for (int i = 0; i < 100; i++)
        worker_took(rig_choose(c.rig), 100);
    assert_in_range(c.w[0]->in_flight, 70, 80);
    for (size_t i = 0; i < 2; i++)
        while (c.w[i]->in_flight > 0)
            worker_freed(c.w[i], 100);
    rig_free(c.rig);
}

static void a_failing_worker_is_the_last_choice_not_none(void **state)
{
    struct crew c = crew_new(3);
    struct pool_query q = rig_query();
    struct pool_excluded why;

    (void)state;
    worker_served(c.w[1], 1, 100000); /* fast, and fails */
    worker_failed(c.w[0]);
    worker_failed(c.w[1]);
    assert_int_equal(times_chosen(&c, c.w[2]), CHOICES);
    q.tried[q.tried_count++] = c.w[2];
    assert_non_null(pool_choose(c.rig->pool, &q, &why));
    assert_int_equal(why.failing, 2);
    assert_int_equal(why.tried, 1);
    rig_free(c.rig);
}

static void one_good_answer_forgives_failures(void **state)
{
    struct crew c = crew_new(2);

    (void)state;
    worker_failed(c.w[1]);
    worker_failed(c.w[1]);
    assert_int_equal(times_chosen(&c, c.w[1]), 0);
    worker_served(c.w[1], 0, 0);
    assert_true(times_chosen(&c, c.w[1]) > 0);
    assert_int_equal(c.w[1]->failures, 2);
    rig_free(c.rig);
}

static void failures_back_off_to_a_minute_at_most(void **state)
{
    struct crew c = crew_new(1);
    struct pool_worker *w = c.w[0];

    (void)state;
    for (unsigned i = 0; i < 40; i++) {
        worker_failed(w);
        uint64_t wait = w->blocked_until_ms - loop_now(c.rig->loop);
        uint64_t most = i < 6 ? 1000u << i : 60000;
        assert_in_range(wait, most / 2, most);
    }
    rig_free(c.rig);
}

static void averages_follow_slowly(void **state)
{
    struct crew c = crew_new(1);
    struct pool_worker *w = c.w[0];

    (void)state;
    worker_served(w, 100, 50);
    worker_served(w, 200, 100);
    assert_true(w->first_token_ms > 119 && w->first_token_ms < 121);
    assert_true(w->tokens_per_s > 59 && w->tokens_per_s < 61);
    worker_served(w, 0, 0); /* unknown changes nothing */
    assert_true(w->tokens_per_s > 59 && w->tokens_per_s < 61);
    rig_free(c.rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_condition_is_told_apart),
        cmocka_unit_test(a_price_that_was_refused_is_not_offered_again),
        cmocka_unit_test(a_full_worker_takes_nothing),
        cmocka_unit_test(what_others_run_there_is_not_counted_twice),
        cmocka_unit_test(equals_get_equal_shares),
        cmocka_unit_test(work_in_flight_spreads_evenly),
        cmocka_unit_test(the_faster_gets_more),
        cmocka_unit_test(a_failing_worker_is_the_last_choice_not_none),
        cmocka_unit_test(one_good_answer_forgives_failures),
        cmocka_unit_test(failures_back_off_to_a_minute_at_most),
        cmocka_unit_test(averages_follow_slowly),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
