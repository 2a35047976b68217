/* Appending, consuming and wiping owned bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/buf.h"

static void an_empty_buffer_needs_no_memory(void **state)
{
    (void)state;
    struct buf b = {0};

    buf_append(&b, (struct span){0});
    assert_null(b.data);
    buf_consume(&b, 0);
    buf_clear(&b);
    buf_fini(&b);
    buf_wipe(&b);
    assert_int_equal(buf_span(&b).len, 0);
}

static void bytes_come_out_as_they_went_in(void **state)
{
    (void)state;
    AUTO(buf_fini) struct buf b = {0};

    buf_append(&b, SPAN("a\0"));
    buf_append_str(&b, "bc");
    buf_byte(&b, 0xFF);
    buf_u16be(&b, 0x0102);
    buf_u32be(&b, 0x03040506);
    buf_u64be(&b, UINT64_C(0x0708090A0B0C0D0E));
    assert_true(span_eq(buf_span(&b), SPAN("a\0bc\xFF\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0A"
                                           "\x0B\x0C\x0D\x0E")));
}

static void consuming_walks_a_long_stream_in_little_memory(void **state)
{
    (void)state;
    AUTO(buf_fini) struct buf b = {0};
    uint8_t next_in = 0, next_out = 0;

    for (int round = 0; round < 10000; round++) {
        for (int i = 0; i < 50; i++)
            buf_byte(&b, next_in++);
        const size_t take = round % 2 ? 70 : 30;
        for (size_t i = 0; i < take; i++)
            assert_int_equal(b.data[i], next_out++);
        buf_consume(&b, take);
    }
    assert_int_equal(b.len, 0);
    assert_true(b.head + b.cap <= 512);
}

static void a_buffer_that_never_runs_empty_does_not_grow(void **state)
{
    (void)state;
    AUTO(buf_fini) struct buf b = {0};

    buf_append(&b, SPAN("0123456789"));
    for (int i = 0; i < 10000; i++) {
        buf_append(&b, SPAN("0123456789"));
        buf_consume(&b, 10);
        assert_true(span_is(buf_span(&b), "0123456789"));
    }
    assert_true(b.head + b.cap <= 512);
}

static void formatting_appends(void **state)
{
    (void)state;
    AUTO(buf_fini) struct buf b = {0};

    buf_printf(&b, "%s", "");
    buf_printf(&b, "%d-%s", 42, "x");
    buf_printf(&b, "%0200d", 7);
    assert_int_equal(b.len, 204);
    assert_true(span_starts(buf_span(&b), SPAN("42-x000")));
    assert_int_equal(b.data[203], '7');
}

static void json_escapes_quotes_backslashes_and_controls(void **state)
{
    (void)state;
    AUTO(buf_fini) struct buf b = {0};

    buf_json_escape(&b, SPAN("a\"b\\c/\b\f\n\r\t\x01\x1F\0\x7F\xC3\xA4"));
    assert_string_equal(buf_cstr(&b),
                        "a\\\"b\\\\c/\\b\\f\\n\\r\\t\\u0001\\u001f\\u0000\x7F\xC3\xA4");
}

static void taking_moves_the_bytes_and_empties_the_source(void **state)
{
    (void)state;
    AUTO(buf_fini) struct buf src = {0}, dst = {0};

    buf_append_str(&dst, "old");
    buf_append_str(&src, "xnew");
    buf_consume(&src, 1);
    buf_take(&dst, &src);
    assert_true(span_is(buf_span(&dst), "new"));
    assert_null(src.data);
    assert_int_equal(src.len, 0);
}

static void a_c_string_ends_behind_the_bytes(void **state)
{
    (void)state;
    AUTO(buf_fini) struct buf b = {0};

    assert_string_equal(buf_cstr(&b), "");
    for (int i = 0; i < 300; i++) {
        buf_byte(&b, 'x');
        assert_int_equal(strlen(buf_cstr(&b)), i + 1);
        assert_int_equal(b.len, i + 1);
    }
}

static void clearing_keeps_the_memory(void **state)
{
    (void)state;
    AUTO(buf_fini) struct buf b = {0};

    buf_append_str(&b, "abcdef");
    buf_consume(&b, 3);
    const size_t total = b.head + b.cap;
    buf_clear(&b);
    assert_int_equal(b.len, 0);
    assert_int_equal(b.head, 0);
    assert_int_equal(b.cap, total);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_buffer_needs_no_memory),
        cmocka_unit_test(bytes_come_out_as_they_went_in),
        cmocka_unit_test(consuming_walks_a_long_stream_in_little_memory),
        cmocka_unit_test(a_buffer_that_never_runs_empty_does_not_grow),
        cmocka_unit_test(formatting_appends),
        cmocka_unit_test(json_escapes_quotes_backslashes_and_controls),
        cmocka_unit_test(taking_moves_the_bytes_and_empties_the_source),
        cmocka_unit_test(a_c_string_ends_behind_the_bytes),
        cmocka_unit_test(clearing_keeps_the_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
