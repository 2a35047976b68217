/* The issuer's inside: its keys, and what its files ask of each other. Inside devtee only. */
#ifndef DEVTEE_ISSUER_IMPL_H
#define DEVTEE_ISSUER_IMPL_H

#include "devtee/issuer.h"

struct devtee_issuer {
    struct devtee_key *root, *other_root, *platform_ca, *pck, *signer, *attestation;
    struct ed25519 *release;
    uint8_t qe_mrsigner[32], mrenclave[32];
    uint8_t mrtd[ATTEST_MR_LEN], mrseam[ATTEST_MR_LEN], rtmr[4][ATTEST_MR_LEN];
    struct buf event_log;
};

/* PEM, leaf first. */
void issuer_pck_chain(const struct devtee_issuer *issuer, const struct devtee_faults *f,
                      struct buf *pem);
void issuer_pck_crl_chain(const struct devtee_issuer *issuer, const struct devtee_faults *f,
                          struct buf *pem);

/* A signer of TCB Info or QE Identity, and what is wrong with it. */
struct signer_form {
    bool only_leaf, garbage, ca, pck, expired;
};
/* Appends its chain; returns its key. */
const struct devtee_key *issuer_signer_chain(const struct devtee_issuer *issuer,
                                             const struct devtee_faults *f,
                                             const struct signer_form *form, struct buf *pem);

/* DER. */
void issuer_pck_crl(const struct devtee_issuer *issuer, const struct devtee_faults *f,
                    struct buf *der);
void issuer_root_crl(const struct devtee_issuer *issuer, const struct devtee_faults *f,
                     struct buf *der);
/* Appends the log and extends the registers by it. */
void event_log_make(struct buf *log, const char *build_id, uint8_t rtmr[static 4][ATTEST_MR_LEN]);
/* Appends r ‖ s; bad: another one. */
void issuer_sign(struct buf *out, const struct devtee_key *key, struct span message, bool bad);
/* Value of the SGX extension; empty with DEVTEE_SGX_NONE. */
void sgx_extension_write(const struct devtee_faults *f, struct buf *der);

#endif
