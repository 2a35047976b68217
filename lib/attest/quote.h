/* TDX quotes v4 and v5 as bytes (attestation.md §1–§3). Little-endian. */
#ifndef ATTEST_QUOTE_H
#define ATTEST_QUOTE_H

#include "attest/verdict.h"

enum { QUOTE_MAX = 16 * 1024, QUOTE_REPORT_DATA_LEN = 64, QE_REPORT_LEN = 384 };
enum { QUOTE_SERVICE_TD_LEN = 56 };

/* Spans point into the quote's bytes. */
struct quote {
    uint16_t version;
    bool td15;
    struct span signed_bytes; /* header and body */
    const uint8_t *tee_tcb_svn, *mrseam, *mrsignerseam, *mrtd, *mrconfigid, *mrowner,
        *mrownerconfig, *rtmr[4], *report_data;
    const uint8_t *tee_tcb_svn_2, *mrservicetd; /* NULL unless td15 */
    /* Of an extended TD 1.5 body, else 0 and NULL: the partition that asked, and the service TDs
     * bound when the TD began and now, SERVTD_HASH and attributes each. */
    uint8_t vm_index;
    const uint8_t *init_service_td, *service_td_now; /* QUOTE_SERVICE_TD_LEN */
    uint64_t seam_attributes, td_attributes, xfam;
    struct span signature, attestation_key; /* 64 each */
    struct span qe_report, qe_report_signature, qe_auth;
    struct span pck_pem;
};

/* Strict bounds; what follows the authentication data is tolerated, up to QUOTE_MAX in all. The
 * reason for a refusal, or ATTEST_OK. */
enum attest_reason quote_parse(struct quote *out, struct span bytes);

/* The SGX report body of the quoting enclave. */
struct qe_report {
    const uint8_t *attributes, *mrsigner, *report_data; /* 16, 32, 64 bytes */
    uint32_t miscselect;
    uint16_t isv_prod_id, isv_svn;
};
void qe_report_read(struct qe_report *out, struct span report); /* report.len == QE_REPORT_LEN */

#endif
