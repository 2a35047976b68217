/* TCB Info v3 of a TDX platform, as Intel signs it, and which of its levels a platform reaches. */
#ifndef ATTEST_TCB_INFO_H
#define ATTEST_TCB_INFO_H

#include "attest/intel_json.h"
#include "attest/pck.h"

enum { TCB_LEVELS_MAX = 64, TDX_MODULES_MAX = 16, MRSIGNER_SEAM_LEN = 48 };

/* Who may have signed a TDX module, and which attributes it has. */
struct tdx_module {
    uint8_t major; /* of "TDX_<major>"; 0 for the base one */
    uint8_t mrsigner[MRSIGNER_SEAM_LEN];
    uint64_t attributes, attributes_mask;
    struct isv_levels levels; /* none for the base one */
};

struct tcb_level {
    uint8_t sgx[TCB_COMPONENTS], tdx[TCB_COMPONENTS];
    uint16_t pce_svn;
    enum tcb_status status;
    uint64_t date;
    const json_t *json;
};

struct tcb_info {
    uint64_t issued, until; /* seconds since 1970 */
    uint8_t fmspc[6], pce_id[2];
    uint32_t evaluation;
    struct tdx_module base;
    struct tdx_module modules[TDX_MODULES_MAX];
    size_t module_count;
    struct tcb_level levels[TCB_LEVELS_MAX]; /* the newest first */
    size_t level_count;
    json_t *json; /* what the levels point into */
};

/* Strict: id TDX, version 3, tcbType 0, 16 components of each kind in every level, known statuses.
 * E_INVALID. Read-only once made. */
MUST_CHECK int tcb_info_read(struct tcb_info **out, struct span text);
void tcb_info_free(struct tcb_info *info);
AUTO_FREE(struct tcb_info, tcb_info_free)

/* The module of that major version, the base one for 0; NULL when it is not known. */
const struct tdx_module *tcb_info_module(const struct tcb_info *info, uint8_t major);

/* What a platform is: components and PCE of its PCK certificate, TEE_TCB_SVN of its TD. */
struct tcb_platform {
    const struct pck_extension *pck;
    const uint8_t *tee_tcb_svn; /* NULL: only SGX's part is looked at */
};
/* The first level that the platform reaches, or NULL (attestation.md §5 step 11). */
const struct tcb_level *tcb_info_match(const struct tcb_info *info,
                                       const struct tcb_platform *platform);
/* For people: what the platform lacks for the lowest level that there is. */
void tcb_info_explain(const struct tcb_info *info, const struct tcb_platform *platform,
                      char out[static 160]);

#endif
