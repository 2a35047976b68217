/* Verification of quotes by steps, on dev evidence: each reason is reached, fails its step alone,
 * and caching changes no verdict. */
#include "tests/unit/lib/attest/dev_evidence.h"

#include <pthread.h>

enum { BODY_SVN = 0, BODY_SVN_2 = 584 };

static void set_svn(struct devtee_faults *f, size_t at, uint8_t a, uint8_t major, uint8_t c)
{
    f->body.items[f->body.count++] = (struct devtee_patch){at, 3, {a, major, c}};
}

static void edit_tcb_info(struct devtee_faults *f, const char *from, const char *to)
{
    f->tcb_info.items[f->tcb_info.count++] = (struct devtee_edit){from, to};
}

static enum attest_reason judge(const struct devtee_faults *f, struct attest_verdict *v)
{
    AUTO(dev_evidence_fini) struct dev_evidence e;
    struct tdx_input in;

    dev_evidence_make(&e, f);
    in = dev_input(&e);
    return dev_verify(&in, v);
}

/* ---- Reasons and steps ---- */

/* Steps before the one that failed have passed, those behind it were not taken. */
static void assert_fails_alone(const char *name, const struct attest_verdict *v)
{
    enum attest_step step = ATTEST_STEP_QUOTE;

    while (step <= ATTEST_STEP_TCB_LEVEL && v->steps[step] == ATTEST_PASSED)
        step++;
    if (step > ATTEST_STEP_TCB_LEVEL || v->steps[step] != ATTEST_FAILED)
        fail_msg("%s: step %d is not the one that failed", name, (int)step);
    for (step++; step < ATTEST_STEPS; step++)
        assert_int_equal(v->steps[step], ATTEST_NOT_REACHED);
    assert_int_equal(v->env, ATTEST_UNATTESTED);
}

static enum attest_reason judge_fault(const struct devtee_fault *fault)
{
    static const uint8_t seed[DEVTEE_SEED_LEN] = {7}, report_data[DEVTEE_REPORT_DATA_LEN] = {8};
    AUTO(devtee_issuer_free) struct devtee_issuer *issuer = devtee_issuer_new(seed, "test");
    AUTO(buf_fini) struct buf bytes = {0};
    struct devtee_faults f = {0};
    struct attest_verdict v;
    struct quote quote;
    enum attest_reason reason;

    fault->set(&f);
    devtee_quote(issuer, &f, report_data, &bytes);
    reason = quote_parse(&quote, buf_span(&bytes));
    if (reason != ATTEST_OK)
        return reason;
    reason = judge(&f, &v);
    if (reason != ATTEST_OK)
        assert_fails_alone(fault->name, &v);
    return reason;
}

static void every_reason_of_these_steps_is_reached(void **state)
{
    bool reached[ATTEST_REASONS] = {[ATTEST_COLLATERAL_MISSING] = true, // tests of their own
                                    [ATTEST_COLLATERAL_INVALID] = true};

    (void)state;
    for (const struct devtee_fault *it = devtee_fault_table; it->name; it++)
        reached[judge_fault(it)] = true;
    for (int i = ATTEST_QUOTE_TRUNCATED; i <= ATTEST_TCB_REVOKED; i++)
        if (!reached[i])
            fail_msg("%s", attest_reason_name((enum attest_reason)i));
}

static void collateral_that_is_not_there_is_missing(void **state)
{
    AUTO(dev_evidence_fini) struct dev_evidence e;
    const struct collateral empty = {0};
    struct attest_verdict v;
    struct tdx_input in;

    (void)state;
    dev_evidence_make(&e, NULL);
    in = dev_input(&e);
    in.collateral = NULL;
    assert_int_equal(dev_verify(&in, &v), ATTEST_COLLATERAL_MISSING);
    in.collateral = &empty;
    assert_int_equal(dev_verify(&in, &v), ATTEST_COLLATERAL_MISSING);
    assert_fails_alone("empty", &v);
    in.collateral = &e.collateral;
    buf_fini(&e.collateral.qe_identity_chain);
    assert_int_equal(dev_verify(&in, &v), ATTEST_COLLATERAL_INVALID);
    assert_fails_alone("partial", &v);
}

