/* Relays tell apart what waits for the authenticated end, and what says that an answer broke; and
 * paths that have an answer of their own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "openai/paths.h"
#include "openai/stream.h"

static void the_end_mark_and_the_usage_event_close(void **state)
{
    (void)state;
    assert_true(stream_is_closing(SPAN("data: [DONE]\n\n")));
    assert_true(stream_is_closing(
        SPAN("data: {\"id\":\"x\",\"choices\":[],\"usage\":{\"total_tokens\":1}}\n\n")));
    assert_false(
        stream_is_closing(SPAN("data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n")));
    assert_false(stream_is_closing(SPAN(": ping\n")));
    assert_false(stream_is_usage(SPAN("data: [DONE]\n\n")));
}

static void errors_are_seen_behind_other_events_but_not_in_texts(void **state)
{
    (void)state;
    assert_true(stream_has_error(SPAN("data: {\"error\":{\"message\":\"x\"}}\n\n")));
    assert_true(stream_has_error(SPAN("data: {\"id\":1}\n\ndata: {\"error\":{}}\n\n")));
    assert_false(stream_has_error(SPAN("data: {\"a\":\"\\ndata: {\\\"error\\\":\"}\n\n")));
    assert_false(stream_has_error(SPAN("")));
}

static void only_errors_of_the_server_may_be_tried_elsewhere(void **state)
{
    (void)state;
    assert_true(stream_is_server_error(SPAN("data: {\"error\":{\"type\":\"server_error\"}}\n\n")));
    assert_false(
        stream_is_server_error(SPAN("data: {\"error\":{\"type\":\"invalid_request_error\"}}\n\n")));
    assert_false(stream_is_server_error(
        SPAN("data: {\"id\":1}\n\ndata: {\"error\":{\"type\":\"server_error\"}}\n\n")));
}

static void paths_that_are_not_offered_say_why(void **state)
{
    (void)state;
    assert_ptr_equal(path_refusal(SPAN("/responses"))->error, &ERR_NO_RESPONSES);
    assert_ptr_equal(path_refusal(SPAN("/responses/r1"))->error, &ERR_NOT_STORED_RESPONSES);
    assert_ptr_equal(path_refusal(SPAN("/messages/batches/b"))->error, &ERR_NO_BATCHES);
    assert_ptr_equal(path_refusal(SPAN("/messages/count_tokens"))->error, &ERR_NO_RESPONSES);
    assert_ptr_equal(path_refusal(SPAN("/files"))->error, &ERR_NO_FILES);
    assert_ptr_equal(path_refusal(SPAN("/chat/completions/c1"))->error, &ERR_NOT_STORED);
    assert_null(path_refusal(SPAN("/chat/completions")));
    assert_null(path_refusal(SPAN("/filesystem")));
    assert_null(path_refusal(SPAN("/score/x")));
    assert_null(path_refusal(SPAN("")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_end_mark_and_the_usage_event_close),
        cmocka_unit_test(errors_are_seen_behind_other_events_but_not_in_texts),
        cmocka_unit_test(only_errors_of_the_server_may_be_tried_elsewhere),
        cmocka_unit_test(paths_that_are_not_offered_say_why),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
