/* A body that is read for somebody: taken by who waits, or wiped when nobody does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "openai/request_reading.h"

#define CHAT "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}"

static void begin(struct request_reading *r, const char *text, struct buf *body)
{
    const struct request_rules rules = {0};

    buf_append_str(body, text);
    request_reading_init(r, EP_CHAT, &rules, body);
    assert_int_equal(body->len, 0);
}

static void who_waits_gets_the_body_where_it_was_read(void **state)
{
    (void)state;
    AUTO(buf_fini) struct buf body = {0};
    AUTO(request_fini) struct request rq = {0};
    struct api_fault fault = {0};
    struct request_reading r;

    begin(&r, CHAT, &body);
    const uint8_t *bytes = r.body.data;
    request_reading_run(&r);
    assert_int_equal(request_reading_take(&r, &body, &rq, &fault), 0);
    request_reading_fini(&r);
    assert_ptr_equal(body.data, bytes);
    assert_ptr_equal(rq.body.data, bytes);
    assert_string_equal(buf_cstr(&rq.model), "m");
}

static void what_is_wrong_is_told_with_the_body(void **state)
{
    (void)state;
    AUTO(buf_fini) struct buf body = {0};
    AUTO(request_fini) struct request rq = {0};
    struct api_fault fault = {0};
    struct request_reading r;

    begin(&r, "{\"model\":\"m\"}", &body);
    request_reading_run(&r);
    assert_int_equal(request_reading_take(&r, &body, &rq, &fault), E_INVALID);
    request_reading_fini(&r);
    assert_string_equal(fault.param, "messages");
    assert_int_equal(body.len, strlen("{\"model\":\"m\"}"));
}

/* The leak sanitizer looks too. */
static void what_nobody_takes_is_wiped(void **state)
{
    (void)state;
    AUTO(buf_fini) struct buf body = {0};
    struct request_reading r;

    begin(&r, CHAT, &body);
    request_reading_run(&r);
    assert_int_equal(r.error, 0);
    request_reading_fini(&r);
    assert_null(r.body.data);
    assert_null(r.rq.model.data);
    begin(&r, CHAT, &body);
    request_reading_fini(&r); /* no thread had room for it */
    assert_null(r.body.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_waits_gets_the_body_where_it_was_read),
        cmocka_unit_test(what_is_wrong_is_told_with_the_body),
        cmocka_unit_test(what_nobody_takes_is_wiped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