static void lists_that_are_no_lists_are_refused(void **state)
{
    struct attest_verdict v;

    (void)state;
    for (int i = 0; i < 2; i++) {
        AUTO(dev_evidence_fini) struct dev_evidence e;
        struct tdx_input in;

        dev_evidence_make(&e, NULL);
        in = dev_input(&e);
        (i == 0 ? &e.collateral.pck_crl : &e.collateral.root_crl)->data[0] ^= 1;
        assert_int_equal(dev_verify(&in, &v),
                         i == 0 ? ATTEST_PCK_CRL_INVALID : ATTEST_ROOT_CRL_INVALID);
    }
}

static void the_lists_cannot_stand_in_for_each_other(void **state)
{
    AUTO(dev_evidence_fini) struct dev_evidence e;
    struct attest_verdict v;
    struct tdx_input in;

    (void)state;
    dev_evidence_make(&e, NULL);
    in = dev_input(&e);
    buf_clear(&e.collateral.root_crl);
    buf_append(&e.collateral.root_crl, buf_span(&e.collateral.pck_crl));
    assert_int_equal(dev_verify(&in, &v), ATTEST_ROOT_CRL_INVALID);
}

static void dev_evidence_is_nothing_to_intel_s_root(void **state)
{
    AUTO(dev_evidence_fini) struct dev_evidence e;
    AUTO(x509_cert_free) struct x509_cert *intel = tdx_intel_root();
    struct attest_verdict v;
    struct tdx_input in;

    (void)state;
    dev_evidence_make(&e, NULL);
    in = dev_input(&e);
    in.root = intel;
    assert_int_equal(dev_verify(&in, &v), ATTEST_ROOT_CA_UNTRUSTED);
    assert_true(tdx_root_is_intel(intel) && !tdx_root_is_intel(e.root));
    assert_true(x509_cert_subject_is(intel, "Intel SGX Root CA"));
}

/* ---- Times ---- */

static void first_and_last_second_count_in(void **state)
{
    AUTO(dev_evidence_fini) struct dev_evidence e;
    struct attest_verdict v;
    struct tdx_input in;

    (void)state;
    dev_evidence_make(&e, NULL);
    in = dev_input(&e);
    in.now_s = DEVTEE_NOT_BEFORE;
    assert_int_equal(dev_verify(&in, &v), ATTEST_OK);
    in.now_s = DEVTEE_NOT_AFTER;
    assert_int_equal(dev_verify(&in, &v), ATTEST_OK);
    assert_true(v.collateral_until == DEVTEE_NOT_AFTER && v.valid_until == DEVTEE_NOT_AFTER);
    in.now_s = DEVTEE_NOT_BEFORE - 1;
    assert_int_equal(dev_verify(&in, &v), ATTEST_PCK_CRL_EXPIRED);
    in.now_s = DEVTEE_NOT_AFTER + 1;
    assert_int_equal(dev_verify(&in, &v), ATTEST_PCK_CRL_EXPIRED);
    assert_int_equal(v.collateral_until, 0);
}

static void the_first_end_limits_the_verdict(void **state)
{
    struct devtee_faults f = {0};
    struct attest_verdict v;

    (void)state;
    edit_tcb_info(&f, "\"nextUpdate\":\"2045-01-01", "\"nextUpdate\":\"2027-01-01");
    assert_int_equal(judge(&f, &v), ATTEST_OK);
    assert_int_equal(v.collateral_until, 1798761600);
    assert_int_equal(v.valid_until, 1798761600);
}

static void odd_dates_are_no_dates(void **state)
{
    static const char *const bad[] = {"2045-01-01T00:00:00",   "2045-13-01T00:00:00Z",
                                      "2045-02-30T00:00:00Z",  "2045-01-01T24:00:00Z",
                                      "2045-01-01 00:00:00Z",  "2045-01-01T00:00:60Z",
                                      "2045-01-01T00:00:00ZZ", "+045-01-01T00:00:00Z"};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct devtee_faults f = {0};
        struct attest_verdict v;

        edit_tcb_info(&f, "2045-01-01T00:00:00Z", bad[i]);
        if (judge(&f, &v) != ATTEST_TCB_INFO_INVALID)
            fail_msg("%s", bad[i]);
    }
}

