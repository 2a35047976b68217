/* Links inside objects. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/list.h"

struct item {
    int value;
    struct list link;
};

static int value_of(struct list *link)
{
    return CONTAINER(link, struct item, link)->value;
}

static void items_are_walked_in_the_order_of_pushing(void **state)
{
    (void)state;
    struct list head;
    struct item items[3] = {{.value = 0}, {.value = 1}, {.value = 2}};
    int next = 0;

    list_init(&head);
    assert_true(list_empty(&head));
    for (int i = 0; i < 3; i++)
        list_push(&head, &items[i].link);
    assert_false(list_empty(&head));
    LIST_FOREACH(it, &head)
        assert_int_equal(value_of(it), next++);
    assert_int_equal(next, 3);
}

static void the_safe_walk_allows_removal(void **state)
{
    (void)state;
    struct list head;
    struct item items[4] = {{.value = 0}, {.value = 1}, {.value = 2}, {.value = 3}};
    int seen = 0;

    list_init(&head);
    for (int i = 0; i < 4; i++)
        list_push(&head, &items[i].link);
    LIST_FOREACH_SAFE(it, &head) {
        seen++;
        if (value_of(it) % 2 == 0)
            list_del(it);
    }
    assert_int_equal(seen, 4);
    assert_int_equal(value_of(list_pop(&head)), 1);
    assert_int_equal(value_of(list_pop(&head)), 3);
    assert_null(list_pop(&head));
}

static void removing_what_is_in_no_list_is_harmless(void **state)
{
    (void)state;
    struct list zero = {0}, head;
    struct item item = {.value = 1};

    list_del(&zero);
    assert_true(list_empty(&zero));
    list_init(&head);
    list_push(&head, &item.link);
    list_del(&item.link);
    list_del(&item.link);
    assert_true(list_empty(&head));
    assert_true(list_empty(&item.link));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_are_walked_in_the_order_of_pushing),
        cmocka_unit_test(the_safe_walk_allows_removal),
        cmocka_unit_test(removing_what_is_in_no_list_is_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
