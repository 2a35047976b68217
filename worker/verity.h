/* A model image under dm-verity: its root hash stands for every byte of it, and the kernel refuses
 * whatever does not fit (attestation.md §9). */
#ifndef WORKER_VERITY_H
#define WORKER_VERITY_H

#include "base/error.h"
#include "base/span.h"

enum { VERITY_HEX_LEN = 64, VERITY_WHY_LEN = 400 };

/* Whether the folder lies on a dm-verity device with this root hash, as the kernel says it: asks
 * device-mapper, for which CAP_SYS_ADMIN is needed. E_IO, E_DENIED with a sentence in why. Blocks.
 */
MUST_CHECK int verity_check(const char *folder, const char root[static VERITY_HEX_LEN + 1],
                            char why[static VERITY_WHY_LEN]);
/* The root hash in the parameters of a verity target: version, two devices, two block sizes, two
 * counts, algorithm, root, salt. Only version 1 with SHA-256. E_INVALID. */
MUST_CHECK int verity_root(struct span params, char out[static VERITY_HEX_LEN + 1]);

#endif
