/* How many requests may be tried again, and the minute that is counted. */
#include "virtual.h"

#include "backends/pool/budget.h"

static const struct budget_options usual = {.percent = 10, .least = 10};

static unsigned taken(struct budget *b, uint64_t now_ms)
{
    unsigned count = 0;

    while (budget_take(b, &usual, now_ms))
        count++;
    return count;
}

static void few_requests_may_be_tried_again_ten_times_a_minute(void **state)
{
    struct budget b = {0};

    (void)state;
    budget_note(&b, 1000);
    assert_int_equal(taken(&b, 1000), 10);
    assert_int_equal(taken(&b, 59000), 0);
    assert_int_equal(taken(&b, 61000), 10);
}

static void many_requests_may_be_tried_again_by_a_tenth(void **state)
{
    struct budget b = {0};

    (void)state;
    for (uint64_t i = 0; i < 3000; i++)
        budget_note(&b, 100000 + i * 10);
    assert_int_equal(taken(&b, 130000), 300);
    for (uint64_t i = 0; i < 100; i++)
        budget_note(&b, 130000);
    assert_int_equal(taken(&b, 130000), 10);
    assert_int_equal(taken(&b, 300000), 10); /* all of it is long ago */
}

static void a_window_forgets_second_by_second(void **state)
{
    struct window w = {0};

    (void)state;
    for (uint64_t s = 0; s < 120; s++)
        window_add(&w, s * 1000);
    assert_int_equal(window_count(&w, 119999), 60);
    assert_int_equal(window_count(&w, 129000), 50);
    assert_int_equal(window_count(&w, 178999), 1);
    assert_int_equal(window_count(&w, 179000), 0);
    window_add(&w, 10000000);
    assert_int_equal(window_count(&w, 10000999), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(few_requests_may_be_tried_again_ten_times_a_minute),
        cmocka_unit_test(many_requests_may_be_tried_again_by_a_tenth),
        cmocka_unit_test(a_window_forgets_second_by_second),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
