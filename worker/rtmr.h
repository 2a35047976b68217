/* RTMR3, extended once a boot by what the keyset says of settings and model (attestation.md §12).
 */
#ifndef WORKER_RTMR_H
#define WORKER_RTMR_H

#include "crypto/hash.h"
#include "worker/digests.h"

#define RTMR3_FILE "/sys/devices/virtual/misc/tdx_guest/measurements/rtmr3:sha384"

/* SHA-384("cgw/rtmr3/v1" ‖ 0x00 ‖ config_sha256 ‖ SHA-256(model_digest as text)). E_INVALID:
 * config_sha256 is not 64 hex digits. */
MUST_CHECK int rtmr3_value(const char *config_sha256, const char *model_digest,
                           uint8_t out[static SHA384_LEN]);
/* Extends the register in file (RTMR3_FILE) unless this value has been already, by an earlier start
 * of the worker. E_DENIED: something else is in it. E_UNSUPPORTED: the kernel has no such file.
 * E_IO. */
MUST_CHECK int rtmr3_extend(const char *file, const uint8_t value[static SHA384_LEN],
                            char why[static DIGESTS_WHY_LEN]);

#endif
