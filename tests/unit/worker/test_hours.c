/* Hours of the week. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "worker/hours.h"

static bool open_at(const struct hours *h, int wday, int hour, int minute)
{
    const struct tm tm = {.tm_wday = wday, .tm_hour = hour, .tm_min = minute};

    return hours_open_at(h, &tm);
}

static void a_range_is_open_from_its_first_minute_to_the_one_before_its_end(void **state)
{
    struct hours h = {0};

    (void)state;
    assert_int_equal(hours_set(&h, 0, SPAN("08:30-12:00,20:00-24:00")), 0);
    assert_false(open_at(&h, 1, 8, 29));
    assert_true(open_at(&h, 1, 8, 30));
    assert_true(open_at(&h, 1, 11, 59));
    assert_false(open_at(&h, 1, 12, 0));
    assert_true(open_at(&h, 1, 23, 59));
    assert_false(open_at(&h, 2, 9, 0));
}

static void sunday_is_the_last_day(void **state)
{
    struct hours h = {0};

    (void)state;
    assert_int_equal(hours_set(&h, 6, SPAN("always")), 0);
    assert_true(open_at(&h, 0, 0, 0));
    assert_false(open_at(&h, 6, 0, 0));
}

static void an_empty_day_is_never(void **state)
{
    struct hours h = {0};

    (void)state;
    assert_int_equal(hours_set(&h, 3, SPAN("always")), 0);
    assert_int_equal(hours_set(&h, 3, SPAN("")), 0);
    assert_false(open_at(&h, 4, 12, 0));
}

static void nonsense_leaves_the_day_as_it_was(void **state)
{
    static const char *const bad[] = {"8:00-12:00",  "08:00",       "08:00-08:00",
                                      "12:00-08:00", "24:00-24:00", "08:00-24:01",
                                      "08:60-09:00", "aa:bb-cc:dd", "08:00-12:00,",
                                      ",",           "Always",      "08:00-12:00;13:00-14:00"};
    struct hours h = {0};

    (void)state;
    assert_int_equal(hours_set(&h, 0, SPAN("10:00-11:00")), 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(hours_set(&h, 0, span_str(bad[i])), E_INVALID);
    assert_true(open_at(&h, 1, 10, 30));
    assert_false(open_at(&h, 1, 8, 0));
    assert_string_equal(h.text[0], "10:00-11:00");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_range_is_open_from_its_first_minute_to_the_one_before_its_end),
        cmocka_unit_test(sunday_is_the_last_day),
        cmocka_unit_test(an_empty_day_is_never),
        cmocka_unit_test(nonsense_leaves_the_day_as_it_was),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
