/* GPU reports and device evidence: foreign bytes. */
#include "attest/gpu.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct x509_cert *root;
    static const uint8_t nonce[GPU_NONCE_LEN] = {0};
    AUTO(buf_fini) struct buf evidence = {0}, pins = {0};
    const struct span report = span_of(data, size), chain = SPAN("");
    struct attest_verdict v = {0};
    struct gpu_report parsed;

    if (!root)
        root = gpu_nvidia_root();
    if (gpu_report_parse(&parsed, report) == 0)
        CHECK(parsed.block_count <= GPU_MAX_BLOCKS && parsed.signed_bytes.len < size);
    gpu_evidence_write(&evidence, &report, &chain, 1);
    struct gpu_input in = {.evidence = buf_span(&evidence),
                           .nonce = nonce,
                           .count = 1,
                           .root = root,
                           .now_s = 1750000000};
    CHECK(gpu_verify(&in, &v) < 0);
    if (gpu_evidence_pins(in.evidence, &pins) == 0)
        CHECK(span_utf8(buf_span(&pins)));
    in.evidence = report;
    CHECK(gpu_verify(&in, &v) < 0);
    return 0;
}
