/* The owner's live settings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "worker/settings.h"

static void what_is_named_changes_and_the_rest_stays(void **state)
{
    struct settings s = {.max_requests = 4, .ask = 1000, .max_watts = 300};
    const char *what = NULL;

    (void)state;
    assert_int_equal(
        settings_change(&s, SPAN("{\"ask\":1200,\"hours\":{\"mon\":\"08:00-09:00\"}}"), &what), 0);
    assert_int_equal(s.ask, 1200);
    assert_int_equal(s.max_requests, 4);
    assert_int_equal(s.max_watts, 300);
    assert_string_equal(s.hours.text[0], "08:00-09:00");
}

static void one_bad_member_changes_nothing(void **state)
{
    static const struct {
        const char *json, *what;
    } bad[] = {
        {"{\"ask\":1200,\"max_requests\":0}", "max_requests"},
        {"{\"ask\":1200,\"max_requests\":10001}", "max_requests"},
        {"{\"ask\":-1}", "ask"},
        {"{\"ask\":1.5}", "ask"},
        {"{\"ask\":\"1200\"}", "ask"},
        {"{\"max_watts\":null}", "max_watts"},
        {"{\"ask\":1200,\"hours\":{\"mon\":\"whenever\"}}", "mon"},
        {"{\"ask\":1200,\"hours\":{\"monday\":\"always\"}}", "hours"},
        {"{\"ask\":1200,\"hours\":[]}", "hours"},
        {"{\"ask\":1200,\"colour\":1}", "unknown"},
        {"{\"ask\":1200,", "json"},
        {"[]", "json"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct settings s = {.max_requests = 4, .ask = 1000};
        const char *what = NULL;
        assert_int_equal(settings_change(&s, span_str(bad[i].json), &what), E_INVALID);
        assert_string_equal(what, bad[i].what);
        assert_int_equal(s.ask, 1000);
        assert_int_equal(s.max_requests, 4);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_named_changes_and_the_rest_stays),
        cmocka_unit_test(one_bad_member_changes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
