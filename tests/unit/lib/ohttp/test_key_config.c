/* Key configurations: RFC 9458's own, ours, and broken ones. */
#include "tests/unit/lib/vectors.h"

#include "ohttp/key_config.h"

static const uint8_t PUBLIC[HPKE_KEY_LEN] = {0xAA, 0xBB};

static void what_is_made_is_parsed(void **state)
{
    uint8_t bytes[KEY_CONFIG_LEN], kfp[SHA256_LEN];
    struct key_config config;

    (void)state;
    key_config_make(bytes, 200, PUBLIC);
    assert_hex(span_of(bytes, 3), "c80020");
    assert_hex(span_of(bytes + 35, 10), "00080001000200010003");
    assert_int_equal(key_config_parse(&config, SPAN_OF(bytes)), 0);
    assert_int_equal(config.key_id, 200);
    assert_memory_equal(config.public_key, PUBLIC, HPKE_KEY_LEN);
    assert_true(config.aes_256_gcm && config.chacha20_poly1305);
    sha256(kfp, SPAN_OF(bytes));
    assert_memory_equal(config.kfp, kfp, KFP_LEN);
}

static void suites_offered_are_those_listed(void **state)
{
    AUTO(buf_fini) struct buf bytes = {0};
    struct key_config config;
    uint8_t made[KEY_CONFIG_LEN];

    (void)state;
    key_config_make(made, 1, PUBLIC);
    buf_append(&bytes, span_of(made, 35));
    /* HKDF-SHA-512 with AES-256, ours with AES-128, ours with ChaCha20. */
    buf_append(&bytes, SPAN("\x00\x0c\x00\x03\x00\x02\x00\x01\x00\x01\x00\x01\x00\x03"));
    assert_int_equal(key_config_parse(&config, buf_span(&bytes)), 0);
    assert_false(config.aes_256_gcm);
    assert_true(key_config_offers(&config, 0x20, 1, 3));
    assert_false(key_config_offers(&config, 0x20, 1, 2));
    assert_false(key_config_offers(&config, 0x20, 1, 1));
    assert_false(key_config_offers(&config, 0x20, 3, 3));
    assert_false(key_config_offers(&config, 0x10, 1, 3));
    bytes.len -= 4;
    bytes.data[36] = 8; /* now without ChaCha20: nothing that we speak */
    assert_int_equal(key_config_parse(&config, buf_span(&bytes)), E_UNSUPPORTED);
}

static void broken_configurations_are_refused(void **state)
{
    uint8_t bytes[KEY_CONFIG_LEN + 1] = {0};
    struct key_config config;

    (void)state;
    key_config_make(bytes, 1, PUBLIC);
    for (size_t len = 0; len < KEY_CONFIG_LEN; len++)
        assert_int_equal(key_config_parse(&config, span_of(bytes, len)), E_INVALID);
    assert_int_equal(key_config_parse(&config, SPAN_OF(bytes)), E_INVALID); /* one too many */
    bytes[36] = 9;
    assert_int_equal(key_config_parse(&config, SPAN_OF(bytes)), E_INVALID); /* not suites of 4 */
    bytes[36] = 0;
    assert_int_equal(key_config_parse(&config, span_of(bytes, 37)), E_INVALID); /* none */
    bytes[2] = 0x10;
    assert_int_equal(key_config_parse(&config, span_of(bytes, KEY_CONFIG_LEN)), E_UNSUPPORTED);
}

static void a_document_is_walked(void **state)
{
    AUTO(buf_fini) struct buf document = {0};
    uint8_t bytes[KEY_CONFIG_LEN];
    struct span config;
    size_t at = 0, seen = 0;

    (void)state;
    for (uint8_t id = 0; id < 3; id++) {
        key_config_make(bytes, id, PUBLIC);
        key_config_append(&document, SPAN_OF(bytes));
    }
    assert_int_equal(document.len, 3 * (2 + KEY_CONFIG_LEN));
    for (; key_config_next(buf_span(&document), &at, &config) == 0; seen++) {
        assert_int_equal(config.len, KEY_CONFIG_LEN);
        assert_int_equal(config.data[0], seen);
    }
    assert_int_equal(seen, 3);
    assert_int_equal(key_config_next(buf_span(&document), &at, &config), E_NOT_FOUND);
    at = 2 * (2 + KEY_CONFIG_LEN);
    document.len--;
    assert_int_equal(key_config_next(buf_span(&document), &at, &config), E_INVALID);
    document.len = at + 1;
    assert_int_equal(key_config_next(buf_span(&document), &at, &config), E_INVALID);
}

static void of_rfc_9458s_two_suites_one_is_ours(void **state)
{
    json_t *v = vectors_load("ohttp/rfc9458_appendix_a.json");
    AUTO(buf_fini) struct buf document = vector_hex(v, "application_ohttp_keys_hex");
    struct key_config parsed;
    struct span config;
    size_t at = 0;

    (void)state;
    assert_int_equal(key_config_next(buf_span(&document), &at, &config), 0);
    assert_hex(config, vector_text(v, "key_config"));
    assert_int_equal(key_config_next(buf_span(&document), &at, &config), E_NOT_FOUND);
    assert_int_equal(key_config_parse(&parsed, config), 0);
    assert_int_equal(parsed.key_id, 1);
    assert_hex(SPAN_OF(parsed.public_key), vector_text(v, "pkR"));
    assert_true(parsed.chacha20_poly1305);
    assert_false(parsed.aes_256_gcm); /* the other one is AES-128-GCM */
    json_decref(v);
}

static void the_fingerprint_is_that_of_the_vectors(void **state)
{
    json_t *v = vectors_load("proposed/report_data.json");
    AUTO(buf_fini) struct buf config = vector_hex(v, "key_config");
    struct key_config parsed;

    (void)state;
    assert_int_equal(key_config_parse(&parsed, buf_span(&config)), 0);
    assert_hex(SPAN_OF(parsed.kfp), vector_text(v, "key_fingerprint_sha256_of_key_config"));
    json_decref(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_made_is_parsed),
        cmocka_unit_test(suites_offered_are_those_listed),
        cmocka_unit_test(broken_configurations_are_refused),
        cmocka_unit_test(a_document_is_walked),
        cmocka_unit_test(of_rfc_9458s_two_suites_one_is_ours),
        cmocka_unit_test(the_fingerprint_is_that_of_the_vectors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
