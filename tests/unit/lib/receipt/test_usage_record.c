/* Usage records and content receipts: exact members, round trips, and everything that must not pass
 * for a record. */
#include "tests/unit/lib/vectors.h"

#include "base/json.h"
#include "crypto/jws.h"
#include "receipt/usage_record.h"

static struct ed25519 *key_make(void)
{
    AUTO(buf_fini)
    struct buf seed =
        bytes_of_hex("89c02db8471351b4bd3bfd04d8f9c02964926e9fc1cdc02fa030558578dbb5bc");
    struct ed25519 *key = NULL;

    assert_int_equal(ed25519_from_seed(&key, buf_span(&seed)), 0);
    return key;
}

static struct usage_record sample(void)
{
    struct usage_record u = {
        .call = "00112233445566778899aabbccddeeff",
        .attempt = 2,
        .model = SPAN("mod\"el"),
        .in = 9,
        .cached = 4,
        .out = 7,
        .reasoning = 3,
        .price = "12;1500",
        .outcome = USAGE_LENGTH,
        .final = true,
        .t0_ms = 1751328000123,
        .t1_ms = 1751328001456,
        .env = "insecure-dev",
    };

    memset(u.op, 1, SHA256_LEN);
    memset(u.kfp, 2, SHA256_LEN);
    memset(u.keyset, 3, SHA256_LEN);
    memset(u.req, 4, SHA256_LEN);
    memset(u.resp, 5, SHA256_LEN);
    return u;
}

static struct receipt_extra sample_extra(void)
{
    struct receipt_extra e = {
        .rid = SPAN("0192f0c1-7c1e-7b5e-9d6a-6f2f1f0e0d0c"),
        .model_digest = SPAN("sha256:ab"),
        .config_sha256 = SPAN("cd"),
    };

    memset(e.req_body, 6, SHA256_LEN);
    memset(e.resp_body, 7, SHA256_LEN);
    return e;
}

static const char RECORD_JSON[] =
    "{\"v\":1,\"call\":\"00112233445566778899aabbccddeeff\",\"attempt\":2,"
    "\"op\":\"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE\","
    "\"kfp\":\"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI\","
    "\"ks\":\"AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM\",\"model\":\"mod\\\"el\","
    "\"in\":9,\"cached\":4,\"out\":7,\"reasoning\":3,\"total\":16,\"price\":\"12;1500\","
    "\"outcome\":\"length\",\"req\":\"BAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ\","
    "\"resp\":\"BQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU\",\"final\":true,"
    "\"t0\":1751328000123,\"t1\":1751328001456,\"env\":\"insecure-dev\"}";

static void a_record_has_exactly_the_members_of_the_format(void **state)
{
    AUTO(ed25519_free) struct ed25519 *key = key_make();
    AUTO(buf_fini) struct buf jws = {0}, json = {0};
    struct usage_record u = sample();

    (void)state;
    assert_int_equal(usage_record_sign(&u, key, &jws), 0);
    assert_int_equal(jws_verify(key, "cgw-usage+jwt", buf_span(&jws), &json), 0);
    assert_span(buf_span(&json), span_str(RECORD_JSON));
}

static void assert_common(const struct usage_record *got, const struct usage_record *want)
{
    assert_string_equal(got->call, want->call);
    assert_int_equal(got->attempt, want->attempt);
    assert_memory_equal(got->op, want->op, SHA256_LEN);
    assert_memory_equal(got->kfp, want->kfp, SHA256_LEN);
    assert_memory_equal(got->keyset, want->keyset, SHA256_LEN);
    assert_span(got->model, want->model);
    assert_int_equal(got->in, want->in);
    assert_int_equal(got->cached, want->cached);
    assert_int_equal(got->out, want->out);
    assert_int_equal(got->reasoning, want->reasoning);
    assert_string_equal(got->price, want->price);
    assert_int_equal(got->outcome, want->outcome);
    assert_memory_equal(got->req, want->req, SHA256_LEN);
    assert_int_equal(got->t0_ms, want->t0_ms);
    assert_int_equal(got->t1_ms, want->t1_ms);
    assert_string_equal(got->env, want->env);
}

