/* What a worker says of itself: good documents, and a stranger's. */
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <setjmp.h>
#include <cmocka.h>

#include "backends/pool/pool_impl.h"

#define MODEL "{\"name\":\"m\",\"context\":4096,\"max_output\":1024}"
#define DESCRIBE(members, models)                                                                  \
    "{\"format\":\"cgw/worker/"                                                                    \
    "v1\",\"worker_id\":\"w-1\",\"version\":\"0.1.0\",\"models\":[" models "]," members "}"
#define REST "\"max_requests\":16,\"ask\":1500,\"accepting\":true,\"reason\":null"

static int parse(struct description *d, const char *text)
{
    return description_parse(d, span_str(text));
}

static void a_good_description_is_read(void **state)
{
    struct description d;

    (void)state;
    assert_int_equal(parse(&d, DESCRIBE(REST, MODEL)), 0);
    assert_string_equal(d.worker_id, "w-1");
    assert_string_equal(d.version, "0.1.0");
    assert_string_equal(d.reason, "");
    assert_int_equal(d.max_requests, 16);
    assert_int_equal(d.ask, 1500);
    assert_true(d.accepting);
    assert_int_equal(d.model_count, 1);
    assert_string_equal(d.models[0].name, "m");
    assert_int_equal(d.models[0].context, 4096);
    assert_int_equal(d.models[0].max_output, 1024);
}

static void unknown_members_are_ignored(void **state)
{
    struct description d;

    (void)state;
    assert_int_equal(parse(&d, DESCRIBE(REST ",\"later\":{\"a\":[1,2]}", MODEL)), 0);
}

static void the_owners_hours_are_read_where_they_are_told(void **state)
{
    struct description d;
    static const char week[] =
        REST ",\"hours\":{\"mon\":\"08:00-12:00,14:00-18:00\",\"tue\":\"\",\"wed\":\"always\","
             "\"thu\":\"\",\"fri\":\"\",\"sat\":\"\",\"sun\":\"00:00-24:00\"}";

    (void)state;
    assert_int_equal(parse(&d, DESCRIBE(REST, MODEL)), 0);
    assert_false(d.has_hours);
    struct buf b = {0};
    buf_printf(
        &b, "{\"format\":\"cgw/worker/v1\",\"worker_id\":\"w\",\"version\":\"1\",\"models\":[],%s}",
        week);
    assert_int_equal(description_parse(&d, buf_span(&b)), 0);
    buf_fini(&b);
    assert_true(d.has_hours);
    assert_string_equal(d.hours[0], "08:00-12:00,14:00-18:00");
    assert_string_equal(d.hours[6], "00:00-24:00");
    assert_int_equal(parse(&d, DESCRIBE(REST ",\"hours\":\"always\"", MODEL)), E_INVALID);
    assert_int_equal(parse(&d, DESCRIBE(REST ",\"hours\":{\"mon\":7}", MODEL)), E_INVALID);
}

static void a_worker_that_does_not_accept_says_why(void **state)
{
    struct description d;

    (void)state;
    assert_int_equal(
        parse(&d, DESCRIBE("\"max_requests\":1,\"ask\":0,\"accepting\":false,\"reason\":\"hours\"",
                           MODEL)),
        0);
    assert_false(d.accepting);
    assert_string_equal(d.reason, "hours");
}

static void endpoints_not_named_are_the_two_of_text(void **state)
{
    struct description d;

    (void)state;
    assert_int_equal(
        parse(&d, DESCRIBE(REST, MODEL ",{\"name\":\"e\",\"context\":1,\"max_output\":0,"
                                       "\"endpoints\":[\"embeddings\",\"later\",7]}")),
        0);
    assert_int_equal(d.models[0].endpoints, 1u << EP_CHAT | 1u << EP_COMPLETIONS);
    assert_int_equal(d.models[1].endpoints, 1u << EP_EMBEDDINGS);
}

static void what_is_no_description_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "null",
        "[]",
        "{}",
        "{\"format\":\"cgw/worker/v1\"}",
        DESCRIBE(REST, MODEL) "x",
        DESCRIBE(REST ",\"ask\":1", MODEL),
        DESCRIBE("\"max_requests\":16,\"ask\":1500,\"reason\":7", MODEL),
        DESCRIBE("\"max_requests\":16.0,\"ask\":1500", MODEL),
        DESCRIBE("\"max_requests\":-1,\"ask\":1500", MODEL),
        DESCRIBE("\"max_requests\":10001,\"ask\":1500", MODEL),
        DESCRIBE("\"max_requests\":1,\"ask\":-1", MODEL),
        DESCRIBE("\"max_requests\":1,\"ask\":1000000000", MODEL),
        DESCRIBE("\"max_requests\":1", MODEL),
        DESCRIBE(REST ",\"reason\":\"a\\u0000b\"", MODEL),
        DESCRIBE("\"max_requests\":16,\"ask\":1500,\"reason\":\"seventeen letters\"", MODEL),
        DESCRIBE(REST, "7"),
        DESCRIBE(REST, "{\"name\":\"\",\"context\":1,\"max_output\":1}"),
        DESCRIBE(REST, "{\"name\":\"a\\nb\",\"context\":1,\"max_output\":1}"),
        DESCRIBE(REST, "{\"name\":\"a\\u0000b\",\"context\":1,\"max_output\":1}"),
        DESCRIBE(REST, "{\"name\":\"\\u00e9\",\"context\":1,\"max_output\":1}"),
        DESCRIBE(REST, "{\"name\":\"a\",\"context\":0,\"max_output\":1}"),
        DESCRIBE(REST, "{\"name\":\"a\",\"context\":2147483648,\"max_output\":1}"),
        DESCRIBE(REST, "{\"name\":\"a\",\"context\":1,\"max_output\":-1}"),
        DESCRIBE(REST, "{\"name\":\"a\",\"context\":1}"),
        "{\"format\":\"cgw/worker/v2\",\"worker_id\":\"w\",\"version\":\"1\",\"models\":[]," REST
        "}",
        "{\"format\":\"cgw/worker/v1\",\"worker_id\":\"w\",\"version\":\"1\",\"models\":{}," REST
        "}",
        "{\"format\":\"cgw/worker/v1\",\"worker_id\":7,\"version\":\"1\",\"models\":[]," REST "}",
    };
    struct description d;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        if (parse(&d, bad[i]) != E_INVALID)
            fail_msg("not refused: %s", bad[i]);
}

