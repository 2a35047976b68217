/* Collateral whose signatures have been checked, shared between verifications. Inside lib/attest.
 */
#ifndef ATTEST_COLLATERAL_CACHE_H
#define ATTEST_COLLATERAL_CACHE_H

#include "attest/qe_identity.h"
#include "attest/tcb_info.h"
#include "attest/tdx.h"

/* Filled part by part while a verification goes on; read-only once it is in a cache. */
struct checked_collateral {
    int refs;                /* atomic */
    uint8_t key[SHA256_LEN]; /* of the collateral and the root that it was checked with */
    uint64_t from, until;    /* the time in which all of it is valid */
    struct x509_crl *pck_crl, *root_crl; /* their signatures are checked with each PCK chain */
    struct x509_cert *ca;                /* of the PCK chain it was first used with, parsed */
    struct x509_cert *signer; /* of TCB Info, parsed; QE Identity has the same as a rule */
    struct tcb_info *tcb_info;
    struct qe_identity *qe_identity;
};

struct checked_collateral *checked_collateral_new(void);
void checked_collateral_unref(struct checked_collateral *c);
/* Narrows the time in which it is valid. */
void checked_collateral_within(struct checked_collateral *c, uint64_t from, uint64_t until);

/* SHA-256 of collateral and root. */
void checked_collateral_key(const struct collateral *c, const struct x509_cert *root,
                            uint8_t out[static SHA256_LEN]);
/* A reference, or NULL when there is none that is valid at now_s. */
struct checked_collateral *collateral_cache_get(struct collateral_cache *cache,
                                                const uint8_t key[static SHA256_LEN],
                                                uint64_t now_s);
/* Keeps a reference to c, which is complete; the one that was not used for longest goes. */
void collateral_cache_put(struct collateral_cache *cache, struct checked_collateral *c);

#endif