static void a_signed_record_is_read_back(void **state)
{
    AUTO(ed25519_free) struct ed25519 *key = key_make();
    AUTO(buf_fini) struct buf jws = {0};
    struct usage_record u = sample();

    (void)state;
    for (unsigned o = USAGE_STOP; o <= USAGE_REJECTED; o++) {
        AUTO(usage_record_fini) struct usage_record got = {0};

        u.outcome = (enum usage_outcome)o;
        u.final = o % 2;
        buf_clear(&jws);
        assert_int_equal(usage_record_sign(&u, key, &jws), 0);
        assert_int_equal(usage_record_verify(&got, key, buf_span(&jws)), 0);
        assert_common(&got, &u);
        assert_memory_equal(got.resp, u.resp, SHA256_LEN);
        assert_int_equal(got.final, u.final);
    }
}

static void a_receipt_is_read_back_and_is_no_record(void **state)
{
    AUTO(ed25519_free) struct ed25519 *key = key_make();
    AUTO(buf_fini) struct buf jws = {0}, json = {0};
    AUTO(usage_record_fini) struct usage_record got = {0}, none = {0};
    struct usage_record u = sample();
    struct receipt_extra extra = sample_extra(), back;

    (void)state;
    assert_int_equal(receipt_sign(&u, &extra, key, &jws), 0);
    assert_int_equal(usage_record_verify(&none, key, buf_span(&jws)), E_AUTH); /* typ */
    assert_int_equal(receipt_verify(&got, &back, key, buf_span(&jws)), 0);
    assert_common(&got, &u);
    assert_span(back.rid, extra.rid);
    assert_span(back.model_digest, extra.model_digest);
    assert_span(back.config_sha256, extra.config_sha256);
    assert_memory_equal(back.req_body, extra.req_body, SHA256_LEN);
    assert_memory_equal(back.resp_body, extra.resp_body, SHA256_LEN);
    assert_int_equal(jws_verify(key, RECEIPT_TYP, buf_span(&jws), &json), 0);
    assert_int_equal(span_find(buf_span(&json), SPAN("\"resp\":")), -1);
    assert_int_equal(span_find(buf_span(&json), SPAN("\"final\":")), -1);
}

/* Signs json as a record, whatever it says. */
static int verdict_on(const struct ed25519 *key, const char *json)
{
    AUTO(buf_fini) struct buf jws = {0};
    AUTO(usage_record_fini) struct usage_record got = {0};

    assert_int_equal(jws_sign(key, USAGE_TYP, span_str(json), &jws), 0);
    return usage_record_verify(&got, key, buf_span(&jws));
}

/* The sample record with one member's text replaced. */
static int verdict_with(const struct ed25519 *key, const char *name, const char *value)
{
    AUTO(buf_fini) struct buf json = {0};
    const struct json_edit edit = {name, value ? span_str(value) : (struct span){0}};

    assert_int_equal(json_splice(span_str(RECORD_JSON), &edit, 1, &json), 0);
    return verdict_on(key, buf_cstr(&json));
}

static void a_missing_member_refuses_the_record(void **state)
{
    static const char *const NAMES[] = {
        "v",         "call",  "attempt", "op",      "kfp", "ks",   "model", "in", "cached", "out",
        "reasoning", "total", "price",   "outcome", "req", "resp", "final", "t0", "t1",     "env"};
    AUTO(ed25519_free) struct ed25519 *key = key_make();

    (void)state;
    assert_int_equal(verdict_on(key, RECORD_JSON), 0);
    for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++) {
        assert_int_equal(verdict_with(key, NAMES[i], NULL), E_INVALID);
        assert_int_equal(verdict_with(key, NAMES[i], "null"), E_INVALID);
    }
}