/* ---- Floor ---- */

static void collateral_below_the_floor_is_an_old_one(void **state)
{
    AUTO(dev_evidence_fini) struct dev_evidence e;
    AUTO(collateral_cache_free) struct collateral_cache *cache = collateral_cache_new(2);
    struct attest_floor floor = {0};
    struct attest_verdict v, newer = {.tcb_evaluation = DEVTEE_EVALUATION};
    struct tdx_input in;

    (void)state;
    dev_evidence_make(&e, NULL);
    in = dev_input(&e);
    in.floor = &floor;
    in.cache = cache;
    in.min_evaluation = 0;
    memcpy(newer.fmspc, "\x00\xde\xc0\xde\x00\x00", 6);
    attest_floor_raise(&floor, &newer);
    assert_int_equal(dev_verify(&in, &v), ATTEST_OK); /* as high as the floor; cached now */
    newer.tcb_evaluation++;
    attest_floor_raise(&floor, &newer);
    assert_int_equal(dev_verify(&in, &v), ATTEST_TCB_EVAL_DATA_NUMBER_TOO_LOW);
    assert_fails_alone("tcb", &v);
    floor = (struct attest_floor){.qe = DEVTEE_EVALUATION + 1};
    assert_int_equal(dev_verify(&in, &v), ATTEST_TCB_EVAL_DATA_NUMBER_TOO_LOW);
    assert_int_equal(v.steps[ATTEST_STEP_QE_IDENTITY], ATTEST_FAILED);
    in.floor = NULL;
    in.min_evaluation = DEVTEE_EVALUATION + 1;
    assert_int_equal(dev_verify(&in, &v), ATTEST_TCB_EVAL_DATA_NUMBER_TOO_LOW);
}

/* ---- Levels ---- */

static void a_module_s_version_is_judged_by_its_identity_alone(void **state)
{
    struct devtee_faults old_module = {0}, major_0 = {0}, naive = {0};
    struct attest_verdict v;

    (void)state;
    set_svn(&old_module, BODY_SVN, 4, 1, 2); /* the newest level has 5, 0, 2 */
    assert_int_equal(judge(&old_module, &v), ATTEST_OK);
    assert_int_equal(v.platform_status, TCB_UP_TO_DATE);
    assert_int_equal(v.module_status, TCB_OUT_OF_DATE);
    assert_int_equal(v.status, TCB_OUT_OF_DATE);
    assert_int_equal(v.advisory_count, 1);
    set_svn(&major_0, BODY_SVN, 4, 0, 2); /* here it is a component like others */
    assert_int_equal(judge(&major_0, &v), ATTEST_OK);
    assert_int_equal(v.platform_status, TCB_OUT_OF_DATE);
    assert_int_equal(v.module_status, TCB_NONE);
    set_svn(&naive, BODY_SVN, 3, 3, 2); /* below all levels' first component, newest TDX_03 */
    assert_int_equal(judge(&naive, &v), ATTEST_OK);
    assert_int_equal(v.status, TCB_UP_TO_DATE);
}

static void what_lacks_for_the_lowest_level_is_said(void **state)
{
    struct devtee_faults cpu = {.pck_level = 3}, tdx = {0};
    struct attest_verdict v;

    (void)state;
    assert_int_equal(judge(&cpu, &v), ATTEST_TCB_NOT_SUPPORTED);
    assert_string_equal(v.detail, "SGX component 1 is 0, the lowest level needs 1");
    set_svn(&tdx, BODY_SVN, 6, 1, 0);
    assert_int_equal(judge(&tdx, &v), ATTEST_TCB_NOT_SUPPORTED);
    assert_string_equal(v.detail, "TDX component 3 is 0, the lowest level needs 1");
    assert_int_equal(v.platform_status, TCB_NOT_SUPPORTED);
}

