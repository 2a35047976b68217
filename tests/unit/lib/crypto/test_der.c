/* DER elements and numbers, and forms that BER allows and DER does not. */
#include "tests/unit/lib/vectors.h"

#include "crypto/der.h"

static int next(const char *hex, uint8_t *tag, size_t *len, size_t *left)
{
    AUTO(buf_fini) struct buf bytes = bytes_of_hex(hex);
    struct span rest = buf_span(&bytes), content = {0};
    int error = der_next(&rest, tag, &content);

    *len = content.len;
    *left = rest.len;
    return error;
}

static void elements_are_cut_one_by_one(void **state)
{
    uint8_t tag = 0;
    size_t len, left;

    (void)state;
    assert_int_equal(next("0401aa0500", &tag, &len, &left), 0);
    assert_true(tag == TAG_OCTET_STRING && len == 1 && left == 2);
    assert_int_equal(next("0500", &tag, &len, &left), 0);
    assert_true(tag == 5 && len == 0 && left == 0);
    assert_int_equal(next("", &tag, &len, &left), E_NOT_FOUND);
}

static void long_lengths_are_read(void **state)
{
    uint8_t bytes[4 + 256] = {TAG_SEQUENCE, 0x82, 0x01, 0x00};
    struct span rest = SPAN_OF(bytes), content;
    uint8_t short_form[3 + 128] = {TAG_SEQUENCE, 0x81, 0x80};

    (void)state;
    assert_int_equal(der_take(&rest, TAG_SEQUENCE, &content), 0);
    assert_true(content.len == 256 && rest.len == 0);
    rest = SPAN_OF(short_form);
    assert_int_equal(der_take(&rest, TAG_OID, &content), E_INVALID);
    rest = SPAN_OF(short_form);
    assert_int_equal(der_take(&rest, TAG_SEQUENCE, &content), 0);
    assert_int_equal(content.len, 128);
}

static void other_forms_are_refused(void **state)
{
    static const char *const bad[] = {"04",           "0402aa",     "30800000", "308100",
                                      "30817f",       "3082007f00", "1f0100",   "30840000000100",
                                      "3085ffffffff", "0481"};
    uint8_t tag;
    size_t len, left;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (next(bad[i], &tag, &len, &left) != E_INVALID)
            fail_msg("%s", bad[i]);
}

static int number(const char *hex, uint32_t max, uint32_t *out)
{
    AUTO(buf_fini) struct buf bytes = bytes_of_hex(hex);

    return der_number(buf_span(&bytes), max, out);
}

static void numbers_are_positive_short_and_bounded(void **state)
{
    uint32_t value;

    (void)state;
    assert_int_equal(number("00", 255, &value), 0);
    assert_int_equal(value, 0);
    assert_int_equal(number("00ff", 255, &value), 0);
    assert_int_equal(value, 255);
    assert_int_equal(number("0100", 255, &value), E_INVALID);
    assert_int_equal(number("ff", 255, &value), E_INVALID);
    assert_int_equal(number("0001", 255, &value), E_INVALID);
    assert_int_equal(number("", 255, &value), E_INVALID);
    assert_int_equal(number("0100000000", UINT32_MAX, &value), E_INVALID);
    assert_int_equal(number("7fffffff", UINT32_MAX, &value), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(elements_are_cut_one_by_one),
        cmocka_unit_test(long_lengths_are_read),
        cmocka_unit_test(other_forms_are_refused),
        cmocka_unit_test(numbers_are_positive_short_and_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
