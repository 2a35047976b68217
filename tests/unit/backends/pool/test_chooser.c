/* Who takes a request: what keeps a worker out, and the one expected to be done first. */
#include "virtual.h"

#include "base/clock.h"

enum { CHOICES = 1000 };

static size_t times_chosen(struct virtual_pool *p, const struct chooser_worker *w)
{
    const struct chooser_query q = virtual_query();
    size_t times = 0;

    for (size_t i = 0; i < CHOICES; i++)
        times += virtual_pick(p, &q) == w ? 1 : 0;
    return times;
}

static struct chooser_excluded excluded(struct virtual_pool *p, const struct chooser_query *q)
{
    struct chooser_excluded why;

    assert_null(chooser_pick(p->chooser, q, p->now_ms));
    chooser_explain(p->chooser, q, p->now_ms, &why);
    assert_int_equal(why.total, 1);
    return why;
}

/* ---- Eligible ---- */

static void each_condition_is_told_apart(void **state)
{
    struct virtual_pool *p = virtual_crew(1, 8);
    struct chooser_worker *w = &p->w[0];
    struct chooser_query q = virtual_query();

    (void)state;
    q.model = SPAN("another");
    assert_int_equal(excluded(p, &q).model, 1);
    q = virtual_query();
    q.endpoints = 2;
    assert_int_equal(excluded(p, &q).endpoint, 1);
    q = virtual_query();
    q.tried[q.tried_count++] = w;
    assert_int_equal(excluded(p, &q).tried, 1);
    assert_false(chooser_may_wait(p->chooser, &q, p->now_ms));
    q = virtual_query();
    w->ready = false;
    (void)chooser_update(w, p->now_ms);
    assert_int_equal(excluded(p, &q).not_ready, 1);
    w->ready = true;
    w->accepting = false;
    (void)chooser_update(w, p->now_ms);
    assert_int_equal(excluded(p, &q).draining, 1);
    assert_false(chooser_may_wait(p->chooser, &q, p->now_ms));
    w->accepting = true;
    w->full = true;
    (void)chooser_update(w, p->now_ms);
    assert_int_equal(excluded(p, &q).full, 1);
    assert_true(chooser_may_wait(p->chooser, &q, p->now_ms));
    w->full = false;
    (void)chooser_update(w, p->now_ms);
    assert_ptr_equal(virtual_pick(p, &q), w);
    virtual_free(p);
}

static void a_bid_below_the_ask_is_told_the_lowest_that_would_do(void **state)
{
    struct virtual_pool *p = virtual_crew(3, 8);
    struct chooser_query q = virtual_query();
    struct chooser_excluded why;

    (void)state;
    p->w[0].ask = 3000;
    p->w[1].ask = 2000;
    p->w[2].ask = 1500;
    p->w[2].refused_coefficient = 1700;
    q.coefficient = 1600;
    for (size_t i = 0; i < 3; i++)
        (void)chooser_update(&p->w[i], p->now_ms);
    assert_null(virtual_pick(p, &q));
    chooser_explain(p->chooser, &q, p->now_ms, &why);
    assert_int_equal(why.price, 3);
    assert_int_equal(why.lowest_ask, 1701);
    q.coefficient = 1701; /* may do: to be known when it was asked again */
    assert_null(virtual_pick(p, &q));
    assert_true(chooser_may_wait(p->chooser, &q, p->now_ms));
    p->w[2].ask = 1701;
    p->w[2].refused_coefficient = 0;
    (void)chooser_update(&p->w[2], p->now_ms);
    assert_ptr_equal(virtual_pick(p, &q), &p->w[2]);
    virtual_free(p);
}

static void a_full_worker_takes_nothing(void **state)
{
    struct virtual_pool *p = virtual_crew(1, 8);
    struct chooser_worker *w = &p->w[0];
    const struct chooser_query q = virtual_query();

    (void)state;
    for (int i = 0; i < 7; i++)
        virtual_start(p, virtual_pick(p, &q), &q);
    struct chooser_job *last = virtual_start(p, virtual_pick(p, &q), &q);
    assert_int_equal(excluded(p, &q).full, 1);
    chooser_freed(last, p->now_ms);
    assert_ptr_equal(virtual_pick(p, &q), w);
    w->others = 1; /* what it runs for other gateways counts as well */
    (void)chooser_update(w, p->now_ms);
    assert_int_equal(excluded(p, &q).full, 1);
    virtual_free(p);
}

static void room_counts_from_when_it_came(void **state)
{
    struct virtual_pool *p = virtual_crew(1, 1);
    struct chooser_worker *w = &p->w[0];
    const struct chooser_query q = virtual_query();
    struct chooser_job *only = virtual_start(p, virtual_pick(p, &q), &q);

    (void)state;
    p->now_ms += 5000; /* full all the while, though nothing said so again */
    chooser_freed(only, p->now_ms);
    const uint64_t came_ms = p->now_ms;
    assert_int_equal(w->room_since_ms, came_ms);
    p->now_ms += 100;
    (void)chooser_update(w, p->now_ms);
    assert_int_equal(w->room_since_ms, came_ms);
    virtual_free(p);
}

