/* Members that know their place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/heap.h"
#include "base/list.h"

enum { MANY = 300 };

struct item {
    uint32_t value;
    struct heap_link link;
};

static struct item *item_at(struct heap_link *link)
{
    return CONTAINER(link, struct item, link);
}

static bool is_less(struct heap_link *a, struct heap_link *b)
{
    return item_at(a)->value < item_at(b)->value;
}

/* The same numbers each time. */
static uint32_t below(uint32_t most)
{
    static uint32_t seed = 1;

    seed = seed * 1664525 + 1013904223;
    return (seed >> 8) % most;
}

static void what_was_put_in_comes_out_in_order(void **state)
{
    struct heap h = {.before = is_less};
    struct item items[MANY] = {0};
    uint32_t last = 0;

    (void)state;
    assert_null(heap_first(&h));
    for (size_t i = 0; i < MANY; i++) {
        items[i].value = below(MANY); /* some are equal */
        heap_set(&h, &items[i].link);
    }
    for (size_t i = 0; i < MANY; i++) {
        struct item *it = item_at(heap_first(&h));
        assert_true(it->value >= last);
        last = it->value;
        heap_del(&h, &it->link);
    }
    assert_null(heap_first(&h));
    heap_fini(&h);
}

/* NULL: nobody is in. */
static const struct item *least_of(const struct item items[static MANY])
{
    const struct item *least = NULL;

    for (size_t i = 0; i < MANY; i++)
        if (items[i].link.slot != 0 && (!least || items[i].value < least->value))
            least = &items[i];
    return least;
}

static void any_member_may_move_or_leave(void **state)
{
    struct heap h = {.before = is_less};
    struct item items[MANY] = {0};

    (void)state;
    for (int i = 0; i < 20000; i++) {
        struct item *it = &items[below(MANY)];
        it->value = below(1000000);
        if (below(3) == 0)
            heap_del(&h, &it->link);
        else
            heap_set(&h, &it->link);
        const struct item *least = least_of(items);
        if (least)
            assert_int_equal(item_at(heap_first(&h))->value, least->value);
        else
            assert_null(heap_first(&h));
    }
    heap_fini(&h);
}

static void leaving_twice_is_harmless(void **state)
{
    struct heap h = {.before = is_less};
    struct item a = {.value = 1}, b = {.value = 2};

    (void)state;
    heap_set(&h, &a.link);
    heap_set(&h, &b.link);
    heap_set(&h, &a.link); /* is in already */
    assert_int_equal(h.len, 2);
    heap_del(&h, &a.link);
    heap_del(&h, &a.link);
    assert_int_equal(h.len, 1);
    assert_ptr_equal(heap_first(&h), &b.link);
    heap_del(&h, &b.link);
    heap_fini(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_put_in_comes_out_in_order),
        cmocka_unit_test(any_member_may_move_or_leave),
        cmocka_unit_test(leaving_twice_is_harmless),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
