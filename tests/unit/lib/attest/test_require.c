/* A caller's demands: their form, and what meets them. */
#include "tests/unit/lib/vectors.h"

#include "attest/require.h"

#define MRTD                                                                                       \
    "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff00112233445566778899aabbccdd" \
    "eeff"

static const struct attest_verdict GOOD = {.env = ATTEST_PRODUCTION, .status = TCB_UP_TO_DATE};

static void all_demands_are_read(void **state)
{
    struct attest_require r;
    char why[120];

    (void)state;
    assert_int_equal(
        attest_require_read(
            &r, SPAN(" tee=tdx,gpu = nvidia-cc ,\ttcb=up-to-date, measurement=" MRTD), why),
        0);
    assert_true(r.tee_tdx && r.gpu_nvidia && r.tcb_up_to_date && r.has_measurement);
    assert_int_equal(r.measurement[1], 0x11);
    assert_true(attest_require_any(&r));
    assert_int_equal(attest_require_read(&r, SPAN(""), why), 0);
    assert_false(attest_require_any(&r));
}

static void other_forms_are_refused(void **state)
{
    static const char *const TEXTS[] = {"tee",
                                        "tee=sev",
                                        "tee=tdx,tee=tdx",
                                        "x=y",
                                        "tee=tdx,",
                                        ",",
                                        "tee=tdx,,gpu=nvidia-cc",
                                        "measurement=00",
                                        "measurement=" MRTD "0",
                                        "TEE=tdx",
                                        "gpu=none",
                                        "measurement=" MRTD ",measurement=" MRTD};

    (void)state;
    for (size_t i = 0; i < sizeof(TEXTS) / sizeof(TEXTS[0]); i++) {
        struct attest_require r;
        char why[120] = "";

        assert_int_equal(attest_require_read(&r, span_str(TEXTS[i]), why), E_INVALID);
        assert_true(why[0] != '\0');
    }
}

static const char *unmet(const char *text, struct attest_verdict v)
{
    struct attest_require r;
    char why[120];

    assert_int_equal(attest_require_read(&r, span_str(text), why), 0);
    return attest_require_unmet(&r, &v);
}

static void a_verdict_meets_what_it_shows(void **state)
{
    struct attest_verdict v = GOOD;

    (void)state;
    assert_null(unmet("", v));
    assert_null(unmet("tee=tdx,tcb=up-to-date", v));
    assert_string_equal(unmet("gpu=nvidia-cc", v), "gpu");
    v.gpu_count = 1;
    assert_null(unmet("gpu=nvidia-cc", v));
    assert_string_equal(unmet("measurement=" MRTD, v), "measurement");
    assert_int_equal(hex_decode(v.mrtd, sizeof(v.mrtd), SPAN(MRTD)), 0);
    assert_null(unmet("measurement=" MRTD, v));
    v.status = TCB_OUT_OF_DATE;
    assert_string_equal(unmet("tcb=up-to-date", v), "tcb");
    v.env = ATTEST_INSECURE_DEV;
    assert_string_equal(unmet("tee=tdx", v), "tee");
    v = GOOD;
    v.reason = ATTEST_PCK_REVOKED;
    assert_string_equal(unmet("tcb=up-to-date", v), "tcb");
}

static void demands_of_two_add_up(void **state)
{
    struct attest_require a = {.tee_tdx = true}, b = {.has_measurement = true, .measurement = {1}};
    struct attest_require c = {.has_measurement = true, .measurement = {2}};

    (void)state;
    assert_int_equal(attest_require_merge(&a, &b), 0);
    assert_true(a.tee_tdx && a.has_measurement);
    assert_int_equal(attest_require_merge(&a, &b), 0);
    assert_int_equal(attest_require_merge(&a, &c), E_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_demands_are_read),
        cmocka_unit_test(other_forms_are_refused),
        cmocka_unit_test(a_verdict_meets_what_it_shows),
        cmocka_unit_test(demands_of_two_add_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
