/* What json_read lets in, what it bounds, and reading members strictly. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/json.h"

static int reads(struct span text)
{
    AUTO_JSON json_t *doc = NULL;
    const int error = json_read(text, &doc);

    assert_int_equal(doc != NULL, error == 0);
    return error;
}

static void objects_are_read(void **state)
{
    (void)state;
    assert_int_equal(reads(SPAN("{}")), 0);
    assert_int_equal(reads(SPAN(" \t\r\n{ } \n")), 0);
    assert_int_equal(reads(SPAN("{\"seed\":-9007199254740993,\"t\":0.7,\"e\":1e-7}")), 0);
    assert_int_equal(reads(SPAN("{\"s\":\"\\u0000\\ud83d\\ude00\xF0\x9F\x98\x80\"}")), 0);
}

static void other_texts_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        " ",
        "[]",
        "null",
        "\"x\"",
        "{",
        "}",
        "{]",
        "{}{}",
        "{} x",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "{'a':1}",
        "{\"a\":01}",
        "{\"a\":+1}",
        "{\"a\":.5}",
        "{\"a\":NaN}",
        "{\"a\":tru}",
        "{\"a\":1e999}",
        "{\"a\":9223372036854775808}",
        "{\"a\":\"\n\"}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\ud800\"}",
        "{\"a\":\"\\udc00\\ud800\"}",
        "{\"a\":\"\xED\xA0\x80\"}",
        "{\"a\":\"\xC0\xAF\"}",
        "{\"a\":\"\xFF\"}",
        "{\"a\":1 /* c */}",
        "\xEF\xBB\xBF{}",
        "{\"a\":\"x}",
        "{\"a\":1,\"a\":2}",
        "{\"a\":1,\"\\u0061\":2}",
        "{\"b\":{\"a\":1,\"a\":1}}",
        "{\"\\u0000\":1}",
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (reads(span_str(bad[i])) != E_INVALID)
            fail_msg("not refused: %s", bad[i]);
    assert_int_equal(reads((struct span){0}), E_INVALID);
    assert_int_equal(reads(SPAN("{}\0")), E_INVALID);
    assert_int_equal(reads(SPAN("{\"a\":\"\0\"}")), E_INVALID);
}

static void nested(struct buf *out, const char *open, const char *close, size_t depth)
{
    buf_append_str(out, "{\"a\":");
    for (size_t i = 1; i < depth; i++)
        buf_append_str(out, open);
    buf_append_str(out, "1");
    for (size_t i = 1; i < depth; i++)
        buf_append_str(out, close);
    buf_append_str(out, "}");
}

static void depth_is_bounded_at_100(void **state)
{
    (void)state;
    AUTO(buf_fini) struct buf at = {0}, above = {0}, objects = {0};

    nested(&at, "[", "]", 100);
    assert_int_equal(reads(buf_span(&at)), 0);
    nested(&above, "[", "]", 101);
    assert_int_equal(reads(buf_span(&above)), E_TOO_COMPLEX);
    nested(&objects, "{\"a\":", "}", 101);
    assert_int_equal(reads(buf_span(&objects)), E_TOO_COMPLEX);
}

static void values_are_bounded_at_100000(void **state)
{
    (void)state;
    AUTO(buf_fini) struct buf text = {0};

    // The outer object, the array, and 99,998 elements.
    buf_append_str(&text, "{\"a\":[0");
    for (int i = 1; i < JSON_MAX_VALUES - 2; i++)
        buf_append_str(&text, ",0");
    buf_append_str(&text, "]}");
    assert_int_equal(reads(buf_span(&text)), 0);
    text.len -= 2;
    buf_append_str(&text, ",0]}");
    assert_int_equal(reads(buf_span(&text)), E_TOO_COMPLEX);
}

static void a_bomb_of_empty_arrays_is_refused_early(void **state)
{
    (void)state;
    AUTO(buf_fini) struct buf text = {0};

    buf_append_str(&text, "{\"a\":[");
    for (int i = 0; i < 1 << 20; i++)
        buf_append_str(&text, "[],");
    buf_append_str(&text, "0]}");
    assert_int_equal(reads(buf_span(&text)), E_TOO_COMPLEX);
}

