/* A body whose long texts jansson does not see: judged like any other, and cut only where no rule
 * looks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "openai/check.h"

enum { LONG = BODY_TEXT_LONG + 100 };

/* before, then `count` times `unit`, then `last` and what closes the body. */
static struct buf body_of(const char *before, const char *unit, size_t count, const char *last,
                          const char *after)
{
    struct buf b = {0};

    buf_append_str(&b, before);
    for (size_t i = 0; i < count; i++)
        buf_append_str(&b, unit);
    buf_append_str(&b, last);
    buf_append_str(&b, after);
    return b;
}

#define MESSAGE(member) "{\"messages\":[{\"role\":\"user\",\"" member "\":\""
#define MESSAGE_END     "\"}],\"n\":1}"

static int reads(const char *before, const char *unit, const char *last, const char *after)
{
    AUTO(buf_fini) struct buf body = body_of(before, unit, LONG, last, after);
    AUTO_JSON json_t *doc = NULL;
    const int error = body_read(buf_span(&body), &doc);

    assert_int_equal(doc != NULL, error == 0);
    return error;
}

static void a_long_text_is_refused_for_what_a_short_one_is(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "\\x",
        "\\u12",
        "\\u12g4",
        "\\ud800",
        "\\udc00",
        "\\ud800\\ud800",
        "\n",
        "\x01",
        "\xFF",
        "\xC0\xAF",
        "\xED\xA0\x80",
        "\xE2\x82",
        "\xF4\x90\x80\x80",
        "\\ud83dx",
        "\xF0\x9F",
        "\\u0000\x1f",
        "\\",
    };
    static const char *const good[] = {"",     "\\n",  "\\u0000",          "\\ud83d\\ude00",
                                       "\\\\", "\\\"", "\xF0\x9F\x98\x80", "\x7F"};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(reads(MESSAGE("content"), "x", bad[i], MESSAGE_END), E_INVALID);
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_int_equal(reads(MESSAGE("content"), "x", good[i], MESSAGE_END), 0);
}

static void what_follows_a_long_text_is_judged(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "\"",
        "\"}]",
        "\"}],}",
        "\"}],\"n\":01}",
        "\"}],\"n\":1,\"n\":1}",
        "\",\"role\":\"user\"}]}",
        "\",\"content\":\"x\"}]}",
        "\",\"c\\u006fntent\":\"x\"}]}",
        "\"}],\"n\":1e999}",
        "\"}],\"m\\u0065ssages\":1}",
        "\"}]} x",
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(reads(MESSAGE("content"), "x", "", bad[i]), E_INVALID);
    assert_int_equal(reads("[\"", "x", "", "\"]"), E_INVALID);
    assert_int_equal(reads(MESSAGE("content"), "x", "\"}],\"n\":[", MESSAGE_END), E_INVALID);
}

/* Reads, and returns the bytes that jansson has of the string at messages[0].member, or of the
 * body's member when `messages` is not there. */
static size_t seen_len(const char *before, const char *unit, size_t count, const char *member,
                       const char *after)
{
    AUTO(buf_fini) struct buf body = body_of(before, unit, count, "", after);
    AUTO_JSON json_t *doc = NULL;

    assert_int_equal(body_read(buf_span(&body), &doc), 0);
    json_t *messages = json_object_get(doc, "messages");
    json_t *holder = messages ? json_array_get(messages, 0) : doc;
    json_t *value = json_object_get(holder, member);
    if (json_is_array(value))
        value = json_array_get(value, 0);
    assert_true(json_is_string(value));
    return json_string_length(value);
}

