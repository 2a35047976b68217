/* Quotes as bytes: offsets of all three layouts, and lengths that lie. */
#include "tests/unit/lib/attest/dev_evidence.h"

#include <stdlib.h>

enum { V4_AUTH = 632, V4_OUTER = 764, V4_QE_AUTH_LEN = 1218, V4_INNER = 1252, V5_AUTH_TD15 = 702 };

static struct buf quote_make(enum devtee_form form)
{
    static const uint8_t seed[DEVTEE_SEED_LEN] = {7}, report_data[DEVTEE_REPORT_DATA_LEN] = {8};
    AUTO(devtee_issuer_free) struct devtee_issuer *issuer = devtee_issuer_new(seed, "test");
    const struct devtee_faults faults = {.form = form};
    struct buf out = {0};

    devtee_quote(issuer, &faults, report_data, &out);
    return out;
}

static enum attest_reason parse(const struct buf *bytes)
{
    struct quote quote;

    return quote_parse(&quote, buf_span(bytes));
}

static size_t offset(const struct buf *bytes, const uint8_t *p)
{
    return (size_t)(p - bytes->data);
}

static void version_4_has_the_published_offsets(void **state)
{
    AUTO(buf_fini) struct buf bytes = quote_make(DEVTEE_V4);
    struct quote q;

    (void)state;
    assert_int_equal(quote_parse(&q, buf_span(&bytes)), ATTEST_OK);
    assert_int_equal(q.version, 4);
    assert_false(q.td15);
    assert_null(q.tee_tcb_svn_2);
    assert_int_equal(q.signed_bytes.len, V4_AUTH);
    assert_int_equal(offset(&bytes, q.tee_tcb_svn), 48);
    assert_int_equal(offset(&bytes, q.mrseam), 64);
    assert_int_equal(offset(&bytes, q.mrsignerseam), 112);
    assert_int_equal(offset(&bytes, q.mrtd), 184);
    assert_int_equal(offset(&bytes, q.mrconfigid), 232);
    assert_int_equal(offset(&bytes, q.mrowner), 280);
    assert_int_equal(offset(&bytes, q.mrownerconfig), 328);
    assert_int_equal(offset(&bytes, q.rtmr[0]), 376);
    assert_int_equal(offset(&bytes, q.rtmr[3]), 520);
    assert_int_equal(offset(&bytes, q.report_data), 568);
    assert_int_equal(offset(&bytes, q.signature.data), 636);
    assert_int_equal(offset(&bytes, q.attestation_key.data), 700);
    assert_int_equal(offset(&bytes, q.qe_report.data), 770);
    assert_int_equal(offset(&bytes, q.qe_report_signature.data), 1154);
    assert_int_equal(offset(&bytes, q.qe_auth.data), 1220);
    assert_int_equal(q.qe_auth.len, 32);
    assert_int_equal(offset(&bytes, q.pck_pem.data), 1258);
}

static void version_5_says_which_body_it_has(void **state)
{
    AUTO(buf_fini) struct buf td10 = quote_make(DEVTEE_V5_TD10);
    AUTO(buf_fini) struct buf td15 = quote_make(DEVTEE_V5_TD15);
    AUTO(buf_fini) struct buf td15_ex = quote_make(DEVTEE_V5_TD15_EX);
    struct quote q;

    (void)state;
    assert_int_equal(quote_parse(&q, buf_span(&td10)), ATTEST_OK);
    assert_false(q.td15);
    assert_int_equal(q.signed_bytes.len, 54 + 584);
    assert_int_equal(quote_parse(&q, buf_span(&td15)), ATTEST_OK);
    assert_true(q.td15);
    assert_int_equal(q.signed_bytes.len, V5_AUTH_TD15);
    assert_int_equal(offset(&td15, q.tee_tcb_svn), 54);
    assert_int_equal(offset(&td15, q.tee_tcb_svn_2), 638);
    assert_int_equal(offset(&td15, q.mrservicetd), 654);
    assert_int_equal(offset(&td15, q.pck_pem.data), 1328);
    assert_null(q.service_td_now);
    assert_int_equal(quote_parse(&q, buf_span(&td15_ex)), ATTEST_OK);
    assert_true(q.td15);
    assert_int_equal(q.signed_bytes.len, 54 + 885);
    assert_int_equal(offset(&td15_ex, q.tee_tcb_svn_2), 638);
    assert_int_equal(offset(&td15_ex, q.init_service_td), 54 + 729);
    assert_int_equal(offset(&td15_ex, q.service_td_now), 54 + 829);
    assert_int_equal(offset(&td15_ex, q.pck_pem.data), 1328 + 237);
}

static void every_beginning_of_a_quote_is_truncated(void **state)
{
    const enum devtee_form forms[] = {DEVTEE_V4, DEVTEE_V5_TD10, DEVTEE_V5_TD15, DEVTEE_V5_TD15_EX};

    (void)state;
    for (size_t f = 0; f < 4; f++) {
        AUTO(buf_fini) struct buf bytes = quote_make(forms[f]);
        const size_t whole = bytes.len;

        for (size_t len = 0; len < whole; len++) {
            uint8_t *copy = mem_alloc(len + 1); /* so that asan sees a read behind it */
            struct quote q;

            memcpy(copy, bytes.data, len);
            assert_int_equal(quote_parse(&q, span_of(copy, len)), ATTEST_QUOTE_TRUNCATED);
            free(copy);
        }
    }
}