static void members_out_of_their_range_refuse_the_record(void **state)
{
    static const struct {
        const char *name, *value;
    } BAD[] = {
        {"v", "2"},
        {"v", "1.0"},
        {"call", "\"00112233445566778899aabbccddeef\""},
        {"call", "\"00112233445566778899AABBCCDDEEFF\""},
        {"call", "\"00112233445566778899aabbccddeeff0\""},
        {"call", "\"00112233445566778899aabbccddee\\u0000f\""},
        {"attempt", "-1"},
        {"attempt", "4294967296"},
        {"op", "\"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ\""},
        {"op", "\"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQF\""}, /* trailing bits */
        {"op", "\"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\""},
        {"model", "\"\""},
        {"model", "\"a\\u0000b\""},
        {"model", "\"a\\nb\""},
        {"in", "-1"},
        {"in", "9.0"},
        {"in", "10"}, /* total no longer matches */
        {"in", "9223372036854775807"},
        {"in", "\"9\""},
        {"in", "1e1"},
        {"cached", "10"},
        {"cached", "-1"},
        {"out", "-7"},
        {"reasoning", "8"},
        {"reasoning", "-1"},
        {"total", "17"},
        {"total", "15"},
        {"price", "\"\""},
        {"price", "\"12 1500\""},
        {"price", "\"1234567890123456789012345678901234567890\""},
        {"outcome", "\"done\""},
        {"outcome", "\"Stop\""},
        {"final", "1"},
        {"final", "\"true\""},
        {"t0", "-1"},
        {"t1", "1.5"},
        {"env", "\"dev\""},
        {"env", "\"\""},
    };
    AUTO(ed25519_free) struct ed25519 *key = key_make();

    (void)state;
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++)
        if (verdict_with(key, BAD[i].name, BAD[i].value) != E_INVALID)
            fail_msg("%s = %s was taken", BAD[i].name, BAD[i].value);
}

static void unknown_members_are_ignored_and_duplicates_refused(void **state)
{
    AUTO(ed25519_free) struct ed25519 *key = key_make();
    AUTO(buf_fini) struct buf twice = {0};

    (void)state;
    assert_int_equal(verdict_with(key, "later", "{\"x\":[1]}"), 0);
    buf_append_str(&twice, "{\"in\":9,");
    buf_append(&twice, span_from(span_str(RECORD_JSON), 1));
    assert_int_equal(verdict_on(key, buf_cstr(&twice)), E_INVALID);
    assert_int_equal(verdict_on(key, "[]"), E_INVALID);
    assert_int_equal(verdict_on(key, ""), E_INVALID);
}

static void huge_counts_whose_sum_wraps_are_refused(void **state)
{
    AUTO(ed25519_free) struct ed25519 *key = key_make();
    AUTO(buf_fini) struct buf json = {0};
    const struct json_edit edits[] = {{"in", SPAN("9223372036854775807")},
                                      {"out", SPAN("9223372036854775807")},
                                      {"total", SPAN("-2")}};

    (void)state;
    assert_int_equal(json_splice(span_str(RECORD_JSON), edits, 3, &json), 0);
    assert_int_equal(verdict_on(key, buf_cstr(&json)), E_INVALID);
}

static void nobody_signs_what_would_be_refused(void **state)
{
    AUTO(ed25519_free) struct ed25519 *key = key_make();
    AUTO(buf_fini) struct buf jws = {0};
    struct usage_record u;
    struct receipt_extra extra = sample_extra();

    (void)state;
    u = sample();
    u.cached = u.in + 1;
    assert_int_equal(usage_record_sign(&u, key, &jws), E_INVALID);
    u = sample();
    u.call[0] = 'G';
    assert_int_equal(usage_record_sign(&u, key, &jws), E_INVALID);
    u = sample();
    u.price[0] = '\0';
    assert_int_equal(usage_record_sign(&u, key, &jws), E_INVALID);
    u = sample();
    extra.rid = SPAN("with space");
    assert_int_equal(receipt_sign(&u, &extra, key, &jws), E_INVALID);
    assert_int_equal(jws.len, 0);
}