static void a_context_that_is_too_short_counts_only_where_another_is_not(void **state)
{
    struct virtual_pool *p = virtual_crew(2, 8);
    const struct chooser_offer longer = {VIRTUAL_MODEL, 1, 65536};
    struct chooser_query q = virtual_query();
    struct chooser_excluded why;

    (void)state;
    q.input = 20000;
    assert_non_null(virtual_pick(p, &q)); /* an engine tells the caller */
    chooser_serve(&p->w[1], &longer, 1, p->now_ms);
    for (int i = 0; i < 20; i++)
        assert_ptr_equal(virtual_pick(p, &q), &p->w[1]);
    chooser_explain(p->chooser, &q, p->now_ms, &why);
    assert_int_equal(why.context, 1);
    virtual_free(p);
}

/* ---- Best ---- */

static void equals_get_equal_shares(void **state)
{
    struct virtual_pool *p = virtual_crew(4, 8);

    (void)state;
    for (size_t i = 0; i < 4; i++)
        assert_in_range(times_chosen(p, &p->w[i]), CHOICES / 5, CHOICES / 3);
    virtual_free(p);
}

/* Own work in flight counts at once, so no herd runs to one. */
static void work_in_flight_spreads_evenly(void **state)
{
    struct virtual_pool *p = virtual_crew(4, 1000);
    const struct chooser_query q = virtual_query();

    (void)state;
    for (int i = 0; i < 100; i++)
        virtual_start(p, virtual_pick(p, &q), &q);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(p->w[i].in_flight, 25);
    virtual_free(p);
}

static void the_faster_gets_more(void **state)
{
    struct virtual_pool *p = virtual_crew(2, 1000);
    const struct chooser_query q = virtual_query();

    (void)state;
    virtual_serve(p, &p->w[0], 300);
    virtual_serve(p, &p->w[1], 100);
    for (int i = 0; i < 100; i++)
        virtual_start(p, virtual_pick(p, &q), &q);
    assert_in_range(p->w[0].in_flight, 70, 80);
    virtual_free(p);
}

static void beyond_sixteen_two_are_drawn_in_proportion_to_their_speed(void **state)
{
    struct virtual_pool *p = virtual_crew(40, 100000);
    const struct chooser_query q = virtual_query();
    int64_t fast = 0;

    (void)state;
    for (size_t i = 0; i < 40; i++)
        virtual_serve(p, &p->w[i], i < 20 ? 400 : 100);
    for (int i = 0; i < 2000; i++)
        virtual_start(p, virtual_pick(p, &q), &q);
    for (size_t i = 0; i < 20; i++)
        fast += p->w[i].in_flight;
    assert_in_range(fast, 1500, 1700); /* 4 : 1 */
    assert_int_equal(chooser_counts(p->chooser)->drawn, 2000);
    virtual_free(p);
}

static void a_narrow_request_finds_the_one_of_many_that_takes_it(void **state)
{
    struct virtual_pool *p = virtual_crew(1000, 8);
    struct chooser_query q = virtual_query();

    (void)state;
    p->w[777].ask = 500;
    (void)chooser_update(&p->w[777], p->now_ms);
    q.coefficient = 600;
    for (int i = 0; i < 8; i++)
        virtual_start(p, virtual_pick(p, &q), &q);
    assert_int_equal(p->w[777].in_flight, 8);
    assert_null(virtual_pick(p, &q));
    virtual_free(p);
}

static void price_distance_crowded_caches_and_bad_standing_count(void **state)
{
    struct virtual_pool *p = virtual_crew(2, 8);
    struct chooser_query q = virtual_query();

    (void)state;
    q.coefficient = 5000;
    for (int what = 0; what < 4; what++) {
        const struct chooser_worker before = p->w[0];
        p->w[0].ask = what == 0 ? 2000 : 1000;
        p->w[0].rtt_ms = what == 1 ? 300 : 0;
        p->w[0].kv = what == 2 ? 0.95 : 0.5;
        p->w[0].standing = what == 3 ? 0.5 : 1;
        for (int i = 0; i < 20; i++)
            assert_ptr_equal(virtual_pick(p, &q), &p->w[1]);
        p->w[0].ask = before.ask;
        p->w[0].rtt_ms = before.rtt_ms;
        p->w[0].kv = before.kv;
        p->w[0].standing = before.standing;
    }
    virtual_free(p);
}

static void what_must_be_done_by_now_is_not_waited_for(void **state)
{
    struct virtual_pool *p = virtual_crew(2, 8);
    const struct chooser_query q = virtual_query();

    (void)state;
    virtual_serve(p, &p->w[0], 100);
    virtual_serve(p, &p->w[1], 100);
    virtual_start(p, &p->w[0], &q);
    p->now_ms += 600;
    virtual_start(p, &p->w[1], &q);
    p->now_ms += 1;
    assert_int_equal(times_chosen(p, &p->w[0]), CHOICES);
    virtual_free(p);
}

/* ---- Newcomers ---- */

