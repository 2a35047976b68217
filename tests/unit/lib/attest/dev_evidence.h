/* A dev platform's quote, collateral and root for tests of the verifier, with faults. */
#ifndef TESTS_UNIT_LIB_ATTEST_DEV_EVIDENCE_H
#define TESTS_UNIT_LIB_ATTEST_DEV_EVIDENCE_H

#include "tests/unit/lib/vectors.h"

#include "attest/tdx.h"
#include "devtee/issuer.h"

#define DEV_NOW UINT64_C(1790000000)

struct dev_evidence {
    struct devtee_issuer *issuer;
    struct x509_cert *root;
    struct collateral collateral;
    struct buf bytes;
    struct quote quote;
};

static inline void dev_evidence_make(struct dev_evidence *e, const struct devtee_faults *faults)
{
    static const uint8_t seed[DEVTEE_SEED_LEN] = {7};
    static const uint8_t report_data[DEVTEE_REPORT_DATA_LEN] = {8};
    AUTO(buf_fini) struct buf pem = {0};

    *e = (struct dev_evidence){.issuer = devtee_issuer_new(seed, "test")};
    devtee_root(e->issuer, &pem);
    assert_int_equal(x509_cert_read(&e->root, buf_span(&pem)), 0);
    devtee_collateral(e->issuer, faults, &e->collateral);
    devtee_quote(e->issuer, faults, report_data, &e->bytes);
    assert_int_equal(quote_parse(&e->quote, buf_span(&e->bytes)), ATTEST_OK);
}

static inline void dev_evidence_fini(struct dev_evidence *e)
{
    devtee_issuer_free(e->issuer);
    x509_cert_free(e->root);
    collateral_fini(&e->collateral);
    buf_fini(&e->bytes);
}
AUTO_FINI(struct dev_evidence, dev_evidence_fini)

static inline struct tdx_input dev_input(const struct dev_evidence *e)
{
    return (struct tdx_input){.quote = &e->quote,
                              .collateral = &e->collateral,
                              .root = e->root,
                              .min_evaluation = DEVTEE_EVALUATION,
                              .now_s = DEV_NOW};
}

/* The verdict's reason, of a verdict that is begun anew. */
static inline enum attest_reason dev_verify(const struct tdx_input *in, struct attest_verdict *v)
{
    int error;

    *v = (struct attest_verdict){0};
    error = tdx_verify(in, v);
    assert_int_equal(error, v->reason == ATTEST_OK ? 0 : E_DENIED);
    return v->reason;
}

#endif
