/* Makes and judges attestation documents. No evidence of hardware is verified here yet: a document
 * that claims some is refused. */
#include "attest/document.h"

#include "attest/document_read.h"

#include "base/encode.h"

/* ---- What binds the evidence to the keys (wire.md §2) ---- */

void attest_report_data(uint8_t out[static 64], const uint8_t nonce[static ATTEST_NONCE_LEN],
                        struct span keyset, struct span device_evidence)
{
    uint8_t keyset_digest[SHA256_LEN], evidence_digest[SHA256_LEN];
    const struct span parts[] = {SPAN("cgw/report-data/v1\0"), span_of(nonce, ATTEST_NONCE_LEN),
                                 SPAN_OF(keyset_digest), SPAN_OF(evidence_digest)};

    sha256(keyset_digest, keyset);
    sha256(evidence_digest, device_evidence);
    sha256_parts(out, parts, sizeof(parts) / sizeof(parts[0]));
    memset(out + SHA256_LEN, 0, 64 - SHA256_LEN);
}

void attest_gpu_nonce(uint8_t out[static 32], const uint8_t nonce[static ATTEST_NONCE_LEN],
                      struct span keyset)
{
    uint8_t keyset_digest[SHA256_LEN];
    const struct span parts[] = {SPAN("cgw/gpu-nonce/v1\0"), span_of(nonce, ATTEST_NONCE_LEN),
                                 SPAN_OF(keyset_digest)};

    sha256(keyset_digest, keyset);
    sha256_parts(out, parts, sizeof(parts) / sizeof(parts[0]));
}

/* ---- Writing ---- */

static void member_base64(struct buf *out, const char *name, struct span bytes)
{
    buf_printf(out, ",\"%s\":\"", name);
    base64_encode(out, bytes);
    buf_byte(out, '"');
}

void attest_document_write(struct buf *out, const char *tee,
                           const uint8_t nonce[static ATTEST_NONCE_LEN], struct span keyset,
                           struct span device_evidence, struct span quote)
{
    char hex[2 * ATTEST_NONCE_LEN + 1];

    hex_encode(hex, span_of(nonce, ATTEST_NONCE_LEN));
    buf_printf(out, "{\"format\":\"%s\",\"tee\":\"%s\",\"nonce\":\"%s\"", ATTEST_DOCUMENT_FORMAT,
               tee, hex);
    member_base64(out, "keyset", keyset);
    member_base64(out, "device_evidence", device_evidence);
    member_base64(out, "quote", quote);
    buf_byte(out, '}');
}

/* ---- Judging ---- */

/* What each returns is the reason for a refusal, or NULL. */

static const char *evidence_judge(const struct attest_document *d,
                                  const struct attest_dev_policy *policy)
{
    if (!span_is(d->tee, "insecure-dev"))
        return "tee_unsupported";
    if (!policy->accept_insecure_dev)
        return "insecure_dev_refused";
    if (d->quote.len > 0)
        return "quote_not_empty";
    if (d->device_evidence.len > 0)
        return "evidence_not_empty";
    return NULL;
}

static const char *keyset_judge(const struct keyset *k, const struct attest_document *d,
                                const uint8_t tls_spki[static SHA256_LEN], uint64_t now_s)
{
    if (k->gpu_nvidia && d->device_evidence.len == 0)
        return "gpu_without_evidence";
    if (!crypto_equal(SPAN_OF(k->tls_spki), span_of(tls_spki, SHA256_LEN)))
        return "tls_key_mismatch";
    if (keyset_valid_at(k, now_s) < 0)
        return "keyset_expired";
    return NULL;
}

static int refuse(struct attest_dev_verdict *verdict, const char *reason)
{
    *verdict = (struct attest_dev_verdict){.env = ATTEST_UNATTESTED, .reason = reason};
    return E_DENIED;
}

int attest_dev_verify(struct span document, const uint8_t nonce[static ATTEST_NONCE_LEN],
                      const uint8_t tls_spki[static SHA256_LEN], uint64_t now_s,
                      const struct attest_dev_policy *policy, struct keyset *keyset,
                      struct attest_dev_verdict *verdict)
{
    AUTO(attest_document_fini) struct attest_document d = {0};
    AUTO(keyset_fini) struct keyset k = {0};
    const char *reason;

    if (attest_document_read(&d, document) < 0)
        return refuse(verdict, "bad_document");
    if (!crypto_equal(SPAN_OF(d.nonce), span_of(nonce, ATTEST_NONCE_LEN)))
        return refuse(verdict, "nonce_mismatch");
    reason = evidence_judge(&d, policy);
    if (!reason && keyset_parse(&k, buf_span(&d.keyset)) < 0)
        reason = "bad_keyset";
    if (!reason)
        reason = keyset_judge(&k, &d, tls_spki, now_s);
    if (reason)
        return refuse(verdict, reason);
    *verdict = (struct attest_dev_verdict){.env = ATTEST_INSECURE_DEV};
    *keyset = k;
    k = (struct keyset){0};
    return 0;
}
