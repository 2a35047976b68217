/* NVIDIA confidential-computing evidence: SPDM 1.1 measurement reports (attestation.md §10, §13).
 */
#ifndef ATTEST_GPU_H
#define ATTEST_GPU_H

#include "attest/verdict.h"
#include "crypto/x509.h"

enum { GPU_NONCE_LEN = 32, GPU_MAX_REPORT = 64 * 1024, GPU_MAX = ATTEST_MAX_GPUS };
enum { GPU_MAX_BLOCKS = 128 };

/* What a report tells of the GPU's place; older ones tell nothing. */
enum gpu_mode {
    GPU_ALONE = 1,
    GPU_LINKED = 2,  /* with others, over links that they seal */
    GPU_SWITCHED = 4 /* Protected PCIe, or a mode not known: NVSwitches would have to be attested
                        too, which is not supported */
};

struct gpu_report { /* spans into the report's bytes */
    const uint8_t *nonce;
    struct span signed_bytes, signature;
    struct span blocks[GPU_MAX_BLOCKS]; /* by index - 1: digest of the measurement; may be empty */
    size_t block_count;
    struct span driver, vbios, fwid; /* from the opaque data; text without its NUL */
    unsigned modes;                  /* bits of enum gpu_mode */
};
/* E_INVALID, also for the report of a switch. */
MUST_CHECK int gpu_report_parse(struct gpu_report *out, struct span bytes);

/* One report against its PEM chain of five: chain to root, signature, FWID against the leaf's DICE
 * extension (§10 steps 2 to 4). *chain is {0} before and the caller's afterwards, whatever is
 * returned: ATTEST_OK or the reason. */
enum attest_reason gpu_report_verify(const struct gpu_report *report, struct span chain_pem,
                                     const struct x509_cert *root, uint64_t now_s,
                                     struct x509_chain *chain);

/* One row of the policy's pinned table. A block of zeros is not judged: firmware that measures
 * nothing there, or what changes from machine to machine. */
struct gpu_pin {
    char driver[32], vbios[32];
    uint8_t (*blocks)[48]; /* SHA-384 digests, index 1 first; owned by the policy */
    size_t block_count;
};

/* NVIDIA Device Identity CA, compiled in; owned by the caller. */
struct x509_cert *gpu_nvidia_root(void);

struct gpu_input {
    struct span evidence; /* device evidence bytes of the document (attestation.md §13) */
    const uint8_t *nonce; /* gpu_nonce of wire.md §2 */
    uint32_t count;       /* of the keyset */
    const struct x509_cert *root;
    const struct gpu_pin *pins; /* none: measurements are not judged */
    size_t pin_count;
    /* Serial numbers of certificates that the policy withdraws, lower-case hex; none of a GPU's
     * chain may be among them. */
    const char (*revoked)[ATTEST_SERIAL_LEN];
    size_t revoked_count;
    uint64_t now_s;
};
/* Fills the GPU part of v, marks ATTEST_STEP_GPU. E_DENIED with v->reason. ~1.1 ms a signature. */
MUST_CHECK int gpu_verify(const struct gpu_input *in, struct attest_verdict *v);

/* What `gpu.pinned` of a policy says of each report in the evidence, as JSON, a line each: for
 * people who have verified them. E_INVALID. */
MUST_CHECK int gpu_evidence_pins(struct span evidence, struct buf *out);

/* Device evidence bytes from reports and PEM chains, in PCI order. */
void gpu_evidence_write(struct buf *out, const struct span *reports, const struct span *chains,
                        size_t count);

#endif
