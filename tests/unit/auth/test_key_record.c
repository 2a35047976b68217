/* Records of keys: what they say, and that a mistake in one never widens what a key may do. */
#include "auth/keys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define HASH "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define CORE                                                                                       \
    "\"format\":\"cgw/key/v1\",\"id\":\"0a1b2c3d4e5f\",\"account\":\"acme\",\"version\":3,"        \
    "\"secret_sha256\":\"" HASH "\""
#define ACTIVE CORE ",\"state\":\"active\""

static struct key_record *parse(const char *json)
{
    struct key_record *r;

    if (key_record_parse(&r, span_str(json)) < 0)
        fail_msg("refused: %s", json);
    return r;
}

static void refuse(const char *json)
{
    struct key_record *r;

    if (key_record_parse(&r, span_str(json)) == 0)
        fail_msg("taken: %s", json);
    assert_null(r);
}

static void a_full_record_is_read(void **state)
{
    AUTO(key_record_unref)
    struct key_record *r =
        parse("{" ACTIVE ",\"project\":\"p1\",\"name\":\"Build server\",\"expires\":1900000000,"
              "\"scopes\":{\"models\":[\"a/b\",\"c\"],\"endpoints\":[\"chat\"],"
              "\"ranges\":[\"10.0.0.0/8\"]},\"privacy\":\"end-to-end\",\"strict\":true,"
              "\"limits\":{\"max_output\":100},\"class\":\"batch\",\"later\":{\"x\":1}}");

    (void)state;
    assert_string_equal(r->id, "0a1b2c3d4e5f");
    assert_string_equal(r->account, "acme");
    assert_string_equal(r->project, "p1");
    assert_string_equal(r->name, "Build server");
    assert_int_equal(r->version, 3);
    assert_int_equal(r->expires_s, 1900000000);
    assert_true(r->strict && r->end_to_end_only && !r->revoked);
    assert_int_equal(r->max_output, 100);
    assert_string_equal(r->class, "batch");
    assert_string_equal(r->models[1], "c");
    assert_null(r->models[2]);
    assert_int_equal(r->secret_sha256[1], 0x23);
}

static void a_short_record_allows_everything(void **state)
{
    AUTO(key_record_unref) struct key_record *r = parse("{" ACTIVE "}");

    (void)state;
    assert_true(key_allows_model(r, SPAN("any")));
    assert_true(key_allows_endpoint(r, "embeddings"));
    assert_true(key_allows_address(r, SPAN("1.2.3.4")));
    assert_true(key_allows_address(r, SPAN("unix:")));
    assert_string_equal(r->class, "interactive");
    assert_int_equal(r->expires_s, 0);
}

static void limits_and_budgets_are_read_and_their_absence_is_none(void **state)
{
    AUTO(key_record_unref)
    struct key_record *r =
        parse("{" ACTIVE ",\"limits\":{\"requests_per_minute\":60,\"tokens_per_minute\":90000,"
              "\"streams\":4},\"budgets\":{\"day\":\"9007199254740993\",\"month\":\"2\","
              "\"total\":\"9223372036854775807\"},\"metering\":\"on\",\"max_coefficient\":1500,"
              "\"weight\":300}");
    AUTO(key_record_unref) struct key_record *bare = parse("{" ACTIVE "}");

    (void)state;
    assert_int_equal(r->requests_per_minute, 60);
    assert_int_equal(r->tokens_per_minute, 90000);
    assert_int_equal(r->streams, 4);
    assert_true(r->budget_day == INT64_C(9007199254740993) && r->budget_month == 2);
    assert_true(r->budget_total == INT64_MAX);
    assert_true(r->metered && r->max_coefficient == 1500 && r->weight == 300);
    assert_true(bare->requests_per_minute == 0 && bare->budget_total == 0);
    assert_true(!bare->metered && bare->max_coefficient == 1000 && bare->weight == KEY_WEIGHT);
}

static void an_empty_list_allows_nothing(void **state)
{
    AUTO(key_record_unref)
    struct key_record *r =
        parse("{" ACTIVE ",\"scopes\":{\"models\":[],\"endpoints\":[],\"ranges\":[]}}");

    (void)state;
    assert_false(key_allows_model(r, SPAN("any")));
    assert_false(key_allows_endpoint(r, "chat"));
    assert_false(key_allows_address(r, SPAN("1.2.3.4")));
}

static void scopes_name_models_and_endpoints_exactly(void **state)
{
    AUTO(key_record_unref)
    struct key_record *r =
        parse("{" ACTIVE ",\"scopes\":{\"models\":[\"a/b\"],\"endpoints\":[\"chat\",\"models\"]}}");

    (void)state;
    assert_true(key_allows_model(r, SPAN("a/b")));
    assert_false(key_allows_model(r, SPAN("a/bc")));
    assert_false(key_allows_model(r, SPAN("A/B")));
    assert_false(key_allows_model(r, SPAN("a/b\0c")));
    assert_true(key_allows_endpoint(r, "chat"));
    assert_false(key_allows_endpoint(r, "completions"));
}

