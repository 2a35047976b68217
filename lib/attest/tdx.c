/* Verifies a quote: the steps of attestation.md §5 in their order, each of which can refuse. */
#include "attest/tdx.h"

#include "attest/tdx_run.h"

static const struct {
    enum attest_step step;
    int (*run)(struct tdx_run *run);
} STEPS[] = {
    {ATTEST_STEP_PCK_CHAIN, tdx_step_pck_chain},
    {ATTEST_STEP_TCB_INFO, tdx_step_tcb_info},
    {ATTEST_STEP_MODULE, tdx_step_module},
    {ATTEST_STEP_QE_REPORT, tdx_step_qe_report},
    {ATTEST_STEP_AK_BINDING, tdx_step_ak_binding},
    {ATTEST_STEP_QE_IDENTITY, tdx_step_qe_identity},
    {ATTEST_STEP_QUOTE_SIGNATURE, tdx_step_quote_signature},
    {ATTEST_STEP_TCB_LEVEL, tdx_step_tcb_level},
};

/* What the quote claims, whether or not it will be believed. */
static void verdict_fill(struct attest_verdict *v, const struct quote *quote)
{
    v->steps[ATTEST_STEP_QUOTE] = ATTEST_PASSED;
    v->quote_version = quote->version;
    v->td15 = quote->td15;
    memcpy(v->mrtd, quote->mrtd, ATTEST_MR_LEN);
    memcpy(v->mrseam, quote->mrseam, ATTEST_MR_LEN);
    for (size_t i = 0; i < 4; i++)
        memcpy(v->rtmr[i], quote->rtmr[i], ATTEST_MR_LEN);
    v->td_attributes = quote->td_attributes;
    v->xfam = quote->xfam;
}

static int steps_run(struct tdx_run *run)
{
    for (size_t i = 0; i < sizeof(STEPS) / sizeof(STEPS[0]); i++) {
        run->step = STEPS[i].step;
        TRY(STEPS[i].run(run));
        run->v->steps[run->step] = ATTEST_PASSED;
    }
    return 0;
}

/* Collateral's own time; a chain's certificates have been taken into valid_until by themselves. */
static void verdict_limit(struct attest_verdict *v, const struct checked_collateral *checked)
{
    v->collateral_until = checked->until;
    attest_until(v, checked->until);
}

static void checked_take(struct tdx_run *run)
{
    uint8_t key[SHA256_LEN];

    if (run->in->cache) {
        checked_collateral_key(run->in->collateral, run->in->root, key);
        run->checked = collateral_cache_get(run->in->cache, key, run->in->now_s);
    }
    run->cached = run->checked != NULL;
    if (run->cached)
        return;
    run->checked = checked_collateral_new();
    if (run->in->cache)
        memcpy(run->checked->key, key, sizeof(key));
}

int tdx_verify(const struct tdx_input *in, struct attest_verdict *v)
{
    struct tdx_run run = {.in = in, .quote = in->quote, .v = v};
    int error;

    verdict_fill(v, in->quote);
    if (!in->collateral)
        return attest_refuse(v, ATTEST_STEP_PCK_CHAIN, ATTEST_COLLATERAL_MISSING, "none was given");
    checked_take(&run);
    error = steps_run(&run);
    if (error == 0)
        verdict_limit(v, run.checked);
    x509_chain_fini(&run.pck_chain);
    checked_collateral_unref(run.checked);
    return error;
}

enum attest_reason tdx_platform(const struct quote *quote, const struct x509_cert *root,
                                uint64_t now_s, uint8_t fmspc[static 6], bool *platform_ca)
{
    AUTO(x509_chain_fini) struct x509_chain chain = {0};
    struct pck_extension pck;

    if (pck_chain_read(&chain, quote->pck_pem, &root, 1, platform_ca) < 0 ||
        x509_chain_verify(&chain, root, NULL, 0, now_s, NULL) != X509_OK)
        return ATTEST_PCK_CHAIN_INVALID;
    if (pck_extension_of(&pck, chain.certs[0]) < 0)
        return ATTEST_PCK_EXTENSION_INVALID;
    memcpy(fmspc, pck.fmspc, sizeof(pck.fmspc));
    return ATTEST_OK;
}
