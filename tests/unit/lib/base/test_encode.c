/* Text of bytes: vectors of RFC 4648 §10, and that decoders take one spelling only. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/encode.h"
#include "base/random.h"

static void hex_goes_both_ways(void **state)
{
    (void)state;
    char out[9];
    uint8_t bytes[4] = {0};

    hex_encode(out, SPAN("\x00\x9f\xAB\xff"));
    assert_string_equal(out, "009fabff");
    assert_int_equal(hex_decode(bytes, 4, SPAN("009FabfF")), 0);
    assert_memory_equal(bytes, "\x00\x9f\xAB\xff", 4);
    hex_encode(out, SPAN(""));
    assert_string_equal(out, "");
}

static void hex_of_another_length_or_alphabet_is_refused(void **state)
{
    (void)state;
    uint8_t bytes[4];
    static const char *const bad[] = {"",     "0",    "00",   "000",  "00000", "00g0",
                                      "0x00", "00 0", "00-1", "00`0", "00@0",  "00:0"};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(hex_decode(bytes, 2, span_str(bad[i])), E_INVALID);
    assert_int_equal(hex_decode(bytes, SIZE_MAX / 2 + 2, SPAN("0000")), E_INVALID);
}

static void base64_matches_the_rfc(void **state)
{
    (void)state;
    static const char *const pairs[][3] = {
        {"", "", ""},
        {"f", "Zg==", "Zg"},
        {"fo", "Zm8=", "Zm8"},
        {"foo", "Zm9v", "Zm9v"},
        {"foob", "Zm9vYg==", "Zm9vYg"},
        {"fooba", "Zm9vYmE=", "Zm9vYmE"},
        {"foobar", "Zm9vYmFy", "Zm9vYmFy"},
        {"\xFB\xEF\xFF", "++//", "--__"},
    };

    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        AUTO(buf_fini) struct buf text = {0}, url = {0}, back = {0};
        base64_encode(&text, span_str(pairs[i][0]));
        assert_string_equal(buf_cstr(&text), pairs[i][1]);
        base64url_encode(&url, span_str(pairs[i][0]));
        assert_string_equal(buf_cstr(&url), pairs[i][2]);
        assert_int_equal(base64_decode(&back, buf_span(&text)), 0);
        assert_int_equal(base64url_decode(&back, buf_span(&url)), 0);
        assert_int_equal(back.len, 2 * strlen(pairs[i][0]));
        assert_true(span_starts(buf_span(&back), span_str(pairs[i][0])));
        assert_true(span_ends(buf_span(&back), span_str(pairs[i][0])));
    }
}

static void base64_has_one_spelling(void **state)
{
    (void)state;
    AUTO(buf_fini) struct buf out = {0};
    static const char *const bad[] = {
        "Z",    "Zg",   "Zg=",      "Zg===",  "Zh==", "Zm9=", "Zm8",     "=",
        "====", "Z===", "Zg==Zg==", "Zm9v\n", " Zm9", "Zm-_", "Zm9vYg=a"};
    static const char *const bad_url[] = {"Z",    "Zg==", "Zh",  "Zm9",
                                          "Zm+/", "Zm8=", "Z g", "\xFF\xFF"};

    buf_append_str(&out, "kept");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(base64_decode(&out, span_str(bad[i])), E_INVALID);
    for (size_t i = 0; i < sizeof(bad_url) / sizeof(bad_url[0]); i++)
        assert_int_equal(base64url_decode(&out, span_str(bad_url[i])), E_INVALID);
    assert_string_equal(buf_cstr(&out), "kept");
}

static void base62_has_as_many_digits_as_it_needs(void **state)
{
    (void)state;
    assert_int_equal(base62_len(0), 0);
    assert_int_equal(base62_len(1), 2);
    assert_int_equal(base62_len(4), 6);
    assert_int_equal(base62_len(16), 22);
    assert_int_equal(base62_len(32), 43);
    assert_int_equal(base62_len(64), 86);
}

static void base62_is_a_number_in_base_62(void **state)
{
    (void)state;
    AUTO(buf_fini) struct buf out = {0};

    base62_encode(&out, SPAN("\x00"));
    base62_encode(&out, SPAN("\x3D"));     // 61
    base62_encode(&out, SPAN("\x3E"));     // 62
    base62_encode(&out, SPAN("\xFF\xFF")); // 17·62² + 3·62 + 1
    assert_string_equal(buf_cstr(&out), "000z10H31");
}

static void base62_comes_back_at_every_length(void **state)
{
    (void)state;
    uint8_t in[64], back[64];

    for (size_t len = 0; len <= 64; len++) {
        for (int fill = 0; fill < 3; fill++) {
            AUTO(buf_fini) struct buf out = {0};
            memset(in, fill == 1 ? 0xFF : 0, len);
            if (fill == 2)
                random_bytes(in, len);
            base62_encode(&out, span_of(in, len));
            assert_int_equal(out.len, base62_len(len));
            assert_int_equal(base62_decode(back, len, buf_span(&out)), 0);
            assert_memory_equal(back, in, len);
        }
    }
}

static void base62_above_the_length_is_refused(void **state)
{
    (void)state;
    uint8_t out[2];

    assert_int_equal(base62_decode(out, 1, SPAN("47")), 0); // 255
    assert_int_equal(out[0], 255);
    assert_int_equal(base62_decode(out, 1, SPAN("48")), E_INVALID);
    assert_int_equal(base62_decode(out, 1, SPAN("zz")), E_INVALID);
    assert_int_equal(base62_decode(out, 1, SPAN("0")), E_INVALID);
    assert_int_equal(base62_decode(out, 1, SPAN("000")), E_INVALID);
    assert_int_equal(base62_decode(out, 1, SPAN("0-")), E_INVALID);
    assert_int_equal(base62_decode(out, 1, SPAN("\xFF\xFF")), E_INVALID);
}

static void forms_are_decoded_whole(void **state)
{
    (void)state;
    uint8_t out[8];
    size_t len = 99;

    assert_int_equal(form_decode(out, 8, &len, SPAN("a+b%2B%c3%A4%26")), 0);
    assert_int_equal(len, 7);
    assert_memory_equal(out, "a b+\xC3\xA4&", 7);
    assert_int_equal(form_decode(out, 8, &len, SPAN("\xC3\xA4")), 0);
    assert_int_equal(len, 2);
    assert_int_equal(form_decode(out, 0, &len, SPAN("")), 0);
    assert_int_equal(len, 0);
    assert_int_equal(form_decode(out, 2, &len, SPAN("%41%42")), 0);
    assert_int_equal(form_decode(out, 2, &len, SPAN("abc")), E_TOO_LARGE);
}

static void segments_of_paths_are_decoded_whole(void **state)
{
    (void)state;
    uint8_t out[8];
    size_t len = 99;

    assert_int_equal(segment_decode(out, 8, &len, SPAN("a+b%20%2F%c3%A4")), 0);
    assert_int_equal(len, 7);
    assert_memory_equal(out, "a+b /\xC3\xA4", 7);
    assert_int_equal(segment_decode(out, 2, &len, SPAN("abc")), E_TOO_LARGE);
}

static void forms_that_can_be_misread_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"%",    "a%4",       "%4g",    "%%41",  "%00",
                                      "%0A",  "a\nb",      "%7f",    "\x7F",  "%C3",
                                      "\xFF", "%ed%a0%80", "%c0%af", "%u0041"};
    uint8_t out[16];
    size_t len;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(form_decode(out, sizeof(out), &len, span_str(bad[i])), E_INVALID);
        assert_int_equal(segment_decode(out, sizeof(out), &len, span_str(bad[i])), E_INVALID);
    }
}

static void what_is_percent_encoded_comes_back(void **state)
{
    (void)state;
    AUTO(buf_fini) struct buf out = {0};
    const struct span text = SPAN("aZ09-._~ +/%&=?#\xC3\xA4");
    uint8_t back[32];
    size_t len;

    percent_encode(&out, text);
    assert_string_equal(buf_cstr(&out), "aZ09-._~%20%2B%2F%25%26%3D%3F%23%C3%A4");
    assert_int_equal(form_decode(back, sizeof(back), &len, buf_span(&out)), 0);
    assert_true(span_eq(span_of(back, len), text));
    assert_int_equal(segment_decode(back, sizeof(back), &len, buf_span(&out)), 0);
    assert_true(span_eq(span_of(back, len), text));
    buf_clear(&out);
    percent_encode(&out, SPAN("\0\n\xFF"));
    assert_string_equal(buf_cstr(&out), "%00%0A%FF");
}

static void crc32_matches_the_check_value(void **state)
{
    (void)state;
    assert_int_equal(crc32_of(SPAN("123456789")), 0xCBF43926);
    assert_int_equal(crc32_of(SPAN("")), 0);
    assert_int_equal(crc32_of(SPAN("a")), 0xE8B7BE43);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hex_goes_both_ways),
        cmocka_unit_test(hex_of_another_length_or_alphabet_is_refused),
        cmocka_unit_test(base64_matches_the_rfc),
        cmocka_unit_test(base64_has_one_spelling),
        cmocka_unit_test(base62_has_as_many_digits_as_it_needs),
        cmocka_unit_test(base62_is_a_number_in_base_62),
        cmocka_unit_test(base62_comes_back_at_every_length),
        cmocka_unit_test(base62_above_the_length_is_refused),
        cmocka_unit_test(forms_are_decoded_whole),
        cmocka_unit_test(segments_of_paths_are_decoded_whole),
        cmocka_unit_test(forms_that_can_be_misread_are_refused),
        cmocka_unit_test(what_is_percent_encoded_comes_back),
        cmocka_unit_test(crc32_matches_the_check_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
