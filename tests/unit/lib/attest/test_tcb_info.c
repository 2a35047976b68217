/* Which level a platform reaches, component by component: attestation.md §5 step 11. */
#include "tests/unit/lib/vectors.h"

#include "attest/tcb_info.h"

enum { PCE_SVN = 11 };

/* What one level asks for; the rest of it is the same everywhere. */
struct asked {
    uint8_t sgx[TCB_COMPONENTS], tdx[TCB_COMPONENTS];
    unsigned pce_svn;
    const char *status;
};

static void put_components(struct buf *out, const char *name, const uint8_t *svns)
{
    buf_printf(out, "\"%s\":[", name);
    for (size_t i = 0; i < TCB_COMPONENTS; i++)
        buf_printf(out, "%s{\"svn\":%u}", i > 0 ? "," : "", svns[i]);
    buf_append_str(out, "],");
}

static int info_make(const struct asked *levels, size_t count, struct tcb_info **info)
{
    AUTO(buf_fini) struct buf text = {0};
    char zero[2 * MRSIGNER_SEAM_LEN + 1];

    memset(zero, '0', sizeof(zero) - 1);
    zero[sizeof(zero) - 1] = '\0';
    buf_printf(&text,
               "{\"id\":\"TDX\",\"version\":3,\"issueDate\":\"2025-01-01T00:00:00Z\","
               "\"nextUpdate\":\"2025-02-01T00:00:00Z\",\"fmspc\":\"00DEC0DE0000\","
               "\"pceId\":\"0000\",\"tcbType\":0,\"tcbEvaluationDataNumber\":18,\"tdxModule\":{"
               "\"mrsigner\":\"%s\",\"attributes\":\"0000000000000000\","
               "\"attributesMask\":\"FFFFFFFFFFFFFFFF\"},\"tcbLevels\":[",
               zero);
    for (size_t i = 0; i < count; i++) {
        buf_append_str(&text, i > 0 ? ",{\"tcb\":{" : "{\"tcb\":{");
        put_components(&text, "sgxtcbcomponents", levels[i].sgx);
        put_components(&text, "tdxtcbcomponents", levels[i].tdx);
        buf_printf(&text,
                   "\"pcesvn\":%u},\"tcbDate\":\"2024-03-13T00:00:00Z\",\"tcbStatus\":\"%s\"}",
                   levels[i].pce_svn, levels[i].status);
    }
    buf_append_str(&text, "]}");
    return tcb_info_read(info, buf_span(&text));
}

static struct tcb_info *info_of(const struct asked *levels, size_t count)
{
    struct tcb_info *info = NULL;

    assert_int_equal(info_make(levels, count, &info), 0);
    return info;
}

static enum tcb_status status_of(const struct tcb_info *info, const struct pck_extension *pck,
                                 const uint8_t *tee_tcb_svn)
{
    const struct tcb_platform platform = {pck, tee_tcb_svn};
    const struct tcb_level *level = tcb_info_match(info, &platform);

    return level ? level->status : TCB_NOT_SUPPORTED;
}

static void each_component_counts_by_itself(void **state)
{
    struct asked level = {.pce_svn = PCE_SVN, .status = "UpToDate"};
    struct pck_extension pck = {.pce_svn = PCE_SVN};
    uint8_t svn[TCB_COMPONENTS];

    (void)state;
    memset(level.sgx, 3, sizeof(level.sgx));
    memset(level.tdx, 3, sizeof(level.tdx));
    memset(svn, 3, sizeof(svn));
    memset(pck.components, 3, sizeof(pck.components));
    AUTO(tcb_info_free) struct tcb_info *info = info_of(&level, 1);

    for (size_t i = 0; i < TCB_COMPONENTS; i++) {
        pck.components[i] = 2; /* whatever the others are */
        pck.components[(i + 1) % TCB_COMPONENTS] = 255;
        assert_int_equal(status_of(info, &pck, svn), TCB_NOT_SUPPORTED);
        assert_int_equal(status_of(info, &pck, NULL), TCB_NOT_SUPPORTED);
        pck.components[i] = 3;
        assert_int_equal(status_of(info, &pck, svn), TCB_UP_TO_DATE);
        memset(pck.components, 3, sizeof(pck.components));
    }
    pck.pce_svn = PCE_SVN - 1;
    assert_int_equal(status_of(info, &pck, svn), TCB_NOT_SUPPORTED);
    pck.pce_svn = PCE_SVN;
    for (size_t i = 2; i < TCB_COMPONENTS; i++) {
        svn[i] = 2;
        assert_int_equal(status_of(info, &pck, svn), TCB_NOT_SUPPORTED);
        assert_int_equal(status_of(info, &pck, NULL), TCB_UP_TO_DATE); /* of SGX's part alone */
        svn[i] = 3;
    }
}

