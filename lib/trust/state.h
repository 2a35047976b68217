/* What must not be forgotten by whoever judges workers: the highest sequence of a policy and the
 * floor of evaluation numbers, in a file (attestation.md §5, §6). */
#ifndef TRUST_STATE_H
#define TRUST_STATE_H

#include "attest/collateral.h"
#include "attest/policy.h"

enum { TRUST_STATE_WHY_LEN = 600 };

/* {0} has no file yet. */
struct trust_state {
    char *file;
    uint64_t sequence;
    struct attest_floor floor;
};

/* Reads the file; one that is not there is a first start. Once it has one, another call does
 * nothing. E_IO, E_INVALID (one that cannot be read is none) with a sentence in why; s is as it
 * was. */
MUST_CHECK int trust_state_open(struct trust_state *s, const char *file,
                                char why[static TRUST_STATE_WHY_LEN]);
/* An older policy, though signed, may accept what a newer one has withdrawn: E_EXPIRED. A newer
 * one's sequence is on disk when it returns. */
MUST_CHECK int trust_state_take(struct trust_state *s, const struct attest_policy *p,
                                char why[static TRUST_STATE_WHY_LEN]);
/* The floor was raised: in memory whatever the disk says, E_IO with a sentence in why. */
MUST_CHECK int trust_state_raise(struct trust_state *s, const struct attest_floor *floor,
                                 char why[static TRUST_STATE_WHY_LEN]);
void trust_state_fini(struct trust_state *s);
AUTO_FINI(struct trust_state, trust_state_fini)

#endif
