/* Certificates and revocation lists: made ones, whose every fault stands alone, and real ones of
 * Intel and NVIDIA. */
#include "tests/unit/lib/vectors.h"

#include "crypto/x509.h"
#include "tests/unit/lib/crypto/x509_maker.h"

/* root → ca → leaf, and a list of each authority. */
struct family {
    struct made root, ca, leaf;
    struct x509_cert *anchor;
    struct x509_chain chain;  /* leaf, ca, root */
    struct x509_crl *crls[2]; /* the ca's, the root's */
};

struct family_form {
    const struct made *leaf_issuer; /* instead of ca */
    time_t leaf_begin, leaf_end, ca_end, ca_crl_begin, ca_crl_end, root_crl_end;
    bool revoke_leaf, revoke_ca, foreign_signer, leaf_ca, no_ca;
    bool leaf_critical, ca_critical, ca_crl_critical, root_crl_critical; /* an unknown extension */
    const char *root_constraints, *ca_constraints, *root_usage, *ca_usage, *leaf_usage;
};

static struct x509_crl *crl_of(struct buf der)
{
    struct x509_crl *crl = NULL;

    assert_int_equal(x509_crl_read(&crl, buf_span(&der)), 0);
    buf_fini(&der);
    return crl;
}

static struct x509_cert *cert_of(const struct made *made)
{
    AUTO(buf_fini) struct buf der = made_der(made);
    struct x509_cert *cert = NULL;

    assert_int_equal(x509_cert_read(&cert, buf_span(&der)), 0);
    return cert;
}

static void chain_of(struct x509_chain *chain, const struct made *const *certs, size_t count)
{
    AUTO(buf_fini) struct buf pem = {0};

    for (size_t i = 0; i < count; i++)
        made_pem(&pem, certs[i]);
    assert_int_equal(x509_chain_read_pem(chain, buf_span(&pem)), 0);
}

static void family_make(struct family *f, struct family_form form)
{
    const time_t crl_begin = form.ca_crl_begin ? form.ca_crl_begin : MAKER_BEGIN;

    f->root = made_cert((struct make_form){
        .cn = "Root", .ca = true, .constraints = form.root_constraints, .usage = form.root_usage});
    f->ca = made_cert((struct make_form){.cn = "CA",
                                         .issuer = &f->root,
                                         .ca = !form.no_ca,
                                         .end = form.ca_end,
                                         .constraints = form.ca_constraints,
                                         .usage = form.ca_usage,
                                         .oid = "1.2.3.4",
                                         .oid_times = form.ca_critical,
                                         .oid_critical = true});
    f->leaf = made_cert((struct make_form){.cn = "Leaf",
                                           .issuer = &f->ca,
                                           .ca = form.leaf_ca,
                                           .usage = form.leaf_usage,
                                           .oid = "1.2.3.4",
                                           .oid_times = form.leaf_critical,
                                           .oid_critical = true,
                                           .begin = form.leaf_begin,
                                           .end = form.leaf_end});
    f->anchor = cert_of(&f->root);
    chain_of(&f->chain, (const struct made *[]){&f->leaf, &f->ca, &f->root}, 3);
    f->crls[0] = crl_of(made_crl(
        &f->ca, form.foreign_signer ? &f->leaf : &f->ca, form.revoke_leaf ? &f->leaf : NULL,
        crl_begin, form.ca_crl_end ? form.ca_crl_end : MAKER_END, form.ca_crl_critical));
    f->crls[1] =
        crl_of(made_crl(&f->root, &f->root, form.revoke_ca ? &f->ca : NULL, MAKER_BEGIN,
                        form.root_crl_end ? form.root_crl_end : MAKER_END, form.root_crl_critical));
}

static void family_fini(struct family *f)
{
    made_free(&f->root);
    made_free(&f->ca);
    made_free(&f->leaf);
    x509_cert_free(f->anchor);
    x509_chain_fini(&f->chain);
    x509_crl_free(f->crls[0]);
    x509_crl_free(f->crls[1]);
}
AUTO_FINI(struct family, family_fini)

static enum x509_fault verify_at(const struct family *f, size_t crls, uint64_t now, int *depth)
{
    return x509_chain_verify(&f->chain, f->anchor, (const struct x509_crl *const *)f->crls, crls,
                             now, depth);
}

