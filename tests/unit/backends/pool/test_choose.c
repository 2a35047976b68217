/* What the pool tells the choice of its workers, and what only the pool can judge. The choice
 * itself: test_chooser.c. */
#include "rig.h"

#include "base/clock.h"

enum { HOUR_MS = 3600000 };

/* A ready worker whose own words do not change while choices are made. */
static struct rig *one(struct pool_worker **w)
{
    struct rig *r = rig_new(HOUR_MS);

    *w = rig_join(r, NULL);
    return r;
}

static void what_keeps_a_worker_out_is_told_to_the_choice(void **state)
{
    struct pool_worker *w;
    struct rig *r = one(&w);
    struct pool_query q = rig_query();

    (void)state;
    q.model = SPAN("another");
    assert_int_equal(rig_excluded(r, &q).by.model, 1);
    q = rig_query();
    q.endpoint = EP_EMBEDDINGS;
    assert_int_equal(rig_excluded(r, &q).by.endpoint, 1);
    q = rig_query();
    q.tried[q.tried_count++] = w;
    assert_int_equal(rig_excluded(r, &q).by.tried, 1);
    q = rig_query();
    w->skewed = true;
    worker_changed(w);
    assert_int_equal(rig_excluded(r, &q).by.not_ready, 1);
    w->skewed = false;
    w->about.accepting = false;
    worker_changed(w);
    assert_int_equal(rig_excluded(r, &q).by.draining, 1);
    w->about.accepting = true;
    w->about.ask = 1001;
    worker_changed(w);
    assert_int_equal(rig_excluded(r, &q).by.lowest_ask, 1001);
    w->about.ask = 1000;
    w->refused_coefficient = 1000;
    worker_changed(w);
    assert_int_equal(rig_excluded(r, &q).by.lowest_ask, 1001);
    w->refused_coefficient = 0;
    worker_changed(w);
    assert_ptr_equal(pool_choose(r->pool, &q), w);
    assert_int_equal(pool_worker_ask(w), 1000);
    rig_free(r);
}

static void a_verdict_that_has_ended_keeps_a_worker_out(void **state)
{
    struct pool_worker *w;
    struct rig *r = one(&w);
    struct pool_query q = rig_query();

    (void)state;
    w->verdict.valid_until = clock_wall_ms() / 1000;
    assert_int_equal(rig_excluded(r, &q).by.not_ready, 1);
    w->verdict.valid_until += 60;
    assert_ptr_equal(pool_choose(r->pool, &q), w);
    rig_free(r);
}

static void a_demand_that_is_not_met_is_named(void **state)
{
    struct pool_worker *w;
    struct rig *r = one(&w);
    struct pool_query q = rig_query();
    const struct attest_require require = {.gpu_nvidia = true};

    (void)state;
    q.require = &require;
    assert_string_equal(rig_excluded(r, &q).unmet, "gpu");
    q = rig_query();
    q.end_to_end = true;
    w->verdict.env = ATTEST_UNATTESTED;
    assert_string_equal(rig_excluded(r, &q).unmet, "attestation");
    assert_int_equal(rig_excluded(r, &q).by.evidence, 1);
    assert_false(pool_may_wait(r->pool, &q));
    rig_free(r);
}

static void what_others_run_there_is_not_counted_twice(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct pool_worker *w = rig_join(r, &(struct fake_script){.running = 5});
    struct chooser_job jobs[2];
    const struct chooser_query q = {.model = SPAN(FAKE_MODEL), .output = 100};

    (void)state;
    for (size_t i = 0; i < 2; i++)
        chooser_start(&jobs[i], chooser_seat_of(&w->entry, q.model), &q, loop_now(r->loop));
    r->workers[0].running = 2; /* ours, as the worker counts them */
    records_fetch(w);
    TURN_UNTIL(r->loop, w->load.running == 7, WAIT_MS);
    assert_int_equal(w->entry.others, 5);
    for (size_t i = 0; i < 2; i++)
        chooser_finish(&jobs[i], loop_now(r->loop));
    rig_free(r);
}

/* ---- Slots that are promised (end to end) ---- */

static void a_promised_slot_is_kept_for_its_account(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct pool_worker *w = rig_join(r, &(struct fake_script){.max = 1});
    struct pool_query q = rig_query();
    struct pool_worker *first;

    (void)state;
    assert_int_equal(pool_rank(r->pool, &q, false, &first, 1), 1);
    pool_promise(w, SPAN("acct"));
    assert_int_equal(pool_rank(r->pool, &q, false, &first, 1), 0);
    assert_int_equal(rig_excluded(r, &q).by.full, 1);
    assert_true(pool_may_wait(r->pool, &q));
    assert_false(pool_redeem(w, SPAN("another")));
    assert_true(pool_redeem(w, SPAN("acct")));
    assert_false(pool_redeem(w, SPAN("acct")));
    assert_ptr_equal(pool_choose(r->pool, &q), w);
    rig_free(r);
}

