/* The text of a key, where a request carries it, and its look-up id. */
#include "auth/keys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/encode.h"

static void a_made_key_is_read_back(void **state)
{
    AUTO(buf_wipe) struct buf text = {0};
    struct api_key made, read;

    (void)state;
    api_key_make(&made, &text);
    assert_true(span_starts(buf_span(&text), SPAN("sk-cocoon-")));
    assert_int_equal(api_key_parse(&read, buf_span(&text)), 0);
    assert_memory_equal(made.id, read.id, KEY_ID_LEN);
    assert_memory_equal(made.secret, read.secret, KEY_SECRET_LEN);
}

static void two_keys_differ(void **state)
{
    AUTO(buf_wipe) struct buf a = {0}, b = {0};
    struct api_key key;

    (void)state;
    api_key_make(&key, &a);
    api_key_make(&key, &b);
    assert_false(span_eq(buf_span(&a), buf_span(&b)));
}

static void every_single_wrong_character_is_noticed(void **state)
{
    AUTO(buf_wipe) struct buf text = {0};
    struct api_key key;

    (void)state;
    api_key_make(&key, &text);
    for (size_t i = 0; i < text.len; i++) {
        const uint8_t right = text.data[i];
        text.data[i] = right == 'x' ? 'y' : 'x';
        assert_int_equal(api_key_parse(&key, buf_span(&text)), E_INVALID);
        text.data[i] = right;
    }
    assert_int_equal(api_key_parse(&key, buf_span(&text)), 0);
}

static void swapped_missing_and_added_characters_are_noticed(void **state)
{
    AUTO(buf_wipe) struct buf text = {0};
    struct api_key key;

    (void)state;
    api_key_make(&key, &text);
    for (size_t i = 0; i + 1 < text.len; i++) {
        const uint8_t a = text.data[i], b = text.data[i + 1];
        text.data[i] = b;
        text.data[i + 1] = a;
        if (a != b)
            assert_int_equal(api_key_parse(&key, buf_span(&text)), E_INVALID);
        text.data[i] = a;
        text.data[i + 1] = b;
    }
    for (size_t n = 0; n < text.len; n++)
        assert_int_equal(api_key_parse(&key, span_of(text.data, n)), E_INVALID);
    buf_byte(&text, 'x');
    assert_int_equal(api_key_parse(&key, buf_span(&text)), E_INVALID);
    assert_int_equal(api_key_parse(&key, (struct span){0}), E_INVALID);
}

static void the_lookup_id_is_half_the_hash_of_the_secret(void **state)
{
    struct api_key key = {.secret = "abc"}; /* and 29 zero bytes */
    char lookup[2 * KEY_LOOKUP_LEN + 1], expected[2 * KEY_LOOKUP_LEN + 1];
    uint8_t hash[SHA256_LEN];

    (void)state;
    sha256(hash, SPAN_OF(key.secret));
    hex_encode(expected, span_of(hash, KEY_LOOKUP_LEN));
    api_key_lookup(&key, lookup);
    assert_string_equal(lookup, expected);
}

static void expect_credential(const char *authorization, const char *x_api_key,
                              const char *expected)
{
    AUTO(buf_wipe) struct buf scratch = {0};
    const struct span got =
        api_key_credential(span_str(authorization), span_str(x_api_key), &scratch);

    if (!expected) {
        assert_int_equal(got.len, 0);
        return;
    }
    if (!span_is(got, expected))
        fail_msg("got '%.*s', not '%s'", SPAN_FMT(got), expected);
}

static void bearer_is_read_in_any_case(void **state)
{
    (void)state;
    expect_credential("Bearer abc", NULL, "abc");
    expect_credential("bearer  abc ", NULL, "abc");
    expect_credential("BEARER\tabc", NULL, "abc");
    expect_credential("Bearerabc", NULL, NULL);
    expect_credential("Bearer", NULL, NULL);
    expect_credential("Bearer ", NULL, NULL);
    expect_credential("abc", NULL, NULL);
    expect_credential(NULL, NULL, NULL);
}

static void the_own_header_stands_in_where_authorization_says_nothing(void **state)
{
    (void)state;
    expect_credential(NULL, "abc", "abc");
    expect_credential("tma query=1", " abc ", "abc");
    expect_credential("Bearer one", "two", "one");
    expect_credential(NULL, "", NULL);
}

static void basic_carries_it_as_user_or_password(void **state)
{
    (void)state;
    expect_credential("Basic c2stY29jb29uLXg6", NULL, "sk-cocoon-x");         /* sk-cocoon-x: */
    expect_credential("Basic c2stY29jb29uLXg6cHc=", NULL, "sk-cocoon-x");     /* …:pw */
    expect_credential("basic dXNlcjpzay1jb2Nvb24teA==", NULL, "sk-cocoon-x"); /* user:… */
    expect_credential("Basic dXNlcjphOmI=", NULL, "a:b");                     /* user:a:b */
    expect_credential("Basic c2stY29jb29uLXg=", NULL, "sk-cocoon-x");         /* no colon */
    expect_credential("Basic Og==", NULL, NULL);                              /* : */
    expect_credential("Basic ####", NULL, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_made_key_is_read_back),
        cmocka_unit_test(two_keys_differ),
        cmocka_unit_test(every_single_wrong_character_is_noticed),
        cmocka_unit_test(swapped_missing_and_added_characters_are_noticed),
        cmocka_unit_test(the_lookup_id_is_half_the_hash_of_the_secret),
        cmocka_unit_test(bearer_is_read_in_any_case),
        cmocka_unit_test(the_own_header_stands_in_where_authorization_says_nothing),
        cmocka_unit_test(basic_carries_it_as_user_or_password),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