static void a_good_chain_verifies_within_its_time(void **state)
{
    AUTO(family_fini) struct family f;
    int depth = -1;

    (void)state;
    family_make(&f, (struct family_form){0});
    assert_int_equal(verify_at(&f, 2, MAKER_NOW, &depth), X509_OK);
    assert_int_equal(verify_at(&f, 0, MAKER_NOW, NULL), X509_OK);
    assert_int_equal(verify_at(&f, 0, MAKER_BEGIN, NULL), X509_OK);
    assert_int_equal(verify_at(&f, 0, MAKER_BEGIN - 1, NULL), X509_NOT_YET);
    assert_int_equal(verify_at(&f, 0, MAKER_END, NULL), X509_OK);
    assert_int_equal(verify_at(&f, 0, MAKER_END + 1, NULL), X509_EXPIRED);
    assert_int_equal(verify_at(&f, 2, MAKER_END, NULL), X509_OK);
    assert_int_equal(verify_at(&f, 2, MAKER_END + 1, NULL), X509_CRL_EXPIRED);
    assert_int_equal(verify_at(&f, 2, MAKER_BEGIN - 1, NULL), X509_CRL_EXPIRED);
}

static void each_fault_has_a_name_and_a_place(void **state)
{
    static const struct {
        struct family_form form;
        size_t crls;
        enum x509_fault fault;
        int depth;
    } cases[] = {
        {{.revoke_leaf = true}, 2, X509_REVOKED_LEAF, 0},
        {{.revoke_ca = true}, 2, X509_REVOKED_CA, 1},
        {{.revoke_leaf = true, .revoke_ca = true}, 0, X509_OK, 0},
        {{.leaf_end = MAKER_NOW - 1}, 2, X509_EXPIRED, 0},
        {{.leaf_begin = MAKER_NOW + 1}, 2, X509_NOT_YET, 0},
        {{.ca_end = MAKER_NOW - 1}, 2, X509_EXPIRED, 1},
        {{.ca_crl_end = MAKER_NOW - 1}, 2, X509_CRL_EXPIRED, 0},
        {{.ca_crl_begin = MAKER_NOW + 1}, 2, X509_CRL_EXPIRED, 0},
        {{.root_crl_end = MAKER_NOW - 1}, 2, X509_CRL_EXPIRED, 1},
        {{.foreign_signer = true}, 2, X509_CRL_BAD, 0},
        {{0}, 1, X509_CRL_MISSING, 1},
        {{.no_ca = true}, 2, X509_CHAIN, 1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        AUTO(family_fini) struct family f;
        int depth = -1;
        enum x509_fault fault;

        family_make(&f, cases[i].form);
        fault = verify_at(&f, cases[i].crls, MAKER_NOW, &depth);
        if (fault != cases[i].fault || (cases[i].fault != X509_CHAIN && depth != cases[i].depth))
            fail_msg("case %zu: fault %d at %d", i, (int)fault, depth);
    }
}

/* RFC 5280 §4.2, §6.1.4: what a CA may do stands in it, and what is critical must be understood. */
static void what_certificates_forbid_is_not_done(void **state)
{
    static const char CA[] = "critical,CA:TRUE,pathlen:1";
    static const struct {
        const char *what;
        struct family_form form;
        enum x509_fault fault;
    } cases[] = {
        {"Intel's own form",
         {.root_constraints = CA, .ca_constraints = "critical,CA:TRUE,pathlen:0"},
         X509_OK},
        {"no room below the root", {.root_constraints = "critical,CA:TRUE,pathlen:0"}, X509_CHAIN},
        {"no constraints in the CA", {.ca_constraints = ""}, X509_CHAIN},
        {"CA:FALSE in the CA", {.ca_constraints = "critical,CA:FALSE"}, X509_CHAIN},
        {"constraints that are not critical", {.ca_constraints = "CA:TRUE"}, X509_CHAIN},
        {"a CA that may not sign certificates", {.ca_usage = "critical,cRLSign"}, X509_CHAIN},
        {"a root that may not", {.root_usage = "critical,cRLSign"}, X509_CHAIN},
        {"a CA that may not sign lists", {.ca_usage = "critical,keyCertSign"}, X509_CRL_BAD},
        {"a root that may not", {.root_usage = "critical,keyCertSign"}, X509_CRL_BAD},
        {"a leaf that may sign certificates", {.leaf_usage = "critical,keyCertSign"}, X509_CHAIN},
        {"an unknown extension of the leaf", {.leaf_critical = true}, X509_CHAIN},
        {"an unknown extension of the CA", {.ca_critical = true}, X509_CHAIN},
        {"an unknown extension of its list", {.ca_crl_critical = true}, X509_CRL_BAD},
        {"an unknown extension of the root's", {.root_crl_critical = true}, X509_CRL_BAD},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        AUTO(family_fini) struct family f;
        enum x509_fault fault;

        family_make(&f, cases[i].form);
        fault = verify_at(&f, 2, MAKER_NOW, NULL);
        if (fault != cases[i].fault)
            fail_msg("%s: fault %d", cases[i].what, (int)fault);
    }
}

static void another_root_is_not_trusted(void **state)
{
    AUTO(family_fini) struct family f, other;

    (void)state;
    family_make(&f, (struct family_form){0});
    family_make(&other, (struct family_form){0}); /* of the same names */
    assert_int_equal(x509_chain_verify(&f.chain, other.anchor, NULL, 0, MAKER_NOW, NULL),
                     X509_ROOT);
    x509_cert_free(f.chain.certs[2]);
    f.chain.count = 2; /* the root need not be sent */
    assert_int_equal(verify_at(&f, 2, MAKER_NOW, NULL), X509_OK);
    assert_int_equal(x509_chain_verify(&f.chain, other.anchor, NULL, 0, MAKER_NOW, NULL),
                     X509_CHAIN);
    x509_cert_free(f.chain.certs[1]);
    f.chain.count = 1;
    assert_int_equal(verify_at(&f, 0, MAKER_NOW, NULL), X509_CHAIN);
    x509_chain_fini(&f.chain);
    assert_int_equal(verify_at(&f, 0, MAKER_NOW, NULL), X509_CHAIN); /* nothing at all */
}

static void a_certificate_that_takes_no_part_is_refused(void **state)
{
    AUTO(family_fini) struct family f;
    struct made stranger = made_cert((struct make_form){.cn = "Stranger", .ca = true});
    struct x509_chain chain;

    (void)state;
    family_make(&f, (struct family_form){0});
    chain_of(&chain, (const struct made *[]){&f.leaf, &f.ca, &stranger}, 3);
    assert_int_equal(x509_chain_verify(&chain, f.anchor, NULL, 0, MAKER_NOW, NULL), X509_CHAIN);
    x509_chain_fini(&chain);
    chain_of(&chain, (const struct made *[]){&f.leaf, &f.root, &f.ca}, 3);
    assert_int_equal(x509_chain_verify(&chain, f.anchor, NULL, 0, MAKER_NOW, NULL), X509_CHAIN);
    x509_chain_fini(&chain);
    made_free(&stranger);
}

static void what_a_certificate_says_is_read(void **state)
{
    static const char OID[] = "1.2.840.113741.1.13.1";
    struct made made =
        made_cert((struct make_form){.cn = "Leaf", .serial = 0x1234, .oid = OID, .oid_times = 1});
    struct made twice = made_cert((struct make_form){
        .cn = "Leaf", .second_cn = "Other", .oid = OID, .oid_times = 2, .ca = true});
    AUTO(x509_cert_free) struct x509_cert *cert = cert_of(&made), *odd = cert_of(&twice);
    AUTO(buf_fini) struct buf der = made_der(&made);
    struct span value;

    (void)state;
    assert_span(x509_cert_der(cert), buf_span(&der));
    assert_hex(x509_cert_serial(cert), "1234");
    assert_int_equal(x509_cert_not_before(cert), MAKER_BEGIN);
    assert_int_equal(x509_cert_not_after(cert), MAKER_END);
    assert_true(x509_cert_subject_is(cert, "Leaf") && x509_cert_issuer_is(cert, "Leaf"));
    assert_false(x509_cert_subject_is(cert, "Lea") || x509_cert_subject_is(cert, "Leaf2"));
    assert_false(x509_cert_subject_is(odd, "Leaf") || x509_cert_subject_is(odd, "Other"));
    assert_false(x509_cert_is_ca(cert));
    assert_true(x509_cert_is_ca(odd));
    assert_true(x509_cert_same(cert, cert));
    assert_false(x509_cert_same(cert, odd));
    assert_int_equal(x509_cert_extension(cert, OID, &value), 0);
    assert_span(value, SPAN("value"));
    assert_int_equal(x509_cert_extension(odd, OID, &value), E_INVALID);
    assert_int_equal(x509_cert_extension(cert, "1.2.3", &value), E_NOT_FOUND);
    made_free(&made);
    made_free(&twice);
}

static void what_a_list_says_is_read(void **state)
{
    struct made ca = made_cert((struct make_form){.cn = "CA", .ca = true});
    struct made other = made_cert((struct make_form){.cn = "Other", .ca = true});
    AUTO(x509_cert_free) struct x509_cert *cert = cert_of(&ca), *another = cert_of(&other);
    AUTO(x509_crl_free)
    struct x509_crl *crl = crl_of(made_crl(&ca, &ca, NULL, 1600000000, 0, false));

    (void)state;
    assert_int_equal(x509_crl_this_update(crl), 1600000000);
    assert_int_equal(x509_crl_next_update(crl), 0);
    assert_true(x509_crl_issuer_is(crl, "CA") && !x509_crl_issuer_is(crl, "Other"));
    assert_true(x509_crl_issued_by(crl, cert) && !x509_crl_issued_by(crl, another));
    made_free(&ca);
    made_free(&other);
}

static void a_key_of_another_curve_verifies_nothing(void **state)
{
    struct made p256 = made_cert((struct make_form){.cn = "A"});
    struct made p384 = made_cert((struct make_form){.cn = "B", .curve = "P-384"});
    AUTO(x509_cert_free) struct x509_cert *a = cert_of(&p256), *b = cert_of(&p384);
    uint8_t sig[96] = {1, [95] = 1};

    (void)state;
    assert_int_equal(x509_cert_p256_verify(a, SPAN("m"), span_of(sig, 64)), E_AUTH);
    assert_int_equal(x509_cert_p256_verify(b, SPAN("m"), span_of(sig, 64)), E_INVALID);
    assert_int_equal(x509_cert_p256_verify(a, SPAN("m"), span_of(sig, 96)), E_INVALID);
    assert_int_equal(x509_cert_p384_verify(b, SPAN("m"), span_of(sig, 96)), E_AUTH);
    assert_int_equal(x509_cert_p384_verify(a, SPAN("m"), span_of(sig, 96)), E_INVALID);
    assert_int_equal(x509_cert_p384_verify(b, SPAN("m"), span_of(sig, 64)), E_INVALID);
    made_free(&p256);
    made_free(&p384);
}

/* ---- PEM ---- */

static int read_pem(const struct buf *pem)
{
    struct x509_chain chain;
    int error = x509_chain_read_pem(&chain, buf_span(pem));

    x509_chain_fini(&chain);
    return error;
}

static void white_space_and_nuls_around_blocks_are_tolerated(void **state)
{
    struct made made = made_cert((struct make_form){.cn = "A"});
    AUTO(buf_fini) struct buf pem = {0};

    (void)state;
    buf_append(&pem, SPAN("\n\0 "));
    made_pem(&pem, &made);
    buf_append(&pem, SPAN("\0\0\r\n"));
    made_pem(&pem, &made);
    buf_append(&pem, SPAN("\0"));
    assert_int_equal(read_pem(&pem), 0);
    for (size_t i = 0; i < pem.len; i++) /* as one long line */
        if (pem.data[i] == '\n')
            pem.data[i] = ' ';
    assert_int_equal(read_pem(&pem), 0);
    made_free(&made);
}

static void odd_pem_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        " \n",
        "text",
        "-----BEGIN CERTIFICATE-----",
        "-----BEGIN CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n",
        "-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n",
        "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n"};
    struct x509_cert *cert;
    struct x509_crl *crl;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        AUTO(buf_fini) struct buf pem = {0};

        buf_append_str(&pem, bad[i]);
        assert_int_equal(read_pem(&pem), E_INVALID);
        assert_int_equal(x509_cert_read(&cert, buf_span(&pem)), E_INVALID);
        assert_int_equal(x509_crl_read(&crl, buf_span(&pem)), E_INVALID);
    }
}

