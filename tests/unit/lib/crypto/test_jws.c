/* Compact JWS: exact form, and every way in which a header or a part may lie. */
#include "tests/unit/lib/vectors.h"

#include "crypto/hash.h"
#include "crypto/jws.h"

static const char TYP[] = "cgw-usage+jwt";

static struct ed25519 *key_make(void)
{
    AUTO(buf_fini)
    struct buf seed =
        bytes_of_hex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
    struct ed25519 *key = NULL;

    assert_int_equal(ed25519_from_seed(&key, buf_span(&seed)), 0);
    return key;
}

/* RFC 8037 appendix A.4 signs with this key; its header is another, its signature is checked here
 * as such. */
static void the_signature_covers_header_and_payload_as_in_rfc_8037(void **state)
{
    AUTO(ed25519_free) struct ed25519 *key = key_make();
    AUTO(buf_fini) struct buf sig = {0};

    (void)state;
    assert_int_equal(base64url_decode(&sig, SPAN("hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhi"
                                                 "jcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg")),
                     0);
    assert_int_equal(ed25519_verify(key,
                                    SPAN("eyJhbGciOiJFZERTQSJ9."
                                         "RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"),
                                    buf_span(&sig)),
                     0);
}

static void a_signed_payload_is_read_back(void **state)
{
    AUTO(ed25519_free) struct ed25519 *key = key_make();
    AUTO(buf_fini) struct buf jws = {0}, header = {0}, payload = {0};
    struct span rest;
    char kid[JWS_KID_LEN + 1], want[100];
    uint8_t public[ED25519_KEY_LEN];

    (void)state;
    assert_int_equal(jws_sign(key, TYP, SPAN("{\"v\":1}"), &jws), 0);
    rest = buf_span(&jws);
    assert_int_equal(base64url_decode(&header, span_split(&rest, '.')), 0);
    ed25519_public(key, public);
    jws_kid(kid, public);
    snprintf(want, sizeof(want), "{\"alg\":\"EdDSA\",\"kid\":\"%s\",\"typ\":\"cgw-usage+jwt\"}",
             kid);
    assert_span(buf_span(&header), span_str(want));
    buf_append_str(&payload, "before");
    assert_int_equal(jws_verify(key, TYP, buf_span(&jws), &payload), 0);
    assert_span(buf_span(&payload), SPAN("before{\"v\":1}"));
}

static void the_key_id_is_half_of_the_hash(void **state)
{
    AUTO(buf_fini)
    struct buf public =
        bytes_of_hex("1de3a194d9ec1c2fbb2836a961d01452bf5953cd8eb052f49de38a4c8398cc73");
    char kid[JWS_KID_LEN + 1];

    (void)state;
    jws_kid(kid, public.data);
    assert_string_equal(kid, "MURDYE8awvW_cZhDWABPaA");
}

/* Signs payload under any header text. */
static void sign_under(const struct ed25519 *key, const char *header, struct buf *jws)
{
    uint8_t sig[ED25519_SIG_LEN];

    base64url_encode(jws, span_str(header));
    buf_byte(jws, '.');
    base64url_encode(jws, SPAN("{}"));
    assert_int_equal(ed25519_sign(key, buf_span(jws), sig), 0);
    buf_byte(jws, '.');
    base64url_encode(jws, SPAN_OF(sig));
}

static void a_header_is_compared_and_never_believed(void **state)
{
    AUTO(ed25519_free) struct ed25519 *key = key_make();
    char kid[JWS_KID_LEN + 1];
    uint8_t public[ED25519_KEY_LEN];
    static const struct {
        const char *header; /* %s is the right kid */
        int error;
    } CASES[] = {
        {"{\"alg\":\"EdDSA\",\"kid\":\"%s\",\"typ\":\"cgw-usage+jwt\"}", 0},
        {"{ \"typ\":\"cgw-usage+jwt\", \"alg\":\"EdDSA\", \"kid\":\"%s\" }", 0},
        {"{\"alg\":\"none\",\"kid\":\"%s\",\"typ\":\"cgw-usage+jwt\"}", E_AUTH},
        {"{\"alg\":\"HS256\",\"kid\":\"%s\",\"typ\":\"cgw-usage+jwt\"}", E_AUTH},
        {"{\"alg\":\"eddsa\",\"kid\":\"%s\",\"typ\":\"cgw-usage+jwt\"}", E_AUTH},
        {"{\"alg\":\"EdDSA\",\"kid\":\"%s \",\"typ\":\"cgw-usage+jwt\"}", E_AUTH},
        {"{\"alg\":\"EdDSA\",\"kid\":\"%s\\u0000\",\"typ\":\"cgw-usage+jwt\"}", E_AUTH},
        {"{\"alg\":\"EdDSA\",\"kid\":\"%s\",\"typ\":\"cgw-receipt+jwt\"}", E_AUTH},
        {"{\"alg\":\"EdDSA\",\"kid\":\"%s\",\"typ\":\"cgw-usage+jwt\",\"crit\":[\"x\"]}", E_AUTH},
        {"{\"alg\":\"EdDSA\",\"kid\":\"%s\"}", E_AUTH},
        {"{\"alg\":\"EdDSA\",\"kid\":\"%s\",\"typ\":1}", E_AUTH},
        {"{\"alg\":\"none\",\"alg\":\"EdDSA\",\"kid\":\"%s\",\"typ\":\"cgw-usage+jwt\"}",
         E_INVALID},
        {"[\"%s\"]", E_INVALID},
        {"%s", E_INVALID},
    };

    (void)state;
    ed25519_public(key, public);
    jws_kid(kid, public);
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        AUTO(buf_fini) struct buf jws = {0}, payload = {0}, header = {0};
        struct span rest = span_str(CASES[i].header);
        ptrdiff_t at = span_find(rest, SPAN("%s"));

        buf_append(&header, span_cut(rest, 0, (size_t)at));
        buf_append_str(&header, kid);
        buf_append(&header, span_from(rest, (size_t)at + 2));
        sign_under(key, buf_cstr(&header), &jws);
        if (jws_verify(key, TYP, buf_span(&jws), &payload) != CASES[i].error)
            fail_msg("header %s", buf_cstr(&header));
        assert_int_equal(payload.len, CASES[i].error == 0 ? 2 : 0);
    }
}