static void texts_of_messages_prompts_and_inputs_are_cut(void **state)
{
    (void)state;
    static const char *const members[] = {MESSAGE("content"), MESSAGE("text"), MESSAGE("url"),
                                          MESSAGE("arguments")};
    static const char *const names[] = {"content", "text", "url", "arguments"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        assert_int_equal(seen_len(members[i], "x", LONG, names[i], MESSAGE_END), BODY_TEXT_KEPT);
    assert_int_equal(seen_len("{\"prompt\":\"", "x", LONG, "prompt", "\"}"), BODY_TEXT_KEPT);
    assert_int_equal(seen_len("{\"input\" : [ \"", "x", LONG, "input", "\" ]}"), BODY_TEXT_KEPT);
}

static void all_other_strings_and_names_stay_whole(void **state)
{
    (void)state;
    AUTO(buf_fini)
    struct buf body = body_of("{\"messages\":[{\"content\":{\"", "x", LONG, "", "\":1}}]}");
    AUTO_JSON json_t *doc = NULL;

    assert_int_equal(seen_len(MESSAGE("data"), "x", LONG, "data", MESSAGE_END), LONG);
    assert_int_equal(seen_len(MESSAGE("file_data"), "x", LONG, "file_data", MESSAGE_END), LONG);
    assert_int_equal(seen_len(MESSAGE("d\\u0061ta"), "x", LONG, "data", MESSAGE_END), LONG);
    assert_int_equal(seen_len(MESSAGE("c\\u006fntent"), "x", LONG, "content", MESSAGE_END), LONG);
    assert_int_equal(seen_len("{\"user\":\"", "x", LONG, "user", "\"}"), LONG);
    assert_int_equal(seen_len("{\"content\":\"", "x", LONG, "content", "\"}"), LONG);
    assert_int_equal(seen_len(MESSAGE("content"), "x", BODY_TEXT_LONG, "content", MESSAGE_END),
                     BODY_TEXT_LONG);
    assert_int_equal(body_read(buf_span(&body), &doc), 0);
    json_t *content =
        json_object_get(json_array_get(json_object_get(doc, "messages"), 0), "content");
    assert_int_equal(strlen(json_object_iter_key(json_object_iter(content))), LONG);
}

/* The first byte moves the border through each of the units that follow. */
static void a_cut_never_splits_a_character(void **state)
{
    (void)state;
    static const struct {
        const char *unit;
        size_t decoded;
    } units[] = {{"\\n", 1},          {"\\u00e9", 2},        {"\xC3\xA9", 2},
                 {"\xE2\x82\xAC", 3}, {"\\ud83d\\uDE00", 4}, {"\xF0\x9F\x98\x80", 4},
                 {"\\\\", 1},         {"\\\"", 1},           {"\\uD83D\\ude00", 4}};
    static const char *const shifts[] = {"", "x", "xx", "xxx", "xxxx", "xxxxx", "xxxxxx"};
    AUTO(buf_fini) struct buf before = {0};

    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
        for (size_t shift = 0; shift < sizeof(shifts) / sizeof(shifts[0]); shift++) {
            buf_clear(&before);
            buf_append_str(&before, MESSAGE("content"));
            buf_append_str(&before, shifts[shift]);
            const size_t len =
                seen_len(buf_cstr(&before), units[i].unit, LONG, "content", MESSAGE_END);
            assert_true(len < LONG);
            assert_int_equal((len - shift) % units[i].decoded, 0);
        }
}

static void large_integers_beside_a_long_text_are_clamped(void **state)
{
    (void)state;
    AUTO(buf_fini)
    struct buf body =
        body_of(MESSAGE("content"), "9", LONG, "", "\"}],\"n\":18446744073709551616}");
    AUTO_JSON json_t *doc = NULL;

    assert_int_equal(body_read(buf_span(&body), &doc), 0);
    assert_int_equal(json_integer_value(json_object_get(doc, "n")), INT64_MAX);
}

/* A rule that looks at a whole text must get it whole. */
static void an_address_far_inside_a_file_is_found(void **state)
{
    (void)state;
    AUTO(buf_fini)
    struct buf body =
        body_of("{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"file\","
                "\"file\":{\"f\\u0069le_data\":\"",
                "x", LONG, "http://h/", "\"}}]}]}");
    const struct request_rules rules = {0};
    struct api_fault fault = {0};
    struct request rq;

    assert_int_equal(request_parse(&rq, EP_CHAT, buf_span(&body), &rules, &fault), E_INVALID);
    assert_ptr_equal(fault.error, &ERR_INVALID_VALUE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_long_text_is_refused_for_what_a_short_one_is),
        cmocka_unit_test(what_follows_a_long_text_is_judged),
        cmocka_unit_test(texts_of_messages_prompts_and_inputs_are_cut),
        cmocka_unit_test(all_other_strings_and_names_stay_whole),
        cmocka_unit_test(a_cut_never_splits_a_character),
        cmocka_unit_test(large_integers_beside_a_long_text_are_clamped),
        cmocka_unit_test(an_address_far_inside_a_file_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
