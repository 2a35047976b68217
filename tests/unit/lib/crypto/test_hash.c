/* SHA-256, HMAC, HKDF: FIPS and RFC numbers, Wycheproof, bounds. */
#include "tests/unit/lib/vectors.h"

#include "crypto/hash.h"

static void sha384_gives_the_known_digest(void **state)
{
    uint8_t out[SHA384_LEN];

    (void)state;
    sha384(out, SPAN("abc")); /* FIPS 180-4, example of SHA-384 */
    assert_hex(SPAN_OF(out), "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed"
                             "8086072ba1e7cc2358baeca134c825a7");
}

static void sha256_gives_the_known_digests(void **state)
{
    uint8_t out[SHA256_LEN];
    const struct span parts[] = {SPAN("a"), SPAN(""), {0}, SPAN("bc")};

    (void)state;
    sha256(out, SPAN("abc"));
    assert_hex(SPAN_OF(out), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    sha256_parts(out, parts, 4);
    assert_hex(SPAN_OF(out), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    sha256(out, (struct span){0});
    assert_hex(SPAN_OF(out), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

static void a_running_hash_equals_the_whole(void **state)
{
    AUTO(sha256_free) struct sha256_ctx *ctx = sha256_new();
    uint8_t data[1000], a[SHA256_LEN], b[SHA256_LEN];

    (void)state;
    memset(data, 0x5A, sizeof(data));
    for (size_t at = 0; at < sizeof(data); at += 7)
        sha256_update(ctx, span_cut(SPAN_OF(data), at, 7));
    sha256_final(ctx, a);
    sha256(b, SPAN_OF(data));
    assert_memory_equal(a, b, SHA256_LEN);
}

/* RFC 4231 cases 1, 2 and 6 (a key longer than a block), and the empty key. */
static void hmac_gives_the_numbers_of_rfc_4231(void **state)
{
    uint8_t key[131], out[SHA256_LEN];

    (void)state;
    memset(key, 0x0b, 20);
    hmac_sha256(out, span_of(key, 20), SPAN("Hi There"));
    assert_hex(SPAN_OF(out), "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    hmac_sha256(out, SPAN("Jefe"), SPAN("what do ya want for nothing?"));
    assert_hex(SPAN_OF(out), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(key, 0xaa, sizeof(key));
    hmac_sha256(out, SPAN_OF(key), SPAN("Test Using Larger Than Block-Size Key - Hash Key First"));
    assert_hex(SPAN_OF(out), "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    hmac_sha256(out, (struct span){0}, SPAN(""));
    assert_hex(SPAN_OF(out), "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

static void hkdf_gives_the_numbers_of_rfc_5869(void **state)
{
    AUTO(buf_fini) struct buf salt = bytes_of_hex("000102030405060708090a0b0c");
    AUTO(buf_fini) struct buf info = bytes_of_hex("f0f1f2f3f4f5f6f7f8f9");
    uint8_t ikm[22], prk[SHA256_LEN], okm[42];

    (void)state;
    memset(ikm, 0x0b, sizeof(ikm));
    hkdf_extract(prk, buf_span(&salt), SPAN_OF(ikm));
    assert_hex(SPAN_OF(prk), "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5");
    assert_int_equal(hkdf_expand(okm, sizeof(okm), SPAN_OF(prk), buf_span(&info)), 0);
    assert_hex(SPAN_OF(okm), "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"
                             "34007208d5b887185865");
    hkdf_extract(prk, SPAN(""), SPAN_OF(ikm)); /* case 3: no salt, no info */
    assert_int_equal(hkdf_expand(okm, sizeof(okm), SPAN_OF(prk), SPAN("")), 0);
    assert_hex(SPAN_OF(okm), "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"
                             "9d201395faa4b61a96c8");
}

static void hkdf_expands_up_to_255_blocks(void **state)
{
    uint8_t prk[SHA256_LEN] = {1}, longest[255 * SHA256_LEN], shorter[100];

    (void)state;
    assert_int_equal(hkdf_expand(longest, sizeof(longest), SPAN_OF(prk), SPAN("x")), 0);
    assert_int_equal(hkdf_expand(shorter, sizeof(shorter), SPAN_OF(prk), SPAN("x")), 0);
    assert_memory_equal(longest, shorter, sizeof(shorter));
    assert_int_equal(hkdf_expand(longest, sizeof(longest) + 1, SPAN_OF(prk), SPAN("x")),
                     E_TOO_LARGE);
    assert_int_equal(hkdf_expand(longest, 0, SPAN_OF(prk), SPAN("x")), 0);
}

static void equality_is_of_length_and_bytes(void **state)
{
    (void)state;
    assert_true(crypto_equal(SPAN("abc"), SPAN("abc")));
    assert_true(crypto_equal(SPAN(""), (struct span){0}));
    assert_false(crypto_equal(SPAN("abc"), SPAN("abd")));
    assert_false(crypto_equal(SPAN("abc"), SPAN("ab")));
}

static void wycheproof_hkdf(void **state)
{
    json_t *doc = vectors_load("wycheproof/hkdf_sha256_test.json");
    const json_t *group, *t;
    size_t g, i, seen = 0;

    (void)state;
    json_array_foreach(json_object_get(doc, "testGroups"), g, group)
        json_array_foreach(json_object_get(group, "tests"), i, t) {
            AUTO(buf_fini) struct buf ikm = vector_hex(t, "ikm"), salt = vector_hex(t, "salt");
            AUTO(buf_fini) struct buf info = vector_hex(t, "info"), okm = {0};
            size_t size = (size_t)json_integer_value(json_object_get(t, "size"));
            uint8_t prk[SHA256_LEN];
            bool valid = strcmp(vector_text(t, "result"), "valid") == 0;

            hkdf_extract(prk, buf_span(&salt), buf_span(&ikm));
            assert_int_equal(
                hkdf_expand(buf_reserve(&okm, size), size, SPAN_OF(prk), buf_span(&info)),
                valid ? 0 : E_TOO_LARGE);
            if (valid)
                assert_hex(span_of(okm.data, size), vector_text(t, "okm"));
            seen++;
        }
    assert_int_equal(seen, 86);
    json_decref(doc);
}

static void wycheproof_hmac(void **state)
{
    json_t *doc = vectors_load("wycheproof/hmac_sha256_test.json");
    const json_t *group, *t;
    size_t g, i, seen = 0;

    (void)state;
    json_array_foreach(json_object_get(doc, "testGroups"), g, group)
        json_array_foreach(json_object_get(group, "tests"), i, t) {
            AUTO(buf_fini) struct buf key = vector_hex(t, "key"), msg = vector_hex(t, "msg");
            AUTO(buf_fini) struct buf tag = vector_hex(t, "tag");
            uint8_t out[SHA256_LEN];

            hmac_sha256(out, buf_span(&key), buf_span(&msg));
            assert_int_equal(crypto_equal(span_cut(SPAN_OF(out), 0, tag.len), buf_span(&tag)),
                             strcmp(vector_text(t, "result"), "valid") == 0);
            seen++;
        }
    assert_int_equal(seen, 174);
    json_decref(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sha256_gives_the_known_digests),
        cmocka_unit_test(sha384_gives_the_known_digest),
        cmocka_unit_test(a_running_hash_equals_the_whole),
        cmocka_unit_test(hmac_gives_the_numbers_of_rfc_4231),
        cmocka_unit_test(hkdf_gives_the_numbers_of_rfc_5869),
        cmocka_unit_test(hkdf_expands_up_to_255_blocks),
        cmocka_unit_test(equality_is_of_length_and_bytes),
        cmocka_unit_test(wycheproof_hkdf),
        cmocka_unit_test(wycheproof_hmac),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
