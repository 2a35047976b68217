/* What a dev quote or its collateral can get wrong, one knob each, and names for them that the
 * command line and tests share (faults.def). */
#ifndef DEVTEE_FAULTS_H
#define DEVTEE_FAULTS_H

#include "attest/verdict.h"

enum { DEVTEE_EDITS_MAX = 8, DEVTEE_PATCH_LEN = 48 };

enum devtee_form { DEVTEE_V4, DEVTEE_V5_TD10, DEVTEE_V5_TD15, DEVTEE_V5_TD15_EX };

/* Replaces the first `from`, which is there, in a JSON text before it is signed. */
struct devtee_edit {
    const char *from, *to;
};

/* Overwrites bytes before they are signed. */
struct devtee_patch {
    size_t at, len;
    uint8_t bytes[DEVTEE_PATCH_LEN];
};

struct devtee_edits {
    struct devtee_edit items[DEVTEE_EDITS_MAX];
    size_t count;
};

struct devtee_patches {
    struct devtee_patch items[DEVTEE_EDITS_MAX];
    size_t count;
};

enum devtee_sgx { /* SGX extension of the PCK certificate */
                  DEVTEE_SGX_GOOD,
                  DEVTEE_SGX_NO_FMSPC,
                  DEVTEE_SGX_FMSPC_TWICE,
                  DEVTEE_SGX_LONG_PPID,
                  DEVTEE_SGX_BIG_SVN,      /* 256 */
                  DEVTEE_SGX_NEGATIVE_SVN, /* -1 */
                  DEVTEE_SGX_NO_TCB,
                  DEVTEE_SGX_TRAILING, /* bytes behind the sequence */
                  DEVTEE_SGX_NONE,     /* no extension */
};

/* {0}: none. */
struct devtee_faults {
    enum devtee_form form; /* not a fault */

    /* The quote. */
    struct devtee_patches header;    /* offsets from the quote's start, 0 … 47 */
    struct devtee_patches body;      /* offsets from the TD report's start (TEE_TCB_SVN is 0) */
    struct devtee_patches qe_report; /* offsets of attestation.md §3 */
    bool bad_quote_signature, bad_qe_report_signature, bad_ak_hash;
    uint16_t outer_type, inner_type; /* of certification data; 0: 6 and 5 */
    bool no_pck_chain;               /* empty certification data */
    size_t truncate;                 /* bytes cut off the end */
    size_t trail;                    /* non-zero bytes put behind the end; not a fault */
    bool no_qe_auth;                 /* authentication data of no bytes; not a fault */

    /* The PCK chain. */
    bool processor_ca;  /* a machine of one package; not a fault */
    unsigned pck_level; /* 0: newest TCB level … 2: the oldest, 3: below all */
    enum devtee_sgx sgx;
    bool short_pck_chain, bad_pck_certificate, pck_expired, pck_future, pck_is_ca, wrong_pck_name;
    bool foreign_root; /* all is issued under another root of the same name */

    /* Revocation lists. */
    bool pck_crl_expired, pck_crl_future, bad_pck_crl, other_pck_crl_issuer;
    bool root_crl_expired, root_crl_future, bad_root_crl;
    bool pck_revoked, intermediate_revoked, tcb_signer_revoked;

    /* TCB Info and QE Identity. */
    struct devtee_edits tcb_info, qe_identity;
    bool bad_tcb_info_signature, bad_qe_identity_signature;
    bool short_tcb_chain, bad_tcb_certificate, tcb_signer_is_ca, tcb_signed_by_pck;
    bool tcb_signer_expired;
    bool short_qe_chain, bad_qe_certificate, qe_signer_is_ca, qe_signed_by_pck;
};

struct devtee_fault {
    const char *name; /* "tcb_expired" */
    const char *help;
    void (*set)(struct devtee_faults *f);
    enum attest_reason reason; /* of the refusal under the dev policy; ATTEST_OK: accepted */
    enum tcb_status status;    /* of the verdict; TCB_NONE: not judged, or as without the fault */
};

/* The table; ends with a name of NULL. */
extern const struct devtee_fault devtee_fault_table[];
/* Adds the named fault to f. E_NOT_FOUND. */
MUST_CHECK int devtee_fault_add(struct devtee_faults *f, const char *name);

#endif
