/* Random bytes and fair choices. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/random.h"

static void bytes_differ_from_call_to_call(void **state)
{
    (void)state;
    uint8_t a[32] = {0}, b[32] = {0};

    random_bytes(a, sizeof(a));
    random_bytes(b, sizeof(b));
    assert_memory_not_equal(a, b, sizeof(a));
    random_bytes(NULL, 0);
}

static void long_requests_are_filled_to_the_end(void **state)
{
    (void)state;
    static uint8_t bytes[1 << 20];
    size_t zeros = 0;

    random_bytes(bytes, sizeof(bytes));
    for (size_t i = 0; i < sizeof(bytes); i++)
        zeros += bytes[i] == 0;
    assert_in_range(zeros, 3500, 4700); // 4096 expected, σ = 64
}

static void choices_stay_below_and_are_fair(void **state)
{
    (void)state;
    unsigned counts[6] = {0};

    for (int i = 0; i < 60000; i++)
        counts[random_below(6)]++;
    for (int i = 0; i < 6; i++)
        assert_in_range(counts[i], 9000, 11000); // σ = 91
    assert_int_equal(random_below(1), 0);
}

static void large_bounds_are_not_biased(void **state)
{
    (void)state;
    const uint64_t below = UINT64_C(3)
                           << 62; // a plain remainder would fall below 2^62 half the time
    unsigned low = 0;

    for (int i = 0; i < 30000; i++) {
        const uint64_t v = random_below(below);
        assert_true(v < below);
        low += v < UINT64_C(1) << 62;
    }
    assert_in_range(low, 9500, 10500); // σ = 82
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_differ_from_call_to_call),
        cmocka_unit_test(long_requests_are_filled_to_the_end),
        cmocka_unit_test(choices_stay_below_and_are_fair),
        cmocka_unit_test(large_bounds_are_not_biased),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
