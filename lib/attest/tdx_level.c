/* Steps 6, 11 and 12 of attestation.md §5: the TDX module's identity, the platform's TCB level, and
 * what follows from all of them together. */
#include "attest/tdx_run.h"

/* ---- The module ---- */

static int module_signer_check(struct tdx_run *run, const struct tdx_module *module)
{
    const uint64_t attributes = run->quote->seam_attributes;

    if (memcmp(run->quote->mrsignerseam, module->mrsigner, sizeof(module->mrsigner)) != 0)
        return REFUSE(run, MODULE_MRSIGNER_MISMATCH, "MRSIGNERSEAM is not the one of TDX_%02X",
                      module->major);
    /* Whatever an identity allows, no attribute is one of production. */
    if ((attributes & module->attributes_mask) != module->attributes || attributes != 0)
        return REFUSE(run, MODULE_ATTRIBUTES_MISMATCH, "SEAMATTRIBUTES is %llx",
                      (unsigned long long)attributes);
    return 0;
}

int tdx_step_module(struct tdx_run *run)
{
    const uint8_t svn = run->quote->tee_tcb_svn[0], major = run->quote->tee_tcb_svn[1];
    const struct tdx_module *module = tcb_info_module(run->checked->tcb_info, major);
    const struct isv_level *level;

    if (!module)
        return REFUSE(run, MODULE_IDENTITY_MISSING, "TDX_%02X", major);
    TRY(module_signer_check(run, module));
    if (major == 0)
        return 0; /* the platform's levels judge it */
    level = isv_levels_match(&module->levels, svn);
    run->v->module_status = level ? level->status : TCB_NOT_SUPPORTED;
    if (!level)
        return REFUSE(run, MODULE_NOT_SUPPORTED, "TDX_%02X of version %u", major, svn);
    intel_advisories_add(run->v, level->json);
    return 0;
}

/* ---- Combination ---- */

/* A module or quoting enclave that is out of date makes a platform so that is not; any status of
 * theirs that is neither good nor revoked counts as that. */
static enum tcb_status status_lower(enum tcb_status status, enum tcb_status by)
{
    if (by == TCB_NONE || by == TCB_UP_TO_DATE)
        return status;
    if (by == TCB_REVOKED)
        return TCB_REVOKED;
    if (status == TCB_UP_TO_DATE || status == TCB_SW_HARDENING_NEEDED)
        return TCB_OUT_OF_DATE;
    if (status == TCB_CONFIGURATION_NEEDED || status == TCB_CONFIGURATION_AND_SW_HARDENING_NEEDED)
        return TCB_OUT_OF_DATE_CONFIGURATION_NEEDED;
    return status;
}

static bool configuration_needed(enum tcb_status status)
{
    return status == TCB_CONFIGURATION_NEEDED ||
           status == TCB_CONFIGURATION_AND_SW_HARDENING_NEEDED ||
           status == TCB_OUT_OF_DATE_CONFIGURATION_NEEDED;
}

static uint16_t newest_svn(const struct isv_levels *levels)
{
    uint16_t newest = 0;

    for (size_t i = 0; i < levels->count; i++)
        if (levels->items[i].isv_svn > newest)
            newest = levels->items[i].isv_svn;
    return newest;
}

/* Whether the module that runs now is the newest: TEE_TCB_SVN_2 against the first level. */
static bool host_is_patched(const struct tcb_info *info, const struct tdx_module *module,
                            const uint8_t svn[static 16])
{
    const struct tcb_level *newest = &info->levels[0];

    return svn[2] >= newest->tdx[2] &&
           svn[0] >= (svn[1] == 0 ? newest->tdx[0] : newest_svn(&module->levels));
}

/* Whether what is out of date about a TD 1.5 is its module alone, which a restart may change. */
static bool relaunch_may_help(const struct tdx_run *run, const struct tcb_level *sgx)
{
    const struct attest_verdict *v = run->v;

    return run->quote->td15 && v->qe_status == TCB_UP_TO_DATE &&
           v->module_status == TCB_OUT_OF_DATE &&
           (v->status == TCB_OUT_OF_DATE || v->status == TCB_OUT_OF_DATE_CONFIGURATION_NEEDED) &&
           sgx && sgx->status <= TCB_CONFIGURATION_AND_SW_HARDENING_NEEDED;
}

/* TD 1.5: the TD was started on an old module, and the host has a new one since. */
static int relaunch_look(struct tdx_run *run)
{
    const struct tcb_platform sgx_only = {&run->pck, NULL};
    const struct tcb_info *info = run->checked->tcb_info;
    const struct tcb_level *sgx = tcb_info_match(info, &sgx_only);
    const uint8_t *svn = run->quote->tee_tcb_svn_2;
    const struct tdx_module *module;

    if (!relaunch_may_help(run, sgx))
        return 0;
    module = tcb_info_module(info, svn[1]);
    if (!module)
        return REFUSE(run, MODULE_IDENTITY_MISSING, "TDX_%02X runs now", svn[1]);
    if (host_is_patched(info, module, svn))
        run->v->status = configuration_needed(sgx->status) || configuration_needed(run->v->status)
                             ? TCB_TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED
                             : TCB_TD_RELAUNCH_ADVISED;
    return 0;
}

static int status_combine(struct tdx_run *run)
{
    struct attest_verdict *v = run->v;

    v->status = status_lower(v->platform_status, v->module_status);
    TRY(relaunch_look(run));
    v->status = status_lower(v->status, v->qe_status);
    return 0;
}

int tdx_step_tcb_level(struct tdx_run *run)
{
    const struct tcb_platform platform = {&run->pck, run->quote->tee_tcb_svn};
    const struct tcb_info *info = run->checked->tcb_info;
    const struct tcb_level *level = tcb_info_match(info, &platform);
    struct attest_verdict *v = run->v;
    char why[160];

    if (!level) {
        tcb_info_explain(info, &platform, why);
        v->status = v->platform_status = TCB_NOT_SUPPORTED;
        return REFUSE(run, TCB_NOT_SUPPORTED, "%s", why);
    }
    v->platform_status = level->status;
    v->tcb_date = level->date;
    intel_advisories_add(v, level->json);
    TRY(status_combine(run));
    if (v->status == TCB_REVOKED)
        return REFUSE(run, TCB_REVOKED, "platform %s, module %s, quoting enclave %s",
                      tcb_status_name(v->platform_status), tcb_status_name(v->module_status),
                      tcb_status_name(v->qe_status));
    return 0;
}