static void strings_are_read_with_their_length(void **state)
{
    (void)state;
    AUTO_JSON json_t *doc = NULL;
    struct span s = SPAN("kept");

    assert_int_equal(json_read(SPAN("{\"s\":\"a\\u0000b\",\"n\":null,\"i\":1}"), &doc), 0);
    assert_int_equal(json_obj_string(doc, "n", &s), E_NOT_FOUND);
    assert_int_equal(json_obj_string(doc, "absent", &s), E_NOT_FOUND);
    assert_int_equal(json_obj_string(NULL, "s", &s), E_NOT_FOUND);
    assert_int_equal(json_obj_string(doc, "i", &s), E_INVALID);
    assert_int_equal(json_obj_string(json_object_get(doc, "i"), "s", &s), E_INVALID);
    assert_true(span_is(s, "kept"));
    assert_int_equal(json_obj_string(doc, "s", &s), 0);
    assert_true(span_eq(s, SPAN("a\0b")));
}

static void integers_are_read_within_their_range(void **state)
{
    (void)state;
    AUTO_JSON json_t *doc = NULL;
    int64_t v = 99;

    assert_int_equal(
        json_read(SPAN("{\"i\":5,\"r\":5.0,\"s\":\"5\",\"m\":-9223372036854775808}"), &doc), 0);
    assert_int_equal(json_obj_int(doc, "i", 6, 10, &v), E_INVALID);
    assert_int_equal(json_obj_int(doc, "i", 0, 4, &v), E_INVALID);
    assert_int_equal(json_obj_int(doc, "r", 0, 10, &v), E_INVALID);
    assert_int_equal(json_obj_int(doc, "s", 0, 10, &v), E_INVALID);
    assert_int_equal(json_obj_int(doc, "x", 0, 10, &v), E_NOT_FOUND);
    assert_int_equal(v, 99);
    assert_int_equal(json_obj_int(doc, "i", 5, 5, &v), 0);
    assert_int_equal(v, 5);
    assert_int_equal(json_obj_int(doc, "m", INT64_MIN, INT64_MAX, &v), 0);
    assert_true(v == INT64_MIN);
}

static void booleans_are_neither_numbers_nor_strings(void **state)
{
    (void)state;
    AUTO_JSON json_t *doc = NULL;
    bool v = false;

    assert_int_equal(json_read(SPAN("{\"t\":true,\"f\":false,\"i\":1,\"s\":\"true\"}"), &doc), 0);
    assert_int_equal(json_obj_bool(doc, "t", &v), 0);
    assert_true(v);
    assert_int_equal(json_obj_bool(doc, "i", &v), E_INVALID);
    assert_int_equal(json_obj_bool(doc, "s", &v), E_INVALID);
    assert_true(v);
    assert_int_equal(json_obj_bool(doc, "f", &v), 0);
    assert_false(v);
    assert_int_equal(json_obj_bool(doc, "x", &v), E_NOT_FOUND);
}

static void a_raw_nul_byte_is_refused_wherever_it_stands(void **state)
{
    (void)state;
    AUTO_JSON json_t *doc = NULL;

    assert_int_equal(json_read(SPAN("{\"i\":1\0}"), &doc), E_INVALID);
    assert_int_equal(json_read(SPAN("{\"s\":\"a\0b\"}"), &doc), E_INVALID);
    assert_int_equal(json_read(SPAN("{\"i\":1}\0"), &doc), E_INVALID);
    assert_null(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(objects_are_read),
        cmocka_unit_test(other_texts_are_refused),
        cmocka_unit_test(depth_is_bounded_at_100),
        cmocka_unit_test(values_are_bounded_at_100000),
        cmocka_unit_test(a_bomb_of_empty_arrays_is_refused_early),
        cmocka_unit_test(strings_are_read_with_their_length),
        cmocka_unit_test(integers_are_read_within_their_range),
        cmocka_unit_test(a_raw_nul_byte_is_refused_wherever_it_stands),
        cmocka_unit_test(booleans_are_neither_numbers_nor_strings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
