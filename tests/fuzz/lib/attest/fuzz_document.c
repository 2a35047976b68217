/* Attestation documents: foreign ones, and a good frame around a foreign keyset. Refusals have a
 * reason, acceptances none. */
#include "attest/document.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void judge(struct span document, bool accept_dev)
{
    static const uint8_t nonce[ATTEST_NONCE_LEN] = {1}, tls[SHA256_LEN] = {0};
    const struct attest_dev_policy policy = {.accept_insecure_dev = accept_dev};
    AUTO(keyset_fini) struct keyset k = {0};
    struct attest_dev_verdict verdict;
    int error = attest_dev_verify(document, nonce, tls, 1751328010, &policy, &k, &verdict);

    if (error == 0) {
        CHECK(accept_dev && !verdict.reason && verdict.env == ATTEST_INSECURE_DEV);
        CHECK(span_eq(SPAN_OF(k.tls_spki), SPAN_OF(tls)) && k.bytes.len > 0);
    } else {
        CHECK(error == E_DENIED && verdict.reason && verdict.env == ATTEST_UNATTESTED);
        CHECK(k.bytes.len == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t nonce[ATTEST_NONCE_LEN] = {1};
    AUTO(buf_fini) struct buf framed = {0};
    struct span in = span_of(data, size);

    judge(in, true);
    judge(in, false);
    attest_document_write(&framed, "insecure-dev", nonce, in, SPAN(""), SPAN(""));
    judge(buf_span(&framed), true);
    judge(buf_span(&framed), false);
    return 0;
}
