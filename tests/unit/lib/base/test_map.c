/* A map against a plain array that says what it should hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "base/map.h"
#include "base/random.h"

static void an_empty_map_answers(void **state)
{
    (void)state;
    struct map m = {0};
    struct span key;
    void *value;
    size_t at = 0;

    assert_null(map_get(&m, SPAN("a")));
    assert_null(map_del(&m, SPAN("a")));
    assert_false(map_next(&m, &at, &key, &value));
    map_fini(&m);
}

static void put_replaces_and_says_what(void **state)
{
    (void)state;
    struct map m = {0};
    int one, two;

    assert_null(map_put(&m, SPAN("k"), &one));
    assert_ptr_equal(map_put(&m, SPAN("k"), &two), &one);
    assert_int_equal(m.len, 1);
    assert_ptr_equal(map_get(&m, SPAN("k")), &two);
    assert_ptr_equal(map_del(&m, SPAN("k")), &two);
    assert_null(map_get(&m, SPAN("k")));
    assert_int_equal(m.len, 0);
    map_fini(&m);
}

static void keys_are_bytes_and_are_copied(void **state)
{
    (void)state;
    struct map m = {0};
    int a, b, c;
    char key[] = "x\0y";

    map_put(&m, span_of(key, 3), &a);
    map_put(&m, span_of(key, 1), &b);
    map_put(&m, (struct span){0}, &c);
    memset(key, 0, sizeof(key));
    assert_ptr_equal(map_get(&m, SPAN("x\0y")), &a);
    assert_ptr_equal(map_get(&m, SPAN("x")), &b);
    assert_ptr_equal(map_get(&m, SPAN("")), &c);
    map_fini(&m);
}

enum { KEYS = 700 };

static struct span key_of(char text[static 16], size_t i)
{
    return span_of(text, (size_t)snprintf(text, 16, "key-%zu", i));
}

static void random_puts_and_deletes_agree_with_an_array(void **state)
{
    (void)state;
    struct map m = {0};
    void *expected[KEYS] = {0};
    char text[16];
    static char values[64];
    size_t live = 0;

    for (int step = 0; step < 100000; step++) {
        const size_t i = random_below(KEYS);
        void *was = expected[i];
        expected[i] = random_below(2) ? &values[random_below(sizeof(values))] : NULL;
        if (expected[i])
            assert_ptr_equal(map_put(&m, key_of(text, i), expected[i]), was);
        else
            assert_ptr_equal(map_del(&m, key_of(text, i)), was);
        live += (size_t)(expected[i] != NULL) - (size_t)(was != NULL);
        assert_int_equal(m.len, live);
    }
    for (size_t i = 0; i < KEYS; i++)
        assert_ptr_equal(map_get(&m, key_of(text, i)), expected[i]);
    assert_true(m.cap <= 2048); // tombstones do not make it grow
    map_fini(&m);
}

static void walking_meets_each_entry_once_and_allows_deletion(void **state)
{
    (void)state;
    struct map m = {0};
    char text[16], met[KEYS] = {0};
    struct span key;
    void *value;
    size_t at = 0, count = 0;

    for (size_t i = 0; i < KEYS; i++)
        map_put(&m, key_of(text, i), &met[i]);
    while (map_next(&m, &at, &key, &value)) {
        ++*(char *)value;
        if (++count % 2)
            assert_ptr_equal(map_del(&m, key), value);
    }
    for (size_t i = 0; i < KEYS; i++)
        assert_int_equal(met[i], 1);
    assert_int_equal(m.len, KEYS / 2);
    map_fini(&m);
}

static void two_maps_order_their_entries_differently(void **state)
{
    (void)state;
    struct map a = {0}, b = {0};
    char text[16];
    size_t at_a = 0, at_b = 0, same = 0;
    struct span key_a, key_b;
    void *value;

    for (size_t i = 0; i < 100; i++) {
        map_put(&a, key_of(text, i), text);
        map_put(&b, key_of(text, i), text);
    }
    while (map_next(&a, &at_a, &key_a, &value) && map_next(&b, &at_b, &key_b, &value))
        same += span_eq(key_a, key_b);
    assert_true(same < 50);
    map_fini(&a);
    map_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_map_answers),
        cmocka_unit_test(put_replaces_and_says_what),
        cmocka_unit_test(keys_are_bytes_and_are_copied),
        cmocka_unit_test(random_puts_and_deletes_agree_with_an_array),
        cmocka_unit_test(walking_meets_each_entry_once_and_allows_deletion),
        cmocka_unit_test(two_maps_order_their_entries_differently),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