static void advisories_are_told_once(void **state)
{
    struct devtee_faults f = {.pck_level = 1};
    struct attest_verdict v;

    (void)state;
    set_svn(&f, BODY_SVN, 4, 1, 1);
    assert_int_equal(judge(&f, &v), ATTEST_OK);
    assert_int_equal(v.advisory_count, 2);
    assert_string_equal(v.advisories[0], "DEV-SA-00002"); /* the module's */
    assert_string_equal(v.advisories[1], "DEV-SA-00001");
}

static void statuses_combine_to_the_worse(void **state)
{
    static const struct {
        const char *platform;
        uint8_t module_svn; /* 6: newest, 4: out of date */
        enum tcb_status status;
    } cases[] = {
        {"UpToDate", 6, TCB_UP_TO_DATE},
        {"UpToDate", 4, TCB_OUT_OF_DATE},
        {"SWHardeningNeeded", 4, TCB_OUT_OF_DATE},
        {"ConfigurationNeeded", 6, TCB_CONFIGURATION_NEEDED},
        {"ConfigurationNeeded", 4, TCB_OUT_OF_DATE_CONFIGURATION_NEEDED},
        {"ConfigurationAndSWHardeningNeeded", 4, TCB_OUT_OF_DATE_CONFIGURATION_NEEDED},
        {"OutOfDate", 4, TCB_OUT_OF_DATE},
        {"OutOfDateConfigurationNeeded", 6, TCB_OUT_OF_DATE_CONFIGURATION_NEEDED},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct devtee_faults f = {0};
        struct attest_verdict v;
        char to[128];

        snprintf(to, sizeof(to), "\"2025-03-12T00:00:00Z\",\"tcbStatus\":\"%s\"",
                 cases[i].platform);
        edit_tcb_info(&f, "\"2025-03-12T00:00:00Z\",\"tcbStatus\":\"UpToDate\"", to);
        set_svn(&f, BODY_SVN, cases[i].module_svn, 1, 2);
        assert_int_equal(judge(&f, &v), ATTEST_OK);
        if (v.status != cases[i].status)
            fail_msg("case %zu: %s", i, tcb_status_name(v.status));
    }
}

static void a_relaunch_is_advised_only_when_it_would_help(void **state)
{
    static const struct {
        enum devtee_form form;
        uint8_t svn[3], svn_2[3];
        unsigned pck_level;
        bool qe_old;
        enum tcb_status status;
    } cases[] = {
        {DEVTEE_V5_TD15, {4, 1, 2}, {6, 1, 2}, 0, false, TCB_TD_RELAUNCH_ADVISED},
        {DEVTEE_V5_TD15, {4, 1, 1}, {6, 1, 2}, 0, false, TCB_TD_RELAUNCH_ADVISED},
        {DEVTEE_V5_TD15, {4, 1, 1}, {3, 3, 2}, 0, false, TCB_TD_RELAUNCH_ADVISED},
        {DEVTEE_V5_TD15, {4, 1, 1}, {5, 0, 2}, 0, false, TCB_TD_RELAUNCH_ADVISED},
        /* The running module is not the newest. */
        {DEVTEE_V5_TD15, {4, 1, 1}, {5, 1, 2}, 0, false, TCB_OUT_OF_DATE},
        {DEVTEE_V5_TD15, {4, 1, 1}, {6, 1, 1}, 0, false, TCB_OUT_OF_DATE},
        {DEVTEE_V5_TD15, {4, 1, 1}, {4, 0, 2}, 0, false, TCB_OUT_OF_DATE},
        /* A restart changes neither CPU nor quoting enclave. */
        {DEVTEE_V5_TD15, {4, 1, 1}, {6, 1, 2}, 1, false, TCB_OUT_OF_DATE},
        {DEVTEE_V5_TD15, {4, 1, 1}, {6, 1, 2}, 0, true, TCB_OUT_OF_DATE},
        /* The module is good, or the quote cannot say. */
        {DEVTEE_V5_TD15, {6, 1, 1}, {6, 1, 2}, 0, false, TCB_OUT_OF_DATE},
        {DEVTEE_V5_TD15, {6, 1, 2}, {6, 1, 2}, 0, false, TCB_UP_TO_DATE},
        {DEVTEE_V5_TD10, {4, 1, 1}, {0}, 0, false, TCB_OUT_OF_DATE},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct devtee_faults f = {.form = cases[i].form, .pck_level = cases[i].pck_level};
        struct attest_verdict v;
        const uint8_t *a = cases[i].svn, *b = cases[i].svn_2;

        set_svn(&f, BODY_SVN, a[0], a[1], a[2]);
        if (f.form == DEVTEE_V5_TD15)
            set_svn(&f, BODY_SVN_2, b[0], b[1], b[2]);
        if (cases[i].qe_old)
            f.qe_report.items[f.qe_report.count++] = (struct devtee_patch){258, 1, {4}};
        assert_int_equal(judge(&f, &v), ATTEST_OK);
        if (v.status != cases[i].status)
            fail_msg("case %zu: %s", i, tcb_status_name(v.status));
    }
}