static void a_newcomers_share_grows(void **state)
{
    struct virtual_pool *p = virtual_crew(3, 1000);
    const struct chooser_query q = virtual_query();
    int64_t before = 0;

    (void)state;
    for (size_t i = 0; i < 3; i++)
        virtual_serve(p, &p->w[i], 100);
    struct chooser_worker *new = virtual_join(p, 1000);
    for (int minute = 0; minute < 3; minute++) {
        for (int i = 0; i < 400; i++)
            virtual_start(p, virtual_pick(p, &q), &q);
        const int64_t share = new->in_flight;
        assert_true(share > before && share <= 110);
        if (minute == 0)
            assert_in_range(share, 1, 20);
        if (minute == 2)
            assert_in_range(share, 90, 110);
        before = share;
        for (size_t i = 0; i < p->job_count; i++)
            chooser_finish(&p->jobs[i], p->now_ms);
        p->job_count = 0;
        p->now_ms += 30000;
        for (size_t i = 0; i < p->count; i++)
            (void)chooser_update(&p->w[i], p->now_ms);
    }
    virtual_free(p);
}

static void an_unknown_worker_is_thought_as_fast_as_the_median(void **state)
{
    struct virtual_pool *p = virtual_crew(4, 1000);
    const struct chooser_query q = virtual_query();

    (void)state;
    virtual_serve(p, &p->w[0], 10);
    virtual_serve(p, &p->w[1], 100);
    virtual_serve(p, &p->w[2], 900);
    p->now_ms += 1000; /* the median is looked at once a second */
    for (int i = 0; i < 111; i++)
        virtual_start(p, virtual_pick(p, &q), &q);
    assert_in_range(p->w[3].in_flight, p->w[1].in_flight - 1, p->w[1].in_flight + 1);
    virtual_free(p);
}

/* ---- Failures ---- */

static void an_error_looks_slow_and_opens_the_breaker(void **state)
{
    struct virtual_pool *p = virtual_crew(3, 8);

    (void)state;
    for (size_t i = 0; i < 3; i++)
        virtual_serve(p, &p->w[i], 100);
    virtual_fail(p, &p->w[0]);
    assert_int_equal(times_chosen(p, &p->w[0]), 0);
    assert_true(virtual_view(p, &p->w[0]).tokens_per_s < 10);
    assert_true(virtual_view(p, &p->w[0]).first_token_ms > 1000);
    assert_int_equal(virtual_view(p, &p->w[0]).breaker, BREAKER_OPEN);
    p->now_ms += BREAKER_FIRST_MS * 2;
    assert_int_equal(virtual_view(p, &p->w[0]).breaker, BREAKER_HALF_OPEN);
    virtual_serve(p, &p->w[0], 100);
    assert_int_equal(virtual_view(p, &p->w[0]).breaker, BREAKER_CLOSED);
    virtual_free(p);
}

/* All that was under way when an engine died fails: one failure. */
static void many_failures_at_once_are_one(void **state)
{
    struct virtual_pool *p = virtual_crew(1, 100);
    const struct chooser_query q = virtual_query();

    (void)state;
    for (int i = 0; i < 50; i++)
        virtual_start(p, &p->w[0], &q);
    for (int i = 0; i < 50; i++)
        chooser_failed(&p->jobs[i], p->now_ms);
    assert_int_equal(chooser_counts(p->chooser)->opened, 1);
    assert_int_equal(p->w[0].failures, 50);
    p->now_ms += BREAKER_FIRST_MS * 3 / 2;
    assert_int_equal(virtual_view(p, &p->w[0]).breaker, BREAKER_HALF_OPEN);
    virtual_free(p);
}

static void one_model_that_fails_does_not_close_another(void **state)
{
    struct virtual_pool *p = virtual_crew(1, 8);
    const struct chooser_offer both[] = {{VIRTUAL_MODEL, 1, 8192}, {SPAN("other"), 1, 8192}};
    struct chooser_query q = virtual_query();

    (void)state;
    for (size_t i = 0; i < 2; i++)
        virtual_join(p, 8);
    chooser_serve(&p->w[0], both, 2, p->now_ms);
    virtual_fail(p, &p->w[0]);
    assert_ptr_not_equal(virtual_pick(p, &q), &p->w[0]);
    q.model = SPAN("other");
    assert_ptr_equal(virtual_pick(p, &q), &p->w[0]);
    virtual_free(p);
}

static void who_dials_again_is_as_bad_as_before(void **state)
{
    struct virtual_pool *p = virtual_crew(1, 8);
    const struct chooser_offer offer = {VIRTUAL_MODEL, 1, 8192}, other = {SPAN("other"), 1, 8192};
    struct chooser_worker *w = &p->w[0];

    (void)state;
    virtual_fail(p, w);
    p->now_ms += 2 * BREAKER_FIRST_MS;
    virtual_fail(p, w); /* for the second time: two seconds */
    chooser_leave(w);
    chooser_join(p->chooser, w, p->now_ms);
    chooser_serve(w, &other, 1, p->now_ms);
    chooser_serve(w, &offer, 1, p->now_ms);
    p->now_ms += 3 * BREAKER_FIRST_MS / 2;
    assert_int_equal(virtual_view(p, w).breaker, BREAKER_OPEN);
    p->now_ms += 2 * BREAKER_FIRST_MS;
    assert_int_equal(virtual_view(p, w).breaker, BREAKER_HALF_OPEN);
    virtual_free(p);
}

