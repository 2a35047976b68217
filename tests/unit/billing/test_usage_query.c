/* Usage and costs as OpenAI's clients ask for them. */
#include "billing/usage_query.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/json.h"

#define NOW   INT64_C(1750003200) /* 2025-06-15 16:00 UTC */
#define TODAY INT64_C(20254)      /* its day: from 1749945600 on */

static struct usage_query read_query(struct arena *a, const char *text, bool costs)
{
    const char *param = NULL;
    struct usage_query q;

    if (usage_query_read(&q, a, span_str(text), costs, NOW, &param) < 0)
        fail_msg("%s: %s", text, param);
    return q;
}

static void a_query_is_cut_to_whole_buckets(void **state)
{
    struct arena a = {0};

    (void)state;
    struct usage_query q = read_query(&a, "start_time=1749945601", false);
    assert_int_equal(q.start, 1749945600);
    assert_int_equal(q.end, 1749945600 + 86400);
    assert_int_equal(q.limit, 7);
    q = read_query(&a, "start_time=1749945601&bucket_width=1h&end_time=1749952800", false);
    assert_int_equal(q.start, 1749945600);
    assert_int_equal(q.end, 1749952800);
    assert_int_equal(q.limit, 24);
    q = read_query(&a, "start_time=1750003200", false); /* this second */
    assert_int_equal(q.start, 1749945600);
    assert_int_equal(q.end, 1749945600 + 86400);
    arena_fini(&a);
}

static void lists_may_be_written_in_every_usual_way(void **state)
{
    static const char *const texts[] = {
        "start_time=1&models=a,b%2Fc&group_by=model,api_key_id",
        "start_time=1&models=a&models=b/c&group_by=model&group_by=api_key_id",
        "start_time=1&models[]=a&models%5B%5D=b/c&group_by[]=model&group_by[]=api_key_id"};
    struct arena a = {0};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        const struct usage_query q = read_query(&a, texts[i], false);
        assert_int_equal(q.models.count, 2);
        assert_true(span_is(q.models.items[1], "b/c"));
        assert_int_equal(q.groups, USAGE_GROUP_MODEL | USAGE_GROUP_KEY);
    }
    arena_fini(&a);
}

static void what_is_wrong_is_named(void **state)
{
    static const struct {
        const char *text, *param;
        bool costs;
    } cases[] = {
        {"", "start_time", false},
        {"start_time=x", "start_time", false},
        {"start_time=5&end_time=5", "end_time", false},
        {"start_time=1750003201", "start_time", false}, /* a second ahead */
        {"start_time=1&bucket_width=1m", "bucket_width", false},
        {"start_time=1&bucket_width=1h", "bucket_width", true},
        {"start_time=1&limit=32", "limit", false},
        {"start_time=1&limit=0", "limit", false},
        {"start_time=1&bucket_width=1h&limit=169", "limit", false},
        {"start_time=1&group_by=user_id", "group_by", false},
        {"start_time=1&page=7", "page", false},
        {"start_time=1&page=page_7", "page", false},
        {"start_time=1&x=1", "query", false},
        {"start_time=1&models=%zz", "models", false},
    };
    struct arena a = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const char *param = NULL;
        struct usage_query q;
        assert_int_equal(
            usage_query_read(&q, &a, span_str(cases[i].text), cases[i].costs, NOW, &param),
            E_INVALID);
        assert_string_equal(param, cases[i].param);
    }
    arena_fini(&a);
}

static json_t *page_of(const struct usage_query *q)
{
    AUTO(usage_sums_free) struct usage_sums *s = usage_sums_new(q);
    AUTO(buf_fini) struct buf out = {0};
    json_t *page = NULL;

    usage_sums_add(s, TODAY, SPAN("3||k1|m"), SPAN("2,100,40,20,5,700"));
    usage_sums_add(s, TODAY, SPAN("4|web|k2|m"), SPAN("1,10,0,2,0,70"));
    usage_sums_add(s, TODAY, SPAN("4|web|k2|n|odd"), SPAN("1,1,0,1,0,9007199254740991"));
    usage_sums_add(s, TODAY, SPAN("24||k|m"), SPAN("1,1,1,1,1,1"));    /* no hour */
    usage_sums_add(s, TODAY, SPAN("5||k|m"), SPAN("1,1,1,1,1"));       /* too few */
    usage_sums_add(s, TODAY + 9, SPAN("5||k|m"), SPAN("1,1,1,1,1,1")); /* outside */
    usage_sums_write(s, &out);
    assert_int_equal(json_read(buf_span(&out), &page), 0);
    return page;
}