/* As the module that the trust domain was started on: missing is refused, whatever the policy. */
static void an_unknown_module_that_runs_now_is_refused(void **state)
{
    struct devtee_faults f = {.form = DEVTEE_V5_TD15};
    struct attest_verdict v;

    (void)state;
    set_svn(&f, BODY_SVN, 4, 1, 1);
    set_svn(&f, BODY_SVN_2, 6, 9, 2);
    assert_int_equal(judge(&f, &v), ATTEST_MODULE_IDENTITY_MISSING);
    assert_fails_alone("unknown", &v);
    assert_string_equal(v.detail, "TDX_09 runs now");
}

static void a_module_named_twice_is_refused(void **state)
{
    struct devtee_faults f = {0}, g = {0};
    struct attest_verdict v;

    (void)state;
    edit_tcb_info(&f, "TDX_03", "TDX_01");
    assert_int_equal(judge(&f, &v), ATTEST_TCB_INFO_INVALID);
    edit_tcb_info(&g, "TDX_03", "SGX_03");
    assert_int_equal(judge(&g, &v), ATTEST_TCB_INFO_INVALID);
}

/* ---- Cache ---- */

static void a_cached_verdict_is_the_same(void **state)
{
    AUTO(dev_evidence_fini) struct dev_evidence e;
    AUTO(collateral_cache_free) struct collateral_cache *cache = collateral_cache_new(1);
    struct attest_verdict plain, first, second;
    struct tdx_input in;

    (void)state;
    dev_evidence_make(&e, NULL);
    in = dev_input(&e);
    assert_int_equal(dev_verify(&in, &plain), ATTEST_OK);
    in.cache = cache;
    assert_int_equal(dev_verify(&in, &first), ATTEST_OK);
    assert_int_equal(dev_verify(&in, &second), ATTEST_OK);
    assert_memory_equal(&plain, &first, sizeof(plain));
    assert_memory_equal(&plain, &second, sizeof(plain));
    in.now_s = DEVTEE_NOT_AFTER + 1;
    assert_int_equal(dev_verify(&in, &second), ATTEST_PCK_CRL_EXPIRED);
    in.now_s = DEV_NOW;
    e.collateral.tcb_info.data[0] ^= 1; /* another digest */
    assert_int_equal(dev_verify(&in, &second), ATTEST_TCB_INFO_SIGNATURE_INVALID);
    assert_int_equal(dev_verify(&in, &second), ATTEST_TCB_INFO_SIGNATURE_INVALID);
}