static void half_open_lets_one_through(void **state)
{
    struct virtual_pool *p = virtual_crew(1, 8);
    const struct chooser_query q = virtual_query();

    (void)state;
    for (size_t i = 0; i < 2; i++)
        virtual_join(p, 8);
    p->w[1].accepting = p->w[2].accepting = false;
    (void)chooser_update(&p->w[1], p->now_ms);
    (void)chooser_update(&p->w[2], p->now_ms);
    virtual_fail(p, &p->w[0]);
    assert_null(virtual_pick(p, &q));
    assert_true(chooser_may_wait(p->chooser, &q, p->now_ms));
    p->now_ms += 2 * BREAKER_FIRST_MS;
    struct chooser_job *probe = virtual_start(p, virtual_pick(p, &q), &q);
    assert_true(probe->probe);
    assert_null(virtual_pick(p, &q));
    chooser_finish(probe, p->now_ms); /* its caller left: the next one probes */
    assert_true(virtual_start(p, virtual_pick(p, &q), &q)->probe);
    virtual_free(p);
}

static void when_over_half_are_out_the_least_bad_is_taken(void **state)
{
    struct virtual_pool *p = virtual_crew(4, 8);
    struct chooser_query q = virtual_query();

    (void)state;
    q.tried[q.tried_count++] = &p->w[2];
    q.tried[q.tried_count++] = &p->w[3];
    virtual_fail(p, &p->w[0]);
    virtual_fail(p, &p->w[1]);
    assert_null(virtual_pick(p, &q)); /* half is not over half */
    p->now_ms += 2 * BREAKER_FIRST_MS;
    virtual_fail(p, &p->w[1]);
    virtual_fail(p, &p->w[2]);
    p->now_ms += 10;
    virtual_serve(p, &p->w[0], 100);
    virtual_fail(p, &p->w[0]); /* for the first time in a row, w[1] for the second */
    assert_ptr_equal(virtual_pick(p, &q), &p->w[0]);
    assert_int_equal(chooser_counts(p->chooser)->panic, 1);
    virtual_free(p);
}

static void panic_overrides_breakers_only(void **state)
{
    struct virtual_pool *p = virtual_crew(3, 8);
    const struct chooser_query q = virtual_query();

    (void)state;
    for (size_t i = 0; i < 3; i++)
        virtual_fail(p, &p->w[i]);
    assert_non_null(virtual_pick(p, &q));
    p->w[0].ask = 2000;
    p->w[1].accepting = false;
    p->w[2].ready = false;
    for (size_t i = 0; i < 3; i++)
        (void)chooser_update(&p->w[i], p->now_ms);
    assert_null(virtual_pick(p, &q));
    virtual_free(p);
}

/* End to end the client has chosen: the same rules for its one worker. */
static void one_worker_is_judged_as_all_are(void **state)
{
    struct virtual_pool *p = virtual_crew(2, 50);
    const struct chooser_query q = virtual_query();
    struct chooser_excluded why;

    (void)state;
    assert_true(chooser_eligible(&p->w[0], &q, p->now_ms, &why));
    virtual_fail(p, &p->w[0]);
    assert_false(chooser_eligible(&p->w[0], &q, p->now_ms, &why));
    assert_int_equal(why.failing, 1);
    virtual_fail(p, &p->w[1]);
    assert_true(chooser_eligible(&p->w[0], &q, p->now_ms, &why)); /* panic */
    while (p->job_count < 98)
        virtual_start(p, &p->w[p->job_count % 2], &q);
    assert_false(chooser_eligible(&p->w[0], &q, p->now_ms, &why));
    assert_true(why.reserved);
    virtual_free(p);
}

static void who_can_be_asked_again_is_told(void **state)
{
    struct virtual_pool *p = virtual_crew(1, 8);
    struct chooser_worker *w = &p->w[0];

    (void)state;
    assert_false(chooser_update(w, p->now_ms));
    virtual_fail(p, w);
    assert_false(chooser_update(w, p->now_ms));
    p->now_ms += 2 * BREAKER_FIRST_MS;
    assert_true(chooser_update(w, p->now_ms));
    assert_false(chooser_update(w, p->now_ms));
    virtual_free(p);
}

