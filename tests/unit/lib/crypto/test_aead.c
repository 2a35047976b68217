/* AEAD: RFC 8439's example, Wycheproof, reuse of one context, and that a wrong tag gives nothing.
 */
#include "tests/unit/lib/vectors.h"

#include "crypto/aead.h"

static const enum aead_id ALL[] = {AEAD_AES_128_GCM, AEAD_AES_256_GCM, AEAD_CHACHA20_POLY1305};

static void pair_make(struct aead **seal, struct aead **open, enum aead_id id)
{
    static const uint8_t key[AEAD_KEY_MAX] = {1, 2, 3};
    struct span k = span_of(key, aead_key_len(id));

    assert_int_equal(aead_new(seal, id, k, true), 0);
    assert_int_equal(aead_new(open, id, k, false), 0);
}

/* RFC 8439 §2.8.2. */
static void chacha20_poly1305_gives_the_numbers_of_rfc_8439(void **state)
{
    AUTO(buf_fini)
    struct buf key = bytes_of_hex("808182838485868788898a8b8c8d8e8f"
                                  "909192939495969798999a9b9c9d9e9f");
    AUTO(buf_fini) struct buf nonce = bytes_of_hex("070000004041424344454647"), ct = {0};
    AUTO(buf_fini) struct buf aad = bytes_of_hex("50515253c0c1c2c3c4c5c6c7");
    AUTO(aead_free) struct aead *a = NULL;

    (void)state;
    assert_int_equal(aead_new(&a, AEAD_CHACHA20_POLY1305, buf_span(&key), true), 0);
    assert_int_equal(aead_seal(a, nonce.data, buf_span(&aad),
                               SPAN("Ladies and Gentlemen of the class of '99: If I could offer "
                                    "you only one tip for the future, sunscreen would be it."),
                               &ct),
                     0);
    assert_hex(buf_span(&ct),
               "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6"
               "3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36"
               "92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc"
               "3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd0600691");
}

static void one_context_serves_many_messages(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(ALL) / sizeof(ALL[0]); i++) {
        AUTO(aead_free) struct aead *seal = NULL;
        AUTO(aead_free) struct aead *open = NULL;
        uint8_t nonce[AEAD_NONCE_LEN] = {0};

        pair_make(&seal, &open, ALL[i]);
        for (uint8_t n = 0; n < 20; n++) {
            AUTO(buf_fini) struct buf ct = {0}, pt = {0};
            uint8_t text[20];

            memset(text, n, sizeof(text));
            nonce[11] = n;
            assert_int_equal(aead_seal(seal, nonce, span_of(text, n % 3), span_of(text, n), &ct),
                             0);
            assert_int_equal(ct.len, n + AEAD_TAG_LEN);
            /* A failure in between does not spoil the context. */
            nonce[0] ^= 1;
            assert_int_equal(aead_open(open, nonce, span_of(text, n % 3), buf_span(&ct), &pt),
                             E_AUTH);
            nonce[0] ^= 1;
            assert_int_equal(aead_open(open, nonce, span_of(text, n % 3), buf_span(&ct), &pt), 0);
            assert_span(buf_span(&pt), span_of(text, n));
        }
    }
}

static void a_wrong_tag_releases_nothing(void **state)
{
    static const uint8_t nonce[AEAD_NONCE_LEN] = {0};
    static const char PLAIN[] = "very secret words";

    (void)state;
    for (size_t i = 0; i < sizeof(ALL) / sizeof(ALL[0]); i++) {
        AUTO(aead_free) struct aead *seal = NULL;
        AUTO(aead_free) struct aead *open = NULL;
        AUTO(buf_fini) struct buf ct = {0}, pt = {0};

        pair_make(&seal, &open, ALL[i]);
        assert_int_equal(aead_seal(seal, nonce, SPAN("aad"), span_str(PLAIN), &ct), 0);
        buf_append_str(&pt, "before");
        buf_reserve(&pt, 100);
        ct.data[ct.len - 1] ^= 1;
        assert_int_equal(aead_open(open, nonce, SPAN("aad"), buf_span(&ct), &pt), E_AUTH);
        assert_span(buf_span(&pt), SPAN("before"));
        /* Nor does it stay in the memory behind. */
        assert_int_equal(
            span_find(span_of(pt.data, 6 + strlen(PLAIN)), span_cut(span_str(PLAIN), 0, 4)), -1);
    }
}

