/* Dev evidence: it follows from the seed, its chains verify, and faults change what they say. */
#include "tests/unit/lib/vectors.h"

#include "devtee/issuer.h"

static const uint8_t SEED[DEVTEE_SEED_LEN] = {1, 2, 3};
static const uint8_t REPORT_DATA[DEVTEE_REPORT_DATA_LEN] = {9, 8, 7};
static const uint64_t NOW = UINT64_C(1790000000);

static void the_same_seed_makes_the_same_evidence(void **state)
{
    AUTO(devtee_issuer_free) struct devtee_issuer *a = devtee_issuer_new(SEED, "b");
    AUTO(devtee_issuer_free) struct devtee_issuer *b = devtee_issuer_new(SEED, "b");
    AUTO(buf_fini) struct buf first = {0}, second = {0};

    (void)state;
    devtee_root(a, &first);
    devtee_root(b, &second);
    devtee_quote(a, NULL, REPORT_DATA, &first);
    devtee_quote(b, NULL, REPORT_DATA, &second);
    assert_span(buf_span(&first), buf_span(&second));
}

static void another_seed_or_build_makes_other_evidence(void **state)
{
    static const uint8_t other[DEVTEE_SEED_LEN] = {2};
    AUTO(devtee_issuer_free) struct devtee_issuer *a = devtee_issuer_new(SEED, "b");
    AUTO(devtee_issuer_free) struct devtee_issuer *b = devtee_issuer_new(other, "b");
    AUTO(devtee_issuer_free) struct devtee_issuer *c = devtee_issuer_new(SEED, "c");
    AUTO(buf_fini) struct buf first = {0}, second = {0};

    (void)state;
    devtee_root(a, &first);
    devtee_root(b, &second);
    assert_false(span_eq(buf_span(&first), buf_span(&second)));
    assert_memory_equal(devtee_mrtd(a), devtee_mrtd(b), ATTEST_MR_LEN);
    assert_memory_not_equal(devtee_mrtd(a), devtee_mrtd(c), ATTEST_MR_LEN);
}

/* Appends all of it, one part behind another, and frees it. */
static void collateral_end(struct collateral *c, struct buf *out)
{
    struct buf *const parts[] = {&c->tcb_info,    &c->tcb_info_signature,    &c->tcb_info_chain,
                                 &c->qe_identity, &c->qe_identity_signature, &c->qe_identity_chain,
                                 &c->pck_crl,     &c->pck_crl_chain,         &c->root_crl};

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        buf_append(out, buf_span(parts[i]));
        buf_fini(parts[i]);
    }
}

static void collateral_of(const struct devtee_issuer *issuer, const struct devtee_faults *faults,
                          struct buf *out)
{
    struct collateral c = {0};

    devtee_collateral(issuer, faults, &c);
    collateral_end(&c, out);
}

struct platform {
    struct devtee_issuer *issuer;
    struct x509_cert *root;
    struct x509_chain chain;
    struct x509_crl *crls[2];
};

/* The PCK chain is the tail of the quote. */
static void platform_make(struct platform *p, const struct devtee_faults *faults)
{
    AUTO(buf_fini) struct buf root = {0}, quote = {0};
    struct collateral c = {0};

    p->issuer = devtee_issuer_new(SEED, "b");
    devtee_root(p->issuer, &root);
    devtee_quote(p->issuer, faults, REPORT_DATA, &quote);
    devtee_collateral(p->issuer, faults, &c);
    const ptrdiff_t at = span_find(buf_span(&quote), SPAN("-----BEGIN"));
    assert_true(at > 0);
    assert_int_equal(x509_cert_read(&p->root, buf_span(&root)), 0);
    assert_int_equal(x509_chain_read_pem(&p->chain, span_from(buf_span(&quote), (size_t)at)), 0);
    assert_int_equal(x509_crl_read(&p->crls[0], buf_span(&c.pck_crl)), 0);
    assert_int_equal(x509_crl_read(&p->crls[1], buf_span(&c.root_crl)), 0);
    collateral_end(&c, &quote);
}

static void platform_end(struct platform *p)
{
    x509_crl_free(p->crls[0]);
    x509_crl_free(p->crls[1]);
    x509_chain_fini(&p->chain);
    x509_cert_free(p->root);
    devtee_issuer_free(p->issuer);
}

static enum x509_fault fault_of(const char *name)
{
    struct devtee_faults faults = {0};
    struct platform p = {0};

    if (name)
        assert_int_equal(devtee_fault_add(&faults, name), 0);
    platform_make(&p, &faults);
    const enum x509_fault fault =
        x509_chain_verify(&p.chain, p.root, (const struct x509_crl *const *)p.crls, 2, NOW, NULL);
    platform_end(&p);
    return fault;
}

static void the_pck_chain_verifies_strictly_and_fails_as_told(void **state)
{
    (void)state;
    assert_int_equal(fault_of(NULL), X509_OK);
    assert_int_equal(fault_of("revoked_leaf"), X509_REVOKED_LEAF);
    assert_int_equal(fault_of("revoked_intermediate"), X509_REVOKED_CA);
    assert_int_equal(fault_of("pck_expired"), X509_EXPIRED);
    assert_int_equal(fault_of("pck_future"), X509_NOT_YET);
    assert_int_equal(fault_of("expired_pck_crl"), X509_CRL_EXPIRED);
    assert_int_equal(fault_of("expired_root_crl"), X509_CRL_EXPIRED);
    assert_int_equal(fault_of("invalid_pck_crl"), X509_CRL_BAD);
    assert_int_equal(fault_of("foreign_root"), X509_ROOT);
}

static void every_fault_changes_quote_or_collateral(void **state)
{
    AUTO(devtee_issuer_free) struct devtee_issuer *issuer = devtee_issuer_new(SEED, "b");
    AUTO(buf_fini) struct buf good = {0};

    (void)state;
    devtee_quote(issuer, NULL, REPORT_DATA, &good);
    collateral_of(issuer, NULL, &good);
    for (const struct devtee_fault *it = devtee_fault_table; it->name; it++) {
        AUTO(buf_fini) struct buf bad = {0};
        struct devtee_faults faults = {0};

        it->set(&faults);
        devtee_quote(issuer, &faults, REPORT_DATA, &bad);
        collateral_of(issuer, &faults, &bad);
        if (span_eq(buf_span(&good), buf_span(&bad)))
            fail_msg("%s changes nothing", it->name);
    }
}

static void an_unknown_fault_is_none(void **state)
{
    struct devtee_faults faults = {0};

    (void)state;
    assert_int_equal(devtee_fault_add(&faults, "no_such_fault"), E_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_seed_makes_the_same_evidence),
        cmocka_unit_test(another_seed_or_build_makes_other_evidence),
        cmocka_unit_test(the_pck_chain_verifies_strictly_and_fails_as_told),
        cmocka_unit_test(every_fault_changes_quote_or_collateral),
        cmocka_unit_test(an_unknown_fault_is_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