/* Who waits is told, whatever it is that made the room. */
static void room_is_told_once_however_it_came(void **state)
{
    struct virtual_pool *p = virtual_crew(1, 8);
    struct chooser_worker *w = &p->w[0];
    const struct chooser_query q = virtual_query();
    const struct chooser_served r = {.output = 100, .took_ms = 100};

    (void)state;
    virtual_fail(p, w);
    p->now_ms += 2 * BREAKER_FIRST_MS;
    assert_true(chooser_update(w, p->now_ms));
    struct chooser_job *probe = virtual_start(p, w, &q);
    assert_false(chooser_update(w, p->now_ms));
    chooser_freed(probe, p->now_ms);
    chooser_served(probe, &r, p->now_ms);
    assert_true(chooser_finish(probe, p->now_ms)); /* healed */
    assert_false(chooser_update(w, p->now_ms));
    virtual_fail(p, w);
    p->now_ms += 2 * BREAKER_FIRST_MS;
    probe = virtual_start(p, w, &q);
    assert_true(chooser_finish(probe, p->now_ms)); /* its caller left */
    virtual_fail(p, w);
    chooser_forgive(w, p->now_ms);
    assert_true(chooser_update(w, p->now_ms));
    w->others = 6;
    assert_false(chooser_update(w, p->now_ms));
    w->others = 5; /* another gateway's has ended: what a reserve kept back may go */
    assert_true(chooser_update(w, p->now_ms));
    assert_false(chooser_update(w, p->now_ms));
    virtual_free(p);
}

/* ---- Affinity ---- */

static void a_conversation_stays_where_its_cache_is(void **state)
{
    struct virtual_pool *p = virtual_crew(30, 1000);
    struct chooser_query q = virtual_query();
    size_t homes = 0;

    (void)state;
    q.input = 2000;
    for (uint64_t tag = 1; tag <= 300; tag++) {
        q.affinity = tag * 77;
        struct chooser_worker *home = virtual_pick(p, &q);
        for (int i = 0; i < 5; i++)
            assert_ptr_equal(virtual_pick(p, &q), home);
        homes += home->in_flight == 0 ? 1 : 0;
        if (home->in_flight == 0)
            virtual_start(p, home, &q);
    }
    assert_true(homes > 25); /* and they are spread */
    virtual_free(p);
}

static void the_fast_have_more_conversations(void **state)
{
    struct virtual_pool *p = virtual_crew(8, 1000);
    struct chooser_query q = virtual_query();
    size_t fast = 0;

    (void)state;
    for (size_t i = 0; i < 8; i++)
        virtual_serve(p, &p->w[i], i < 2 ? 400 : 100);
    p->now_ms += 1000;
    for (size_t i = 0; i < 8; i++)
        (void)chooser_update(&p->w[i], p->now_ms);
    for (uint64_t tag = 1; tag <= 1000; tag++) {
        q.affinity = tag * 0x9e3779b97f4a7c15u;
        fast += virtual_pick(p, &q) - p->w < 2 ? 1 : 0;
    }
    assert_in_range(fast, 500, 640); /* 8 of 14 */
    virtual_free(p);
}

static void others_keep_their_home_when_a_worker_leaves(void **state)
{
    struct virtual_pool *p = virtual_crew(20, 1000);
    struct chooser_query q = virtual_query();
    struct chooser_worker *homes[200];
    size_t moved = 0;

    (void)state;
    for (uint64_t tag = 0; tag < 200; tag++) {
        q.affinity = tag + 1;
        homes[tag] = virtual_pick(p, &q);
    }
    chooser_leave(&p->w[7]);
    for (uint64_t tag = 0; tag < 200; tag++) {
        q.affinity = tag + 1;
        moved += virtual_pick(p, &q) != homes[tag] ? 1 : 0;
        assert_true(homes[tag] == &p->w[7] || virtual_pick(p, &q) == homes[tag]);
    }
    assert_in_range(moved, 1, 30);
    virtual_free(p);
}

static void a_loaded_home_is_left_and_come_back_to(void **state)
{
    struct virtual_pool *p = virtual_crew(8, 8);
    struct chooser_query q = virtual_query();
    const struct chooser_query other = virtual_query();

    (void)state;
    for (size_t i = 0; i < 8; i++)
        virtual_serve(p, &p->w[i], 100);
    q.affinity = 42;
    struct chooser_worker *home = virtual_pick(p, &q);
    for (int i = 0; i < 3; i++)
        virtual_start(p, home, &other);
    assert_ptr_equal(virtual_pick(p, &q), home);
    for (int i = 0; i < 4; i++)
        virtual_start(p, home, &other);
    assert_ptr_not_equal(virtual_pick(p, &q), home);
    assert_true(chooser_counts(p->chooser)->moved > 0);
    for (size_t i = 0; i < p->job_count; i++)
        chooser_finish(&p->jobs[i], p->now_ms);
    assert_ptr_equal(virtual_pick(p, &q), home);
    virtual_free(p);
}

/* A conversation's request, of 2,000 tokens of input, of which so many were cached. */
static void converse(struct virtual_pool *p, struct chooser_worker *w, int64_t cached)
{
    struct chooser_query q = virtual_query();
    const struct chooser_served r = {
        .input = 2000, .cached = cached, .output = 100, .took_ms = 1000};
    struct chooser_job j;

    q.affinity = 7;
    chooser_start(&j, virtual_seat(w), &q, p->now_ms);
    chooser_served(&j, &r, p->now_ms);
    chooser_finish(&j, p->now_ms);
}