static void a_header_names_its_key_to_whoever_asks(void **state)
{
    static const char *const none[] = {
        "", ".", "e30.e30.AA", "eyJraWQiOjF9.e30.AA", "!!.e30.AA", "eyJraWQiOiJzaG9ydCJ9.e30.AA"};
    AUTO(ed25519_free) struct ed25519 *key = NULL;
    AUTO(buf_fini) struct buf jws = {0};
    char kid[JWS_KID_LEN + 1], own[JWS_KID_LEN + 1];
    uint8_t public_key[ED25519_KEY_LEN];

    (void)state;
    assert_int_equal(ed25519_generate(&key), 0);
    ed25519_public(key, public_key);
    jws_kid(own, public_key);
    assert_int_equal(jws_sign(key, "t", SPAN("{}"), &jws), 0);
    assert_int_equal(jws_named_kid(kid, buf_span(&jws)), 0);
    assert_string_equal(kid, own);
    for (size_t i = 0; i < sizeof(none) / sizeof(*none); i++)
        assert_int_equal(jws_named_kid(kid, span_str(none[i])), E_INVALID);
}

static void anything_but_three_strict_parts_is_invalid(void **state)
{
    AUTO(ed25519_free) struct ed25519 *key = key_make();
    AUTO(buf_fini) struct buf jws = {0}, payload = {0};
    static const char *const BAD[] = {"",    ".",    "..",   "...",  "a",
                                      "a.b", "a.b.", ".b.c", "a..c", "%.e30.AA"};

    (void)state;
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++)
        assert_int_equal(jws_verify(key, TYP, span_str(BAD[i]), &payload), E_INVALID);
    assert_int_equal(jws_sign(key, TYP, SPAN("{}"), &jws), 0);
    buf_append_str(&jws, ".");
    assert_int_equal(jws_verify(key, TYP, buf_span(&jws), &payload), E_INVALID);
    jws.len--;
    assert_int_equal(jws_verify(key, TYP, buf_span(&jws), &payload), 0);
    buf_append_str(&jws, "=");
    assert_int_equal(jws_verify(key, TYP, buf_span(&jws), &payload), E_INVALID);
}

static void no_changed_character_passes(void **state)
{
    AUTO(ed25519_free) struct ed25519 *key = key_make();
    AUTO(buf_fini) struct buf jws = {0}, payload = {0};

    (void)state;
    assert_int_equal(jws_sign(key, TYP, SPAN("{\"in\":1}"), &jws), 0);
    for (size_t i = 0; i < jws.len; i++) {
        uint8_t was = jws.data[i];

        jws.data[i] = was == 'A' ? 'B' : 'A';
        assert_true(jws_verify(key, TYP, buf_span(&jws), &payload) < 0);
        jws.data[i] = was;
        assert_true(jws_verify(key, TYP, span_cut(buf_span(&jws), 0, i), &payload) < 0);
    }
    assert_int_equal(payload.len, 0);
}

static void long_ones_are_neither_made_nor_read(void **state)
{
    AUTO(ed25519_free) struct ed25519 *key = key_make();
    AUTO(buf_fini) struct buf big = {0}, jws = {0};

    (void)state;
    memset(buf_reserve(&big, 16384), 'A', 16384);
    big.len = 16384;
    assert_int_equal(jws_sign(key, TYP, buf_span(&big), &jws), E_TOO_LARGE);
    assert_int_equal(jws.len, 0);
    buf_byte(&big, 'A');
    assert_int_equal(jws_verify(key, TYP, buf_span(&big), &jws), E_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_signature_covers_header_and_payload_as_in_rfc_8037),
        cmocka_unit_test(a_signed_payload_is_read_back),
        cmocka_unit_test(the_key_id_is_half_of_the_hash),
        cmocka_unit_test(a_header_is_compared_and_never_believed),
        cmocka_unit_test(a_header_names_its_key_to_whoever_asks),
        cmocka_unit_test(anything_but_three_strict_parts_is_invalid),
        cmocka_unit_test(no_changed_character_passes),
        cmocka_unit_test(long_ones_are_neither_made_nor_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
