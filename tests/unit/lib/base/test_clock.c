/* Clocks that move on, and HTTP's dates. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"

static void clocks_move_forward_and_agree(void **state)
{
    (void)state;
    const uint64_t us = clock_mono_us(), ms = clock_mono_ms();

    assert_true(ms >= us / 1000 && ms - us / 1000 < 1000);
    assert_true(clock_mono_us() >= us);
    assert_true(clock_wall_ms() > UINT64_C(1700000000000));
    assert_true(clock_wall_ms() / 1000 - (uint64_t)time(NULL) + 1 <= 2);
}

static void the_date_of_rfc_9110_is_written(void **state)
{
    (void)state;
    char out[CLOCK_HTTP_LEN];

    clock_http_format(out, 784111777);
    assert_string_equal(out, "Sun, 06 Nov 1994 08:49:37 GMT");
    clock_http_format(out, 0);
    assert_string_equal(out, "Thu, 01 Jan 1970 00:00:00 GMT");
    clock_http_format(out, INT64_MAX);
    assert_string_equal(out, "Fri, 31 Dec 9999 23:59:59 GMT");
    clock_http_format(out, INT64_MIN);
    assert_string_equal(out, "Sat, 01 Jan 0000 00:00:00 GMT");
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    char out[CLOCK_HTTP_LEN];
    time_t t = 0;

    for (time_t want = -62167219200; want < 253402300799; want += 86399 * 977) {
        clock_http_format(out, want);
        assert_int_equal(clock_http_parse(span_str(out), &t), 0);
        assert_int_equal(t, want);
    }
}

static void dates_of_people_are_read(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "2027-02-29",
                                      "2027-02-31",
                                      "2027-04-31T00:00:00Z",
                                      "2027-13-01",
                                      "2027-00-10",
                                      "2027-01-00",
                                      "2027-1-31",
                                      " 2027-1-31",
                                      "2027/01/31",
                                      "2027-01-31 12:00:00Z",
                                      "2027-01-31T12:00:00",
                                      "2027-01-31T24:00:00Z",
                                      "2027-01-31T12:60:00Z",
                                      "2027-01-31T12:00:60Z",
                                      "2027-01-31T12:00:00z",
                                      "2027-01-31T12:00:0:Z",
                                      "1970-01-01",
                                      "1969-12-31",
                                      "99999-01-01",
                                      "+027-01-31",
                                      "2027-01-3\xFF"};
    uint64_t s = 77;

    assert_int_equal(clock_date_parse(SPAN("2027-01-31"), &s), 0);
    assert_int_equal(s, 1801353600);
    assert_int_equal(clock_date_parse(SPAN("2028-02-29T23:59:59Z"), &s), 0);
    assert_int_equal(s, 1835481599);
    assert_int_equal(clock_date_parse(SPAN("9999-12-31T23:59:59Z"), &s), 0);
    assert_int_equal(s, 253402300799);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(clock_date_parse(span_str(bad[i]), &s), E_INVALID);
    assert_int_equal(s, 253402300799);
}

static void other_spellings_are_refused(void **state)
{
    (void)state;
    time_t t = 77;
    static const char *const bad[] = {
        "",
        "Mon, 06 Nov 1994 08:49:37 GMT", // it was a Sunday
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "sun, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 nov 1994 08:49:37 GMT",
        "Sun, 06 anF 1994 08:49:37 GMT", // a piece of two months' names
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 24:49:37 GMT",
        "Sun, 06 Nov 1994 08:60:37 GMT",
        "Sun, 06 Nov 1994 08:49:3a GMT",
        "Wed, 30 Feb 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT ",
        "Sunday, 06-Nov-94 08:49:37 GMT", // obsolete, RFC 850
        "Sun Nov  6 08:49:37 1994",       // obsolete, asctime
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(clock_http_parse(span_str(bad[i]), &t), E_INVALID);
    char high[CLOCK_HTTP_LEN] = "Sun, 06 Nov 1994 08:49:37 GMT";
    memset(high, 0xFF, 8);
    memset(high + 11, 0xFF, 18);
    assert_int_equal(clock_http_parse(span_of(high, 29), &t), E_INVALID);
    assert_int_equal(t, 77);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clocks_move_forward_and_agree),
        cmocka_unit_test(the_date_of_rfc_9110_is_written),
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(dates_of_people_are_read),
        cmocka_unit_test(other_spellings_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
