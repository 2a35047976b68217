/* What is to be next is remembered by conversation, of a bounded number of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "client/core/conversations.h"

static struct next_keys keys(uint8_t first)
{
    struct next_keys k = {.count = 1};

    k.kfp[0][0] = first;
    return k;
}

static void each_conversation_has_its_own(void **state)
{
    struct conversations c;
    const struct next_keys one = keys(1), two = keys(2), three = keys(3);

    (void)state;
    conversations_init(&c);
    assert_null(conversations_find(&c, SPAN("tag/m")));
    conversations_note(&c, SPAN("tag/m"), &one);
    conversations_note(&c, SPAN("tag/n"), &two);
    assert_int_equal(conversations_find(&c, SPAN("tag/m"))->kfp[0][0], 1);
    conversations_note(&c, SPAN("tag/m"), &three);
    assert_int_equal(conversations_find(&c, SPAN("tag/m"))->kfp[0][0], 3);
    assert_int_equal(conversations_find(&c, SPAN("tag/n"))->kfp[0][0], 2);
    conversations_fini(&c);
}

static void the_one_that_was_heard_of_longest_ago_goes(void **state)
{
    struct conversations c;
    const struct next_keys one = keys(1);
    char name[16];

    (void)state;
    conversations_init(&c);
    for (unsigned i = 0; i < CONVERSATIONS_MAX; i++) {
        snprintf(name, sizeof(name), "%u", i);
        conversations_note(&c, span_str(name), &one);
    }
    conversations_note(&c, SPAN("0"), &one); /* heard of again */
    conversations_note(&c, SPAN("new"), &one);
    assert_non_null(conversations_find(&c, SPAN("0")));
    assert_null(conversations_find(&c, SPAN("1")));
    assert_non_null(conversations_find(&c, SPAN("new")));
    conversations_fini(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_conversation_has_its_own),
        cmocka_unit_test(the_one_that_was_heard_of_longest_ago_goes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