static void another_key_or_a_changed_byte_is_refused(void **state)
{
    AUTO(ed25519_free) struct ed25519 *key = key_make();
    AUTO(ed25519_free) struct ed25519 *other = NULL;
    AUTO(buf_fini) struct buf jws = {0};
    AUTO(usage_record_fini) struct usage_record got = {0};
    struct usage_record u = sample();

    (void)state;
    assert_int_equal(ed25519_generate(&other), 0);
    assert_int_equal(usage_record_sign(&u, key, &jws), 0);
    assert_int_equal(usage_record_verify(&got, other, buf_span(&jws)), E_AUTH);
    for (size_t i = 0; i < jws.len; i += 7) {
        jws.data[i] ^= 1;
        assert_true(usage_record_verify(&got, key, buf_span(&jws)) < 0);
        jws.data[i] ^= 1;
    }
}

static void a_hint_names_signer_and_keyset_without_verifying(void **state)
{
    AUTO(ed25519_free) struct ed25519 *key = key_make();
    AUTO(buf_fini) struct buf jws = {0};
    const struct usage_record u = sample();
    uint8_t public_key[ED25519_KEY_LEN];
    char kid[JWS_KID_LEN + 1];
    struct usage_hint hint;

    (void)state;
    assert_int_equal(usage_record_sign(&u, key, &jws), 0);
    jws.data[jws.len - 3] ^= 1; /* of the signature */
    assert_int_equal(usage_record_hint(&hint, buf_span(&jws)), 0);
    ed25519_public(key, public_key);
    jws_kid(kid, public_key);
    assert_string_equal(hint.kid, kid);
    assert_memory_equal(hint.keyset, u.keyset, SHA256_LEN);
    for (size_t cut = 0; cut < jws.len / 2; cut++)
        assert_true(usage_record_hint(&hint, span_cut(buf_span(&jws), 0, cut)) < 0);
    assert_true(usage_record_hint(&hint, SPAN("..")) < 0);
}

static void every_negative_receipt_vector_is_refused(void **state)
{
    json_t *doc = vectors_load("proposed/receipt.json");
    AUTO(ed25519_free) struct ed25519 *key = key_make();
    AUTO(buf_fini) struct buf payload = {0};
    const json_t *n;
    size_t i;

    (void)state;
    assert_int_equal(jws_verify(key, USAGE_TYP, span_str(vector_text(doc, "valid")), &payload), 0);
    json_array_foreach(json_object_get(doc, "negative"), i, n) {
        AUTO(usage_record_fini) struct usage_record got = {0};
        bool unsigned_one = strcmp(vector_text(n, "name"), "alg-none") == 0; /* two parts only */

        assert_int_equal(usage_record_verify(&got, key, span_str(vector_text(n, "jws"))),
                         unsigned_one ? E_INVALID : E_AUTH);
    }
    assert_int_equal(i, 5);
    json_decref(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_has_exactly_the_members_of_the_format),
        cmocka_unit_test(a_signed_record_is_read_back),
        cmocka_unit_test(a_receipt_is_read_back_and_is_no_record),
        cmocka_unit_test(a_missing_member_refuses_the_record),
        cmocka_unit_test(members_out_of_their_range_refuse_the_record),
        cmocka_unit_test(unknown_members_are_ignored_and_duplicates_refused),
        cmocka_unit_test(huge_counts_whose_sum_wraps_are_refused),
        cmocka_unit_test(nobody_signs_what_would_be_refused),
        cmocka_unit_test(another_key_or_a_changed_byte_is_refused),
        cmocka_unit_test(a_hint_names_signer_and_keyset_without_verifying),
        cmocka_unit_test(every_negative_receipt_vector_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
