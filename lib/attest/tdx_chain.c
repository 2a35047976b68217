/* Step 2 and 3 of attestation.md §5: the PCK chain, the revocation lists, the SGX extension. */
#include "attest/tdx_run.h"

/* ---- The chain's form ---- */

static bool collateral_has_parts(const struct collateral *c)
{
    return c->tcb_info.len > 0 && c->tcb_info_signature.len > 0 && c->tcb_info_chain.len > 0 &&
           c->qe_identity.len > 0 && c->qe_identity_signature.len > 0 &&
           c->qe_identity_chain.len > 0 && c->pck_crl.len > 0 && c->root_crl.len > 0;
}

static int collateral_check(struct tdx_run *run)
{
    const struct collateral *c = run->in->collateral;

    if (collateral_has_parts(c))
        return 0;
    if (c->tcb_info.len + c->qe_identity.len + c->pck_crl.len + c->root_crl.len == 0)
        return REFUSE(run, COLLATERAL_MISSING, "it is empty");
    return REFUSE(run, COLLATERAL_INVALID, "a part of it is empty");
}

static int chain_read(struct tdx_run *run)
{
    const struct x509_cert *const known[] = {run->in->root, run->checked->ca};

    if (pck_chain_read(&run->pck_chain, run->quote->pck_pem, known, run->checked->ca ? 2 : 1,
                       &run->v->platform_ca) < 0)
        return REFUSE(run, PCK_CHAIN_INVALID,
                      "it is not PCK certificate, Platform or Processor CA, root");
    if (!x509_cert_same(run->pck_chain.certs[2], run->in->root))
        return REFUSE(run, ROOT_CA_UNTRUSTED, "the quote's root is another certificate");
    return 0;
}

/* ---- Its faults ---- */

static int chain_fault(struct tdx_run *run, enum x509_fault fault, int depth)
{
    switch (fault) {
    case X509_OK:
        return 0;
    case X509_ROOT:
        return REFUSE(run, ROOT_CA_UNTRUSTED, "the chain leads to another root");
    case X509_NOT_YET:
        return REFUSE(run, PCK_EXPIRED, "certificate %d is not valid yet", depth + 1);
    case X509_EXPIRED:
        return REFUSE(run, PCK_EXPIRED, "certificate %d has ended", depth + 1);
    case X509_REVOKED_LEAF:
        return REFUSE(run, PCK_REVOKED, "its serial number is on the list");
    case X509_REVOKED_CA:
        return REFUSE(run, INTERMEDIATE_REVOKED, "its serial number is on the root's list");
    case X509_CRL_EXPIRED:
        return depth == 0 ? REFUSE(run, PCK_CRL_EXPIRED, "fetch it anew")
                          : REFUSE(run, ROOT_CRL_EXPIRED, "fetch it anew");
    case X509_CRL_MISSING:
    case X509_CRL_BAD:
        return depth == 0 ? REFUSE(run, PCK_CRL_INVALID, "it does not verify")
                          : REFUSE(run, ROOT_CRL_INVALID, "it does not verify");
    case X509_CHAIN:
        break;
    }
    return REFUSE(run, PCK_CHAIN_INVALID, "at certificate %d", depth + 1);
}

/* Without the lists. */
static int chain_verify_alone(struct tdx_run *run)
{
    int depth = 0;
    const enum x509_fault fault =
        x509_chain_verify(&run->pck_chain, run->in->root, NULL, 0, run->in->now_s, &depth);

    return chain_fault(run, fault, depth);
}

/* ---- Revocation lists ---- */

static int lists_read(struct tdx_run *run)
{
    struct checked_collateral *checked = run->checked;

    if (run->cached)
        return 0;
    if (x509_crl_read(&checked->pck_crl, buf_span(&run->in->collateral->pck_crl)) < 0)
        return REFUSE(run, PCK_CRL_INVALID, "it is not well-formed");
    if (x509_crl_read(&checked->root_crl, buf_span(&run->in->collateral->root_crl)) < 0)
        return REFUSE(run, ROOT_CRL_INVALID, "it is not well-formed");
    checked_collateral_within(checked, x509_crl_this_update(checked->pck_crl),
                              x509_crl_next_update(checked->pck_crl));
    checked_collateral_within(checked, x509_crl_this_update(checked->root_crl),
                              x509_crl_next_update(checked->root_crl));
    return 0;
}

/* A list without an end would hold for ever. */
static int lists_check(struct tdx_run *run)
{
    const struct x509_crl *pck = run->checked->pck_crl, *root = run->checked->root_crl;

    if (!x509_crl_issued_by(pck, run->pck_chain.certs[1])) {
        TRY(chain_verify_alone(run)); /* a name that nobody signed is no fault of the list */
        return REFUSE(run, PCK_CRL_INVALID, "it is not of the PCK certificate's issuer");
    }
    if (!x509_crl_issued_by(root, run->in->root))
        return REFUSE(run, ROOT_CRL_INVALID, "it is not of the root CA");
    if (x509_crl_next_update(pck) == 0)
        return REFUSE(run, PCK_CRL_INVALID, "it names no next update");
    if (x509_crl_next_update(root) == 0)
        return REFUSE(run, ROOT_CRL_INVALID, "it names no next update");
    return 0;
}

/* ---- Signatures, times, revocation ---- */

static int chain_verify(struct tdx_run *run)
{
    const struct x509_crl *const lists[] = {run->checked->pck_crl, run->checked->root_crl};
    int depth = 0;
    enum x509_fault fault =
        x509_chain_verify(&run->pck_chain, run->in->root, lists, 2, run->in->now_s, &depth);

    if (fault == X509_OK)
        for (size_t i = 0; i < run->pck_chain.count; i++)
            attest_until(run->v, x509_cert_not_after(run->pck_chain.certs[i]));
    if (fault == X509_OK && !run->cached)
        run->checked->ca = x509_cert_share(run->pck_chain.certs[1]);
    /* OpenSSL looks for lists before signatures: a changed CA finds none of its own. */
    if (fault == X509_CRL_MISSING || fault == X509_CRL_BAD)
        TRY(chain_verify_alone(run));
    return chain_fault(run, fault, depth);
}

int tdx_step_pck_chain(struct tdx_run *run)
{
    TRY(collateral_check(run));
    TRY(chain_read(run));
    TRY(lists_read(run));
    TRY(lists_check(run));
    TRY(chain_verify(run));
    if (pck_extension_of(&run->pck, run->pck_chain.certs[0]) < 0)
        return REFUSE(run, PCK_EXTENSION_INVALID, "a value is missing, twice or of a wrong form");
    memcpy(run->v->fmspc, run->pck.fmspc, sizeof(run->v->fmspc));
    memcpy(run->v->ppid, run->pck.ppid, sizeof(run->v->ppid));
    return 0;
}
