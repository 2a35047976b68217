/* Memory that dies together. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/arena.h"
#include "base/error.h"

static void pieces_are_aligned_and_apart(void **state)
{
    (void)state;
    struct arena a = {0};
    uint8_t *pieces[500];

    for (size_t i = 0; i < 500; i++) {
        pieces[i] = arena_alloc(&a, i);
        assert_int_equal((uintptr_t)pieces[i] % _Alignof(max_align_t), 0);
        memset(pieces[i], (int)(i & 0xFF), i);
    }
    for (size_t i = 0; i < 500; i++)
        for (size_t k = 0; k < i; k++)
            assert_int_equal(pieces[i][k], i & 0xFF);
    arena_fini(&a);
}

static void large_pieces_do_not_end_the_block_in_use(void **state)
{
    (void)state;
    struct arena a = {0};
    const uint8_t *before = arena_alloc(&a, 16);
    uint8_t *large = arena_zero(&a, 1 << 20);
    const uint8_t *after = arena_alloc(&a, 16);

    assert_int_equal(large[(1 << 20) - 1], 0);
    memset(large, 1, 1 << 20);
    assert_ptr_equal(after, before + 16);
    arena_fini(&a);
}

static void copies_end_with_a_nul_that_is_not_counted(void **state)
{
    (void)state;
    struct arena a = {0};
    const struct span copy = arena_copy(&a, SPAN("a\0b"));

    assert_true(span_eq(copy, SPAN("a\0b")));
    assert_int_equal(copy.data[3], 0);
    assert_string_equal(arena_strdup(&a, (struct span){0}), "");
    assert_string_equal(arena_printf(&a, "%s-%d", "x", 5), "x-5");
    assert_int_equal(strlen(arena_printf(&a, "%010000d", 5)), 10000);
    arena_fini(&a);
}

static void an_arena_can_be_used_again(void **state)
{
    (void)state;
    struct arena a = {0};

    arena_fini(&a);
    assert_string_equal(arena_strdup(&a, SPAN("x")), "x");
    arena_fini(&a);
    assert_null(a.blocks);
    assert_string_equal(arena_strdup(&a, SPAN("y")), "y");
    arena_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_are_aligned_and_apart),
        cmocka_unit_test(large_pieces_do_not_end_the_block_in_use),
        cmocka_unit_test(copies_end_with_a_nul_that_is_not_counted),
        cmocka_unit_test(an_arena_can_be_used_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