static void scopes_name_ranges_of_addresses(void **state)
{
    AUTO(key_record_unref)
    struct key_record *r = parse("{" ACTIVE ",\"scopes\":{\"ranges\":[\"10.1.0.0/20\","
                                 "\"192.0.2.7\",\"2001:db8::/33\"]}}");

    (void)state;
    assert_true(key_allows_address(r, SPAN("10.1.15.255")));
    assert_false(key_allows_address(r, SPAN("10.1.16.0")));
    assert_true(key_allows_address(r, SPAN("192.0.2.7")));
    assert_true(key_allows_address(r, SPAN("::ffff:192.0.2.7")));
    assert_false(key_allows_address(r, SPAN("192.0.2.8")));
    assert_true(key_allows_address(r, SPAN("2001:db8:7fff::1")));
    assert_false(key_allows_address(r, SPAN("2001:db8:8000::1")));
    assert_false(key_allows_address(r, SPAN("unix:")));
    assert_false(key_allows_address(r, SPAN("")));
}

static void revoked_records_say_so(void **state)
{
    AUTO(key_record_unref) struct key_record *r = parse("{" CORE ",\"state\":\"revoked\"}");

    (void)state;
    assert_true(r->revoked);
}

static void what_must_be_there_must_be_there(void **state)
{
    (void)state;
    refuse("{}");
    refuse("{" CORE "}");
    refuse("{\"format\":\"cgw/key/v1\",\"state\":\"active\"}");
    refuse("{\"format\":\"cgw/key/v2\",\"id\":\"0a1b2c3d4e5f\",\"account\":\"a\",\"version\":1,"
           "\"state\":\"active\",\"secret_sha256\":\"" HASH "\"}");
}

static void wrong_values_are_refused(void **state)
{
    (void)state;
    refuse("{" CORE ",\"state\":\"paused\"}");
    refuse("{" ACTIVE ",\"privacy\":\"e2e\"}");
    refuse("{" ACTIVE ",\"class\":\"gold\"}");
    refuse("{" ACTIVE ",\"strict\":1}");
    refuse("{" ACTIVE ",\"replay_answers\":\"on\"}");
    refuse("{" ACTIVE ",\"expires\":-1}");
    refuse("{" ACTIVE ",\"expires\":\"never\"}");
    refuse("{" ACTIVE ",\"project\":\"a b\"}");
    refuse("{" ACTIVE ",\"project\":\"{a}\"}");
    refuse("{" ACTIVE ",\"name\":\"a\\nb\"}");
    refuse("{" ACTIVE ",\"limits\":3}");
    refuse("{" ACTIVE ",\"limits\":{\"streams\":-1}}");
    refuse("{" ACTIVE ",\"budgets\":[]}");
    refuse("{" ACTIVE ",\"budgets\":{\"day\":5}}");
    refuse("{" ACTIVE ",\"budgets\":{\"total\":\"9223372036854775808\"}}");
    refuse("{" ACTIVE ",\"metering\":true}");
    refuse("{" ACTIVE ",\"max_coefficient\":-1}");
    refuse("{" ACTIVE ",\"weight\":0}");
    refuse("{" ACTIVE ",\"weight\":1001}");
    refuse("{" ACTIVE ",\"weight\":\"3\"}");
    refuse("{" ACTIVE ",\"limits\":{\"max_output\":1.5}}");
    refuse("{" ACTIVE ",\"scopes\":[]}");
    refuse("{" ACTIVE ",\"scopes\":{\"models\":\"a\"}}");
    refuse("{" ACTIVE ",\"scopes\":{\"models\":[1]}}");
    refuse("{" ACTIVE ",\"scopes\":{\"models\":[\"a\\u0000b\"]}}");
    refuse("{" ACTIVE ",\"scopes\":{\"endpoints\":[\"chats\"]}}");
    refuse("{" ACTIVE ",\"scopes\":{\"ranges\":[\"10.0.0.0/33\"]}}");
    refuse("{" ACTIVE ",\"scopes\":{\"ranges\":[\"here\"]}}");
    refuse("{" ACTIVE "} x");
    refuse("[" HASH "]");
}

static void a_record_is_shared_until_its_last_user(void **state)
{
    struct key_record *r = parse("{" ACTIVE "}");

    (void)state;
    key_record_unref(key_record_ref(r));
    assert_string_equal(r->account, "acme");
    key_record_unref(r);
    key_record_unref(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_record_is_read),
        cmocka_unit_test(a_short_record_allows_everything),
        cmocka_unit_test(limits_and_budgets_are_read_and_their_absence_is_none),
        cmocka_unit_test(an_empty_list_allows_nothing),
        cmocka_unit_test(scopes_name_models_and_endpoints_exactly),
        cmocka_unit_test(scopes_name_ranges_of_addresses),
        cmocka_unit_test(revoked_records_say_so),
        cmocka_unit_test(what_must_be_there_must_be_there),
        cmocka_unit_test(wrong_values_are_refused),
        cmocka_unit_test(a_record_is_shared_until_its_last_user),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
