/* URLs of Redis in all their forms, and the places that Redis names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/redis_url.h"

static struct redis_url parsed(const char *text)
{
    struct redis_url u;

    if (redis_url_parse(&u, text) < 0)
        fail_msg("refused: %s", text);
    return u;
}

static void a_server_is_an_address_or_a_name_with_a_port(void **state)
{
    (void)state;
    struct redis_url u = parsed("redis://127.0.0.1:6379");

    assert_int_equal(u.kind, REDIS_ALONE);
    assert_false(u.tls);
    assert_int_equal(u.place_count, 1);
    assert_string_equal(u.places[0], "127.0.0.1:6379");
    assert_string_equal(u.db, "");
    u = parsed("rediss://redis.example.org:6380/2");
    assert_true(u.tls);
    assert_string_equal(u.places[0], "redis.example.org:6380");
    assert_string_equal(u.db, "2");
    u = parsed("redis://[::1]:1/0");
    assert_string_equal(u.places[0], "[::1]:1");
    assert_string_equal(u.db, "");
}

static void a_password_may_hold_any_byte(void **state)
{
    (void)state;
    struct redis_url u = parsed("redis://:p@ss:/w,x@10.0.0.1:1/3");

    assert_string_equal(u.password, "p@ss:/w,x");
    assert_string_equal(u.user, "");
    assert_string_equal(u.db, "3");
    u = parsed("redis://gateway:secret@10.0.0.1:1");
    assert_string_equal(u.user, "gateway");
    assert_string_equal(u.password, "secret");
    u = parsed("unix:u:p@/run/redis.sock?db=4");
    assert_string_equal(u.user, "u");
    assert_string_equal(u.password, "p");
    assert_string_equal(u.db, "4");
    assert_string_equal(u.places[0], "unix:/run/redis.sock");
    u = parsed("unix:/run/at@sign");
    assert_string_equal(u.places[0], "unix:/run/at@sign");
}

static void sentinels_name_the_primary_and_cluster_nodes_do_not(void **state)
{
    (void)state;
    struct redis_url u = parsed("redis+sentinel://a:1,b.c:2,10.0.0.1:3/main/5");

    assert_int_equal(u.kind, REDIS_SENTINEL);
    assert_int_equal(u.place_count, 3);
    assert_string_equal(u.places[1], "b.c:2");
    assert_string_equal(u.master, "main");
    assert_string_equal(u.db, "5");
    u = parsed("rediss+cluster://:pw@[::1]:7000,10.0.0.2:7001");
    assert_int_equal(u.kind, REDIS_CLUSTER);
    assert_true(u.tls);
    assert_int_equal(u.place_count, 2);
    assert_string_equal(u.password, "pw");
}

static void what_is_no_url_is_refused(void **state)
{
    static const char *const bad[] = {"",
                                      "127.0.0.1:6379",
                                      "redis://",
                                      "redis://:6379",
                                      "redis://127.0.0.1",
                                      "redis://127.0.0.1:0",
                                      "redis://127.0.0.1:65536",
                                      "redis://127.0.0.300:1",
                                      "redis://127.0.0.1:6379/x",
                                      "redis://127.0.0.1:6379/-1",
                                      "redis://127.0.0.1:6379/0/0",
                                      "redis://:@127.0.0.1:6379",
                                      "redis://user@127.0.0.1:6379",
                                      "redis://a b:p@127.0.0.1:6379",
                                      "redis://a:1,b:2",
                                      "redis://a_b!:1",
                                      "redis://[::1:1",
                                      "redis://[127.0.0.1]:1",
                                      "unix:",
                                      "unix:relative",
                                      "unix:/",
                                      "unix:/s?db=",
                                      "unix:/s?x=1",
                                      "unix::pw/s",
                                      "redis+sentinel://a:1",
                                      "redis+sentinel://a:1/",
                                      "redis+sentinel://a:1,/main",
                                      "redis+sentinel://,a:1/main",
                                      "redis+sentinel://a:1/main/x",
                                      "redis+cluster://a:1/1",
                                      "redis+cluster://a:1,,b:2",
                                      "redis+cluster://"};
    struct redis_url u;
    char text[2 * REDIS_URL_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (redis_url_parse(&u, bad[i]) == 0)
            fail_msg("accepted: %s", bad[i]);
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = 0;
    assert_int_equal(redis_url_parse(&u, text), E_INVALID);
    snprintf(text, sizeof(text), "redis+cluster://a:1");
    for (size_t i = 0; i < REDIS_PLACES_MAX; i++)
        strcat(text, ",a:1");
    assert_int_equal(redis_url_parse(&u, text), E_INVALID);
}

static void a_place_without_brackets_gets_them(void **state)
{
    char place[REDIS_PLACE_LEN];

    (void)state;
    assert_int_equal(redis_place_read(SPAN("::1:6381"), place), 0);
    assert_string_equal(place, "[::1]:6381");
    assert_int_equal(redis_place_read(SPAN("[fe80::2]:1"), place), 0);
    assert_string_equal(place, "[fe80::2]:1");
    assert_int_equal(redis_place_read(SPAN("node-1.example:7000"), place), 0);
    assert_string_equal(place, "node-1.example:7000");
    assert_int_equal(redis_place_read(SPAN("a\0b:1"), place), E_INVALID);
    assert_int_equal(redis_place_read(SPAN("x"), place), E_INVALID);
    assert_int_equal(redis_place_read(SPAN(":1"), place), E_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_server_is_an_address_or_a_name_with_a_port),
        cmocka_unit_test(a_password_may_hold_any_byte),
        cmocka_unit_test(sentinels_name_the_primary_and_cluster_nodes_do_not),
        cmocka_unit_test(what_is_no_url_is_refused),
        cmocka_unit_test(a_place_without_brackets_gets_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
