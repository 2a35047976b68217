/* From an attestation document to a verdict: the order of the steps is that of verdict.h. */
#include "attest/verify.h"

#include "attest/document_read.h"
#include "crypto/hash.h"

/* What one verification works on. */
struct run {
    const struct attest_input *in;
    struct attest_verdict *v;
    struct attest_document document;
    struct collateral stapled;
    struct quote quote;
};

static void run_fini(struct run *r)
{
    attest_document_fini(&r->document);
    collateral_fini(&r->stapled);
}
AUTO_FINI(struct run, run_fini)

static int refuse(struct run *r, enum attest_step step, enum attest_reason reason)
{
    return attest_refuse(r->v, step, reason, "%s", "");
}

/* ---- Document ---- */

static int keyset_look(struct run *r, struct keyset *k)
{
    const struct attest_input *in = r->in;

    if (keyset_parse(k, buf_span(&r->document.keyset)) < 0)
        return refuse(r, ATTEST_STEP_DOCUMENT, ATTEST_KEYSET_INVALID);
    if (in->tls_spki && !crypto_equal(SPAN_OF(k->tls_spki), span_of(in->tls_spki, SHA256_LEN)))
        return refuse(r, ATTEST_STEP_DOCUMENT, ATTEST_TLS_KEY_MISMATCH);
    return 0;
}

static int document_look(struct run *r, struct keyset *k)
{
    struct attest_document *d = &r->document;

    if (attest_document_read(d, r->in->document) < 0)
        return refuse(r, ATTEST_STEP_DOCUMENT, ATTEST_DOCUMENT_INVALID);
    if (r->in->nonce && !crypto_equal(SPAN_OF(d->nonce), span_of(r->in->nonce, ATTEST_NONCE_LEN)))
        return refuse(r, ATTEST_STEP_DOCUMENT, ATTEST_NONCE_MISMATCH);
    if (!span_is(d->tee, "tdx") && !span_is(d->tee, "insecure-dev") && !span_is(d->tee, "none"))
        return refuse(r, ATTEST_STEP_DOCUMENT, ATTEST_TEE_UNSUPPORTED);
    TRY(keyset_look(r, k));
    r->v->steps[ATTEST_STEP_DOCUMENT] = ATTEST_PASSED;
    return 0;
}

/* ---- A worker without evidence ---- */

static int unattested_look(struct run *r, const struct keyset *k)
{
    const struct attest_input *in = r->in;

    if (!in->accept_unattested)
        return refuse(r, ATTEST_STEP_DOCUMENT, ATTEST_UNATTESTED_REFUSED);
    if (in->policy)
        TRY(attest_policy_judge_unattested(in->policy, in->now_s, r->v));
    if (r->document.quote.len > 0 || r->document.device_evidence.len > 0 || k->gpu_nvidia)
        return refuse(r, ATTEST_STEP_DOCUMENT, ATTEST_DOCUMENT_INVALID);
    if (keyset_valid_at(k, in->now_s) < 0)
        return refuse(r, ATTEST_STEP_KEYSET, ATTEST_KEYSET_EXPIRED);
    for (int step = ATTEST_STEP_QUOTE; step < ATTEST_STEPS; step++)
        r->v->steps[step] = ATTEST_NOT_NEEDED;
    r->v->steps[ATTEST_STEP_KEYSET] = ATTEST_PASSED;
    attest_until(r->v, keyset_until(k));
    return 0;
}

/* ---- Evidence ---- */

static int quote_look(struct run *r)
{
    const struct buf *bytes = &r->document.quote;
    const enum attest_reason reason = quote_parse(&r->quote, buf_span(bytes));

    if (reason != ATTEST_OK)
        return refuse(r, ATTEST_STEP_QUOTE, reason);
    return 0;
}

/* The caller's collateral, else the stapled one. */
static int collateral_look(struct run *r, const struct collateral **out)
{
    *out = r->in->collateral;
    if (*out)
        return 0;
    if (!r->document.collateral)
        return refuse(r, ATTEST_STEP_PCK_CHAIN, ATTEST_COLLATERAL_MISSING);
    if (collateral_read(&r->stapled, r->document.collateral) < 0)
        return refuse(r, ATTEST_STEP_PCK_CHAIN, ATTEST_COLLATERAL_INVALID);
    *out = &r->stapled;
    return 0;
}

static int quote_verify(struct run *r)
{
    const struct attest_policy *policy = r->in->policy;
    struct tdx_input in = {.quote = &r->quote,
                           .root = attest_policy_root(policy),
                           .floor = r->in->floor,
                           .min_evaluation = attest_policy_min_evaluation(policy),
                           .now_s = r->in->now_s,
                           .cache = r->in->cache};

    TRY(quote_look(r));
    if (!in.root)
        return attest_refuse(r->v, ATTEST_STEP_PCK_CHAIN, ATTEST_ROOT_CA_UNTRUSTED,
                             "the policy's own root was not read");
    TRY(collateral_look(r, &in.collateral));
    return tdx_verify(&in, r->v);
}

static int evidence_look(struct run *r, const struct keyset *k)
{
    const struct attest_policy *policy = r->in->policy;
    const struct span evidence = buf_span(&r->document.device_evidence);
    uint8_t report_data[QUOTE_REPORT_DATA_LEN], gpu_nonce[GPU_NONCE_LEN];

    if (!policy)
        return refuse(r, ATTEST_STEP_POLICY, ATTEST_POLICY_MISSING);
    TRY(quote_verify(r));
    attest_report_data(report_data, r->document.nonce, buf_span(&k->bytes), evidence);
    TRY(attest_policy_judge(policy, &r->quote, k, report_data, buf_span(&r->document.event_log),
                            r->in->now_s, r->v));
    attest_gpu_nonce(gpu_nonce, r->document.nonce, buf_span(&k->bytes));
    TRY(attest_policy_judge_gpu(policy, k, evidence, gpu_nonce, r->in->now_s, r->v));
    r->v->env =
        tdx_root_is_intel(attest_policy_root(policy)) ? ATTEST_PRODUCTION : ATTEST_INSECURE_DEV;
    return 0;
}

int attest_verify(const struct attest_input *in, struct keyset *keyset, struct attest_verdict *v)
{
    AUTO(run_fini) struct run r = {.in = in, .v = v};
    AUTO(keyset_fini) struct keyset k = {0};

    *v = (struct attest_verdict){.env = ATTEST_UNATTESTED};
    TRY(document_look(&r, &k));
    if (span_is(r.document.tee, "none"))
        TRY(unattested_look(&r, &k));
    else
        TRY(evidence_look(&r, &k));
    *keyset = k;
    k = (struct keyset){0};
    return 0;
}

int attest_document_platform(struct span document, const struct attest_policy *policy,
                             uint64_t now_s, struct attest_platform *out)
{
    AUTO(attest_document_fini) struct attest_document d = {0};
    const struct x509_cert *root = attest_policy_root(policy);
    struct quote quote;

    if (!root)
        return E_INVALID;
    TRY(attest_document_read(&d, document));
    if (quote_parse(&quote, buf_span(&d.quote)) != ATTEST_OK ||
        tdx_platform(&quote, root, now_s, out->fmspc, &out->platform_ca) != ATTEST_OK)
        return E_INVALID;
    out->stapled = d.collateral != NULL;
    return 0;
}
