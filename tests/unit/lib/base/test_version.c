/* What the build says of itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/version.h"

static void the_version_is_three_numbers(void **state)
{
    (void)state;
    assert_int_equal(strspn(cocoon_version, "0123456789."), strlen(cocoon_version));
    const char *first = strchr(cocoon_version, '.');
    assert_non_null(first);
    assert_non_null(strchr(first + 1, '.'));
}

static void the_commit_is_hex_or_unknown(void **state)
{
    (void)state;
    if (strcmp(cocoon_commit, "unknown") == 0)
        return;
    assert_int_equal(strlen(cocoon_commit), 12);
    assert_int_equal(strspn(cocoon_commit, "0123456789abcdef"), 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_version_is_three_numbers),
        cmocka_unit_test(the_commit_is_hex_or_unknown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