static void where_caches_never_help_nobody_waits_for_one(void **state)
{
    struct virtual_pool *p = virtual_crew(8, 8);
    struct chooser_query q = virtual_query();

    (void)state;
    q.affinity = 42;
    for (int i = 0; i < 400; i++)
        converse(p, &p->w[i % 8], 0);
    struct chooser_worker *home = virtual_pick(p, &q);
    virtual_start(p, home, &q);
    assert_ptr_not_equal(virtual_pick(p, &q), home);
    for (int i = 0; i < 100; i++)
        converse(p, &p->w[i % 8], 1000);
    assert_ptr_equal(virtual_pick(p, &q), home);
    virtual_free(p);
}

/* ---- Classes ---- */

/* The best class that what is free is kept from; CLASSES: none. */
static size_t kept_from(struct virtual_pool *p)
{
    struct chooser_model_view v;
    size_t class = 0;

    assert_true(chooser_model(p->chooser, VIRTUAL_MODEL, p->now_ms, &v));
    assert_true(v.open > 0);
    while (class < CLASSES && !v.reserved[class])
        class ++;
    for (size_t i = class; i < CLASSES; i++)
        assert_true(v.reserved[i]); /* and from all that go after it */
    return class;
}

static void batch_takes_what_the_reserves_leave(void **state)
{
    struct virtual_pool *p = virtual_crew(2, 50);
    struct chooser_query batch = virtual_query(), urgent = virtual_query();
    size_t taken = 0;

    (void)state;
    batch.class = CLASS_BATCH;
    urgent.class = CLASS_INTERNAL;
    assert_int_equal(kept_from(p), CLASSES);
    for (; virtual_pick(p, &batch); taken++)
        virtual_start(p, virtual_pick(p, &batch), &batch);
    assert_int_equal(taken, 78); /* of 100: 2 for internal, 20 for interactive */
    assert_int_equal(kept_from(p), CLASS_BATCH);
    const struct chooser_query q = virtual_query();
    for (; virtual_pick(p, &q); taken++)
        virtual_start(p, virtual_pick(p, &q), &q);
    assert_int_equal(taken, 98);
    assert_int_equal(kept_from(p), CLASS_INTERACTIVE);
    struct chooser_excluded why;
    chooser_explain(p->chooser, &q, p->now_ms, &why);
    assert_true(why.reserved && chooser_may_wait(p->chooser, &q, p->now_ms));
    for (; virtual_pick(p, &urgent); taken++)
        virtual_start(p, virtual_pick(p, &urgent), &urgent);
    assert_int_equal(taken, 100);
    virtual_free(p);
}

static void a_class_that_uses_its_reserve_keeps_no_more_free(void **state)
{
    struct virtual_pool *p = virtual_crew(2, 50);
    const struct chooser_query q = virtual_query();
    struct chooser_query batch = virtual_query();
    size_t taken = 0;

    (void)state;
    batch.class = CLASS_BATCH;
    for (int i = 0; i < 30; i++)
        virtual_start(p, virtual_pick(p, &q), &q);
    for (; virtual_pick(p, &batch); taken++)
        virtual_start(p, virtual_pick(p, &batch), &batch);
    assert_int_equal(taken, 68); /* 2 for internal */
    virtual_free(p);
}

/* Batch requests that p starts, at most so many. */
static size_t batch_starts(struct virtual_pool *p, size_t most)
{
    struct chooser_query batch = virtual_query();
    size_t taken = 0;

    batch.class = CLASS_BATCH;
    for (; taken < most && virtual_pick(p, &batch); taken++)
        virtual_start(p, virtual_pick(p, &batch), &batch);
    return taken;
}

/* Each gateway hears what all run; after two such reports nothing that was begun before is new. */
static bool hear(struct virtual_pool *p, int64_t all)
{
    bool opened = false;

    for (size_t i = 0; i < p->count; i++) {
        struct chooser_worker *w = &p->w[i];
        w->others = all / (int64_t)p->count - w->in_flight;
        chooser_heard(w, p->now_ms);
        opened = chooser_update(w, p->now_ms) || opened;
    }
    return opened;
}

static void gateways_that_begin_together_leave_what_is_kept_free(void **state)
{
    enum { GATEWAYS = 3 };
    struct virtual_pool *p[GATEWAYS];
    size_t all = 0, first[GATEWAYS];

    (void)state;
    for (int i = 0; i < GATEWAYS; i++) {
        p[i] = virtual_crew(1, 100);
        chooser_set_gateways(p[i]->chooser, GATEWAYS);
        first[i] = batch_starts(p[i], 100);
        all += first[i];
    }
    assert_in_range(all, 75, 78); /* of 100: 22 are kept */
    for (int round = 0; round < 4; round++) {
        bool opened[GATEWAYS];
        for (int i = 0; i < GATEWAYS; i++) {
            p[i]->now_ms += 1000;
            opened[i] = hear(p[i], (int64_t)all);
        }
        for (int i = 0; i < GATEWAYS; i++) {
            assert_true(round != 1 || opened[i]);
            all += batch_starts(p[i], 100);
        }
    }
    assert_in_range(all, 78, 78 + GATEWAYS - 1);
    for (int i = 0; i < GATEWAYS; i++)
        virtual_free(p[i]);
}

