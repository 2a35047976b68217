/* Issues production-shaped TDX evidence under a root of its own (attestation.md §11): certificates,
 * revocation lists, collateral and quotes that a verifier accepts only where a dev policy names
 * that root. All of it follows from a seed. With faults it makes what a verifier must refuse. */
#ifndef DEVTEE_ISSUER_H
#define DEVTEE_ISSUER_H

#include "attest/collateral.h"
#include "crypto/ed25519.h"
#include "devtee/faults.h"
#include "devtee/key.h"

enum { DEVTEE_REPORT_DATA_LEN = 64, DEVTEE_EVALUATION = 18 };
/* All that is issued is valid from 2025-01-01 to 2045-01-01; seconds since 1970. */
#define DEVTEE_NOT_BEFORE UINT64_C(1735689600)
#define DEVTEE_NOT_AFTER  UINT64_C(2366841600)

struct devtee_issuer; /* read-only once made; any thread */

/* seed: DEVTEE_SEED_LEN bytes. build_id names what the trust domain runs: it makes MRTD. */
struct devtee_issuer *devtee_issuer_new(const uint8_t *seed, const char *build_id);
void devtee_issuer_free(struct devtee_issuer *issuer);
AUTO_FREE(struct devtee_issuer, devtee_issuer_free)

/* faults NULL: none. Everything is appended. */
void devtee_root(const struct devtee_issuer *issuer, struct buf *pem);
void devtee_quote(const struct devtee_issuer *issuer, const struct devtee_faults *faults,
                  const uint8_t report_data[static DEVTEE_REPORT_DATA_LEN], struct buf *out);
/* *out is {0} before, the caller's afterwards. */
void devtee_collateral(const struct devtee_issuer *issuer, const struct devtee_faults *faults,
                       struct collateral *out);

/* SHA-384("cgw dev td" ‖ build id); ATTEST_MR_LEN bytes. */
const uint8_t *devtee_mrtd(const struct devtee_issuer *issuer);
const uint8_t *devtee_rtmr(const struct devtee_issuer *issuer, size_t n); /* 0 … 3; 3 is zero */
/* CCEL that replays to RTMR0 … 3; lives as long as the issuer. */
struct span devtee_event_log(const struct devtee_issuer *issuer);
/* Signs dev policies. */
const struct ed25519 *devtee_release_key(const struct devtee_issuer *issuer);

/* The dev policy's JSON, which accepts what this issuer makes without faults and nothing else.
 * Empty lists of digests accept any. */
struct devtee_policy {
    const char *root; /* path of the root's PEM file, for the verifier */
    uint64_t sequence, expires;
    const char *config_sha256; /* 64 hex, or NULL: any */
    const char *model_digest;  /* keyset_model_digest_good, or NULL: any */
};
void devtee_policy_write(const struct devtee_issuer *issuer, const struct devtee_policy *policy,
                         struct buf *out);

#endif
