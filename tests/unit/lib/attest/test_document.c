/* Attestation documents: the binding formulas, and what is read back. */
#include "tests/unit/lib/vectors.h"

#include "attest/document_read.h"
#include "base/json.h"

static const uint64_t NOW = 1751328010;
static const uint8_t NONCE[ATTEST_NONCE_LEN] = {1, 2, 3};
static const uint8_t TLS[SHA256_LEN] = {9, 9};

static void keyset_sample(struct buf *out)
{
    static const uint8_t config[KEYSET_HPKE_LEN] = {7, 0, 0x20};
    struct keyset k = {
        .worker_id = "w-1",
        .payout = "0:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
        .hpke = {SPAN_OF(config)},
        .hpke_count = 1,
        .models = {SPAN("m")},
        .model_count = 1,
        .model_digest =
            SPAN("sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"),
        .config_sha256 = SPAN("00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"),
        .engine = SPAN("fake 1"),
        .not_before = NOW - 10,
        .not_after = NOW + 3590,
    };

    memcpy(k.tls_spki, TLS, sizeof(TLS));
    keyset_write(&k, out);
}

static int read_raw(struct span document)
{
    AUTO(attest_document_fini) struct attest_document d = {0};

    return attest_document_read(&d, document);
}

static void a_document_is_read_as_it_was_written(void **state)
{
    AUTO(attest_document_fini) struct attest_document d = {0};
    AUTO(buf_fini) struct buf document = {0};

    (void)state;
    attest_document_write(&document, "tdx", NONCE, SPAN("keys"), SPAN("gpu"), SPAN("quote"));
    assert_int_equal(attest_document_read(&d, buf_span(&document)), 0);
    assert_true(span_is(d.tee, "tdx"));
    assert_memory_equal(d.nonce, NONCE, sizeof(NONCE));
    assert_span(buf_span(&d.keyset), SPAN("keys"));
    assert_span(buf_span(&d.device_evidence), SPAN("gpu"));
    assert_span(buf_span(&d.quote), SPAN("quote"));
}

static void a_broken_document_is_bad(void **state)
{
    static const char *const NAMES[] = {"format",          "tee",  "nonce", "keyset",
                                        "device_evidence", "quote"};
    AUTO(buf_fini) struct buf keyset = {0}, document = {0}, edited = {0};

    (void)state;
    keyset_sample(&keyset);
    attest_document_write(&document, "insecure-dev", NONCE, buf_span(&keyset), SPAN(""), SPAN(""));
    assert_int_equal(read_raw(buf_span(&document)), 0);
    for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++) {
        const struct json_edit drop = {NAMES[i], {0}}, number = {NAMES[i], SPAN("1")};
        const struct json_edit text = {NAMES[i], SPAN("\"?\"")};

        buf_clear(&edited);
        assert_int_equal(json_splice(buf_span(&document), &drop, 1, &edited), 0);
        assert_true(read_raw(buf_span(&edited)) < 0);
        buf_clear(&edited);
        assert_int_equal(json_splice(buf_span(&document), &number, 1, &edited), 0);
        assert_true(read_raw(buf_span(&edited)) < 0);
        if (strcmp(NAMES[i], "tee") == 0)
            continue; /* any text is a tee, if not one we know */
        buf_clear(&edited);
        assert_int_equal(json_splice(buf_span(&document), &text, 1, &edited), 0);
        assert_true(read_raw(buf_span(&edited)) < 0);
    }
    for (size_t len = 0; len < document.len; len++)
        assert_true(read_raw(span_cut(buf_span(&document), 0, len)) < 0);
}

static void a_document_over_its_bound_is_bad(void **state)
{
    AUTO(buf_fini) struct buf keyset = {0}, document = {0};

    (void)state;
    keyset_sample(&keyset);
    attest_document_write(&document, "insecure-dev", NONCE, buf_span(&keyset), SPAN(""), SPAN(""));
    while (document.len < ATTEST_MAX_DOCUMENT)
        buf_byte(&document, ' ');
    assert_int_equal(read_raw(buf_span(&document)), 0);
    buf_byte(&document, ' ');
    assert_true(read_raw(buf_span(&document)) < 0);
}

static void report_data_and_gpu_nonce_are_as_in_the_vectors(void **state)
{
    json_t *v = vectors_load("proposed/report_data.json");
    AUTO(buf_fini) struct buf nonce = vector_hex(v, "nonce");
    struct span keyset = span_str(vector_text(v, "keyset_bytes_utf8"));
    struct span evidence = span_str(vector_text(v, "gpu_evidence_bytes_utf8"));
    uint8_t digest[SHA256_LEN], data[64], gpu[32];

    (void)state;
    sha256(digest, keyset);
    assert_hex(SPAN_OF(digest), vector_text(v, "keyset_sha256"));
    attest_gpu_nonce(gpu, nonce.data, keyset);
    assert_hex(SPAN_OF(gpu), vector_text(v, "gpu_nonce"));
    attest_report_data(data, nonce.data, keyset, evidence);
    assert_hex(SPAN_OF(data), vector_text(v, "report_data"));
    attest_report_data(data, nonce.data, keyset, SPAN(""));
    assert_hex(SPAN_OF(data), vector_text(v, "report_data_no_gpu"));
    json_decref(v);
}

static void environments_have_names(void **state)
{
    (void)state;
    assert_string_equal(attest_env_name(ATTEST_PRODUCTION), "production");
    assert_string_equal(attest_env_name(ATTEST_INSECURE_DEV), "insecure-dev");
    assert_string_equal(attest_env_name(ATTEST_UNATTESTED), "unattested");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_document_is_read_as_it_was_written),
        cmocka_unit_test(a_broken_document_is_bad),
        cmocka_unit_test(a_document_over_its_bound_is_bad),
        cmocka_unit_test(report_data_and_gpu_nonce_are_as_in_the_vectors),
        cmocka_unit_test(environments_have_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
