/* Bounds, byte ranges of members, and edits that leave every other byte alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/json.h"

static void names_are_not_counted_as_values(void **state)
{
    (void)state;
    const struct span text = SPAN("{\"a\":1,\"b\" : \"c\",\"d\":[true,{\"e\":null}]}"); // 7 values

    assert_int_equal(json_bound(text, 3, 7), 0);
    assert_int_equal(json_bound(text, 3, 6), E_TOO_COMPLEX);
    assert_int_equal(json_bound(text, 2, 7), E_TOO_COMPLEX);
}

static void brackets_and_colons_inside_strings_do_not_count(void **state)
{
    (void)state;
    assert_int_equal(json_bound(SPAN("[\"[[[{{{,:\\\"]\\\\\",\"\\\\\"]"), 1, 3), 0);
    assert_int_equal(json_bound(SPAN("[\"a\\\\\",[]]"), 1, 9), E_TOO_COMPLEX);
}

static void colons_cannot_hide_values(void **state)
{
    (void)state;
    assert_int_equal(json_bound(SPAN(":::::[1,2,3]"), 9, 3), E_TOO_COMPLEX);
    assert_int_equal(json_bound(SPAN("[1:,2:,3:]"), 9, 3), E_TOO_COMPLEX);
    assert_int_equal(json_bound(SPAN("[[]:,[]:,[]:]"), 9, 3), E_TOO_COMPLEX);
}

static void what_does_not_close_is_invalid(void **state)
{
    (void)state;
    static const char *const bad[] = {"[", "]", "[]]", "\"", "\"\\\"", "\"\\", "{\"a\":\"}"};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(json_bound(span_str(bad[i]), 9, 9), E_INVALID);
    assert_int_equal(json_bound((struct span){0}, 9, 9), 0);
}

static void members_are_ranges_of_the_text(void **state)
{
    (void)state;
    const struct span text = SPAN(" { \"a\" : [1, {\"x\":\"]\"}] ,\"\\u0062\":1.50e+3\n} ");
    struct json_member m;
    size_t at = 0;

    assert_int_equal(json_member_next(text, &at, &m), 0);
    assert_true(span_is(m.name, "a"));
    assert_true(span_is(m.value, "[1, {\"x\":\"]\"}]"));
    assert_true(span_is(m.whole, "\"a\" : [1, {\"x\":\"]\"}]"));
    assert_ptr_equal(m.whole.data, text.data + 3);
    assert_int_equal(json_member_next(text, &at, &m), 0);
    assert_true(span_is(m.name, "\\u0062"));
    assert_true(span_is(m.value, "1.50e+3"));
    assert_int_equal(json_member_next(text, &at, &m), E_NOT_FOUND);
    assert_int_equal(json_member_next(text, &at, &m), E_NOT_FOUND);
}

static void elements_are_walked_too(void **state)
{
    (void)state;
    const struct span text = SPAN("[ \"a,]\" , {\"b\":[]},3 ]");
    struct span value;
    size_t at = 0;

    assert_int_equal(json_element_next(text, &at, &value), 0);
    assert_true(span_is(value, "\"a,]\""));
    assert_int_equal(json_element_next(text, &at, &value), 0);
    assert_true(span_is(value, "{\"b\":[]}"));
    assert_int_equal(json_element_next(text, &at, &value), 0);
    assert_true(span_is(value, "3"));
    assert_int_equal(json_element_next(text, &at, &value), E_NOT_FOUND);
    at = 0;
    assert_int_equal(json_element_next(SPAN("[ ]"), &at, &value), E_NOT_FOUND);
}

static void walks_over_other_bytes_end_in_an_error(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",           "[]",        "x",          "{",         "{,",        "{\"",
        "{\"a",       "{\"a\"",    "{\"a\":",    "{\"a\":}",  "{\"a\":1",  "{\"a\":1,",
        "{\"a\":1,}", "{\"a\":\"", "{1:2}",      "{\"a\":[}", "{\"a\" 1}", "{\"a\":1 2}",
        "{\"a\":,",   "{\"a\\",    "{\"a\\\":1}"};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct json_member m;
        size_t at = 0;
        int error;
        while ((error = json_member_next(span_str(bad[i]), &at, &m)) == 0)
            ;
        assert_int_equal(error, E_INVALID);
    }
    size_t beyond = SIZE_MAX;
    struct json_member m;
    assert_int_equal(json_member_next(SPAN("{}"), &beyond, &m), E_INVALID);
}

static void a_member_is_found_by_its_decoded_name(void **state)
{
    (void)state;
    const struct span text = SPAN("{\"mod\":1,\"mod\\u0065l\":2,\"a\\/\\\"\":3,\"n\\u0000\":4}");
    struct json_member m;

    assert_int_equal(json_member_find(text, "model", &m), 0);
    assert_true(span_is(m.value, "2"));
    assert_int_equal(json_member_find(text, "a/\"", &m), 0);
    assert_true(span_is(m.value, "3"));
    assert_int_equal(json_member_find(text, "n", &m), E_NOT_FOUND);
    assert_int_equal(json_member_find(text, "mo", &m), E_NOT_FOUND);
}

static void strings_are_decoded(void **state)
{
    (void)state;
    AUTO(buf_fini) struct buf out = {0};

    assert_int_equal(json_string_decode(SPAN("\"\""), &out), 0);
    assert_int_equal(
        json_string_decode(SPAN("\"a\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e4\\u20AC\\ud83D\\uDe00\xC3\xA4"
                                "\\u0000\""),
                           &out),
        0);
    assert_true(span_eq(buf_span(&out),
                        SPAN("a\"\\/\b\f\n\r\t\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80\xC3\xA4\0")));
}

static void what_is_no_string_is_not_decoded(void **state)
{
    (void)state;
    AUTO(buf_fini) struct buf out = {0};
    static const char *const bad[] = {"",
                                      "\"",
                                      "x",
                                      "1",
                                      " \"a\"",
                                      "\"a\" ",
                                      "\"a",
                                      "\"a\"b\"",
                                      "\"ab\\\"",
                                      "\"\\x\"",
                                      "\"\\u\"",
                                      "\"\\u12\"",
                                      "\"\\u12g4\"",
                                      "\"\n\"",
                                      "\"\\ud800\"",
                                      "\"\\ud800\\u0041\"",
                                      "\"\\udc00\"",
                                      "\"\\ud800\\ud800\"",
                                      "\"ab\\ud800\\u\"",
                                      "\"\xFF\"",
                                      "\"\xED\xA0\x80\""};

    buf_append_str(&out, "kept");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (json_string_decode(span_str(bad[i]), &out) != E_INVALID)
            fail_msg("decoded: %s", bad[i]);
    assert_string_equal(buf_cstr(&out), "kept");
}

// Expects `object` with one edit to become `want`; new_value NULL drops the member.
static void a_string_ends_at_a_quote_behind_an_even_number_of_backslashes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t end;
    } cases[] = {{"\"\"", 2},         {"\"a\",", 3},           {"\"\\\"\"", 4}, {"\"\\\\\"x\"", 4},
                 {"\"\\\\\\\"\"", 6}, {"\"a\\\"b\\\\\"\"", 8}, {"\"", 0},       {"\"a", 0},
                 {"\"\\\"", 0},       {"\"\\\\\\\"", 0},       {"\"\\", 0},     {"\"\\\"\\\"", 0}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(json_string_end(span_str(cases[i].text), 0), cases[i].end);
    assert_int_equal(json_string_end(SPAN("\\\"a\""), 1), 4); // what stands before does not count
}

static void a_plain_run_stops_at_each_byte_that_needs_an_escape(void **state)
{
    (void)state;
    uint8_t text[40];

    for (unsigned c = 0; c < 256; c++) {
        const bool plain = c >= 0x20 && c != '"' && c != '\\';
        for (size_t at = 0; at < sizeof(text); at++) {
            memset(text, 0xA1, sizeof(text));
            text[at] = (uint8_t)c;
            assert_int_equal(json_plain_run(SPAN_OF(text)), plain ? sizeof(text) : at);
        }
    }
    assert_int_equal(json_plain_run((struct span){0}), 0);
}

static void expect_splice(const char *object, const char *name, const char *new_value,
                          const char *want)
{
    AUTO(buf_fini) struct buf out = {0};
    const struct json_edit edit = {name, span_str(new_value)};

    assert_int_equal(json_splice(span_str(object), &edit, 1, &out), 0);
    assert_string_equal(buf_cstr(&out), want);
}

static void replacing_keeps_every_other_byte(void **state)
{
    (void)state;
    expect_splice(
        "\n{ \"seed\" : 9223372036854775807 , \"model\":\"x\" ,\"t\":0.70,\"s\":\"\\/\"}\n",
        "model", "\"y\"",
        "\n{ \"seed\" : 9223372036854775807 , \"model\":\"y\" ,\"t\":0.70,\"s\":\"\\/\"}\n");
    expect_splice("{\"mod\\u0065l\" :\t1}", "model", "2", "{\"mod\\u0065l\" :\t2}");
    expect_splice("{\"a\":{\"model\":1},\"model\":1}", "model", "2",
                  "{\"a\":{\"model\":1},\"model\":2}");
}

static void dropping_takes_one_comma_along(void **state)
{
    (void)state;
    const char *three = "{ \"a\":1 , \"b\":2 ,  \"c\":3 }";

    expect_splice(three, "a", NULL, "{ \"b\":2 ,  \"c\":3 }");
    expect_splice(three, "b", NULL, "{ \"a\":1 ,  \"c\":3 }");
    expect_splice(three, "c", NULL, "{ \"a\":1 , \"b\":2 }");
    expect_splice(three, "d", NULL, three);
    expect_splice("{\"a\":1}", "a", NULL, "{}");
    expect_splice("{}", "a", NULL, "{}");
}

static void absent_members_are_appended(void **state)
{
    (void)state;
    expect_splice("{}", "a", "1", "{\"a\":1}");
    expect_splice(" { } ", "a", "1", " {\"a\":1 } ");
    expect_splice("{\n  \"a\": 1\n}", "b", "2", "{\n  \"a\": 1,\"b\":2\n}");
    expect_splice("{}", "q\"\n", "1", "{\"q\\\"\\n\":1}");
}

static void several_edits_work_together(void **state)
{
    (void)state;
    AUTO(buf_fini) struct buf out = {0};
    const struct json_edit edits[] = {{"new", SPAN("[1]")},   {"a", {0}},
                                      {"c", SPAN("33")},      {"b", {0}},
                                      {"late", SPAN("true")}, {"x", {0}}};

    buf_append_str(&out, ">");
    assert_int_equal(json_splice(SPAN("{\"a\":1, \"b\":2, \"c\":3, \"d\":4}"), edits, 6, &out), 0);
    assert_string_equal(buf_cstr(&out), ">{\"c\":33, \"d\":4,\"new\":[1],\"late\":true}");
    buf_clear(&out);
    assert_int_equal(json_splice(SPAN("{ \"a\":1, \"b\":2}"), edits, 4, &out), 0);
    assert_string_equal(buf_cstr(&out), "{ \"new\":[1],\"c\":33}");
}

static void a_failed_splice_leaves_the_output_alone(void **state)
{
    (void)state;
    AUTO(buf_fini) struct buf out = {0};
    static const char *const bad[] = {
        "", " ", "[1]", "{\"a\":1", "{\"a\":1,}", "x", "{\"a\":1,\"b\"}"};
    const struct json_edit edit = {"a", SPAN("2")};

    buf_append_str(&out, "kept");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(json_splice(span_str(bad[i]), &edit, 1, &out), E_INVALID);
    assert_string_equal(buf_cstr(&out), "kept");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_not_counted_as_values),
        cmocka_unit_test(brackets_and_colons_inside_strings_do_not_count),
        cmocka_unit_test(colons_cannot_hide_values),
        cmocka_unit_test(what_does_not_close_is_invalid),
        cmocka_unit_test(members_are_ranges_of_the_text),
        cmocka_unit_test(elements_are_walked_too),
        cmocka_unit_test(walks_over_other_bytes_end_in_an_error),
        cmocka_unit_test(a_member_is_found_by_its_decoded_name),
        cmocka_unit_test(strings_are_decoded),
        cmocka_unit_test(what_is_no_string_is_not_decoded),
        cmocka_unit_test(a_string_ends_at_a_quote_behind_an_even_number_of_backslashes),
        cmocka_unit_test(a_plain_run_stops_at_each_byte_that_needs_an_escape),
        cmocka_unit_test(replacing_keeps_every_other_byte),
        cmocka_unit_test(dropping_takes_one_comma_along),
        cmocka_unit_test(absent_members_are_appended),
        cmocka_unit_test(several_edits_work_together),
        cmocka_unit_test(a_failed_splice_leaves_the_output_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