static void bytes_behind_a_quote_are_tolerated_up_to_the_bound(void **state)
{
    AUTO(buf_fini) struct buf bytes = quote_make(DEVTEE_V4);

    (void)state;
    while (bytes.len < QUOTE_MAX) {
        buf_byte(&bytes, 0xa5);
        if (bytes.len % 97 == 0 || bytes.len == QUOTE_MAX)
            assert_int_equal(parse(&bytes), ATTEST_OK);
    }
    buf_byte(&bytes, 0);
    assert_int_equal(parse(&bytes), ATTEST_QUOTE_FORMAT_UNSUPPORTED);
}

static void fields_that_do_not_fit_have_their_reason(void **state)
{
    static const struct {
        enum devtee_form form;
        size_t at;
        uint8_t value;
        enum attest_reason reason;
    } cases[] = {
        {DEVTEE_V4, 0, 3, ATTEST_QUOTE_FORMAT_UNSUPPORTED},
        {DEVTEE_V4, 0, 6, ATTEST_QUOTE_FORMAT_UNSUPPORTED},
        {DEVTEE_V4, 1, 1, ATTEST_QUOTE_FORMAT_UNSUPPORTED},
        {DEVTEE_V4, 2, 3, ATTEST_ATTESTATION_KEY_TYPE_UNSUPPORTED},
        {DEVTEE_V4, 3, 1, ATTEST_ATTESTATION_KEY_TYPE_UNSUPPORTED},
        {DEVTEE_V4, 4, 0, ATTEST_WRONG_TEE_TYPE},
        {DEVTEE_V4, 7, 1, ATTEST_WRONG_TEE_TYPE},
        {DEVTEE_V4, 12, 0, ATTEST_QE_VENDOR_UNKNOWN},
        {DEVTEE_V4, 27, 0, ATTEST_QE_VENDOR_UNKNOWN},
        {DEVTEE_V5_TD15, 48, 1, ATTEST_WRONG_TEE_TYPE},
        {DEVTEE_V5_TD15, 48, 2, ATTEST_QUOTE_FORMAT_UNSUPPORTED},
        {DEVTEE_V5_TD15, 48, 4, ATTEST_QUOTE_FORMAT_UNSUPPORTED},
        {DEVTEE_V5_TD15, 50, 0, ATTEST_QUOTE_FORMAT_UNSUPPORTED},
        {DEVTEE_V5_TD15_EX, 48, 3, ATTEST_QUOTE_FORMAT_UNSUPPORTED},
        {DEVTEE_V5_TD15_EX, 48, 5, ATTEST_QUOTE_FORMAT_UNSUPPORTED},
        {DEVTEE_V5_TD15_EX, 50, 0x74, ATTEST_QUOTE_FORMAT_UNSUPPORTED},
        {DEVTEE_V5_TD10, 48, 3, ATTEST_QUOTE_FORMAT_UNSUPPORTED},
        {DEVTEE_V4, V4_AUTH + 3, 0xff, ATTEST_QUOTE_TRUNCATED},
        {DEVTEE_V4, V4_AUTH + 1, 0, ATTEST_QUOTE_TRUNCATED}, /* ends inside the QE report */
        {DEVTEE_V4, V4_OUTER, 5, ATTEST_CERTIFICATION_DATA_UNSUPPORTED},
        {DEVTEE_V4, V4_OUTER + 3, 0, ATTEST_QUOTE_FORMAT_UNSUPPORTED},
        {DEVTEE_V4, V4_OUTER + 3, 0xff, ATTEST_QUOTE_TRUNCATED},
        {DEVTEE_V4, V4_QE_AUTH_LEN + 1, 0xff, ATTEST_QUOTE_TRUNCATED},
        {DEVTEE_V4, V4_INNER, 1, ATTEST_CERTIFICATION_DATA_UNSUPPORTED},
        {DEVTEE_V4, V4_INNER + 3, 0, ATTEST_QUOTE_FORMAT_UNSUPPORTED},
        {DEVTEE_V4, V4_INNER + 5, 0xff, ATTEST_QUOTE_TRUNCATED},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        AUTO(buf_fini) struct buf bytes = quote_make(cases[i].form);

        assert_int_equal(parse(&bytes), ATTEST_OK);
        bytes.data[cases[i].at] = cases[i].value;
        if (parse(&bytes) != cases[i].reason)
            fail_msg("case %zu: %s", i, attest_reason_name(parse(&bytes)));
    }
}

static void numbers_are_little_endian(void **state)
{
    AUTO(buf_fini) struct buf bytes = quote_make(DEVTEE_V4);
    struct qe_report report;
    struct quote q;

    (void)state;
    memcpy(bytes.data + 160, "\x01\x02\x03\x04\x05\x06\x07\x08", 8);
    memcpy(bytes.data + 168, "\x00\x00\x00\x10\x00\x00\x00\x80", 8);
    memcpy(bytes.data + 770 + 16, "\x78\x56\x34\x12", 4);
    memcpy(bytes.data + 770 + 256, "\x02\x01\x04\x03", 4);
    assert_int_equal(quote_parse(&q, buf_span(&bytes)), ATTEST_OK);
    assert_true(q.seam_attributes == UINT64_C(0x0807060504030201));
    assert_true(q.td_attributes == UINT64_C(0x8000000010000000));
    qe_report_read(&report, q.qe_report);
    assert_int_equal(report.miscselect, 0x12345678);
    assert_int_equal(report.isv_prod_id, 0x0102);
    assert_int_equal(report.isv_svn, 0x0304);
    assert_int_equal(offset(&bytes, report.report_data), 770 + 320);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_4_has_the_published_offsets),
        cmocka_unit_test(version_5_says_which_body_it_has),
        cmocka_unit_test(every_beginning_of_a_quote_is_truncated),
        cmocka_unit_test(bytes_behind_a_quote_are_tolerated_up_to_the_bound),
        cmocka_unit_test(fields_that_do_not_fit_have_their_reason),
        cmocka_unit_test(numbers_are_little_endian),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
