/* What a log line looks like, read back from stderr. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"

static char line[16384];

// Runs the logging statement with stderr led into a pipe; the text is in `line`.
#define CAPTURE(statement)                                                                         \
    do {                                                                                           \
        int pipe_fds[2], old_stderr = dup(STDERR_FILENO);                                          \
        assert_int_equal(pipe(pipe_fds), 0);                                                       \
        dup2(pipe_fds[1], STDERR_FILENO);                                                          \
        close(pipe_fds[1]);                                                                        \
        statement;                                                                                 \
        dup2(old_stderr, STDERR_FILENO);                                                           \
        close(old_stderr);                                                                         \
        ssize_t got = read(pipe_fds[0], line, sizeof(line) - 1);                                   \
        assert_true(got >= 0);                                                                     \
        line[got] = 0;                                                                             \
        close(pipe_fds[0]);                                                                        \
    } while (0)

static void a_line_has_time_level_program_and_event(void **state)
{
    (void)state;
    int year, month, day, hour, minute, second, ms, end = 0;

    log_init("cocoon-gateway", LOG_INFO);
    CAPTURE(log_event(LOG_WARN, "call_done", "call=%s tokens=%d", "abc", 7));
    assert_int_equal(sscanf(line, "time=%4d-%2d-%2dT%2d:%2d:%2d.%3dZ %n", &year, &month, &day,
                            &hour, &minute, &second, &ms, &end),
                     7);
    assert_int_equal(end, (int)strlen("time=2026-11-24T10:50:19.123Z "));
    assert_string_equal(line + end,
                        "level=warn program=cocoon-gateway event=call_done call=abc tokens=7\n");
}

static void lines_below_the_level_are_dropped(void **state)
{
    (void)state;
    log_init("p", LOG_WARN);
    CAPTURE(log_event(LOG_INFO, "quiet", "a=%d", 1));
    assert_string_equal(line, "");
    CAPTURE(log_event(LOG_ERROR, "loud", "a=%d", 1));
    assert_non_null(strstr(line, " level=error program=p event=loud a=1\n"));
}

static void control_bytes_cannot_start_a_line(void **state)
{
    (void)state;
    log_init("p", LOG_DEBUG);
    CAPTURE(log_event(LOG_DEBUG, "e", "a=%s", "x\ny\r\x1B[0m\x7F\xC3\xA4"));
    assert_non_null(strstr(line, " a=x?y??[0m?\xC3\xA4\n"));
}

static void a_line_without_keys_ends_at_the_event(void **state)
{
    (void)state;
    log_init("p", LOG_DEBUG);
    CAPTURE(log_event(LOG_DEBUG, "started", "%s", ""));
    assert_non_null(strstr(line, " event=started\n"));
}

static void long_lines_are_cut_at_4_kib(void **state)
{
    (void)state;
    log_init("p", LOG_DEBUG);
    CAPTURE(log_event(LOG_DEBUG, "e", "a=%09000d", 1));
    assert_int_equal(strlen(line), 4096);
    assert_ptr_equal(strchr(line, '\n'), line + 4095);
}

static void errno_survives(void **state)
{
    (void)state;
    log_init("p", LOG_DEBUG);
    CAPTURE({
        errno = ENOENT;
        log_event(LOG_DEBUG, "e", "why=\"%m\"");
        assert_int_equal(errno, ENOENT);
    });
    assert_non_null(strstr(line, "why=\"No such file or directory\""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_has_time_level_program_and_event),
        cmocka_unit_test(lines_below_the_level_are_dropped),
        cmocka_unit_test(control_bytes_cannot_start_a_line),
        cmocka_unit_test(a_line_without_keys_ends_at_the_event),
        cmocka_unit_test(long_lines_are_cut_at_4_kib),
        cmocka_unit_test(errno_survives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
