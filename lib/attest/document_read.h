/* An attestation document's members, as bytes. */
#ifndef ATTEST_DOCUMENT_READ_H
#define ATTEST_DOCUMENT_READ_H

#include "attest/document.h"
#include "base/json.h"

struct attest_document {
    json_t *json;
    struct span tee; /* in json */
    uint8_t nonce[ATTEST_NONCE_LEN];
    struct buf keyset, device_evidence, quote;
    struct buf event_log;     /* empty when there is none */
    const json_t *collateral; /* in json; NULL when there is none */
};

/* E_INVALID, E_TOO_LARGE; *out is the caller's whatever is returned. */
MUST_CHECK int attest_document_read(struct attest_document *out, struct span bytes);
void attest_document_fini(struct attest_document *d);
AUTO_FINI(struct attest_document, attest_document_fini)

#endif