static const json_t *result(const json_t *page, size_t bucket, size_t i)
{
    return json_array_get(
        json_object_get(json_array_get(json_object_get(page, "data"), bucket), "results"), i);
}

static json_int_t number(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

static void a_day_sums_up_and_groups_are_told_apart(void **state)
{
    struct arena a = {0};
    const struct usage_query all = read_query(&a, "start_time=1749945600", false);
    const struct usage_query by =
        read_query(&a, "start_time=1749945600&group_by=project_id,model", false);
    AUTO_JSON json_t *sum = page_of(&all), *parts = page_of(&by);

    (void)state;
    assert_int_equal(number(result(sum, 0, 0), "input_tokens"), 111);
    assert_int_equal(number(result(sum, 0, 0), "num_model_requests"), 4);
    assert_int_equal(number(result(sum, 0, 0), "input_cached_tokens"), 40);
    assert_true(json_is_null(json_object_get(result(sum, 0, 0), "model")));
    assert_string_equal(json_string_value(json_object_get(result(parts, 0, 2), "model")), "n|odd");
    assert_string_equal(json_string_value(json_object_get(result(parts, 0, 1), "project_id")),
                        "web");
    assert_true(json_is_false(json_object_get(sum, "has_more")));
    arena_fini(&a);
}

static void hours_page_on_until_the_end(void **state)
{
    struct arena a = {0};
    struct usage_query q =
        read_query(&a, "start_time=1749945600&bucket_width=1h&limit=4&end_time=1749967200", false);
    AUTO_JSON json_t *first = page_of(&q);

    (void)state;
    assert_int_equal(json_array_size(json_object_get(first, "data")), 4);
    assert_int_equal(number(result(first, 3, 0), "input_tokens"), 100);
    const char *next = json_string_value(json_object_get(first, "next_page"));
    assert_string_equal(next, "page_1749960000");
    q = read_query(&a,
                   "start_time=1749945600&bucket_width=1h&limit=4&end_time=1749967200&page="
                   "page_1749960000",
                   false);
    AUTO_JSON json_t *second = page_of(&q);
    assert_int_equal(number(result(second, 0, 0), "input_tokens"), 11);
    assert_true(json_is_null(json_object_get(second, "next_page")));
    arena_fini(&a);
}

static void who_sees_one_project_sees_no_other(void **state)
{
    static const struct {
        const char *text;
        json_int_t requests;
    } cases[] = {{"start_time=1749945600", 2},
                 {"start_time=1749945600&project_ids=web", 2},
                 {"start_time=1749945600&project_ids=app,web", 2},
                 {"start_time=1749945600&project_ids=app", 0},
                 {"start_time=1749945600&project_ids=app&api_key_ids=k2", 0}};
    struct arena a = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct usage_query q = read_query(&a, cases[i].text, false);
        usage_query_confine(&q, SPAN("web"));
        AUTO_JSON json_t *page = page_of(&q);
        assert_int_equal(json_array_size(json_object_get(page, "data")), 1);
        assert_int_equal(number(result(page, 0, 0), "num_model_requests"), cases[i].requests);
    }
    arena_fini(&a);
}

static void costs_are_exact_to_the_nano(void **state)
{
    struct arena a = {0};
    const struct usage_query q =
        read_query(&a, "start_time=1749945600&project_ids=web&group_by=line_item", true);
    AUTO(usage_sums_free) struct usage_sums *s = usage_sums_new(&q);
    AUTO(buf_fini) struct buf out = {0};

    (void)state;
    usage_sums_add(s, TODAY, SPAN("3||k1|m"), SPAN("2,100,40,20,5,700"));
    usage_sums_add(s, TODAY, SPAN("4|web|k2|n"), SPAN("1,1,0,1,0,9007199254740991"));
    usage_sums_write(s, &out);
    assert_non_null(strstr(buf_cstr(&out), "\"value\":9007199.254740991,\"currency\":\"ton\","
                                           "\"nano\":\"9007199254740991\""));
    assert_null(strstr(buf_cstr(&out), "700"));
    arena_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_query_is_cut_to_whole_buckets),
        cmocka_unit_test(lists_may_be_written_in_every_usual_way),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(a_day_sums_up_and_groups_are_told_apart),
        cmocka_unit_test(hours_page_on_until_the_end),
        cmocka_unit_test(who_sees_one_project_sees_no_other),
        cmocka_unit_test(costs_are_exact_to_the_nano),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
