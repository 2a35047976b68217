/* Tokens of services: whose they are, when they hold, what they allow. */
#include "auth/service.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "crypto/jws.h"

enum { NOW = 1800000000 };
#define TYP   "cgw-service+jwt"
#define TIMES "\"iat\":1800000000,\"exp\":1800000600"
#define BASE  "{\"account\":\"acme\",\"jti\":\"t-1\"," TIMES

static struct ed25519 *issuer;
static const char *audience = ""; /* the gateway's */

static void token_make(const struct ed25519 *key, const char *typ, const char *claims,
                       struct buf *out)
{
    assert_int_equal(jws_sign(key, typ, span_str(claims), out), 0);
}

static int read_at(const char *claims, uint64_t now_s, struct service_claims *out)
{
    AUTO(buf_fini) struct buf token = {0};

    token_make(issuer, TYP, claims, &token);
    assert_true(service_token_is(buf_span(&token)));
    return service_token_read(issuer, buf_span(&token), span_str(audience), now_s, out);
}

static int try_at(const char *claims, uint64_t now_s)
{
    AUTO(service_claims_fini) struct service_claims c = {0};
    const int error = read_at(claims, now_s, &c);

    assert_true((error == 0) == (c.doc != NULL));
    return error;
}

static void a_token_says_whose_account_it_is_and_what_it_may(void **state)
{
    AUTO(service_claims_fini) struct service_claims c = {0};

    (void)state;
    assert_int_equal(read_at(BASE ",\"class\":\"batch\",\"scopes\":{\"models\":[\"m\"],"
                                  "\"endpoints\":[\"chat\"]},\"iss\":\"anybody\"}",
                             NOW, &c),
                     0);
    assert_true(span_is(c.account, "acme") && span_is(c.jti, "t-1") && span_is(c.class, "batch"));
    assert_true(service_allows(&c, "models", SPAN("m")));
    assert_false(service_allows(&c, "models", SPAN("m2")));
    assert_true(service_allows(&c, "endpoints", SPAN("chat")));
    assert_false(service_allows(&c, "endpoints", SPAN("models")));
}

static void without_scopes_it_may_what_the_key_may_and_with_an_empty_list_nothing(void **state)
{
    AUTO(service_claims_fini) struct service_claims c = {0}, none = {0};

    (void)state;
    assert_int_equal(read_at(BASE "}", NOW, &c), 0);
    assert_true(service_allows(&c, "models", SPAN("m")) && c.class.len == 0);
    assert_int_equal(read_at(BASE ",\"scopes\":{\"models\":[]}}", NOW, &none), 0);
    assert_false(service_allows(&none, "models", SPAN("m")));
    assert_true(service_allows(&none, "endpoints", SPAN("chat")));
}

static void it_holds_ten_minutes_at_most(void **state)
{
    (void)state;
    assert_int_equal(try_at(BASE "}", NOW + 599), 0);
    assert_int_equal(try_at(BASE "}", NOW + 600), E_EXPIRED);
    assert_int_equal(try_at(BASE "}", NOW - 60), 0);
    assert_int_equal(try_at(BASE "}", NOW - 61), E_EXPIRED);
    assert_int_equal(try_at("{\"account\":\"a\",\"jti\":\"j\",\"iat\":1800000000,"
                            "\"exp\":1800000601}",
                            NOW),
                     E_INVALID);
    assert_int_equal(try_at("{\"account\":\"a\",\"jti\":\"j\",\"iat\":1800000000,"
                            "\"exp\":1800000000}",
                            NOW),
                     E_INVALID);
}

/* RFC 7519 §4.1.3: a token that names whom it is for is for nobody else. */
static void a_token_for_another_gateway_is_none(void **state)
{
    (void)state;
    assert_int_equal(try_at(BASE ",\"aud\":\"https://here.test\"}", NOW), E_INVALID);
    audience = "https://here.test";
    assert_int_equal(try_at(BASE ",\"aud\":\"https://here.test\"}", NOW), 0);
    assert_int_equal(try_at(BASE ",\"aud\":[\"x\",\"https://here.test\"]}", NOW), 0);
    assert_int_equal(try_at(BASE ",\"aud\":\"https://here.test/\"}", NOW), E_INVALID);
    assert_int_equal(try_at(BASE ",\"aud\":[\"x\"]}", NOW), E_INVALID);
    assert_int_equal(try_at(BASE ",\"aud\":[]}", NOW), E_INVALID);
    assert_int_equal(try_at(BASE ",\"aud\":[\"https://here.test\",1]}", NOW), E_INVALID);
    assert_int_equal(try_at(BASE ",\"aud\":null}", NOW), E_INVALID);
    assert_int_equal(try_at(BASE "}", NOW), E_INVALID); /* for anybody, so not for this one */
    audience = "";
    assert_int_equal(try_at(BASE ",\"aud\":\"\"}", NOW), E_INVALID);
}

