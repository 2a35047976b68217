/* What the gateway judges workers by, and what it must not forget of it: the signed policy, the
 * highest sequence of one, and the floor of evaluation numbers (attestation.md §5, §6). */
#ifndef GATEWAY_TRUST_H
#define GATEWAY_TRUST_H

#include "gateway/gateway.h"

struct trust;

enum { TRUST_WHY_LEN = 600 };

/* Reads state and policy by the settings and gives both to the pool. On a failure (a sentence in
 * why) everything is as it was. Also for SIGHUP; the state's file is that of the first time. */
MUST_CHECK int trust_load(struct gateway *g, const struct gateway_config *s,
                          char why[static TRUST_WHY_LEN]);
void trust_free(struct trust *t);
/* NULL: none is loaded. */
const struct attest_policy *trust_policy(const struct trust *t);
/* Workers without evidence of hardware are accepted: by a policy for development, or without one.
 */
bool trust_is_dev(const struct gateway *g);

#endif