static void short_input_wrong_keys_and_wrong_direction_are_refused(void **state)
{
    static const uint8_t nonce[AEAD_NONCE_LEN] = {0}, key[AEAD_KEY_MAX] = {0};
    AUTO(aead_free) struct aead *seal = NULL;
    AUTO(aead_free) struct aead *open = NULL;
    AUTO(aead_free) struct aead *none = NULL;
    AUTO(buf_fini) struct buf out = {0};

    (void)state;
    pair_make(&seal, &open, AEAD_AES_256_GCM);
    assert_int_equal(aead_open(open, nonce, SPAN(""), SPAN("123456789012345"), &out), E_AUTH);
    assert_int_equal(aead_open(seal, nonce, SPAN(""), SPAN("12345678901234567"), &out), E_INVALID);
    assert_int_equal(aead_seal(open, nonce, SPAN(""), SPAN("x"), &out), E_INVALID);
    assert_int_equal(aead_new(&none, AEAD_AES_128_GCM, SPAN_OF(key), true), E_INVALID);
    assert_int_equal(aead_new(&none, AEAD_EXPORT_ONLY, SPAN_OF(key), true), E_UNSUPPORTED);
    assert_int_equal(aead_new(&none, (enum aead_id)0, SPAN(""), true), E_UNSUPPORTED);
    assert_int_equal(out.len, 0);
}

static void the_sequence_number_is_mixed_into_the_nonces_end(void **state)
{
    static const uint8_t base[AEAD_NONCE_LEN] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    uint8_t out[AEAD_NONCE_LEN];

    (void)state;
    aead_nonce(out, base, 0);
    assert_memory_equal(out, base, sizeof(out));
    aead_nonce(out, base, 0x0203);
    assert_hex(SPAN_OF(out), "010101010101010101010302");
    aead_nonce(out, base, UINT64_MAX);
    assert_hex(SPAN_OF(out), "01010101fefefefefefefefe");
}

static void check_vector(enum aead_id id, const json_t *t)
{
    AUTO(buf_fini) struct buf key = vector_hex(t, "key"), iv = vector_hex(t, "iv");
    AUTO(buf_fini) struct buf aad = vector_hex(t, "aad"), msg = vector_hex(t, "msg");
    AUTO(buf_fini) struct buf ct = vector_hex(t, "ct"), tag = vector_hex(t, "tag");
    AUTO(buf_fini) struct buf sealed = {0}, opened = {0};
    AUTO(aead_free) struct aead *seal = NULL;
    AUTO(aead_free) struct aead *open = NULL;

    buf_append(&ct, buf_span(&tag));
    assert_int_equal(aead_new(&seal, id, buf_span(&key), true), 0);
    assert_int_equal(aead_new(&open, id, buf_span(&key), false), 0);
    if (strcmp(vector_text(t, "result"), "valid") != 0) {
        assert_int_equal(aead_open(open, iv.data, buf_span(&aad), buf_span(&ct), &opened), E_AUTH);
        return;
    }
    assert_int_equal(aead_open(open, iv.data, buf_span(&aad), buf_span(&ct), &opened), 0);
    assert_span(buf_span(&opened), buf_span(&msg));
    assert_int_equal(aead_seal(seal, iv.data, buf_span(&aad), buf_span(&msg), &sealed), 0);
    assert_span(buf_span(&sealed), buf_span(&ct));
}

static size_t check_file(const char *file, json_int_t key_bits, enum aead_id id)
{
    json_t *doc = vectors_load(file);
    const json_t *group, *t;
    size_t g, i, seen = 0;

    json_array_foreach(json_object_get(doc, "testGroups"), g, group) {
        if (json_integer_value(json_object_get(group, "ivSize")) != 8 * AEAD_NONCE_LEN ||
            json_integer_value(json_object_get(group, "tagSize")) != 8 * AEAD_TAG_LEN ||
            json_integer_value(json_object_get(group, "keySize")) != key_bits)
            continue;
        json_array_foreach(json_object_get(group, "tests"), i, t) {
            check_vector(id, t);
            seen++;
        }
    }
    json_decref(doc);
    return seen;
}

static void wycheproof_aes_gcm(void **state)
{
    (void)state;
    assert_int_equal(check_file("wycheproof/aes_gcm_test.json", 128, AEAD_AES_128_GCM), 67);
    assert_int_equal(check_file("wycheproof/aes_gcm_test.json", 256, AEAD_AES_256_GCM), 66);
}

static void wycheproof_chacha20_poly1305(void **state)
{
    (void)state;
    assert_int_equal(
        check_file("wycheproof/chacha20_poly1305_test.json", 256, AEAD_CHACHA20_POLY1305), 316);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chacha20_poly1305_gives_the_numbers_of_rfc_8439),
        cmocka_unit_test(one_context_serves_many_messages),
        cmocka_unit_test(a_wrong_tag_releases_nothing),
        cmocka_unit_test(short_input_wrong_keys_and_wrong_direction_are_refused),
        cmocka_unit_test(the_sequence_number_is_mixed_into_the_nonces_end),
        cmocka_unit_test(wycheproof_aes_gcm),
        cmocka_unit_test(wycheproof_chacha20_poly1305),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