static void before_its_time_it_is_none(void **state)
{
    (void)state;
    assert_int_equal(try_at(BASE ",\"nbf\":1800000300}", NOW + 240), 0);
    assert_int_equal(try_at(BASE ",\"nbf\":1800000300}", NOW + 239), E_EXPIRED);
    assert_int_equal(try_at(BASE ",\"nbf\":\"1800000000\"}", NOW), E_INVALID);
    assert_int_equal(try_at(BASE ",\"nbf\":null}", NOW), E_INVALID);
}

static void what_is_not_understood_is_refused(void **state)
{
    static const char *const bad[] = {
        "{}",
        "[]",
        "{\"account\":\"a\"," TIMES "}",
        "{\"jti\":\"j\"," TIMES "}",
        "{\"account\":\"\",\"jti\":\"j\"," TIMES "}",
        "{\"account\":\"a b\",\"jti\":\"j\"," TIMES "}",
        "{\"account\":\"a\",\"jti\":\"j\",\"iat\":1800000000}",
        "{\"account\":\"a\",\"jti\":\"j\",\"iat\":1800000000,\"exp\":1800000600.0}",
        "{\"account\":\"a\",\"jti\":\"j\",\"account\":\"b\"," TIMES "}",
        BASE ",\"class\":\"root\"}",
        BASE ",\"class\":null}",
        BASE ",\"scopes\":null}",
        BASE ",\"scopes\":[]}",
        BASE ",\"scopes\":{\"models\":null}}",
        BASE ",\"scopes\":{\"models\":\"m\"}}",
        BASE ",\"scopes\":{\"models\":[1]}}",
        BASE ",\"scopes\":{\"model\":[\"m\"]}}",
        BASE ",\"scopes\":{\"endpoints\":[\"billing\"]}}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_int_equal(try_at(bad[i], NOW), E_INVALID);
}

static void another_key_or_another_kind_of_token_is_nobodys(void **state)
{
    AUTO(ed25519_free) struct ed25519 *other = NULL;
    AUTO(buf_fini) struct buf foreign = {0}, kind = {0};
    struct service_claims c;

    (void)state;
    assert_int_equal(ed25519_generate(&other), 0);
    token_make(other, TYP, BASE "}", &foreign);
    assert_int_equal(service_token_read(issuer, buf_span(&foreign), SPAN(""), NOW, &c), E_AUTH);
    token_make(issuer, "cgw-usage+jws", BASE "}", &kind);
    assert_int_equal(service_token_read(issuer, buf_span(&kind), SPAN(""), NOW, &c), E_AUTH);
}

static void every_changed_character_is_noticed(void **state)
{
    AUTO(buf_fini) struct buf token = {0};
    struct service_claims c;

    (void)state;
    token_make(issuer, TYP, BASE "}", &token);
    for (size_t i = 0; i < token.len; i++) {
        const uint8_t was = token.data[i];
        token.data[i] = was == 'A' ? 'B' : 'A';
        assert_true(service_token_read(issuer, buf_span(&token), SPAN(""), NOW, &c) < 0 && !c.doc);
        token.data[i] = was;
    }
}

static void an_api_key_is_no_such_token(void **state)
{
    (void)state;
    assert_false(service_token_is(SPAN("sk-cocoon-abc")));
    assert_false(service_token_is(SPAN("eyJ")));
    assert_false(service_token_is(SPAN("")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_says_whose_account_it_is_and_what_it_may),
        cmocka_unit_test(without_scopes_it_may_what_the_key_may_and_with_an_empty_list_nothing),
        cmocka_unit_test(it_holds_ten_minutes_at_most),
        cmocka_unit_test(a_token_for_another_gateway_is_none),
        cmocka_unit_test(before_its_time_it_is_none),
        cmocka_unit_test(what_is_not_understood_is_refused),
        cmocka_unit_test(another_key_or_another_kind_of_token_is_nobodys),
        cmocka_unit_test(every_changed_character_is_noticed),
        cmocka_unit_test(an_api_key_is_no_such_token),
    };

    if (ed25519_generate(&issuer) < 0)
        return 1;
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    ed25519_free(issuer);
    return failed;
}