static void text_between_blocks_is_refused(void **state)
{
    struct made made = made_cert((struct make_form){.cn = "A"});
    AUTO(buf_fini) struct buf pem = {0};
    struct x509_cert *cert;

    (void)state;
    made_pem(&pem, &made);
    assert_int_equal(read_pem(&pem), 0);
    buf_append(&pem, SPAN("Bag Attributes\n"));
    assert_int_equal(read_pem(&pem), E_INVALID);
    assert_int_equal(x509_cert_read(&cert, buf_span(&pem)), E_INVALID);
    made_free(&made);
}

static void more_than_the_bounds_is_too_large(void **state)
{
    struct made made = made_cert((struct make_form){.cn = "A"});
    AUTO(buf_fini) struct buf pem = {0}, large = {0};
    struct x509_cert *cert;
    struct x509_crl *crl;

    (void)state;
    for (size_t i = 0; i < X509_MAX_CHAIN; i++)
        made_pem(&pem, &made);
    assert_int_equal(read_pem(&pem), 0);
    made_pem(&pem, &made);
    assert_int_equal(read_pem(&pem), E_TOO_LARGE);
    memset(buf_reserve(&large, X509_MAX_CRL + 1), 0x30, X509_MAX_CRL + 1);
    large.len = X509_MAX_CRL + 1;
    assert_int_equal(x509_crl_read(&crl, buf_span(&large)), E_TOO_LARGE);
    assert_int_equal(x509_cert_read(&cert, buf_span(&large)), E_TOO_LARGE);
    made_free(&made);
}

