/* Verification of a TDX quote against collateral: attestation.md §5 steps 1 to 12. */
#ifndef ATTEST_TDX_H
#define ATTEST_TDX_H

#include "attest/collateral.h"
#include "attest/quote.h"

/* Collateral already verified, by digest and root; parsed once, used until its first end. Guarded
 * by a lock of its own: the offload pool's threads share it. A refusal is not kept. */
struct collateral_cache;
struct collateral_cache *collateral_cache_new(size_t entries);
void collateral_cache_free(struct collateral_cache *cache);
AUTO_FREE(struct collateral_cache, collateral_cache_free)

struct tdx_input {
    const struct quote *quote;
    const struct collateral *collateral;
    const struct x509_cert *root;     /* the one trusted anchor */
    const struct attest_floor *floor; /* NULL: none */
    uint32_t min_evaluation;          /* of the policy */
    uint64_t now_s;
    struct collateral_cache *cache; /* NULL: verify all */
};

/* Fills v's steps, statuses, identities, measurements, collateral_until and valid_until (all but
 * env) of a v that is {0} or has been through the steps before these. E_DENIED with v->reason. A
 * status worse than UpToDate is not refused here (the policy does), except Revoked and
 * NotSupported. Pure; any thread; ~1 ms. */
MUST_CHECK int tdx_verify(const struct tdx_input *in, struct attest_verdict *v);

/* What the quote's PCK certificate says of its platform, to find collateral: FMSPC and issuing CA.
 * Its chain must lead to root (revocation is not looked at), so that nobody makes platforms up. The
 * reason for a refusal, or ATTEST_OK. ~0.3 ms. */
enum attest_reason tdx_platform(const struct quote *quote, const struct x509_cert *root,
                                uint64_t now_s, uint8_t fmspc[static 6], bool *platform_ca);

/* Intel SGX Root CA, compiled in; owned by the caller. */
struct x509_cert *tdx_intel_root(void);
/* Whether root is it, by its key: what may be called production. */
bool tdx_root_is_intel(const struct x509_cert *root);

#endif
