/* Cutting and judging borrowed bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/error.h"
#include "base/span.h"

static void spans_are_compared_by_their_bytes(void **state)
{
    (void)state;
    assert_true(span_eq(SPAN("a\0b"), SPAN("a\0b")));
    assert_false(span_eq(SPAN("a\0b"), SPAN("a\0c")));
    assert_true(span_eq((struct span){0}, SPAN("")));
    assert_true(span_ieq(SPAN("Content-TYPE"), SPAN("content-type")));
    assert_false(span_ieq(SPAN("["), SPAN("{"))); // differ in the case bit, but are no letters
    assert_false(span_ieq(SPAN("\xC4"), SPAN("\xE4")));
    assert_false(span_ieq(SPAN("ab"), SPAN("abc")));
}

static void starts_and_ends_need_the_whole_affix(void **state)
{
    (void)state;
    assert_true(span_starts(SPAN("Bearer x"), SPAN("Bearer ")));
    assert_false(span_starts(SPAN("Bear"), SPAN("Bearer ")));
    assert_true(span_starts(SPAN(""), SPAN("")));
    assert_true(span_ends(SPAN("a.json"), SPAN(".json")));
    assert_true(span_ends(SPAN("a.json"), SPAN("")));
    assert_true(span_ends(SPAN(".json"), SPAN(".json")));
    assert_false(span_ends(SPAN("json"), SPAN(".json")));
}

static void cutting_beyond_the_end_gives_nothing(void **state)
{
    (void)state;
    assert_int_equal(span_from(SPAN("abc"), 4).len, 0);
    assert_int_equal(span_from(SPAN("abc"), SIZE_MAX).len, 0);
    assert_true(span_is(span_cut(SPAN("abc"), 1, SIZE_MAX), "bc"));
    assert_true(span_is(span_cut(SPAN("abc"), 1, 1), "b"));
}

static void trim_takes_spaces_and_tabs_only(void **state)
{
    (void)state;
    assert_true(span_is(span_trim(SPAN(" \t a b\t ")), "a b"));
    assert_true(span_is(span_trim(SPAN(" \t ")), ""));
    assert_true(span_is(span_trim(SPAN("\r\n")), "\r\n"));
    assert_int_equal(span_trim((struct span){0}).len, 0);
}

static void split_walks_the_parts(void **state)
{
    (void)state;
    struct span rest = SPAN("a,,bc");

    assert_true(span_is(span_split(&rest, ','), "a"));
    assert_true(span_is(span_split(&rest, ','), ""));
    assert_true(span_is(rest, "bc"));
    assert_true(span_is(span_split(&rest, ','), "bc"));
    assert_int_equal(rest.len, 0);
    assert_true(span_is(span_split(&rest, ','), ""));
}

static void find_gives_the_first_offset(void **state)
{
    (void)state;
    assert_int_equal(span_find(SPAN("a\r\nb\r\n"), SPAN("\r\n")), 1);
    assert_int_equal(span_find(SPAN("abc"), SPAN("abcd")), -1);
    assert_int_equal(span_find(SPAN("abc"), SPAN("x")), -1);
    assert_int_equal(span_find((struct span){0}, SPAN("x")), -1);
    assert_int_equal(span_find((struct span){0}, SPAN("")), 0);
}

static void numbers_are_read_strictly(void **state)
{
    (void)state;
    uint64_t v = 99;
    static const char *const bad[] = {"",
                                      "-1",
                                      "+1",
                                      "01",
                                      "00",
                                      " 1",
                                      "1 ",
                                      "1.0",
                                      "0x1",
                                      "18446744073709551616",
                                      "99999999999999999999"};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(span_u64(span_str(bad[i]), UINT64_MAX, &v), E_INVALID);
    assert_int_equal(v, 99);
    assert_int_equal(span_u64(SPAN("0"), UINT64_MAX, &v), 0);
    assert_int_equal(v, 0);
    assert_int_equal(span_u64(SPAN("18446744073709551615"), UINT64_MAX, &v), 0);
    assert_true(v == UINT64_MAX);
    assert_int_equal(span_u64(SPAN("100"), 100, &v), 0);
    assert_int_equal(span_u64(SPAN("101"), 100, &v), E_INVALID);
}

static void plain_text_has_letters_digits_and_what_is_named(void **state)
{
    (void)state;
    assert_true(span_plain(SPAN("azAZ09"), "", 6));
    assert_true(span_plain(SPAN("a-b.c"), ".-", 5));
    assert_false(span_plain(SPAN("a-b.c"), ".-", 4));
    assert_false(span_plain(SPAN("a-b.c"), ".", 5));
    assert_false(span_plain(SPAN(""), ".", 5));
    assert_false(span_plain(SPAN("a\0b"), ".", 5));
    assert_false(span_plain(SPAN("/:@[`{"), "", 6));
    assert_false(span_plain(SPAN("\xC3\xA4"), ".", 5));
}

static void visible_text_has_no_blanks_or_controls(void **state)
{
    (void)state;
    assert_true(span_visible(SPAN("!~"), 2));
    assert_false(span_visible(SPAN("!~a"), 2));
    assert_false(span_visible(SPAN(""), 2));
    assert_false(span_visible(SPAN("a b"), 9));
    assert_false(span_visible(SPAN("\x7F"), 9));
    assert_false(span_visible(SPAN("\xC3\xA4"), 9));
}

static void a_c_string_is_copied_only_whole(void **state)
{
    char out[4] = "old";

    (void)state;
    assert_int_equal(span_cstr(SPAN("abcd"), out, sizeof(out)), E_INVALID);
    assert_int_equal(span_cstr(SPAN("a\0b"), out, sizeof(out)), E_INVALID);
    assert_int_equal(span_cstr(SPAN(""), out, 0), E_INVALID);
    assert_string_equal(out, "old");
    assert_int_equal(span_cstr(SPAN("abc"), out, sizeof(out)), 0);
    assert_string_equal(out, "abc");
    assert_int_equal(span_cstr((struct span){0}, out, sizeof(out)), 0);
    assert_string_equal(out, "");
}

static void well_formed_utf8_is_accepted(void **state)
{
    (void)state;
    assert_true(span_utf8(SPAN("")));
    assert_true(span_utf8(SPAN("plain text of more than eight bytes \0 with a NUL")));
    assert_true(span_utf8(SPAN("\xC2\x80\xDF\xBF")));
    assert_true(span_utf8(SPAN("12345678\xE0\xA0\x80\xED\x9F\xBF\xEE\x80\x80\xEF\xBF\xBF")));
    assert_true(span_utf8(SPAN("\xF0\x90\x80\x80\xF4\x8F\xBF\xBF")));
}

static void malformed_utf8_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"\x80",
                                      "\xBF",
                                      "\xC0\x80",
                                      "\xC1\xBF",
                                      "\xC2",
                                      "\xC2\x41",
                                      "\xE0\x9F\xBF",
                                      "\xE2\x82",
                                      "\xED\xA0\x80",
                                      "\xED\xBF\xBF",
                                      "\xF0\x8F\xBF\xBF",
                                      "\xF4\x90\x80\x80",
                                      "\xF0\x9F\x98",
                                      "\xF5\x80\x80\x80",
                                      "\xFF",
                                      "12345678\xE2\x82",
                                      "\xE2\x82\x41",
                                      "\xF0\x90\x41\x80"};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(span_utf8(span_str(bad[i])));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spans_are_compared_by_their_bytes),
        cmocka_unit_test(starts_and_ends_need_the_whole_affix),
        cmocka_unit_test(cutting_beyond_the_end_gives_nothing),
        cmocka_unit_test(trim_takes_spaces_and_tabs_only),
        cmocka_unit_test(split_walks_the_parts),
        cmocka_unit_test(find_gives_the_first_offset),
        cmocka_unit_test(numbers_are_read_strictly),
        cmocka_unit_test(plain_text_has_letters_digits_and_what_is_named),
        cmocka_unit_test(visible_text_has_no_blanks_or_controls),
        cmocka_unit_test(a_c_string_is_copied_only_whole),
        cmocka_unit_test(well_formed_utf8_is_accepted),
        cmocka_unit_test(malformed_utf8_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
