/* Memory that held keys or plaintext is zero when it goes back to the allocator. The sources are
 * compiled in with a free() that looks first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "base/span.h"

static size_t freed, leaked;

static void spy_free(void *p)
{
    const size_t len = p ? malloc_usable_size(p) : 0;

    freed += p != NULL;
    leaked += len && memmem(p, len, "SECRET", 6) != NULL;
    free(p);
}

#define free spy_free
#include "lib/base/arena.c"
#include "lib/base/buf.c"
#include "lib/base/wiped.c"
#undef free

static int reset(void **state)
{
    (void)state;
    freed = leaked = 0;
    return 0;
}

static void a_wiped_buffer_leaves_nothing(void **state)
{
    (void)state;
    struct buf b = {0};

    buf_append_str(&b, "SECRET and more");
    buf_wipe(&b);
    assert_int_equal(freed, 1);
    assert_int_equal(leaked, 0);
}

static void consumed_and_cleared_bytes_are_wiped_too(void **state)
{
    (void)state;
    struct buf b = {0};

    buf_append_str(&b, "SECRET and more SECRET");
    buf_consume(&b, 10);
    buf_wipe(&b);
    buf_append_str(&b, "SECRET");
    buf_clear(&b);
    buf_wipe(&b);
    assert_int_equal(freed, 2);
    assert_int_equal(leaked, 0);
}

static void growing_leaves_no_copy_behind(void **state)
{
    (void)state;
    struct buf b = {0};

    for (int i = 0; i < 1000; i++)
        buf_append_str(&b, "SECRET");
    assert_true(freed > 3);
    buf_wipe(&b);
    assert_int_equal(leaked, 0);
}

static void an_ended_arena_leaves_nothing(void **state)
{
    (void)state;
    struct arena a = {0};

    for (int i = 0; i < 1000; i++)
        arena_copy(&a, SPAN("SECRET"));
    arena_printf(&a, "%8000s", "SECRET");
    arena_fini(&a);
    assert_true(freed > 3);
    assert_int_equal(leaked, 0);
}

static void memory_of_libraries_is_wiped_when_it_grows_and_ends(void **state)
{
    (void)state;
    char *p = wiped_realloc(NULL, 7);

    memcpy(p, "SECRET", 7);
    p = wiped_realloc(p, 4000);
    assert_string_equal(p, "SECRET");
    p = wiped_realloc(p, 3);
    assert_memory_equal(p, "SEC", 3);
    wiped_free(p);
    wiped_free(NULL);
    assert_int_equal(freed, 3);
    assert_int_equal(leaked, 0);
}

static void json_leaves_nothing(void **state)
{
    (void)state;
    wiped_json();
    json_t *doc = json_loads("{\"SECRET\":[\"a SECRET text\",\"\\u0041SECRET\"]}", 0, NULL);
    char *text = json_dumps(doc, 0);

    assert_non_null(strstr(text, "SECRET"));
    wiped_free(text);
    json_decref(doc);
    assert_true(freed > 5);
    assert_int_equal(leaked, 0);
}

static void the_spy_sees_what_is_not_wiped(void **state)
{
    (void)state;
    struct buf b = {0};

    buf_append_str(&b, "xSECRET");
    buf_fini(&b);
    assert_int_equal(leaked, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_wiped_buffer_leaves_nothing, reset),
        cmocka_unit_test_setup(consumed_and_cleared_bytes_are_wiped_too, reset),
        cmocka_unit_test_setup(growing_leaves_no_copy_behind, reset),
        cmocka_unit_test_setup(an_ended_arena_leaves_nothing, reset),
        cmocka_unit_test_setup(memory_of_libraries_is_wiped_when_it_grows_and_ends, reset),
        cmocka_unit_test_setup(json_leaves_nothing, reset),
        cmocka_unit_test_setup(the_spy_sees_what_is_not_wiped, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
