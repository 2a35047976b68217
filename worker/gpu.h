/* GPUs in confidential-computing mode, through NVIDIA's management library, which is looked for at
 * run time (attestation.md §13). Its calls block: for the start, or a thread of the offload pool.
 */
#ifndef WORKER_GPU_H
#define WORKER_GPU_H

#include "attest/gpu.h"

enum { GPU_WHY_LEN = 240 };

struct gpu_reader; /* one thread at a time */

/* library NULL: libnvidia-ml.so.1. Confidential computing must be on and development tools off, on
 * at least one and at most GPU_MAX GPUs. E_UNSUPPORTED, E_DENIED with a sentence in why. */
MUST_CHECK int gpu_open(struct gpu_reader **out, const char *library, char why[static GPU_WHY_LEN]);
void gpu_close(struct gpu_reader *g);
AUTO_FREE(struct gpu_reader, gpu_close)

/* Verifies evidence of all GPUs for a nonce of its own, to root, and only then lets them take work
 * (attestation.md §13): before that no program can use them. E_DENIED: they do not verify. */
MUST_CHECK int gpu_make_ready(struct gpu_reader *g, const struct x509_cert *root, uint64_t now_s,
                              char why[static GPU_WHY_LEN]);
uint32_t gpu_count(const struct gpu_reader *g);
/* Appends the device evidence bytes of all GPUs for this nonce, in PCI order. */
MUST_CHECK int gpu_evidence(struct gpu_reader *g, const uint8_t nonce[static GPU_NONCE_LEN],
                            struct buf *out, char why[static GPU_WHY_LEN]);
#endif