static void a_known_certificate_is_recognised_by_all_its_bytes(void **state)
{
    AUTO(family_fini) struct family f;
    AUTO(buf_fini) struct buf pem = {0};
    struct x509_chain chain;

    (void)state;
    family_make(&f, (struct family_form){0});
    made_pem(&pem, &f.leaf);
    made_pem(&pem, &f.ca);
    made_pem(&pem, &f.root);
    const struct x509_cert *const known[] = {f.anchor, f.chain.certs[0]};
    assert_int_equal(x509_chain_read_known(&chain, buf_span(&pem), known, 2), 0);
    for (size_t i = 0; i < 3; i++)
        assert_true(x509_cert_same(chain.certs[i], f.chain.certs[i]));
    assert_int_equal(x509_chain_verify(&chain, f.anchor, NULL, 0, MAKER_NOW, NULL), X509_OK);
    family_fini(&f); /* the chain has handles of its own */
    f = (struct family){0};
    assert_int_equal(x509_cert_not_after(chain.certs[2]), MAKER_END);
    assert_true(x509_cert_subject_is(chain.certs[0], "Leaf"));
    x509_chain_fini(&chain);
}

static void bytes_behind_der_are_refused(void **state)
{
    struct made made = made_cert((struct make_form){.cn = "A", .ca = true});
    AUTO(buf_fini) struct buf cert_der = made_der(&made);
    AUTO(buf_fini) struct buf crl_der = made_crl(&made, &made, NULL, MAKER_BEGIN, MAKER_END, false);
    struct x509_cert *cert;
    struct x509_crl *crl;

    (void)state;
    buf_byte(&cert_der, 0);
    buf_byte(&crl_der, 0);
    assert_int_equal(x509_cert_read(&cert, buf_span(&cert_der)), E_INVALID);
    assert_int_equal(x509_crl_read(&crl, buf_span(&crl_der)), E_INVALID);
    for (size_t len = 0; len < cert_der.len - 1; len += 7)
        assert_int_equal(x509_cert_read(&cert, span_of(cert_der.data, len)), E_INVALID);
    made_free(&made);
}

