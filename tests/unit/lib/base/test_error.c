/* Names of errors and what a failed CHECK does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"

static void every_error_has_its_own_name(void **state)
{
    (void)state;
    assert_string_equal(error_name(E_OK), "E_OK");
    assert_string_equal(error_name(E_INVALID), "E_INVALID");
    assert_string_equal(error_name(E_TIMEOUT), "E_TIMEOUT");
    for (int e = E_UNSUPPORTED; e <= 0; e++)
        assert_string_not_equal(error_name(e), "E_UNKNOWN");
    assert_string_equal(error_name(E_UNSUPPORTED), "E_UNSUPPORTED");
}

static void anything_else_is_unknown(void **state)
{
    (void)state;
    assert_string_equal(error_name(1), "E_UNKNOWN");
    assert_string_equal(error_name(E_UNSUPPORTED - 1), "E_UNKNOWN");
    assert_string_equal(error_name(INT32_MIN), "E_UNKNOWN");
}

static void what_the_system_said_is_told_of_its_own_errors_alone(void **state)
{
    (void)state;
    errno = EADDRINUSE;
    assert_string_equal(error_why(E_IO), "Address already in use");
    assert_string_equal(error_why(E_DENIED), "E_DENIED");
}

static int fails_at(int step)
{
    TRY(step == 1 ? E_BUSY : 0);
    TRY(step == 2 ? E_DENIED : 7);
    return 0;
}

static void try_returns_the_first_error(void **state)
{
    (void)state;
    assert_int_equal(fails_at(1), E_BUSY);
    assert_int_equal(fails_at(2), E_DENIED);
    assert_int_equal(fails_at(3), 0);
}

static void count_up(int *p)
{
    (*p)++;
}
AUTO_FREE(int, count_up)

static void auto_runs_at_the_end_of_the_scope(void **state)
{
    (void)state;
    int count = 0;
    {
        AUTO(count_up) int *p = &count;
        assert_int_equal(*p, 0);
    }
    assert_int_equal(count, 1);
}

static void a_failed_check_aborts(void **state)
{
    (void)state;
    const pid_t child = fork();
    if (child == 0) {
        if (!freopen("/dev/null", "w", stderr))
            _exit(1);
        CHECK(1 + 1 == 3);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void memory_of_no_length_is_still_memory(void **state)
{
    (void)state;
    void *a = mem_alloc(0), *b = mem_zero(0);
    assert_non_null(a);
    assert_non_null(b);
    a = mem_grow(a, 100);
    memset(a, 1, 100);
    free(a);
    free(b);
    char *s = mem_strdup("abc");
    assert_string_equal(s, "abc");
    free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_error_has_its_own_name),
        cmocka_unit_test(anything_else_is_unknown),
        cmocka_unit_test(what_the_system_said_is_told_of_its_own_errors_alone),
        cmocka_unit_test(try_returns_the_first_error),
        cmocka_unit_test(auto_runs_at_the_end_of_the_scope),
        cmocka_unit_test(a_failed_check_aborts),
        cmocka_unit_test(memory_of_no_length_is_still_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
