/* What the gateway says in clear is read with bounds, and turned into errors that a user can read.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "client/core/foreign.h"

#define KFP1 "11111111111111111111111111111111111111111111111111111111111111aa"
#define KFP2 "22222222222222222222222222222222222222222222222222222222222222bb"

static void a_list_is_read_in_its_order(void **state)
{
    struct worker_list l;

    (void)state;
    assert_int_equal(
        worker_list_read(&l, SPAN("{\"model\":\"served\",\"ttl\":30,\"workers\":[{\"kfp\":\"" KFP2
                                  "\",\"load\":0.5},{\"kfp\":\"no\"},7,{\"kfp\":\"" KFP1 "\"}]}")),
        0);
    assert_string_equal(l.model, "served");
    assert_int_equal(l.ttl_s, 30);
    assert_int_equal(l.count, 2);
    assert_int_equal(l.kfp[0][0], 0x22);
    assert_int_equal(l.kfp[1][31], 0xaa);
}

static void what_is_no_list_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "{\"model\":\"m\",\"ttl\":30}",
        "{\"model\":\"m\",\"ttl\":0,\"workers\":[]}",
        "{\"model\":\"m\",\"ttl\":1e9,\"workers\":[]}",
        "{\"model\":\"a b\",\"ttl\":1,\"workers\":[]}",
        "{\"model\":\"\",\"ttl\":1,\"workers\":[]}",
        "{\"model\":\"m\\r\\nX: y\",\"ttl\":1,\"workers\":[]}",
        "{\"model\":\"m\",\"ttl\":1,\"workers\":{}}",
    };
    struct worker_list l;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_true(worker_list_read(&l, span_str(bad[i])) < 0);
}

static void more_workers_than_fit_are_left_out(void **state)
{
    AUTO(buf_fini) struct buf text = {0};
    struct worker_list l;

    (void)state;
    buf_append_str(&text, "{\"model\":\"m\",\"ttl\":1,\"workers\":[");
    for (int i = 0; i < 40; i++)
        buf_printf(&text, "%s{\"kfp\":\"" KFP1 "\"}", i ? "," : "");
    buf_append_str(&text, "]}");
    assert_int_equal(worker_list_read(&l, buf_span(&text)), 0);
    assert_int_equal(l.count, LISTED_MAX);
}

static void the_next_keys_are_read_at_most_four(void **state)
{
    uint8_t next[NEXT_MAX][KFP_LEN];

    (void)state;
    assert_int_equal(next_read(next, SPAN(KFP1 ", x," KFP2)), 2);
    assert_int_equal(next[1][0], 0x22);
    assert_int_equal(next_read(next, SPAN(KFP1 "," KFP1 "," KFP1 "," KFP1 "," KFP1)), 4);
    assert_int_equal(next_read(next, SPAN("")), 0);
}

static void expect_refusal(unsigned status, const char *body, const struct api_error *e)
{
    struct api_fault f = {0};

    refusal_read(status, span_str(body), "org/m", &f);
    assert_ptr_equal(f.error, e);
    assert_true(f.message[0] != '\0');
}

static void refusals_become_the_apis_errors(void **state)
{
    (void)state;
    expect_refusal(401, "{\"code\":\"invalid_api_key\"}", &ERR_INVALID_KEY);
    expect_refusal(401, "{\"code\":null}", &ERR_NO_KEY);
    expect_refusal(503, "{\"code\":\"no_attested_worker\"}", &ERR_NO_ATTESTED_WORKER);
    expect_refusal(503, "{\"code\":\"retry_other_worker\"}", &ERR_NO_CAPACITY);
    expect_refusal(503, "<html>", &ERR_NO_CAPACITY);
    expect_refusal(429, "{\"code\":\"insufficient_quota\"}", &ERR_INSUFFICIENT_QUOTA);
    expect_refusal(409, "{\"code\":\"replay\"}", &ERR_WORKER_ERROR);
    expect_refusal(404,
                   "{\"error\":{\"message\":\"The model `x` does not exist.\",\"type\":"
                   "\"invalid_request_error\",\"param\":\"model\",\"code\":\"model_not_found\"}}",
                   &ERR_MODEL_NOT_FOUND);
    expect_refusal(302, "", &ERR_WORKER_ERROR);
}

static void the_lowest_ask_is_named_where_only_the_bid_was_too_low(void **state)
{
    struct api_fault f = {0};

    (void)state;
    refusal_read(503, SPAN("{\"code\":\"no_capacity\",\"lowest_ask\":1500}"), "org/m", &f);
    assert_ptr_equal(f.error, &ERR_NO_CAPACITY);
    assert_non_null(strstr(f.message, "The lowest price asked is 1500/1000."));
    refusal_read(503, SPAN("{\"code\":\"no_capacity\",\"lowest_ask\":\"1500\"}"), "org/m", &f);
    assert_null(strstr(f.message, "1500"));
    refusal_read(429, SPAN("{\"code\":\"rate_limit_exceeded\",\"lowest_ask\":1500}"), "org/m", &f);
    assert_null(strstr(f.message, "1500"));
}

static void a_refused_model_is_named_as_the_gateway_names_it(void **state)
{
    struct api_fault f = {0};

    (void)state;
    refusal_read(404, SPAN("{\"code\":\"model_not_found\"}"), "org/m", &f);
    assert_string_equal(f.message,
                        "The model `org/m` does not exist or you do not have access to it.");
    assert_string_equal(f.param, "model");
    refusal_read(403, SPAN("{\"code\":\"model_not_allowed\"}"), "org/m", &f);
    assert_string_equal(f.message, "This API key may not use the model `org/m`.");
}

static void only_its_own_code_is_found_in_a_refusal(void **state)
{
    (void)state;
    assert_true(refusal_is(SPAN("{\"code\":\"ohttp_key\"}"), "ohttp_key"));
    assert_true(refusal_is(SPAN("{\"error\":{\"code\":\"ohttp_key\"}}"), "ohttp_key"));
    assert_false(refusal_is(SPAN("{\"title\":\"ohttp_key\"}"), "ohttp_key"));
    assert_false(refusal_is(SPAN("ohttp_key"), "ohttp_key"));
}

static void counts_are_those_that_the_reader_sees(void **state)
{
    struct usage u;

    (void)state;
    assert_int_equal(counts_read(SPAN("data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,"
                                      "\"completion_tokens\":2,\"total_tokens\":11,"
                                      "\"prompt_tokens_details\":{\"cached_tokens\":4}}}\n\n"),
                                 &u),
                     0);
    assert_int_equal(u.in, 9);
    assert_int_equal(u.out, 2);
    assert_int_equal(u.cached, 4);
    assert_int_equal(counts_read(SPAN("{\"data\":[],\"usage\":{\"prompt_tokens\":3}}"), &u), 0);
    assert_int_equal(u.out, 0);
    assert_int_equal(counts_read(SPAN("{\"usage\":null}"), &u), E_NOT_FOUND);
    assert_int_equal(counts_read(SPAN("{\"id\":1}"), &u), E_NOT_FOUND);
    assert_int_equal(counts_read(SPAN("{\"usage\":{\"prompt_tokens\":-1}}"), &u), E_INVALID);
    assert_int_equal(counts_read(SPAN("{\"usage\":[1]}"), &u), E_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_is_read_in_its_order),
        cmocka_unit_test(what_is_no_list_is_refused),
        cmocka_unit_test(more_workers_than_fit_are_left_out),
        cmocka_unit_test(the_next_keys_are_read_at_most_four),
        cmocka_unit_test(refusals_become_the_apis_errors),
        cmocka_unit_test(the_lowest_ask_is_named_where_only_the_bid_was_too_low),
        cmocka_unit_test(a_refused_model_is_named_as_the_gateway_names_it),
        cmocka_unit_test(only_its_own_code_is_found_in_a_refusal),
        cmocka_unit_test(counts_are_those_that_the_reader_sees),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
