/* One collateral, for those who keep several. Inside lib/trust. */
#ifndef TRUST_COLLATERALS_IMPL_H
#define TRUST_COLLATERALS_IMPL_H

#include "trust/collaterals.h"

/* NULL when it is none. */
struct shared_collateral *shared_collateral_of(struct collateral *take, bool fetched);
struct shared_collateral *shared_collateral_ref(struct shared_collateral *c);
/* Which platform it is for, by the TCB Info and the issuer of the PCK certificates' list.
 * E_INVALID.
 */
MUST_CHECK int shared_collateral_platform(const struct shared_collateral *c,
                                          struct attest_platform *out);
bool shared_collateral_is_for(const struct shared_collateral *c, const struct attest_platform *of);

#endif