static void a_cached_list_still_revokes(void **state)
{
    AUTO(dev_evidence_fini) struct dev_evidence good, revoked;
    AUTO(collateral_cache_free) struct collateral_cache *cache = collateral_cache_new(4);
    const struct devtee_faults f = {.pck_revoked = true};
    struct devtee_faults other = {.pck_is_ca = true};
    struct attest_verdict v;
    struct tdx_input in;

    (void)state;
    dev_evidence_make(&good, NULL);
    dev_evidence_make(&revoked, &f);
    in = dev_input(&good);
    in.cache = cache;
    assert_int_equal(dev_verify(&in, &v), ATTEST_OK);
    in.collateral = &revoked.collateral;
    assert_int_equal(dev_verify(&in, &v), ATTEST_PCK_REVOKED);
    assert_int_equal(dev_verify(&in, &v), ATTEST_PCK_REVOKED);
    dev_evidence_fini(&revoked);
    dev_evidence_make(&revoked, &other); /* a bad chain, good collateral that is cached */
    in.collateral = &good.collateral;
    in.quote = &revoked.quote;
    assert_int_equal(dev_verify(&in, &v), ATTEST_PCK_CHAIN_INVALID);
}

static void a_full_cache_gives_its_oldest_up(void **state)
{
    AUTO(collateral_cache_free) struct collateral_cache *one = collateral_cache_new(1);
    AUTO(collateral_cache_free) struct collateral_cache *none = collateral_cache_new(0);
    AUTO(dev_evidence_fini) struct dev_evidence a, b;
    struct devtee_faults f = {0};
    struct attest_verdict v;

    (void)state;
    edit_tcb_info(&f, "\"2025-03-12T00:00:00Z\"", "\"2025-03-13T00:00:00Z\"");
    dev_evidence_make(&a, NULL);
    dev_evidence_make(&b, &f);
    for (int i = 0; i < 4; i++) {
        struct tdx_input in = dev_input(i % 2 ? &a : &b);

        in.cache = one;
        assert_int_equal(dev_verify(&in, &v), ATTEST_OK);
        assert_int_equal(v.tcb_date, i % 2 ? 1741737600 : 1741824000);
        in.cache = none;
        assert_int_equal(dev_verify(&in, &v), ATTEST_OK);
    }
}

static void *verify_often(void *arg)
{
    const struct tdx_input *in = arg;
    uintptr_t failures = 0;

    for (int i = 0; i < 20; i++) {
        struct attest_verdict v = {0};

        failures += tdx_verify(in, &v) != 0 || v.status != TCB_UP_TO_DATE;
    }
    return (void *)failures; // NOLINT: a count, not an address
}

static void many_threads_share_one_cache(void **state)
{
    AUTO(dev_evidence_fini) struct dev_evidence e;
    AUTO(collateral_cache_free) struct collateral_cache *cache = collateral_cache_new(2);
    struct tdx_input in;
    pthread_t threads[4];

    (void)state;
    dev_evidence_make(&e, NULL);
    in = dev_input(&e);
    in.cache = cache;
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, verify_often, &in), 0);
    for (size_t i = 0; i < 4; i++) {
        void *failures = NULL;

        assert_int_equal(pthread_join(threads[i], &failures), 0);
        assert_null(failures);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_reason_of_these_steps_is_reached),
        cmocka_unit_test(collateral_that_is_not_there_is_missing),
        cmocka_unit_test(lists_that_are_no_lists_are_refused),
        cmocka_unit_test(the_lists_cannot_stand_in_for_each_other),
        cmocka_unit_test(dev_evidence_is_nothing_to_intel_s_root),
        cmocka_unit_test(first_and_last_second_count_in),
        cmocka_unit_test(the_first_end_limits_the_verdict),
        cmocka_unit_test(odd_dates_are_no_dates),
        cmocka_unit_test(collateral_below_the_floor_is_an_old_one),
        cmocka_unit_test(a_module_s_version_is_judged_by_its_identity_alone),
        cmocka_unit_test(what_lacks_for_the_lowest_level_is_said),
        cmocka_unit_test(advisories_are_told_once),
        cmocka_unit_test(statuses_combine_to_the_worse),
        cmocka_unit_test(a_relaunch_is_advised_only_when_it_would_help),
        cmocka_unit_test(an_unknown_module_that_runs_now_is_refused),
        cmocka_unit_test(a_module_named_twice_is_refused),
        cmocka_unit_test(a_cached_verdict_is_the_same),
        cmocka_unit_test(a_cached_list_still_revokes),
        cmocka_unit_test(a_full_cache_gives_its_oldest_up),
        cmocka_unit_test(many_threads_share_one_cache),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
