/* Every named fault against the verifier: refused for its own reason and for no other. */
#include "tests/unit/lib/vectors.h"

#include "attest/tdx.h"
#include "devtee/issuer.h"

static const uint8_t SEED[DEVTEE_SEED_LEN] = {4, 5, 6};
static const uint8_t REPORT_DATA[DEVTEE_REPORT_DATA_LEN] = {1};
static const uint64_t NOW = UINT64_C(1790000000);

/* What the policy judges passes the steps before it. */
static bool is_of_policy(enum attest_reason reason)
{
    switch (reason) {
    case ATTEST_OK:
    case ATTEST_POLICY_TCB_STATUS:
    case ATTEST_POLICY_TD_ATTRIBUTES:
    case ATTEST_POLICY_MEASUREMENT:
    case ATTEST_REPORT_DATA_MISMATCH:
        return true;
    default:
        return false;
    }
}

static enum attest_reason judge(const struct devtee_faults *faults, struct attest_verdict *v)
{
    AUTO(devtee_issuer_free) struct devtee_issuer *issuer = devtee_issuer_new(SEED, "b");
    AUTO(collateral_fini) struct collateral collateral = {0};
    AUTO(buf_fini) struct buf bytes = {0}, pem = {0};
    AUTO(x509_cert_free) struct x509_cert *root = NULL;
    struct quote quote;

    devtee_root(issuer, &pem);
    assert_int_equal(x509_cert_read(&root, buf_span(&pem)), 0);
    devtee_collateral(issuer, faults, &collateral);
    devtee_quote(issuer, faults, REPORT_DATA, &bytes);
    const enum attest_reason form = quote_parse(&quote, buf_span(&bytes));
    if (form != ATTEST_OK)
        return form;
    const struct tdx_input in = {.quote = &quote,
                                 .collateral = &collateral,
                                 .root = root,
                                 .min_evaluation = DEVTEE_EVALUATION,
                                 .now_s = NOW};
    const int error = tdx_verify(&in, v);
    assert_int_equal(error, v->reason == ATTEST_OK ? 0 : E_DENIED);
    return v->reason;
}

static void without_faults_all_is_well(void **state)
{
    struct attest_verdict v = {0};

    (void)state;
    assert_int_equal(judge(NULL, &v), ATTEST_OK);
    assert_int_equal(v.status, TCB_UP_TO_DATE);
    assert_int_equal(v.qe_evaluation, DEVTEE_EVALUATION);
    assert_int_equal(v.advisory_count, 0);
    assert_memory_equal(v.fmspc, "\x00\xde\xc0\xde\x00\x00", 6);
}

static void each_fault_is_refused_for_its_reason(void **state)
{
    unsigned wrong = 0;

    (void)state;
    for (const struct devtee_fault *it = devtee_fault_table; it->name; it++) {
        struct devtee_faults faults = {0};
        struct attest_verdict v = {0};

        it->set(&faults);
        const enum attest_reason reason = judge(&faults, &v);
        const enum attest_reason expected = is_of_policy(it->reason) ? ATTEST_OK : it->reason;
        const bool right = reason == expected && (it->status == TCB_NONE || v.status == it->status);
        wrong += !right;
        if (!right)
            print_message("%s: %s %s, expected %s %s (%s)\n", it->name, attest_reason_name(reason),
                          tcb_status_name(v.status), attest_reason_name(expected),
                          tcb_status_name(it->status), v.detail);
    }
    assert_int_equal(wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_faults_all_is_well),
        cmocka_unit_test(each_fault_is_refused_for_its_reason),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