/* A document with `count` models whose names have `name_len` letters. */
static int parse_models(size_t count, size_t name_len, struct description *d)
{
    AUTO(buf_fini) struct buf b = {0};

    buf_append_str(&b, "{\"format\":\"cgw/worker/v1\",\"worker_id\":\"w\",\"version\":\"1\",");
    buf_append_str(&b, REST ",\"models\":[");
    for (size_t i = 0; i < count; i++) {
        buf_append_str(&b, i ? ",{\"name\":\"" : "{\"name\":\"");
        for (size_t j = 0; j < name_len; j++)
            buf_byte(&b, 'n');
        buf_append_str(&b, "\",\"context\":1,\"max_output\":1}");
    }
    buf_append_str(&b, "]}");
    return description_parse(d, buf_span(&b));
}

static void lists_and_names_are_bounded(void **state)
{
    struct description d;

    (void)state;
    assert_int_equal(parse_models(POOL_MAX_MODELS, POOL_NAME_LEN, &d), 0);
    assert_int_equal(d.model_count, POOL_MAX_MODELS);
    assert_int_equal(strlen(d.models[POOL_MAX_MODELS - 1].name), POOL_NAME_LEN);
    assert_int_equal(parse_models(POOL_MAX_MODELS + 1, 1, &d), E_INVALID);
    assert_int_equal(parse_models(1, POOL_NAME_LEN + 1, &d), E_INVALID);
}

static void a_good_load_is_read(void **state)
{
    struct load l;

    (void)state;
    assert_int_equal(load_parse(&l, SPAN("running=3,waiting=0,max=16,kv=0.42")), 0);
    assert_int_equal(l.running, 3);
    assert_int_equal(l.waiting, 0);
    assert_int_equal(l.max, 16);
    assert_true(l.kv > 0.41 && l.kv < 0.43);
    assert_int_equal(load_parse(&l, SPAN(" max = 2 , running=1, later=x")), 0);
    assert_int_equal(l.max, 2);
    assert_int_equal(l.running, 1);
    assert_int_equal(load_parse(&l, SPAN("kv=1")), 0);
    assert_int_equal(load_parse(&l, SPAN("kv=0")), 0);
}

static void what_is_no_load_is_refused_and_changes_nothing(void **state)
{
    static const char *const bad[] = {"",
                                      "running=-1",
                                      "running=1.0",
                                      "running=1000001",
                                      "running=",
                                      "running",
                                      "max=0x10",
                                      "max=01",
                                      "kv=",
                                      "kv=1.1",
                                      "kv=-0",
                                      "kv=nan",
                                      "kv=inf",
                                      "kv=0x1",
                                      "kv=0x.8p0",
                                      "kv=1e0",
                                      "kv=0.5junk",
                                      "kv=0.5.5",
                                      "kv=0.",
                                      "kv=.5",
                                      "kv=2",
                                      "waiting=+1",
                                      "running= ",
                                      "kv=0.1 2",
                                      "running=1;max=2"};
    struct load l = {.running = 77};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        if (load_parse(&l, span_str(bad[i])) != E_INVALID || l.running != 77)
            fail_msg("not refused: %s", bad[i]);
}

static void a_load_is_bounded(void **state)
{
    char text[300];
    struct load l;

    (void)state;
    memset(text, ',', sizeof(text));
    assert_int_equal(load_parse(&l, span_of(text, 257)), E_INVALID);
    assert_int_equal(load_parse(&l, span_of(text, 256)), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_description_is_read),
        cmocka_unit_test(unknown_members_are_ignored),
        cmocka_unit_test(the_owners_hours_are_read_where_they_are_told),
        cmocka_unit_test(a_worker_that_does_not_accept_says_why),
        cmocka_unit_test(endpoints_not_named_are_the_two_of_text),
        cmocka_unit_test(what_is_no_description_is_refused),
        cmocka_unit_test(lists_and_names_are_bounded),
        cmocka_unit_test(a_good_load_is_read),
        cmocka_unit_test(what_is_no_load_is_refused_and_changes_nothing),
        cmocka_unit_test(a_load_is_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
