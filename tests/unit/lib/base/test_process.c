/* A guarded process leaves no core file, and a failed write is no signal. */
#include "base/process.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

static void no_core_file_is_written(void **state)
{
    struct rlimit core;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_CORE, &core), 0);
    assert_int_equal(core.rlim_max, 0);
    assert_int_equal(prctl(PR_GET_DUMPABLE), 0);
}

static void a_peer_that_has_gone_is_an_error_of_write(void **state)
{
    int ends[2];

    (void)state;
    assert_int_equal(pipe(ends), 0);
    close(ends[0]);
    assert_int_equal(write(ends[1], "x", 1), -1);
    assert_int_equal(errno, EPIPE);
    close(ends[1]);
}

static void a_file_that_may_not_grow_is_an_error_of_write(void **state)
{
    struct rlimit size;
    FILE *f = tmpfile();

    (void)state;
    assert_non_null(f);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &size), 0);
    const rlim_t before = size.rlim_cur;
    size.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &size), 0);
    const ssize_t n = write(fileno(f), "x", 1);
    const int error = errno;
    size.rlim_cur = before;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &size), 0);
    assert_int_equal(n, -1);
    assert_int_equal(error, EFBIG);
    fclose(f);
}

static int guard(void **state)
{
    (void)state;
    return process_guard() ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_core_file_is_written),
        cmocka_unit_test(a_peer_that_has_gone_is_an_error_of_write),
        cmocka_unit_test(a_file_that_may_not_grow_is_an_error_of_write),
    };

    return cmocka_run_group_tests(tests, guard, NULL);
}
