/* The signed policy: which evidence is accepted (attestation.md §6). */
#ifndef ATTEST_POLICY_H
#define ATTEST_POLICY_H

#include "attest/gpu.h"
#include "attest/keyset.h"
#include "attest/quote.h"

enum { POLICY_MAX_BYTES = 1024 * 1024 };
#define POLICY_LABEL "cgw/policy/v1" /* what its signatures are over begins with it */

struct attest_policy; /* read-only once made; reference-counted, any thread */

/* Signature (POLICY_LABEL), strict form. E_AUTH: no valid signature; E_INVALID with a sentence
 * in why, which names the member. An insecure_dev_root in a production policy is E_INVALID. */
MUST_CHECK int attest_policy_read(struct attest_policy **out, struct span bytes,
                                  struct span sig_file, const struct span *keys, size_t key_count,
                                  char why[static 200]);
struct attest_policy *attest_policy_ref(struct attest_policy *p);
void attest_policy_unref(struct attest_policy *p);
AUTO_FREE(struct attest_policy, attest_policy_unref)

bool attest_policy_production(const struct attest_policy *p);
uint64_t attest_policy_sequence(const struct attest_policy *p);
uint64_t attest_policy_expires(const struct attest_policy *p);
uint32_t attest_policy_min_evaluation(const struct attest_policy *p);
/* Path of the dev root that a dev policy names, or NULL. The caller reads the file, and hands over
 * the certificate before the first verification. */
const char *attest_policy_dev_root(const struct attest_policy *p);
void attest_policy_set_dev_root(struct attest_policy *p, struct x509_cert *root); /* takes it */
/* The anchor: the dev root where the policy names one, else Intel's. NULL: the dev root was not
 * handed over, nobody is trusted. */
const struct x509_cert *attest_policy_root(const struct attest_policy *p);

/* Judges what tdx_verify found, then report data, measurements and keyset; steps POLICY to KEYSET.
 * E_DENIED with v->reason. log: the event log, empty when there is none. */
MUST_CHECK int attest_policy_judge(const struct attest_policy *p, const struct quote *quote,
                                   const struct keyset *keyset,
                                   const uint8_t report_data[static QUOTE_REPORT_DATA_LEN],
                                   struct span log, uint64_t now_s, struct attest_verdict *v);
/* What it has to say of a worker without evidence, which nothing else is known of: its end, and
 * that one of production has none pass. E_DENIED with v->reason. */
MUST_CHECK int attest_policy_judge_unattested(const struct attest_policy *p, uint64_t now_s,
                                              struct attest_verdict *v);
/* The GPU part: what is required against what the keyset says, and the pinned table. */
MUST_CHECK int attest_policy_judge_gpu(const struct attest_policy *p, const struct keyset *keyset,
                                       struct span evidence,
                                       const uint8_t nonce[static GPU_NONCE_LEN], uint64_t now_s,
                                       struct attest_verdict *v);

#endif
