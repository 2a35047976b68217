/* The gate that every engine's event passes: strict JSON, repaired text, numbers that any reader
 * can hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "openai/event_text.h"

static void json_passes_untouched(void **state)
{
    static const char *const good[] = {
        "{}",
        " [ ] ",
        "\"\"",
        "0",
        "-0.5e+10",
        "1E5",
        "true",
        "[1,{\"a\":[null,false]}]",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d\\ude00 \xf0\x9f\x98\x80\"",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        AUTO(buf_fini) struct buf scratch = {0};
        const struct span in = span_str(good[i]);
        struct span out;
        assert_int_equal(event_text(in, &scratch, &out), 0);
        assert_ptr_equal(out.data, in.data);
    }
}

static void what_is_not_json_does_not_pass(void **state)
{
    static const char *const bad[] = {
        "",
        " ",
        "{",
        "[1,]",
        "{\"a\":1,}",
        "{a:1}",
        "{\"a\" 1}",
        "{\"a\":}",
        "01",
        "-",
        "1.",
        ".5",
        "1e",
        "+1",
        "nul",
        "NaN",
        "Infinity",
        "'x'",
        "\"",
        "\"\\",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"\\u12\"",
        "\"\t\"",
        "\"\n\"",
        "[] []",
        "\"\\ud83d\\u\"",
        "{\"a\":1 \"b\":2}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        AUTO(buf_fini) struct buf scratch = {0};
        struct span out;
        if (event_text(span_str(bad[i]), &scratch, &out) != E_PROTOCOL)
            fail_msg("passed: %s", bad[i]);
    }
    assert_int_equal(json_strict(SPAN("\"a\0b\""), NULL), E_PROTOCOL);
}

static void nesting_is_bounded(void **state)
{
    char text[400];

    (void)state;
    memset(text, '[', 200);
    memset(text + 200, ']', 200);
    assert_int_equal(json_strict(span_of(text + 100, 200), NULL), 0);
    assert_int_equal(json_strict(span_of(text + 99, 202), NULL), E_PROTOCOL);
}

static void numbers_that_overflow_are_not_sound(void **state)
{
    static const char *const good[] = {"0", "-1.8500000238418579", "1e-05", "-9999.0",
                                       "123456789012345678"};
    static const char *const bad[] = {
        "",      "-",      "null",
        "1e999", "1e-400", "1234567890123456789",
        "[1]",   "\"1\"",  "0.00000000000000000000000000000000000000001",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_true(number_sound(span_str(good[i])));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(number_sound(span_str(bad[i])));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_passes_untouched),
        cmocka_unit_test(what_is_not_json_does_not_pass),
        cmocka_unit_test(nesting_is_bounded),
        cmocka_unit_test(numbers_that_overflow_are_not_sound),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
