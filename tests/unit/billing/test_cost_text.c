/* The cost goes to the end of `usage`, and nothing else of the worker's bytes changes. */
#include "tests/unit/lib/vectors.h"

#include "billing/cost_text.h"

static void in_object(const char *object, const char *expected)
{
    AUTO(buf_fini) struct buf out = {0};

    assert_int_equal(cost_into_object(span_str(object), 1500000000, &out), 0);
    assert_string_equal(buf_cstr(&out), expected);
}

static void the_cost_stands_last_in_usage(void **state)
{
    (void)state;
    in_object(
        "{\"a\": 1.0, \"usage\":{\"total_tokens\":3} }",
        "{\"a\": 1.0, \"usage\":{\"total_tokens\":3,\"cost_nano\":1500000000,\"cost\":\"1.5\"} "
        "}");
    in_object("{\"usage\":{}}", "{\"usage\":{\"cost_nano\":1500000000,\"cost\":\"1.5\"}}");
}

static void the_closing_events_stay_behind_it(void **state)
{
    AUTO(buf_fini) struct buf out = {0};

    (void)state;
    assert_int_equal(
        cost_into_events(SPAN("data: {\"choices\":[],\"usage\":{\"x\":1}}\n\ndata: [DONE]\n\n"), 7,
                         &out),
        0);
    assert_string_equal(buf_cstr(&out), "data: {\"choices\":[],\"usage\":{\"x\":1,\"cost_nano\":7,"
                                        "\"cost\":\"0.000000007\"}}\n\ndata: [DONE]\n\n");
}

static void what_shows_no_usage_stays_as_it_is(void **state)
{
    static const char *const none[] = {"data: [DONE]\n\n", "data: {\"choices\":[]}\n\n", "",
                                       "data: {\"usage\":{}}", "data: {\"usage\":null}\n\n"};
    AUTO(buf_fini) struct buf out = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
        assert_true(cost_into_events(span_str(none[i]), 7, &out) < 0);
    assert_true(cost_into_object(SPAN("{}"), 7, &out) < 0);
    assert_int_equal(out.len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_cost_stands_last_in_usage),
        cmocka_unit_test(the_closing_events_stay_behind_it),
        cmocka_unit_test(what_shows_no_usage_stays_as_it_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