/* ---- Real ones ---- */

static const char TINFOIL[] = "tdx/tinfoil-verifier-collateral-2026/";

static struct x509_cert *real_cert(const char *name)
{
    AUTO(buf_fini) struct buf bytes = vectors_bytes(name);
    struct x509_cert *cert = NULL;

    assert_int_equal(x509_cert_read(&cert, buf_span(&bytes)), 0);
    return cert;
}

static void real_chain(struct x509_chain *chain, const char *name)
{
    AUTO(buf_fini) struct buf bytes = vectors_bytes(name);

    assert_int_equal(x509_chain_read_pem(chain, buf_span(&bytes)), 0);
}

static struct x509_crl *real_crl(const char *name)
{
    AUTO(buf_fini) struct buf bytes = vectors_bytes(name);
    struct x509_crl *crl = NULL;

    assert_int_equal(x509_crl_read(&crl, buf_span(&bytes)), 0);
    return crl;
}

static const char *tinfoil(const char *file)
{
    static char path[200];

    snprintf(path, sizeof(path), "%s%s", TINFOIL, file);
    return path;
}

static void intel_chains_verify_by_intel_s_root(void **state)
{
    AUTO(x509_cert_free) struct x509_cert *root = real_cert("intel-root/sgx_root_ca.pem");
    AUTO(x509_crl_free) struct x509_crl *list = real_crl(tinfoil("root_ca.crl"));
    AUTO(x509_chain_fini) struct x509_chain ca, signer;
    const struct x509_crl *const crls[] = {list};
    const uint64_t now = 1768900000, later = 1775300000; /* 2026-01-20, 2026-04-04 */

    (void)state;
    real_chain(&ca, tinfoil("pck_crl_platform_chain.pem"));
    real_chain(&signer, tinfoil("tcb_info_90c06f000000_chain.pem"));
    assert_int_equal(x509_chain_verify(&ca, root, crls, 1, now, NULL), X509_OK);
    assert_int_equal(x509_chain_verify(&signer, root, crls, 1, now, NULL), X509_OK);
    assert_int_equal(x509_chain_verify(&signer, root, crls, 1, later, NULL), X509_CRL_EXPIRED);
    assert_int_equal(x509_chain_verify(&signer, root, NULL, 0, later, NULL), X509_OK);
    assert_true(x509_cert_is_ca(ca.certs[0]) && !x509_cert_is_ca(signer.certs[0]));
    assert_true(x509_cert_subject_is(ca.certs[0], "Intel SGX PCK Platform CA"));
    assert_true(x509_cert_same(ca.certs[1], root) && x509_crl_issued_by(list, root));
}

