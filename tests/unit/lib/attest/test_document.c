/* Attestation documents: the binding formulas, and each reason for a refusal. */
#include "tests/unit/lib/vectors.h"

#include "attest/document.h"
#include "base/json.h"

static const uint64_t NOW = 1751328010;
static const uint8_t NONCE[ATTEST_NONCE_LEN] = {1, 2, 3};
static const uint8_t TLS[SHA256_LEN] = {9, 9};
static const struct attest_dev_policy DEV = {.accept_insecure_dev = true};

static void keyset_sample(struct buf *out, bool gpu)
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
        .gpu_nvidia = gpu,
        .gpu_count = gpu,
        .not_before = NOW - 10,
        .not_after = NOW + 3590,
    };

    memcpy(k.tls_spki, TLS, sizeof(TLS));
    keyset_write(&k, out);
}

struct asked {
    const char *tee;
    const uint8_t *nonce, *tls;
    struct span keyset, evidence, quote;
    uint64_t now;
    struct attest_dev_policy policy;
};

/* The reason of the refusal; "" when accepted. */
static const char *reason_of(const struct asked *a)
{
    AUTO(buf_fini) struct buf document = {0};
    AUTO(keyset_fini) struct keyset k = {0};
    struct attest_dev_verdict verdict = {.env = ATTEST_PRODUCTION};
    int error;

    attest_document_write(&document, a->tee, NONCE, a->keyset, a->evidence, a->quote);
    error =
        attest_dev_verify(buf_span(&document), a->nonce, a->tls, a->now, &a->policy, &k, &verdict);
    if (error == 0) {
        assert_null(verdict.reason);
        assert_int_equal(verdict.env, ATTEST_INSECURE_DEV);
        assert_span(buf_span(&k.bytes), a->keyset);
        return "";
    }
    assert_int_equal(error, E_DENIED);
    assert_non_null(verdict.reason);
    assert_int_equal(verdict.env, ATTEST_UNATTESTED);
    assert_null(k.bytes.data);
    return verdict.reason;
}

static void each_reason_is_told(void **state)
{
    static const uint8_t other[32] = {7};
    AUTO(buf_fini) struct buf keyset = {0}, gpu = {0};
    struct asked good;
    struct asked a;

    (void)state;
    keyset_sample(&keyset, false);
    keyset_sample(&gpu, true);
    good =
        (struct asked){"insecure-dev", NONCE, TLS, buf_span(&keyset), SPAN(""), SPAN(""), NOW, DEV};
    assert_string_equal(reason_of(&good), "");
    a = good, a.nonce = other;
    assert_string_equal(reason_of(&a), "nonce_mismatch");
    a = good, a.tls = other;
    assert_string_equal(reason_of(&a), "tls_key_mismatch");
    a = good, a.now = NOW + 4000;
    assert_string_equal(reason_of(&a), "keyset_expired");
    a = good, a.policy.accept_insecure_dev = false;
    assert_string_equal(reason_of(&a), "insecure_dev_refused");
    a = good, a.tee = "tdx";
    assert_string_equal(reason_of(&a), "tee_unsupported");
    a.policy.accept_insecure_dev = false, a.quote = SPAN("quote");
    assert_string_equal(reason_of(&a), "tee_unsupported");
    a = good, a.tee = "sgx";
    assert_string_equal(reason_of(&a), "tee_unsupported");
    a = good, a.quote = SPAN("q");
    assert_string_equal(reason_of(&a), "quote_not_empty");
    a = good, a.evidence = SPAN("e");
    assert_string_equal(reason_of(&a), "evidence_not_empty");
    a = good, a.keyset = SPAN("{}");
    assert_string_equal(reason_of(&a), "bad_keyset");
    a = good, a.keyset = buf_span(&gpu);
    assert_string_equal(reason_of(&a), "gpu_without_evidence");
}

static int verify_raw(struct span document)
{
    AUTO(keyset_fini) struct keyset k = {0};
    struct attest_dev_verdict verdict;
    int error = attest_dev_verify(document, NONCE, TLS, NOW, &DEV, &k, &verdict);

    if (error < 0)
        assert_string_equal(verdict.reason, "bad_document");
    return error;
}

static void a_broken_document_is_bad(void **state)
{
    static const char *const NAMES[] = {"format",          "tee",  "nonce", "keyset",
                                        "device_evidence", "quote"};
    AUTO(buf_fini) struct buf keyset = {0}, document = {0}, edited = {0};

    (void)state;
    keyset_sample(&keyset, false);
    attest_document_write(&document, "insecure-dev", NONCE, buf_span(&keyset), SPAN(""), SPAN(""));
    assert_int_equal(verify_raw(buf_span(&document)), 0);
    for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++) {
        const struct json_edit drop = {NAMES[i], {0}}, number = {NAMES[i], SPAN("1")};
        const struct json_edit text = {NAMES[i], SPAN("\"?\"")};

        buf_clear(&edited);
        assert_int_equal(json_splice(buf_span(&document), &drop, 1, &edited), 0);
        assert_int_equal(verify_raw(buf_span(&edited)), E_DENIED);
        buf_clear(&edited);
        assert_int_equal(json_splice(buf_span(&document), &number, 1, &edited), 0);
        assert_int_equal(verify_raw(buf_span(&edited)), E_DENIED);
        if (strcmp(NAMES[i], "tee") == 0)
            continue; /* any text is a tee, if not one we know */
        buf_clear(&edited);
        assert_int_equal(json_splice(buf_span(&document), &text, 1, &edited), 0);
        assert_int_equal(verify_raw(buf_span(&edited)), E_DENIED);
    }
    for (size_t len = 0; len < document.len; len++)
        assert_int_equal(verify_raw(span_cut(buf_span(&document), 0, len)), E_DENIED);
}

static void a_document_over_its_bound_is_bad(void **state)
{
    AUTO(buf_fini) struct buf keyset = {0}, document = {0};

    (void)state;
    keyset_sample(&keyset, false);
    attest_document_write(&document, "insecure-dev", NONCE, buf_span(&keyset), SPAN(""), SPAN(""));
    while (document.len < ATTEST_MAX_DOCUMENT)
        buf_byte(&document, ' ');
    assert_int_equal(verify_raw(buf_span(&document)), 0);
    buf_byte(&document, ' ');
    assert_int_equal(verify_raw(buf_span(&document)), E_DENIED);
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
        cmocka_unit_test(each_reason_is_told),
        cmocka_unit_test(a_broken_document_is_bad),
        cmocka_unit_test(a_document_over_its_bound_is_bad),
        cmocka_unit_test(report_data_and_gpu_nonce_are_as_in_the_vectors),
        cmocka_unit_test(environments_have_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
