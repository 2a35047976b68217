/* What device-mapper says of a verity target, and a folder that lies on none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "worker/verity.h"

#define ROOT "4392712ba01368efdf14b05c76f9e4df0d53664630b5d48632ed17a137f39076"
#define SALT "aee087a5be3b982978c923f566a94613496b417f2af592639bc80d141e34dfe7"

/* As `dmsetup table` shows it (kernel's admin-guide/device-mapper/verity.rst). */
static void the_root_stands_behind_the_algorithm(void **state)
{
    char out[VERITY_HEX_LEN + 1];

    (void)state;
    assert_int_equal(verity_root(SPAN("1 7:0 7:1 4096 4096 262144 1 sha256 " ROOT " " SALT), out),
                     0);
    assert_string_equal(out, ROOT);
    assert_int_equal(
        verity_root(SPAN("1 7:0 7:1 4096 4096 262144 1 sha256 " ROOT " - 1 restart_on_corruption"),
                    out),
        0);
}

static void anything_else_is_no_root(void **state)
{
    static const char *const bad[] = {
        "",
        "0 7:0 7:1 4096 4096 262144 1 sha256 " ROOT " " SALT,
        "1 7:0 7:1 4096 4096 262144 1 sha1 " ROOT " " SALT,
        "1 7:0 7:1 4096 4096 262144 1 sha256 " ROOT "00 " SALT,
        "1 7:0 7:1 4096 4096 262144 1 sha256",
        "1 7:0 7:1 4096 4096 262144 1 sha256 - " SALT,
        "1  7:0 7:1 4096 4096 262144 1 sha256 " ROOT,
    };
    char out[VERITY_HEX_LEN + 1];

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(verity_root(span_str(bad[i]), out), E_INVALID);
}

static void a_folder_on_no_such_device_is_refused_with_a_reason(void **state)
{
    char why[VERITY_WHY_LEN] = "";

    (void)state;
    assert_true(verity_check("/proc", ROOT, why) < 0);
    assert_true(why[0] != '\0');
    assert_int_equal(verity_check("/no/such/folder", ROOT, why), E_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_root_stands_behind_the_algorithm),
        cmocka_unit_test(anything_else_is_no_root),
        cmocka_unit_test(a_folder_on_no_such_device_is_refused_with_a_reason),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
