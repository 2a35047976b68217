/* The result of a verification: one reason, every step, and what was seen (attestation.md). */
#ifndef ATTEST_VERDICT_H
#define ATTEST_VERDICT_H

#include "base/buf.h"
#include "base/error.h"

enum attest_reason {
#define X(name, sentence) ATTEST_##name,
#include "attest/reasons.def"
#undef X
    ATTEST_REASONS
};
const char *attest_reason_name(enum attest_reason reason);     /* "QUOTE_TRUNCATED" */
const char *attest_reason_sentence(enum attest_reason reason); /* for people */

/* What an accepted worker may be called; follows from the root that was used alone. */
enum attest_env { ATTEST_PRODUCTION, ATTEST_INSECURE_DEV, ATTEST_UNATTESTED };
const char *attest_env_name(enum attest_env env); /* "production", "insecure-dev", "unattested" */

/* Order of severity (attestation.md §5). NONE: not judged. */
enum tcb_status {
    TCB_NONE,
    TCB_UP_TO_DATE,
    TCB_SW_HARDENING_NEEDED,
    TCB_CONFIGURATION_NEEDED,
    TCB_CONFIGURATION_AND_SW_HARDENING_NEEDED,
    TCB_TD_RELAUNCH_ADVISED, /* the host was patched; restart the worker */
    TCB_TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED,
    TCB_OUT_OF_DATE,
    TCB_OUT_OF_DATE_CONFIGURATION_NEEDED,
    TCB_REVOKED,
    TCB_NOT_SUPPORTED,
    TCB_STATUSES
};
const char *tcb_status_name(enum tcb_status status); /* Intel's spelling */
/* Intel's spelling of TCB Info and QE Identity; E_INVALID: unknown. */
MUST_CHECK int tcb_status_read(struct span name, enum tcb_status *out);

/* Steps in the order they are taken; `cocoonctl attest` prints a line for each. */
#define ATTEST_STEPS_TABLE(X)                                                                      \
    X(DOCUMENT, "document, nonce, tunnel key")                                                     \
    X(QUOTE, "quote's form")                                                                       \
    X(PCK_CHAIN, "PCK certificate chain and revocation lists")                                     \
    X(TCB_INFO, "TCB Info's signer, signature, time and platform")                                 \
    X(MODULE, "TDX module identity")                                                               \
    X(QE_REPORT, "quoting enclave's report")                                                       \
    X(AK_BINDING, "attestation key")                                                               \
    X(QE_IDENTITY, "quoting enclave's identity")                                                   \
    X(QUOTE_SIGNATURE, "quote's signature")                                                        \
    X(TCB_LEVEL, "platform's TCB level")                                                           \
    X(POLICY, "policy: status, attributes, machine")                                               \
    X(REPORT_DATA, "binding of keys, evidence and nonce")                                          \
    X(MEASUREMENT, "measurements, configuration, model")                                           \
    X(KEYSET, "keyset's time")                                                                     \
    X(GPU, "GPU evidence")

enum attest_step {
#define X(name, title) ATTEST_STEP_##name,
    ATTEST_STEPS_TABLE(X)
#undef X
        ATTEST_STEPS
};
const char *attest_step_title(enum attest_step step);

enum attest_step_state { ATTEST_NOT_REACHED, ATTEST_PASSED, ATTEST_FAILED, ATTEST_NOT_NEEDED };

enum { ATTEST_MAX_ADVISORIES = 64, ATTEST_ADVISORY_LEN = 32, ATTEST_MR_LEN = 48 };
enum { ATTEST_MAX_GPUS = 16, ATTEST_SERIAL_LEN = 41 /* 20 bytes (RFC 5280 §4.1.2.2) as text */ };

struct attest_verdict {
    enum attest_env env;         /* ATTEST_UNATTESTED when refused */
    enum attest_reason reason;   /* ATTEST_OK: accepted */
    char detail[200];            /* for the operator: what exactly did not fit; may be empty */
    uint8_t steps[ATTEST_STEPS]; /* enum attest_step_state */

    /* Of the CPU's evidence; zero where not reached. */
    uint16_t quote_version;
    bool td15; /* the body is a TD 1.5 one */
    enum tcb_status status, platform_status, module_status, qe_status;
    char advisories[ATTEST_MAX_ADVISORIES][ATTEST_ADVISORY_LEN];
    size_t advisory_count;
    uint8_t fmspc[6];
    uint8_t ppid[16]; /* shown and logged only as SHA-256 */
    bool platform_ca; /* issuer of the PCK certificate: platform CA, else processor CA */
    uint32_t tcb_evaluation, qe_evaluation; /* tcbEvaluationDataNumber of both */
    uint64_t tcb_date;                      /* of the level that matched; seconds since 1970 */
    uint8_t mrtd[ATTEST_MR_LEN], rtmr[4][ATTEST_MR_LEN], mrseam[ATTEST_MR_LEN];
    uint64_t td_attributes, xfam;
    char measurement[65]; /* name of the policy's entry that matched */

    /* Of the GPUs. */
    uint32_t gpu_count; /* verified ones */
    char gpu_driver[32], gpu_vbios[32];
    /* Serial numbers of the devices' certificates, lower-case hex; `gpu.revoked` takes them. */
    char gpu_serials[ATTEST_MAX_GPUS][ATTEST_SERIAL_LEN];

    uint64_t collateral_until; /* the first nextUpdate or notAfter of what was used; 0: none */
    uint64_t valid_until;      /* verify again by then: the least of all ends; seconds since 1970 */
};

/* For those who verify: writes reason, step and detail, clears env; returns E_DENIED. */
int attest_refuse(struct attest_verdict *v, enum attest_step step, enum attest_reason reason,
                  const char *detail, ...) __attribute__((format(printf, 4, 5)));
/* Adds an advisory that is not there yet; names longer than ATTEST_ADVISORY_LEN - 1 are cut. */
void attest_advisory_add(struct attest_verdict *v, struct span name);
/* Lowers v->valid_until to at. */
void attest_until(struct attest_verdict *v, uint64_t at);

#endif
