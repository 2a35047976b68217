/* Money as text. */
#include "tests/unit/lib/vectors.h"

#include "billing/nano.h"

static void only_plain_decimals_are_money(void **state)
{
    static const char *const bad[] = {"",
                                      "-1",
                                      "+1",
                                      "01",
                                      "1.0",
                                      " 1",
                                      "1 ",
                                      "1e3",
                                      "0x1",
                                      "9007199254740992",
                                      "99999999999999999999999"};
    int64_t n = 3;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_int_equal(nano_parse(span_str(bad[i]), &n), E_INVALID);
    assert_int_equal(n, 3);
    assert_int_equal(nano_parse(SPAN("0"), &n), 0);
    assert_int_equal(n, 0);
    assert_int_equal(nano_parse(SPAN("9007199254740991"), &n), 0);
    assert_int_equal(n, NANO_MAX);
}

static void amounts_come_back_as_they_went(void **state)
{
    char text[NANO_LEN];
    int64_t back;

    (void)state;
    for (int64_t n = 0; n < NANO_MAX / 3; n = n * 3 + 1) {
        assert_int_equal(nano_parse(span_str(nano_text(text, n)), &back), 0);
        assert_int_equal(back, n);
    }
    assert_string_equal(nano_text(text, INT64_MIN), "-9223372036854775808");
}

static void coins_have_as_many_decimals_as_needed(void **state)
{
    char text[NANO_COIN_LEN];

    (void)state;
    assert_string_equal(nano_coins(text, 0), "0");
    assert_string_equal(nano_coins(text, 1), "0.000000001");
    assert_string_equal(nano_coins(text, 1234), "0.000001234");
    assert_string_equal(nano_coins(text, 1500000000), "1.5");
    assert_string_equal(nano_coins(text, 2000000000), "2");
    assert_string_equal(nano_coins(text, 10000000000), "10");
    assert_string_equal(nano_coins(text, NANO_MAX), "9007199.254740991");
    assert_string_equal(nano_coins(text, INT64_MAX), "9223372036.854775807");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_plain_decimals_are_money),
        cmocka_unit_test(amounts_come_back_as_they_went),
        cmocka_unit_test(coins_have_as_many_decimals_as_needed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
