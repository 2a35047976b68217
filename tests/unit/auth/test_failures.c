/* Counting failed credentials by address. */
#include "auth/failures.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>

static void the_failure_after_the_limit_is_slow(void **state)
{
    struct failures f;

    (void)state;
    failures_init(&f, 3);
    for (int i = 0; i < 3; i++)
        assert_false(failures_add(&f, SPAN("10.0.0.1"), 1000));
    assert_true(failures_add(&f, SPAN("10.0.0.1"), 1000));
    assert_false(failures_add(&f, SPAN("10.0.0.2"), 1000));
    failures_fini(&f);
}

static void a_minute_later_all_is_forgotten(void **state)
{
    struct failures f;

    (void)state;
    failures_init(&f, 1);
    assert_false(failures_add(&f, SPAN("10.0.0.1"), 1000));
    assert_true(failures_add(&f, SPAN("10.0.0.1"), 60999));
    assert_false(failures_add(&f, SPAN("10.0.0.1"), 61000));
    failures_fini(&f);
}

static void ipv6_addresses_count_by_their_network(void **state)
{
    struct failures f;

    (void)state;
    failures_init(&f, 1);
    assert_false(failures_add(&f, SPAN("2001:db8::1"), 0));
    assert_true(failures_add(&f, SPAN("2001:db8::2"), 0));
    assert_false(failures_add(&f, SPAN("2001:db8:0:1::1"), 0));
    failures_fini(&f);
}

static void unix_peers_count_together(void **state)
{
    struct failures f;

    (void)state;
    failures_init(&f, 1);
    assert_false(failures_add(&f, SPAN("unix:"), 0));
    assert_true(failures_add(&f, SPAN("unix:"), 0));
    assert_false(failures_add(&f, SPAN(""), 0));
    failures_fini(&f);
}

static void the_number_of_addresses_is_bounded(void **state)
{
    struct failures f;
    char peer[32];

    (void)state;
    failures_init(&f, 1);
    for (int i = 0; i < 3 * FAILURES_MAX_PEERS; i++) {
        snprintf(peer, sizeof(peer), "10.%d.%d.%d", i >> 16, i >> 8 & 255, i & 255);
        failures_add(&f, span_str(peer), 0);
    }
    assert_true(f.by_peer.len <= FAILURES_MAX_PEERS);
    failures_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_failure_after_the_limit_is_slow),
        cmocka_unit_test(a_minute_later_all_is_forgotten),
        cmocka_unit_test(ipv6_addresses_count_by_their_network),
        cmocka_unit_test(unix_peers_count_together),
        cmocka_unit_test(the_number_of_addresses_is_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
