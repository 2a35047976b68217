/* Steps 4, 5 and the first half of 9 of attestation.md §5: TCB Info and QE Identity, their signer,
 * signature, time and evaluation number. The signature is over the bytes as they came. */
#include "attest/tdx_run.h"
#include "base/encode.h"

enum { SIGNER_CHAIN_LEN = 2 };

/* The signer ← root, with the root's list. Its name matters: any PCK key could sign otherwise. */
static const char *signer_read(struct tdx_run *run, struct span pem, struct x509_chain *chain)
{
    const struct x509_crl *const lists[] = {run->checked->root_crl};
    struct checked_collateral *checked = run->checked;
    const struct x509_cert *const known[] = {run->in->root, checked->signer};

    if (x509_chain_read_known(chain, pem, known, checked->signer ? 2 : 1) < 0 ||
        chain->count != SIGNER_CHAIN_LEN)
        return "it is not a signer and the root";
    if (!x509_cert_subject_is(chain->certs[0], INTEL_TCB_SIGNER_CN) ||
        !x509_cert_issuer_is(chain->certs[0], INTEL_ROOT_CN) || x509_cert_is_ca(chain->certs[0]))
        return "the certificate is not one that signs TCBs";
    if (x509_chain_verify(chain, run->in->root, lists, 1, run->in->now_s, NULL) != X509_OK)
        return "it does not verify to the root";
    for (size_t i = 0; i < chain->count; i++)
        checked_collateral_within(checked, x509_cert_not_before(chain->certs[i]),
                                  x509_cert_not_after(chain->certs[i]));
    return NULL;
}

static bool in_time(const struct tdx_run *run, uint64_t issued, uint64_t until)
{
    return issued <= run->in->now_s && run->in->now_s <= until;
}

static uint32_t least_evaluation(const struct tdx_run *run, uint32_t floor)
{
    return floor > run->in->min_evaluation ? floor : run->in->min_evaluation;
}

/* ---- TCB Info ---- */

static int tcb_info_load(struct tdx_run *run)
{
    AUTO(x509_chain_fini) struct x509_chain signer = {0};
    const struct collateral *c = run->in->collateral;
    struct checked_collateral *checked = run->checked;
    const char *fault = signer_read(run, buf_span(&c->tcb_info_chain), &signer);

    if (fault)
        return REFUSE(run, TCB_INFO_CHAIN_INVALID, "%s", fault);
    if (x509_cert_p256_verify(signer.certs[0], buf_span(&c->tcb_info),
                              buf_span(&c->tcb_info_signature)) < 0)
        return REFUSE(run, TCB_INFO_SIGNATURE_INVALID, "not by the key of its signer");
    if (tcb_info_read(&checked->tcb_info, buf_span(&c->tcb_info)) < 0)
        return REFUSE(run, TCB_INFO_INVALID, "it is not TCB Info v3 of a TDX platform");
    if (!in_time(run, checked->tcb_info->issued, checked->tcb_info->until))
        return REFUSE(run, TCB_INFO_EXPIRED, "fetch it anew");
    checked_collateral_within(checked, checked->tcb_info->issued, checked->tcb_info->until);
    checked->signer = x509_cert_share(signer.certs[0]);
    return 0;
}

static int refuse_ids(struct tdx_run *run, enum attest_reason reason, struct span is,
                      struct span platform)
{
    char a[16], b[16];

    hex_encode(a, is);
    hex_encode(b, platform);
    return attest_refuse(run->v, run->step, reason, "it is for %s, the platform is %s", a, b);
}

static int tcb_info_fits(struct tdx_run *run)
{
    const struct tcb_info *info = run->checked->tcb_info;
    const struct attest_floor *floor = run->in->floor;
    const uint32_t least =
        least_evaluation(run, floor ? attest_floor_tcb(floor, run->pck.fmspc) : 0);

    if (memcmp(info->fmspc, run->pck.fmspc, sizeof(info->fmspc)) != 0)
        return refuse_ids(run, ATTEST_PCK_FMSPC_MISMATCH, SPAN_OF(info->fmspc),
                          SPAN_OF(run->pck.fmspc));
    if (memcmp(info->pce_id, run->pck.pce_id, sizeof(info->pce_id)) != 0)
        return refuse_ids(run, ATTEST_PCK_PCEID_MISMATCH, SPAN_OF(info->pce_id),
                          SPAN_OF(run->pck.pce_id));
    run->v->tcb_evaluation = info->evaluation;
    if (info->evaluation < least)
        return REFUSE(run, TCB_EVAL_DATA_NUMBER_TOO_LOW, "TCB Info is of evaluation %u, not %u",
                      info->evaluation, least);
    return 0;
}

int tdx_step_tcb_info(struct tdx_run *run)
{
    if (!run->cached)
        TRY(tcb_info_load(run));
    return tcb_info_fits(run);
}

/* ---- QE Identity ---- */

static int qe_identity_load(struct tdx_run *run)
{
    AUTO(x509_chain_fini) struct x509_chain signer = {0};
    const struct collateral *c = run->in->collateral;
    struct checked_collateral *checked = run->checked;
    const char *fault = signer_read(run, buf_span(&c->qe_identity_chain), &signer);

    if (fault)
        return REFUSE(run, QE_IDENTITY_CHAIN_INVALID, "%s", fault);
    if (x509_cert_p256_verify(signer.certs[0], buf_span(&c->qe_identity),
                              buf_span(&c->qe_identity_signature)) < 0)
        return REFUSE(run, QE_IDENTITY_SIGNATURE_INVALID, "not by the key of its signer");
    if (qe_identity_read(&checked->qe_identity, buf_span(&c->qe_identity)) < 0)
        return REFUSE(run, QE_IDENTITY_INVALID, "it is not v2 of the TD quoting enclave");
    if (!in_time(run, checked->qe_identity->issued, checked->qe_identity->until))
        return REFUSE(run, QE_IDENTITY_EXPIRED, "fetch it anew");
    checked_collateral_within(checked, checked->qe_identity->issued, checked->qe_identity->until);
    if (run->in->cache)
        collateral_cache_put(run->in->cache, checked); /* all parts are there now */
    return 0;
}

static int qe_identity_fits(struct tdx_run *run)
{
    const struct qe_identity *identity = run->checked->qe_identity;
    const uint32_t least = least_evaluation(run, run->in->floor ? run->in->floor->qe : 0);
    const char *differs;

    run->v->qe_evaluation = identity->evaluation;
    if (identity->evaluation < least)
        return REFUSE(run, TCB_EVAL_DATA_NUMBER_TOO_LOW, "QE Identity is of evaluation %u, not %u",
                      identity->evaluation, least);
    differs = qe_identity_mismatch(identity, &run->qe);
    return differs ? REFUSE(run, QE_IDENTITY_MISMATCH, "%s differs", differs) : 0;
}

int tdx_step_qe_identity(struct tdx_run *run)
{
    enum { SGX_DEBUG = 0x02 };
    const struct isv_level *level;

    if (!run->cached)
        TRY(qe_identity_load(run));
    if (run->qe.attributes[0] & SGX_DEBUG)
        return REFUSE(run, QE_DEBUG, "its memory can be read");
    TRY(qe_identity_fits(run));
    level = isv_levels_match(&run->checked->qe_identity->levels, run->qe.isv_svn);
    run->v->qe_status = level ? level->status : TCB_NOT_SUPPORTED;
    if (!level)
        return REFUSE(run, QE_NOT_SUPPORTED, "its version is %u", run->qe.isv_svn);
    intel_advisories_add(run->v, level->json);
    return 0;
}
