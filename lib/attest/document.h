/* Attestation document (wire.md §2): keyset, evidence and quote for one nonce. The verdict on it is
 * in verify.h. */
#ifndef ATTEST_DOCUMENT_H
#define ATTEST_DOCUMENT_H

#include "attest/keyset.h"
#include "attest/verdict.h"

enum { ATTEST_NONCE_LEN = 32, ATTEST_MAX_DOCUMENT = 1 << 20 };
#define ATTEST_DOCUMENT_FORMAT "cgw/attestation/v1"

/* What a worker puts in. For "none" quote and device_evidence are empty. */
void attest_document_write(struct buf *out, const char *tee,
                           const uint8_t nonce[static ATTEST_NONCE_LEN], struct span keyset,
                           struct span device_evidence, struct span quote);

/* REPORT_DATA and GPU nonce (wire.md §2). */
void attest_report_data(uint8_t out[static 64], const uint8_t nonce[static ATTEST_NONCE_LEN],
                        struct span keyset, struct span device_evidence);
void attest_gpu_nonce(uint8_t out[static 32], const uint8_t nonce[static ATTEST_NONCE_LEN],
                      struct span keyset);

#endif
