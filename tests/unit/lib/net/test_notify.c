/* The service manager hears us, on a path and on an abstract name. */
#include "net/notify.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

// Binds a socket at name ('@' for abstract), sends, and expects to receive the same.
static void expect_heard(const char *name)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    char got[64] = "";
    const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    strcpy(at.sun_path, name);
    const size_t len = offsetof(struct sockaddr_un, sun_path) + strlen(name);
    if (name[0] == '@')
        at.sun_path[0] = 0;
    assert_int_equal(bind(fd, (struct sockaddr *)&at, (socklen_t)len), 0);
    setenv("NOTIFY_SOCKET", name, 1);
    assert_int_equal(notify_send("READY=1"), 0);
    assert_int_equal(recv(fd, got, sizeof(got) - 1, MSG_DONTWAIT), 7);
    assert_string_equal(got, "READY=1");
    close(fd);
}

static void a_path_is_heard(void **state)
{
    char folder[] = "/tmp/test-notify-XXXXXX", path[64];

    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/n", folder);
    expect_heard(path);
    unlink(path);
    rmdir(folder);
}

static void an_abstract_name_is_heard(void **state)
{
    char name[64];

    (void)state;
    snprintf(name, sizeof(name), "@test-notify-%d", (int)getpid());
    expect_heard(name);
}

static void without_a_manager_nothing_is_sent(void **state)
{
    (void)state;
    unsetenv("NOTIFY_SOCKET");
    assert_int_equal(notify_send("READY=1"), E_NOT_FOUND);
    setenv("NOTIFY_SOCKET", "relative", 1);
    assert_int_equal(notify_send("READY=1"), E_INVALID);
    setenv("NOTIFY_SOCKET", "/nonexistent/socket", 1);
    assert_int_equal(notify_send("READY=1"), E_IO);
}

static void the_watchdog_is_fed_twice_an_interval(void **state)
{
    char pid[16];

    (void)state;
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    assert_int_equal(notify_watchdog_ms(), 0);
    setenv("WATCHDOG_USEC", "30000000", 1);
    assert_int_equal(notify_watchdog_ms(), 15000);
    snprintf(pid, sizeof(pid), "%d", (int)getpid());
    setenv("WATCHDOG_PID", pid, 1);
    assert_int_equal(notify_watchdog_ms(), 15000);
    setenv("WATCHDOG_PID", "1", 1);
    assert_int_equal(notify_watchdog_ms(), 0);
    setenv("WATCHDOG_USEC", "soon", 1);
    assert_int_equal(notify_watchdog_ms(), 0);
}

static void a_watchdog_is_fed_while_the_loop_turns_until_it_ends(void **state)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct watchdog w = {0};
    struct loop *loop = NULL;
    char name[64], got[64];
    const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    (void)state;
    watchdog_end(&w); // not begun
    snprintf(name, sizeof(name), "@test-watchdog-%d", (int)getpid());
    memcpy(at.sun_path + 1, name + 1, strlen(name) - 1);
    assert_int_equal(bind(fd, (struct sockaddr *)&at,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name))),
                     0);
    setenv("NOTIFY_SOCKET", name, 1);
    setenv("WATCHDOG_USEC", "20000", 1);
    unsetenv("WATCHDOG_PID");
    assert_int_equal(loop_new(&loop), 0);
    watchdog_begin(&w, loop);
    for (int i = 0; i < 3; i++) {
        while (recv(fd, got, sizeof(got), MSG_DONTWAIT) < 0)
            loop_turn(loop, 1000);
        assert_memory_equal(got, "WATCHDOG=1", 10);
    }
    watchdog_end(&w);
    assert_false(loop_timer_is_set(&w.timer));
    loop_free(loop);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_path_is_heard),
        cmocka_unit_test(an_abstract_name_is_heard),
        cmocka_unit_test(without_a_manager_nothing_is_sent),
        cmocka_unit_test(the_watchdog_is_fed_twice_an_interval),
        cmocka_unit_test(a_watchdog_is_fed_while_the_loop_turns_until_it_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
