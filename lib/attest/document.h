/* Attestation document (wire.md §2): keyset, evidence and quote for one nonce; and the verdict on
 * it. */
#ifndef ATTEST_DOCUMENT_H
#define ATTEST_DOCUMENT_H

#include "attest/keyset.h"
#include "attest/verdict.h"

enum { ATTEST_NONCE_LEN = 32, ATTEST_MAX_DOCUMENT = 1 << 20 };
#define ATTEST_DOCUMENT_FORMAT "cgw/attestation/v1"

/* What a worker puts in. For "insecure-dev" quote and device_evidence are empty. */
void attest_document_write(struct buf *out, const char *tee,
                           const uint8_t nonce[static ATTEST_NONCE_LEN], struct span keyset,
                           struct span device_evidence, struct span quote);

/* What the verifier is told: it does no I/O. */
struct attest_dev_policy {
    bool accept_insecure_dev; /* config `attestation.accept_insecure_dev` */
};

struct attest_dev_verdict {
    enum attest_env env;
    const char *reason; /* constant code of the one reason for a refusal; NULL when accepted */
};

/* Parses and judges: form, nonce, keyset's TLS key = the tunnel certificate's, validity, tee
 * allowed by the policy. 0: accepted, *keyset owned by the caller. E_DENIED with verdict->reason:
 * refused. Pure; any thread. Reasons, in the order they are looked for: bad_document,
 * nonce_mismatch, tee_unsupported, insecure_dev_refused, quote_not_empty, evidence_not_empty,
 * bad_keyset, gpu_without_evidence, tls_key_mismatch, keyset_expired. */
MUST_CHECK int attest_dev_verify(struct span document, const uint8_t nonce[static ATTEST_NONCE_LEN],
                                 const uint8_t tls_spki[static SHA256_LEN], uint64_t now_s,
                                 const struct attest_dev_policy *policy, struct keyset *keyset,
                                 struct attest_dev_verdict *verdict);

/* REPORT_DATA and GPU nonce (wire.md §2). */
void attest_report_data(uint8_t out[static 64], const uint8_t nonce[static ATTEST_NONCE_LEN],
                        struct span keyset, struct span device_evidence);
void attest_gpu_nonce(uint8_t out[static 32], const uint8_t nonce[static ATTEST_NONCE_LEN],
                      struct span keyset);

#endif
