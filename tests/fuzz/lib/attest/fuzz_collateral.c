/* Collateral and what it holds. The first byte says what the rest is: the whole as JSON, one of the
 * service's answers, a signed value past its signature, an SGX extension, the floor; or a part that
 * takes the place of a good one. */
#include "attest/pck.h"
#include "attest/qe_identity.h"
#include "attest/tcb_info.h"
#include "attest/tdx.h"
#include "devtee/issuer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t SEED[DEVTEE_SEED_LEN] = {1};

static void whole(struct span in)
{
    AUTO(collateral_fini) struct collateral c = {0};
    AUTO(collateral_fini) struct collateral again = {0};
    AUTO(buf_fini) struct buf json = {0};

    if (collateral_read_bytes(&c, in) < 0) {
        CHECK(c.tcb_info.data == NULL && c.root_crl.data == NULL);
        return;
    }
    collateral_write(&c, &json);
    (void)collateral_read_bytes(&again, buf_span(&json));
}

static void answer(struct span in)
{
    AUTO(collateral_fini) struct collateral c = {0};

    if (collateral_set_tcb_info(&c, in, SPAN("")) == 0)
        CHECK(c.tcb_info.len > 1 && c.tcb_info_signature.len == 64);
    (void)collateral_set_qe_identity(&c, in, in);
    (void)collateral_set_pck_crl(&c, in, in);
    (void)collateral_set_root_crl(&c, in);
}

static void tcb_info(struct span in)
{
    AUTO(tcb_info_free) struct tcb_info *info = NULL;
    const struct pck_extension pck = {.components = {2, 2, 2, 2, 3, 1, 0, 5}, .pce_svn = 11};
    const uint8_t svn[TCB_COMPONENTS] = {6, 1, 2};
    const struct tcb_platform platform = {&pck, svn};
    struct attest_verdict v = {0};
    const struct tcb_level *level;
    char why[160];

    if (tcb_info_read(&info, in) < 0)
        return;
    level = tcb_info_match(info, &platform);
    if (level)
        intel_advisories_add(&v, level->json);
    tcb_info_explain(info, &platform, why);
    (void)tcb_info_module(info, svn[1]);
}

static void qe_identity(struct span in)
{
    AUTO(qe_identity_free) struct qe_identity *identity = NULL;
    static const uint8_t report[QE_REPORT_LEN];
    struct qe_report qe;

    qe_report_read(&qe, SPAN_OF(report));
    if (qe_identity_read(&identity, in) < 0)
        return;
    (void)qe_identity_mismatch(identity, &qe);
    (void)isv_levels_match(&identity->levels, 5);
}

static void extension(struct span in)
{
    struct pck_extension pck;

    (void)pck_extension_read(&pck, in);
}

static void floor_text(struct span in)
{
    struct attest_floor floor = {0};
    AUTO(buf_fini) struct buf json = {0};

    if (attest_floor_read(&floor, in) < 0)
        return;
    attest_floor_write(&floor, &json);
    CHECK(attest_floor_read(&floor, buf_span(&json)) == 0);
}

/* A part of good collateral replaced; nothing but the very same value passes. */
static void part(struct span in)
{
    AUTO(devtee_issuer_free) struct devtee_issuer *issuer = devtee_issuer_new(SEED, "fuzz");
    AUTO(collateral_fini) struct collateral c = {0};
    AUTO(buf_fini) struct buf pem = {0}, bytes = {0};
    AUTO(x509_cert_free) struct x509_cert *root = NULL;
    static const uint8_t report_data[DEVTEE_REPORT_DATA_LEN];
    struct buf *const parts[] = {&c.pck_crl, &c.root_crl, &c.tcb_info_chain, &c.qe_identity_chain};
    struct attest_verdict v = {0};
    struct quote quote;

    if (in.len < 1)
        return;
    devtee_root(issuer, &pem);
    CHECK(x509_cert_read(&root, buf_span(&pem)) == 0);
    devtee_collateral(issuer, NULL, &c);
    devtee_quote(issuer, NULL, report_data, &bytes);
    CHECK(quote_parse(&quote, buf_span(&bytes)) == ATTEST_OK);
    buf_clear(parts[in.data[0] % 4]);
    buf_append(parts[in.data[0] % 4], span_from(in, 1));
    const struct tdx_input input = {
        .quote = &quote, .collateral = &c, .root = root, .now_s = 1790000000};
    CHECK((tdx_verify(&input, &v) == 0) == (v.reason == ATTEST_OK));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const kinds[])(struct span) = {whole,     answer,     tcb_info, qe_identity,
                                                 extension, floor_text, part};

    if (size > 0)
        kinds[(data[0] - '0' + 7 * 7) % (sizeof(kinds) / sizeof(kinds[0]))](
            span_of(data + 1, size - 1));
    return 0;
}