/* From module major 1 on the module's identity judges its version. */
static void the_module_s_version_counts_with_major_0_alone(void **state)
{
    struct asked level = {.tdx = {5, 0, 2}, .status = "UpToDate"};
    const struct pck_extension pck = {0};
    uint8_t svn[TCB_COMPONENTS] = {4, 0, 2};

    (void)state;
    AUTO(tcb_info_free) struct tcb_info *info = info_of(&level, 1);
    assert_int_equal(status_of(info, &pck, svn), TCB_NOT_SUPPORTED);
    svn[0] = 5;
    assert_int_equal(status_of(info, &pck, svn), TCB_UP_TO_DATE);
    svn[0] = 0;
    svn[1] = 1;
    assert_int_equal(status_of(info, &pck, svn), TCB_UP_TO_DATE);
    level.tdx[1] = 2; /* seen in the wild: 040102 against 050002 */
    AUTO(tcb_info_free) struct tcb_info *major_2 = info_of(&level, 1);
    assert_int_equal(status_of(major_2, &pck, svn), TCB_UP_TO_DATE);
    svn[1] = 0;
    svn[0] = 5;
    assert_int_equal(status_of(major_2, &pck, svn), TCB_NOT_SUPPORTED);
}

/* The service gives them from the newest down, and nothing says that it must. */
static void levels_are_tried_from_the_newest_down_however_they_stand(void **state)
{
    static const struct asked LEVELS[] = {
        {{5, 5}, {5, 0, 2}, PCE_SVN, "UpToDate"},
        {{5, 5}, {4, 0, 2}, PCE_SVN, "SWHardeningNeeded"},
        {{5, 5}, {4, 0, 2}, 5, "ConfigurationNeeded"},
        {{5, 2}, {9, 0, 9}, PCE_SVN, "OutOfDate"},
        {{1, 9}, {1, 0, 0}, PCE_SVN, "Revoked"},
    };
    static const struct {
        struct pck_extension pck;
        uint8_t svn[TCB_COMPONENTS];
        enum tcb_status status;
    } platforms[] = {
        {{.components = {9, 9}, .pce_svn = 20}, {9, 0, 9}, TCB_UP_TO_DATE},
        {{.components = {5, 5}, .pce_svn = PCE_SVN}, {5, 0, 2}, TCB_UP_TO_DATE},
        {{.components = {5, 5}, .pce_svn = PCE_SVN}, {4, 0, 2}, TCB_SW_HARDENING_NEEDED},
        {{.components = {5, 5}, .pce_svn = PCE_SVN - 1}, {9, 0, 9}, TCB_CONFIGURATION_NEEDED},
        {{.components = {5, 4}, .pce_svn = PCE_SVN}, {9, 0, 9}, TCB_OUT_OF_DATE},
        {{.components = {5, 9}, .pce_svn = PCE_SVN}, {3, 0, 9}, TCB_REVOKED},
        {{.components = {0, 9}, .pce_svn = PCE_SVN}, {9, 0, 9}, TCB_NOT_SUPPORTED},
    };
    enum { COUNT = sizeof(LEVELS) / sizeof(LEVELS[0]) };

    (void)state;
    for (size_t shift = 0; shift < 2 * COUNT; shift++) {
        struct asked levels[COUNT];

        for (size_t i = 0; i < COUNT; i++) /* turned round, and back to front */
            levels[i] = LEVELS[shift < COUNT ? (i + shift) % COUNT
                                             : (2 * COUNT - i - shift + COUNT) % COUNT];
        AUTO(tcb_info_free) struct tcb_info *info = info_of(levels, COUNT);

        assert_int_equal(info->levels[0].status, TCB_UP_TO_DATE);
        for (size_t i = 0; i < sizeof(platforms) / sizeof(platforms[0]); i++)
            if (status_of(info, &platforms[i].pck, platforms[i].svn) != platforms[i].status)
                fail_msg("shift %zu, platform %zu: %s", shift, i,
                         tcb_status_name(status_of(info, &platforms[i].pck, platforms[i].svn)));
    }
}

/* Which of the two would be first is nobody's to say (Intel's library refuses them too). */
static void a_level_that_stands_there_twice_is_refused(void **state)
{
    struct asked levels[3] = {{.pce_svn = PCE_SVN, .status = "UpToDate"},
                              {.pce_svn = PCE_SVN - 1, .status = "OutOfDate"},
                              {.pce_svn = PCE_SVN, .status = "OutOfDate"}};
    struct tcb_info *info = NULL;

    (void)state;
    assert_int_equal(info_make(levels, 3, &info), E_INVALID);
    levels[2].tdx[15] = 1;
    assert_int_equal(info_make(levels, 3, &info), 0);
    tcb_info_free(info);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_component_counts_by_itself),
        cmocka_unit_test(the_module_s_version_counts_with_major_0_alone),
        cmocka_unit_test(a_level_that_stands_there_twice_is_refused),
        cmocka_unit_test(levels_are_tried_from_the_newest_down_however_they_stand),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