static void alone_batch_takes_at_last_what_other_gateways_leave(void **state)
{
    struct virtual_pool *p = virtual_crew(1, 100);
    size_t all;

    (void)state;
    chooser_set_gateways(p->chooser, 2);
    all = batch_starts(p, 100);
    assert_int_equal(all, 39);
    p->now_ms += 20; /* what was sent may not be there yet */
    assert_false(hear(p, (int64_t)all));
    assert_int_equal(batch_starts(p, 100), 0);
    for (int i = 0; i < 12; i++) {
        p->now_ms += 1000;
        (void)hear(p, (int64_t)all);
        all += batch_starts(p, 100);
    }
    assert_int_equal(all, 78);
    virtual_free(p);
}

/* How many batch requests of 20 ms one gateway of so many serves in ten seconds, when the others
 * serve none; the worker reports once a second. */
static size_t short_batch_served(size_t gateways)
{
    enum { TOOK_MS = 20, SLOTS = 16 };
    struct virtual_pool *p = virtual_crew(1, SLOTS);
    struct chooser_query batch = virtual_query();
    struct chooser_job jobs[SLOTS];
    size_t served = 0, running;

    batch.class = CLASS_BATCH;
    chooser_set_gateways(p->chooser, gateways);
    for (uint64_t ms = 0; ms < 10000; ms += TOOK_MS) {
        if (ms % 1000 == 0)
            (void)hear(p, 0);
        for (running = 0; running < SLOTS && virtual_pick(p, &batch); running++)
            chooser_start(&jobs[running], virtual_seat(&p->w[0]), &batch, p->now_ms);
        p->now_ms += TOOK_MS;
        for (size_t i = 0; i < running; i++)
            (void)chooser_finish(&jobs[i], p->now_ms);
        served += running;
    }
    virtual_free(p);
    return served;
}

/* What has ended is of no concern, whether the workers have spoken of it or not. */
static void short_batch_calls_keep_their_rate_among_several_gateways(void **state)
{
    const size_t alone = short_batch_served(1);

    (void)state;
    assert_int_equal(alone, 500 * 13); /* of 16 slots 3 are kept */
    for (size_t gateways = 2; gateways <= 4; gateways++)
        assert_true(short_batch_served(gateways) >= alone / gateways);
}

/* Also one that ends after the next report, or after two. */
static void batch_that_has_ended_counts_no_more_as_unheard(void **state)
{
    struct virtual_pool *p = virtual_crew(1, 100);

    (void)state;
    chooser_set_gateways(p->chooser, 2);
    for (size_t reports = 0; reports < 4; reports++) {
        const size_t first = p->job_count;
        assert_int_equal(batch_starts(p, 100), 39);
        virtual_serve(p, &p->w[0], 100); /* of another class: it changes nothing */
        assert_int_equal(p->w[0].unheard[0], 39);
        for (size_t i = 0; i < reports; i++) {
            p->now_ms += 1000;
            (void)hear(p, 39);
        }
        for (size_t i = first; i < p->job_count; i++)
            (void)chooser_finish(&p->jobs[i], p->now_ms);
        assert_int_equal(p->w[0].unheard[0], 0);
        assert_int_equal(p->w[0].unheard[1], 0);
    }
    virtual_free(p);
}

/* ---- Ranks, coming and going ---- */

static void ranks_are_best_first_and_full_ones_last(void **state)
{
    struct virtual_pool *p = virtual_crew(4, 2);
    const struct chooser_query q = virtual_query();
    struct chooser_seat *out[4];

    (void)state;
    virtual_serve(p, &p->w[0], 100);
    virtual_serve(p, &p->w[1], 400);
    virtual_serve(p, &p->w[2], 200);
    virtual_serve(p, &p->w[3], 900);
    virtual_start(p, &p->w[3], &q);
    virtual_start(p, &p->w[3], &q);
    assert_int_equal(chooser_rank(p->chooser, &q, true, p->now_ms, out, 4), 4);
    const size_t order[] = {1, 2, 0, 3};
    for (size_t i = 0; i < 4; i++)
        assert_ptr_equal(chooser_seat_worker(out[i]), &p->w[order[i]]);
    assert_int_equal(chooser_rank(p->chooser, &q, false, p->now_ms, out, 4), 3);
    virtual_free(p);
}

static void a_conversations_own_worker_is_ranked_first(void **state)
{
    struct virtual_pool *p = virtual_crew(100, 20);
    struct chooser_query q = virtual_query();
    struct chooser_seat *out[4];

    (void)state;
    for (uint64_t tag = 1; tag < 50; tag++) {
        q.affinity = tag;
        const struct chooser_worker *home = virtual_pick(p, &q);
        assert_int_equal(chooser_rank(p->chooser, &q, true, p->now_ms, out, 4), 4);
        assert_ptr_equal(chooser_seat_worker(out[0]), home);
        for (size_t i = 1; i < 4; i++)
            assert_ptr_not_equal(chooser_seat_worker(out[i]), home);
    }
    virtual_free(p);
}

