/* ECDSA on P-256: numbers of RFC 6979, Wycheproof, and what is no key or signature. */
#include "tests/unit/lib/vectors.h"

#include "crypto/ecdsa.h"

/* RFC 6979 A.2.5, SHA-256, "sample". */
static const char PUBLIC[] = "60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6"
                             "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299";
static const char SIG[] = "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
                          "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8";

static void rfc_6979_is_reproduced(void **state)
{
    AUTO(buf_fini) struct buf key = bytes_of_hex(PUBLIC), sig = bytes_of_hex(SIG);

    (void)state;
    assert_int_equal(ecdsa_p256_verify(buf_span(&key), SPAN("sample"), buf_span(&sig)), 0);
    assert_int_equal(ecdsa_p256_verify(buf_span(&key), SPAN("simple"), buf_span(&sig)), E_AUTH);
    assert_int_equal(ecdsa_p256_verify(buf_span(&key), SPAN(""), buf_span(&sig)), E_AUTH);
    sig.data[63] ^= 1;
    assert_int_equal(ecdsa_p256_verify(buf_span(&key), SPAN("sample"), buf_span(&sig)), E_AUTH);
}

static void wrong_lengths_and_points_are_refused(void **state)
{
    AUTO(buf_fini) struct buf key = bytes_of_hex(PUBLIC), sig = bytes_of_hex(SIG);
    uint8_t zero[P256_SIG_LEN] = {0};

    (void)state;
    assert_int_equal(ecdsa_p256_verify(span_of(key.data, 63), SPAN("sample"), buf_span(&sig)),
                     E_INVALID);
    assert_int_equal(ecdsa_p256_verify(buf_span(&key), SPAN("sample"), span_of(sig.data, 63)),
                     E_INVALID);
    assert_int_equal(ecdsa_p256_verify(buf_span(&key), SPAN("sample"), SPAN_OF(zero)), E_AUTH);
    assert_int_equal(ecdsa_p256_verify(SPAN_OF(zero), SPAN("sample"), buf_span(&sig)), E_INVALID);
    key.data[63] ^= 1; /* off the curve */
    assert_int_equal(ecdsa_p256_verify(buf_span(&key), SPAN("sample"), buf_span(&sig)), E_INVALID);
}

/* 04 ‖ x ‖ y */
static struct span raw_key(const struct buf *point)
{
    return span_from(buf_span(point), 1);
}

static void wycheproof_p256_p1363(void **state)
{
    json_t *doc = vectors_load("wycheproof/ecdsa_secp256r1_sha256_p1363_test.json");
    const json_t *group, *t;
    size_t g, i;
    json_int_t seen = 0;

    (void)state;
    json_array_foreach(json_object_get(doc, "testGroups"), g, group) {
        AUTO(buf_fini)
        struct buf point = vector_hex(json_object_get(group, "publicKey"), "uncompressed");

        json_array_foreach(json_object_get(group, "tests"), i, t) {
            AUTO(buf_fini) struct buf msg = vector_hex(t, "msg"), sig = vector_hex(t, "sig");
            const bool valid = strcmp(vector_text(t, "result"), "valid") == 0;
            const int got = ecdsa_p256_verify(raw_key(&point), buf_span(&msg), buf_span(&sig));

            if ((got == 0) != valid || (got < 0 && sig.len == P256_SIG_LEN && got != E_AUTH))
                fail_msg("test %lld: %d", json_integer_value(json_object_get(t, "tcId")), got);
            seen++;
        }
    }
    assert_int_equal(seen, json_integer_value(json_object_get(doc, "numberOfTests")));
    json_decref(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rfc_6979_is_reproduced),
        cmocka_unit_test(wrong_lengths_and_points_are_refused),
        cmocka_unit_test(wycheproof_p256_p1363),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
