/* Loads the signed policy that a program is told to use, from its files (attestation.md §6). */
#ifndef ATTEST_POLICY_FILES_H
#define ATTEST_POLICY_FILES_H

#include "attest/policy.h"

enum { POLICY_KEYS_MAX = 16, POLICY_WHY_LEN = 300 };

/* file and file.sig; release_keys: `count` texts of 64 hex digits, one of which must have signed;
 * the dev root that a dev policy names is read too (a relative path: beside the policy). E_…, with
 * a sentence in why. Blocks on the disk. */
MUST_CHECK int policy_files_load(struct attest_policy **out, const char *file,
                                 const char *const *release_keys, size_t count,
                                 char why[static POLICY_WHY_LEN]);

#endif