static void of_very_many_some_are_ranked_each_once(void **state)
{
    struct virtual_pool *p = virtual_crew(500, 2);
    const struct chooser_query q = virtual_query();
    struct chooser_seat *out[16];

    (void)state;
    const size_t count = chooser_rank(p->chooser, &q, true, p->now_ms, out, 16);
    assert_int_equal(count, 16);
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < i; k++)
            assert_ptr_not_equal(out[i], out[k]);
    virtual_free(p);
}

static void jobs_outlive_the_model_and_the_tunnel(void **state)
{
    struct virtual_pool *p = virtual_crew(3, 8);
    const struct chooser_offer other = {SPAN("other"), 1, 8192};
    const struct chooser_query q = virtual_query();
    const struct chooser_served r = {.output = 7, .took_ms = 100};
    struct chooser_model_view v;

    (void)state;
    struct chooser_job *a = virtual_start(p, &p->w[0], &q);
    struct chooser_job *b = virtual_start(p, &p->w[1], &q);
    chooser_serve(&p->w[0], &other, 1, p->now_ms);
    chooser_leave(&p->w[1]);
    chooser_served(a, &r, p->now_ms);
    chooser_failed(b, p->now_ms);
    chooser_finish(a, p->now_ms);
    chooser_freed(b, p->now_ms);
    chooser_finish(b, p->now_ms);
    assert_int_equal(p->w[0].in_flight + p->w[1].in_flight, 0);
    assert_true(chooser_model(p->chooser, VIRTUAL_MODEL, p->now_ms, &v)); /* w[2] is still there */
    assert_int_equal(v.running[q.class], 0);
    virtual_free(p);
}

/* Bounds are wide: machines are shared. `make bench` has the figures. */
static void ten_thousand_workers_cost_no_more_than_a_few(void **state)
{
    struct virtual_pool *p = virtual_crew(VIRTUAL_MAX, 8);
    struct chooser_query q = virtual_query();
    size_t none = 0;

    (void)state;
    const uint64_t begin = clock_mono_us();
    for (int i = 0; i < 20000; i++)
        none += virtual_pick(p, &q) ? 0 : 1;
    assert_true(clock_mono_us() - begin < 20000 * 50);
    assert_int_equal(none, 0);
    virtual_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_condition_is_told_apart),
        cmocka_unit_test(a_bid_below_the_ask_is_told_the_lowest_that_would_do),
        cmocka_unit_test(a_full_worker_takes_nothing),
        cmocka_unit_test(room_counts_from_when_it_came),
        cmocka_unit_test(a_context_that_is_too_short_counts_only_where_another_is_not),
        cmocka_unit_test(equals_get_equal_shares),
        cmocka_unit_test(work_in_flight_spreads_evenly),
        cmocka_unit_test(the_faster_gets_more),
        cmocka_unit_test(beyond_sixteen_two_are_drawn_in_proportion_to_their_speed),
        cmocka_unit_test(a_narrow_request_finds_the_one_of_many_that_takes_it),
        cmocka_unit_test(price_distance_crowded_caches_and_bad_standing_count),
        cmocka_unit_test(what_must_be_done_by_now_is_not_waited_for),
        cmocka_unit_test(a_newcomers_share_grows),
        cmocka_unit_test(an_unknown_worker_is_thought_as_fast_as_the_median),
        cmocka_unit_test(an_error_looks_slow_and_opens_the_breaker),
        cmocka_unit_test(many_failures_at_once_are_one),
        cmocka_unit_test(one_model_that_fails_does_not_close_another),
        cmocka_unit_test(who_dials_again_is_as_bad_as_before),
        cmocka_unit_test(half_open_lets_one_through),
        cmocka_unit_test(when_over_half_are_out_the_least_bad_is_taken),
        cmocka_unit_test(panic_overrides_breakers_only),
        cmocka_unit_test(one_worker_is_judged_as_all_are),
        cmocka_unit_test(who_can_be_asked_again_is_told),
        cmocka_unit_test(room_is_told_once_however_it_came),
        cmocka_unit_test(a_conversation_stays_where_its_cache_is),
        cmocka_unit_test(the_fast_have_more_conversations),
        cmocka_unit_test(others_keep_their_home_when_a_worker_leaves),
        cmocka_unit_test(a_loaded_home_is_left_and_come_back_to),
        cmocka_unit_test(where_caches_never_help_nobody_waits_for_one),
        cmocka_unit_test(batch_takes_what_the_reserves_leave),
        cmocka_unit_test(a_class_that_uses_its_reserve_keeps_no_more_free),
        cmocka_unit_test(gateways_that_begin_together_leave_what_is_kept_free),
        cmocka_unit_test(alone_batch_takes_at_last_what_other_gateways_leave),
        cmocka_unit_test(short_batch_calls_keep_their_rate_among_several_gateways),
        cmocka_unit_test(batch_that_has_ended_counts_no_more_as_unheard),
        cmocka_unit_test(ranks_are_best_first_and_full_ones_last),
        cmocka_unit_test(a_conversations_own_worker_is_ranked_first),
        cmocka_unit_test(of_very_many_some_are_ranked_each_once),
        cmocka_unit_test(jobs_outlive_the_model_and_the_tunnel),
        cmocka_unit_test(ten_thousand_workers_cost_no_more_than_a_few),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
