/* Closed, open, half-open: when each, and for how long. */
#include "virtual.h"

struct rig {
    struct breaker b;
    struct dice dice;
    uint64_t seed, now_ms;
};

static struct rig rig(void)
{
    return (struct rig){.seed = 7, .now_ms = 5000, .dice = {.below = virtual_below}};
}

static bool trip(struct rig *r, bool probe)
{
    r->dice.arg = &r->seed;
    return breaker_failed(&r->b, probe, r->now_ms, &r->dice);
}

static void a_failure_opens_it_for_about_a_second(void **state)
{
    struct rig r = rig();

    (void)state;
    assert_true(breaker_allows(&r.b, r.now_ms));
    assert_true(trip(&r, false));
    assert_int_equal(breaker_state(&r.b, r.now_ms), BREAKER_OPEN);
    assert_false(breaker_allows(&r.b, r.now_ms));
    assert_false(breaker_allows(&r.b, r.now_ms + 999));
    assert_int_equal(breaker_state(&r.b, r.now_ms + 1501), BREAKER_HALF_OPEN);
}

static void what_was_under_way_does_not_open_it_further(void **state)
{
    struct rig r = rig();

    (void)state;
    assert_true(trip(&r, false));
    const uint64_t until = r.b.until_ms;
    for (int i = 0; i < 100; i++)
        assert_false(trip(&r, false));
    assert_int_equal(r.b.until_ms, until);
    r.now_ms = until;
    assert_false(trip(&r, false));
    assert_true(breaker_allows(&r.b, r.now_ms));
    breaker_served(&r.b, false); /* nor does what ends well close it */
    assert_int_equal(breaker_state(&r.b, r.now_ms), BREAKER_HALF_OPEN);
}

static void one_probe_decides(void **state)
{
    struct rig r = rig();

    (void)state;
    assert_false(breaker_start(&r.b, r.now_ms)); /* closed: nothing to probe */
    assert_true(trip(&r, false));
    r.now_ms = r.b.until_ms;
    assert_true(breaker_start(&r.b, r.now_ms));
    assert_false(breaker_allows(&r.b, r.now_ms));
    assert_false(breaker_start(&r.b, r.now_ms));
    breaker_served(&r.b, true);
    assert_int_equal(breaker_state(&r.b, r.now_ms), BREAKER_CLOSED);
}

static void a_probe_that_says_nothing_leaves_room_for_another(void **state)
{
    struct rig r = rig();

    (void)state;
    assert_true(trip(&r, false));
    r.now_ms = r.b.until_ms;
    assert_true(breaker_start(&r.b, r.now_ms));
    breaker_dropped(&r.b, true);
    assert_true(breaker_start(&r.b, r.now_ms));
}

static void the_back_off_doubles_to_a_minute_and_a_good_probe_ends_it(void **state)
{
    struct rig r = rig();
    const uint64_t least[] = {1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000, 60000};

    (void)state;
    for (size_t i = 0; i < sizeof(least) / sizeof(*least); i++) {
        const bool probe = i > 0 && breaker_start(&r.b, r.now_ms);
        assert_true(trip(&r, probe));
        const uint64_t wait = r.b.until_ms - r.now_ms;
        const uint64_t most = least[i] * 3 / 2;
        assert_in_range(wait, least[i], most < BREAKER_MOST_MS ? most : BREAKER_MOST_MS);
        r.now_ms = r.b.until_ms;
    }
    assert_true(breaker_start(&r.b, r.now_ms));
    breaker_served(&r.b, true);
    assert_true(trip(&r, false));
    assert_in_range(r.b.until_ms - r.now_ms, 1000, 1500);
}

static void workers_that_failed_together_do_not_come_back_together(void **state)
{
    uint64_t least = UINT64_MAX, most = 0;
    struct rig r = rig();

    (void)state;
    for (int i = 0; i < 100; i++) {
        r.b = (struct breaker){0};
        assert_true(trip(&r, false));
        least = r.b.until_ms < least ? r.b.until_ms : least;
        most = r.b.until_ms > most ? r.b.until_ms : most;
    }
    assert_true(most - least > 300);
}

static void the_states_have_names(void **state)
{
    (void)state;
    assert_string_equal(breaker_state_name(BREAKER_CLOSED), "closed");
    assert_string_equal(breaker_state_name(BREAKER_OPEN), "open");
    assert_string_equal(breaker_state_name(BREAKER_HALF_OPEN), "half_open");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failure_opens_it_for_about_a_second),
        cmocka_unit_test(what_was_under_way_does_not_open_it_further),
        cmocka_unit_test(one_probe_decides),
        cmocka_unit_test(a_probe_that_says_nothing_leaves_room_for_another),
        cmocka_unit_test(the_back_off_doubles_to_a_minute_and_a_good_probe_ends_it),
        cmocka_unit_test(workers_that_failed_together_do_not_come_back_together),
        cmocka_unit_test(the_states_have_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
