/* traceparent: the examples of W3C Trace Context §3.2.3 and §3.2.4, and what it calls invalid. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/trace_context.h"

#define TRACE  "4bf92f3577b34da6a3ce929d0e0e4736"
#define PARENT "00f067aa0ba902b7"

static void the_specs_example_is_read_and_written_again(void **state)
{
    struct trace_context t;
    char text[TRACEPARENT_LEN + 1];

    (void)state;
    assert_int_equal(trace_context_parse(&t, SPAN("00-" TRACE "-" PARENT "-01")), 0);
    assert_true(t.sampled);
    assert_memory_equal(t.span, "\x00\xf0\x67\xaa\x0b\xa9\x02\xb7", TRACE_SPAN_LEN);
    trace_context_write(&t, text);
    assert_string_equal(text, "00-" TRACE "-" PARENT "-01");
    assert_int_equal(trace_context_parse(&t, SPAN("00-" TRACE "-" PARENT "-00")), 0);
    assert_false(t.sampled);
    trace_context_write(&t, text);
    assert_string_equal(text, "00-" TRACE "-" PARENT "-00");
}

static void flags_that_nobody_knows_are_not_passed_on(void **state)
{
    char text[TRACEPARENT_LEN + 1];

    (void)state;
    trace_context_pass(text, SPAN("00-" TRACE "-" PARENT "-ff"));
    assert_string_equal(text, "00-" TRACE "-" PARENT "-01");
    trace_context_pass(text, SPAN("00-" TRACE "-" PARENT "-fe"));
    assert_string_equal(text, "00-" TRACE "-" PARENT "-00");
}

static void of_a_later_version_is_taken_what_this_one_knows(void **state)
{
    static const char *const later[] = {
        "01-" TRACE "-" PARENT "-01",
        "cc-" TRACE "-" PARENT "-01-what-the-future-will-be-like",
        "fe-" TRACE "-" PARENT "-01-",
    };
    char text[TRACEPARENT_LEN + 1];

    (void)state;
    for (size_t i = 0; i < sizeof(later) / sizeof(later[0]); i++) {
        trace_context_pass(text, span_str(later[i]));
        assert_string_equal(text, "00-" TRACE "-" PARENT "-01");
    }
}

static void whatever_else_is_as_if_absent(void **state)
{
    static const char *const bad[] = {
        "",
        "00",
        "00-" TRACE "-" PARENT,
        "00-" TRACE "-" PARENT "-0",
        "00-" TRACE "-" PARENT "-01-",
        "00-" TRACE "-" PARENT "-01-more",
        "00-" TRACE "-" PARENT "-01 ",
        " 00-" TRACE "-" PARENT "-01",
        "01-" TRACE "-" PARENT "-01.more",
        "ff-" TRACE "-" PARENT "-01",
        "0g-" TRACE "-" PARENT "-01",
        "0A-" TRACE "-" PARENT "-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-" PARENT "-01",
        "00-" TRACE "-00F067AA0BA902B7-01",
        "00-" TRACE "-" PARENT "-0A",
        "00-00000000000000000000000000000000-" PARENT "-01",
        "00-" TRACE "-0000000000000000-01",
        "00-" TRACE "--" PARENT "-1",
        "00_" TRACE "_" PARENT "_01",
        "00-4bf92f3577b34da6a3ce929d0e0e473-" PARENT "-011",
        "00-4bf92f3577b34da6a3ce929d0e0e47\r\n-" PARENT "-01",
    };
    struct trace_context t;
    char text[TRACEPARENT_LEN + 1] = "what was here before";

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(trace_context_parse(&t, span_str(bad[i])), E_INVALID);
    assert_int_equal(trace_context_parse(&t, (struct span){0}), E_INVALID);
    trace_context_pass(text, (struct span){0});
    assert_string_equal(text, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_specs_example_is_read_and_written_again),
        cmocka_unit_test(flags_that_nobody_knows_are_not_passed_on),
        cmocka_unit_test(of_a_later_version_is_taken_what_this_one_knows),
        cmocka_unit_test(whatever_else_is_as_if_absent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
