/* Members of a policy, for those who read and judge. */
#ifndef ATTEST_POLICY_IMPL_H
#define ATTEST_POLICY_IMPL_H

#include <stdatomic.h>

#include "attest/policy.h"

enum { POLICY_LIST_MAX = 1024, MODEL_DIGEST_LEN = 71 }; /* "sha256:" or "verity:" and 64 hex */

enum rtmr3_rule { RTMR3_ZERO, RTMR3_EVENT_LOG, RTMR3_PINNED };

/* One image that is accepted; it matches as a whole. */
struct policy_measurement {
    char name[65];
    uint8_t mrtd[ATTEST_MR_LEN];
    uint8_t (*rtmr0)[ATTEST_MR_LEN];
    size_t rtmr0_count;
    uint8_t rtmr1[ATTEST_MR_LEN], rtmr2[ATTEST_MR_LEN], rtmr3[ATTEST_MR_LEN];
    enum rtmr3_rule rtmr3_rule;
    /* Zero unless the policy pins them. */
    uint8_t mrconfigid[ATTEST_MR_LEN], mrowner[ATTEST_MR_LEN], mrownerconfig[ATTEST_MR_LEN];
    char (*configs)[2 * SHA256_LEN + 1]; /* config_sha256; none: any */
    size_t config_count;
    char (*models)[MODEL_DIGEST_LEN + 1]; /* model_digest; none: any */
    size_t model_count;
};

struct policy_exception {
    uint8_t fmspc[6];
    enum tcb_status status;
    char (*advisories)[ATTEST_ADVISORY_LEN]; /* the only ones that it covers */
    size_t advisory_count;
    uint64_t until;
};

enum policy_gpu { POLICY_GPU_ANY, POLICY_GPU_NVIDIA, POLICY_GPU_NONE };

struct attest_policy {
    atomic_int refs;
    bool production;
    uint64_t sequence, expires;
    struct policy_measurement *measurements;
    size_t measurement_count;
    uint32_t accepted; /* bit of each tcb_status */
    uint32_t min_evaluation;
    struct policy_exception *exceptions;
    size_t exception_count;
    uint8_t (*ppids)[SHA256_LEN]; /* none: any machine */
    size_t ppid_count;
    enum policy_gpu gpu;
    struct gpu_pin *pins;
    size_t pin_count;
    char (*gpu_revoked)[ATTEST_SERIAL_LEN]; /* serial numbers, lower-case hex */
    size_t gpu_revoked_count;
    char *dev_root;
    struct x509_cert *root, *gpu_root;
};

#endif