static void nvidia_s_chain_verifies_by_its_own_root_alone(void **state)
{
    AUTO(x509_cert_free) struct x509_cert *root = real_cert("nvidia/verifier_device_root.pem");
    AUTO(x509_cert_free) struct x509_cert *intel = real_cert("intel-root/sgx_root_ca.pem");
    AUTO(x509_chain_fini) struct x509_chain chain;
    struct span fwid;
    int depth = 0;

    (void)state;
    real_chain(&chain, "nvidia/hopperCertChain.txt");
    assert_int_equal(chain.count, 5);
    assert_int_equal(x509_chain_verify(&chain, root, NULL, 0, 1768900000, NULL), X509_OK);
    assert_int_equal(x509_chain_verify(&chain, intel, NULL, 0, 1768900000, &depth), X509_ROOT);
    assert_int_equal(depth, 4);
    assert_int_equal(x509_cert_extension(chain.certs[0], "2.23.133.5.4.1", &fwid), 0);
    assert_true(x509_cert_not_after(chain.certs[0]) > 253000000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_chain_verifies_within_its_time),
        cmocka_unit_test(each_fault_has_a_name_and_a_place),
        cmocka_unit_test(what_certificates_forbid_is_not_done),
        cmocka_unit_test(another_root_is_not_trusted),
        cmocka_unit_test(a_certificate_that_takes_no_part_is_refused),
        cmocka_unit_test(what_a_certificate_says_is_read),
        cmocka_unit_test(what_a_list_says_is_read),
        cmocka_unit_test(a_key_of_another_curve_verifies_nothing),
        cmocka_unit_test(white_space_and_nuls_around_blocks_are_tolerated),
        cmocka_unit_test(odd_pem_is_refused),
        cmocka_unit_test(text_between_blocks_is_refused),
        cmocka_unit_test(more_than_the_bounds_is_too_large),
        cmocka_unit_test(a_known_certificate_is_recognised_by_all_its_bytes),
        cmocka_unit_test(bytes_behind_der_are_refused),
        cmocka_unit_test(intel_chains_verify_by_intel_s_root),
        cmocka_unit_test(nvidia_s_chain_verifies_by_its_own_root_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
