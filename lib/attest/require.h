/* What a caller demands beyond the policy: `Cocoon-Require: tee=tdx, gpu=nvidia-cc,
 * tcb=up-to-date, measurement=<96 hex>` (pool.md §2). It narrows, never widens. */
#ifndef ATTEST_REQUIRE_H
#define ATTEST_REQUIRE_H

#include "attest/verdict.h"

struct attest_require {
    bool tee_tdx, gpu_nvidia, tcb_up_to_date;
    bool has_measurement;
    uint8_t measurement[ATTEST_MR_LEN]; /* MRTD */
};

/* A list of name=value, each name at most once. E_INVALID: unknown name or value, with what in why
 * (of our own words alone). Empty text requires nothing. */
MUST_CHECK int attest_require_read(struct attest_require *out, struct span text,
                                   char why[static 120]);
/* Both demands together. E_INVALID when they contradict (two measurements). */
MUST_CHECK int attest_require_merge(struct attest_require *into, const struct attest_require *more);
bool attest_require_any(const struct attest_require *r);
/* NULL when v meets r, else the name of the first part that it does not ("tee", "gpu", "tcb",
 * "measurement"). */
const char *attest_require_unmet(const struct attest_require *r, const struct attest_verdict *v);

#endif
