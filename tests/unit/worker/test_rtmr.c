/* RTMR3 is extended once, and only where nobody else did. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include <stdlib.h>
#include <unistd.h>

#include "worker/rtmr.h"

static char why[DIGESTS_WHY_LEN];
static const char CONFIG[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/* A register that holds `before`; what it holds after the attempt. */
static int extend(const uint8_t *before, size_t len, const uint8_t *value, uint8_t *after)
{
    char path[] = "/tmp/cocoon-rtmr-XXXXXX";
    const int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, before, len), len);
    const int error = rtmr3_extend(path, value, why);
    assert_int_equal(pread(fd, after, SHA384_LEN, 0), len);
    close(fd);
    unlink(path);
    return error;
}

static void the_value_is_over_label_settings_and_model(void **state)
{
    uint8_t text[13 + 32 + 32] = "cgw/rtmr3/v1", got[SHA384_LEN], expected[SHA384_LEN];

    (void)state;
    for (int i = 0; i < 32; i++)
        text[13 + i] = (uint8_t)(0x11 * (i % 16));
    sha256(text + 45, SPAN("sha256:ab"));
    sha384(expected, SPAN_OF(text));
    assert_int_equal(rtmr3_value(CONFIG, "sha256:ab", got), 0);
    assert_memory_equal(got, expected, SHA384_LEN);
    assert_int_equal(rtmr3_value("00", "sha256:ab", got), E_INVALID);
}

static void a_zero_register_is_extended(void **state)
{
    const uint8_t zero[SHA384_LEN] = {0}, value[SHA384_LEN] = {1, 2};
    uint8_t after[SHA384_LEN];

    (void)state;
    assert_int_equal(extend(zero, SHA384_LEN, value, after), 0);
    assert_memory_equal(after, value, SHA384_LEN); // what the kernel is given
}

static void a_second_start_leaves_it_alone(void **state)
{
    const uint8_t value[SHA384_LEN] = {1, 2};
    uint8_t both[2 * SHA384_LEN] = {0}, extended[SHA384_LEN], after[SHA384_LEN];

    (void)state;
    memcpy(both + SHA384_LEN, value, SHA384_LEN);
    sha384(extended, SPAN_OF(both));
    assert_int_equal(extend(extended, SHA384_LEN, value, after), 0);
    assert_memory_equal(after, extended, SHA384_LEN);
}

static void anything_else_in_it_is_refused(void **state)
{
    const uint8_t value[SHA384_LEN] = {1, 2}, other[SHA384_LEN] = {9};
    uint8_t after[SHA384_LEN];

    (void)state;
    assert_int_equal(extend(other, SHA384_LEN, value, after), E_DENIED);
    assert_memory_equal(after, other, SHA384_LEN);
    assert_int_equal(extend(other, 20, value, after), E_IO);
}

static void an_old_kernel_is_told(void **state)
{
    const uint8_t value[SHA384_LEN] = {1};

    (void)state;
    assert_int_equal(rtmr3_extend("/tmp/cocoon-no-such", value, why), E_UNSUPPORTED);
    assert_non_null(strstr(why, "6.16"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_value_is_over_label_settings_and_model),
        cmocka_unit_test(a_zero_register_is_extended),
        cmocka_unit_test(a_second_start_leaves_it_alone),
        cmocka_unit_test(anything_else_in_it_is_refused),
        cmocka_unit_test(an_old_kernel_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
