/* One verification while it goes on: what its steps hand on to each other. Inside lib/attest. */
#ifndef ATTEST_TDX_RUN_H
#define ATTEST_TDX_RUN_H

#include "attest/collateral_cache.h"

struct tdx_run {
    const struct tdx_input *in;
    const struct quote *quote;
    struct attest_verdict *v;
    enum attest_step step;
    struct x509_chain pck_chain;
    struct pck_extension pck;
    struct checked_collateral *checked;
    bool cached; /* checked came from the cache: its signatures need no second look */
    struct qe_report qe;
};

/* Ends the verification: `return REFUSE(run, PCK_EXPIRED, "…", …);` */
#define REFUSE(run, name, ...) attest_refuse((run)->v, (run)->step, ATTEST_##name, __VA_ARGS__)

/* Steps, in their order. 0, or E_DENIED with the verdict's reason. */
MUST_CHECK int tdx_step_pck_chain(struct tdx_run *run);
MUST_CHECK int tdx_step_tcb_info(struct tdx_run *run);
MUST_CHECK int tdx_step_module(struct tdx_run *run);
MUST_CHECK int tdx_step_qe_report(struct tdx_run *run);
MUST_CHECK int tdx_step_ak_binding(struct tdx_run *run);
MUST_CHECK int tdx_step_qe_identity(struct tdx_run *run);
MUST_CHECK int tdx_step_quote_signature(struct tdx_run *run);
MUST_CHECK int tdx_step_tcb_level(struct tdx_run *run);

#endif