static void a_promise_that_nobody_redeems_ends_and_is_told(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct pool_worker *w = rig_join(r, &(struct fake_script){.max = 1});

    (void)state;
    pool_promise(w, SPAN("acct"));
    assert_null(rig_choose(r));
    const unsigned told = r->capacity;
    TURN_UNTIL(r->loop, w->entry.promised == 0, WAIT_MS);
    assert_true(r->capacity > told);
    assert_ptr_equal(rig_choose(r), w);
    rig_free(r);
}

static void a_promise_is_over_when_another_gateways_request_took_the_slot(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct pool_worker *w = rig_join(r, &(struct fake_script){.max = 4});

    (void)state;
    pool_promise(w, SPAN("acct"));
    pool_promise(w, SPAN("acct"));
    promises_taken(w, 1);
    assert_int_equal(w->entry.promised, 1);
    tunnel_close(r->workers[0].tunnel); /* and what is left goes with the worker */
    TURN_UNTIL(r->loop, rig_state(r, &r->workers[0]) == POOL_GONE, WAIT_MS);
    rig_free(r);
}

static void an_account_keeps_only_so_many_slots(void **state)
{
    enum { SLOTS = 20, MOST = 8 };
    struct rig *r = rig_new(HOUR_MS);
    struct pool_worker *w = rig_join(r, &(struct fake_script){.max = SLOTS});
    struct pool_worker *other = rig_join(r, &(struct fake_script){.max = SLOTS});

    (void)state;
    for (size_t i = 0; i < SLOTS; i++)
        pool_promise(i % 2 ? w : other, SPAN("acct"));
    assert_int_equal(w->entry.promised + other->entry.promised, MOST);
    pool_promise(w, SPAN("another"));
    assert_int_equal(w->entry.promised + other->entry.promised, MOST + 1);
    assert_true(pool_redeem(w, SPAN("acct")));
    pool_promise(other, SPAN("acct"));
    pool_promise(other, SPAN("acct"));
    assert_int_equal(w->entry.promised + other->entry.promised, MOST + 1);
    TURN_UNTIL(r->loop, w->entry.promised + other->entry.promised == 0, WAIT_MS);
    pool_promise(w, SPAN("acct"));
    assert_int_equal(w->entry.promised, 1);
    rig_free(r);
}

static void only_who_has_had_room_for_a_while_does_where_that_is_asked(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct pool_worker *w = rig_join(r, &(struct fake_script){.max = 1});
    struct pool_query q = rig_query();

    (void)state;
    pool_promise(w, SPAN("acct"));
    assert_true(pool_redeem(w, SPAN("acct"))); /* it had none just now */
    q.roomy_ms = 50;
    assert_int_equal(rig_excluded(r, &q).by.full, 1);
    TURN_UNTIL(r->loop, pool_choose(r->pool, &q) == w, WAIT_MS);
    rig_free(r);
}

static void a_worker_that_leaves_is_forgotten_by_the_choice(void **state)
{
    struct pool_worker *w;
    struct rig *r = one(&w);
    struct pool_query q = rig_query();

    (void)state;
    tunnel_close(r->workers[0].tunnel);
    TURN_UNTIL(r->loop, rig_state(r, &r->workers[0]) == POOL_GONE, WAIT_MS);
    assert_int_equal(rig_excluded(r, &q).by.total, 0);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_keeps_a_worker_out_is_told_to_the_choice),
        cmocka_unit_test(a_verdict_that_has_ended_keeps_a_worker_out),
        cmocka_unit_test(a_demand_that_is_not_met_is_named),
        cmocka_unit_test(what_others_run_there_is_not_counted_twice),
        cmocka_unit_test(a_promised_slot_is_kept_for_its_account),
        cmocka_unit_test(a_promise_that_nobody_redeems_ends_and_is_told),
        cmocka_unit_test(a_promise_is_over_when_another_gateways_request_took_the_slot),
        cmocka_unit_test(an_account_keeps_only_so_many_slots),
        cmocka_unit_test(only_who_has_had_room_for_a_while_does_where_that_is_asked),
        cmocka_unit_test(a_worker_that_leaves_is_forgotten_by_the_choice),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
