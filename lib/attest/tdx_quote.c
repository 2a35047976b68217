/* Steps 7, 8 and 10 of attestation.md §5: the signatures from the PCK key over the quoting
 * enclave's report and the attestation key to the quote. */
#include "attest/tdx_run.h"
#include "crypto/ecdsa.h"

int tdx_step_qe_report(struct tdx_run *run)
{
    qe_report_read(&run->qe, run->quote->qe_report);
    if (x509_cert_p256_verify(run->pck_chain.certs[0], run->quote->qe_report,
                              run->quote->qe_report_signature) < 0)
        return REFUSE(run, QE_REPORT_SIGNATURE_INVALID, "not by the key of the PCK certificate");
    return 0;
}

/* The enclave reports SHA-256(attestation key ‖ authentication data) and 32 zero bytes. */
int tdx_step_ak_binding(struct tdx_run *run)
{
    const struct span parts[] = {run->quote->attestation_key, run->quote->qe_auth};
    uint8_t want[2 * SHA256_LEN] = {0};

    sha256_parts(want, parts, 2);
    if (memcmp(run->qe.report_data, want, sizeof(want)) != 0)
        return REFUSE(run, AK_BINDING_INVALID, "the report names another key");
    return 0;
}

int tdx_step_quote_signature(struct tdx_run *run)
{
    if (ecdsa_p256_verify(run->quote->attestation_key, run->quote->signed_bytes,
                          run->quote->signature) < 0)
        return REFUSE(run, QUOTE_SIGNATURE_INVALID, "not by the attestation key");
    return 0;
}
