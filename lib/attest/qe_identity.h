/* Identity v2 of the TD quoting enclave, as Intel signs it. */
#ifndef ATTEST_QE_IDENTITY_H
#define ATTEST_QE_IDENTITY_H

#include "attest/intel_json.h"
#include "attest/quote.h"

struct qe_identity {
    uint64_t issued, until; /* seconds since 1970 */
    uint32_t evaluation;
    uint32_t miscselect, miscselect_mask;
    uint8_t attributes[16], attributes_mask[16];
    uint8_t mrsigner[32];
    uint16_t isv_prod_id;
    struct isv_levels levels;
    json_t *json; /* what the levels point into */
};

/* Strict: id TD_QE (SGX's QE is another enclave), version 2, known statuses. E_INVALID. Read-only
 * once made. */
MUST_CHECK int qe_identity_read(struct qe_identity **out, struct span text);
void qe_identity_free(struct qe_identity *identity);
AUTO_FREE(struct qe_identity, qe_identity_free)

/* Name of the first field in which the report differs, or NULL. */
const char *qe_identity_mismatch(const struct qe_identity *identity,
                                 const struct qe_report *report);

#endif
