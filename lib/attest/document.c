/* Makes attestation documents, and what binds evidence to keys. */
#include "attest/document.h"

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
