/* Certificate chains and revocation lists of strangers: PEM chain NUL-NUL-NUL-NUL list, where the
 * last certificate plays the root. */
#include "crypto/x509.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look(const struct x509_cert *cert)
{
    uint8_t digest[SHA256_LEN], sig[96] = {1, [63] = 1, [95] = 1};
    struct span value;

    x509_cert_spki_sha256(cert, digest);
    CHECK(x509_cert_same(cert, cert));
    (void)x509_cert_is_ca(cert);
    (void)x509_cert_subject_is(cert, "CA");
    (void)x509_cert_issuer_is(cert, "CA");
    (void)x509_cert_serial(cert);
    if (x509_cert_extension(cert, "1.2.840.113741.1.13.1", &value) == 0)
        CHECK(value.len <= X509_MAX_CERT);
    CHECK(x509_cert_p256_verify(cert, SPAN("m"), span_of(sig, 64)) < 0);
    CHECK(x509_cert_p384_verify(cert, SPAN("m"), span_of(sig, 96)) < 0);
}

static void judge(const struct x509_chain *chain, struct span list)
{
    AUTO(x509_crl_free) struct x509_crl *crl = NULL;
    const struct x509_cert *root = chain->certs[chain->count - 1];
    int depth = 0;

    for (size_t i = 0; i < chain->count; i++)
        look(chain->certs[i]);
    if (x509_crl_read(&crl, list) == 0) {
        (void)x509_crl_issued_by(crl, root);
        (void)x509_crl_next_update(crl);
    }
    (void)x509_chain_verify(chain, root, NULL, 0, 1750000000, &depth);
    if (crl)
        (void)x509_chain_verify(chain, root, (const struct x509_crl *const[]){crl}, 1, 1750000000,
                                &depth);
    CHECK(depth <= X509_MAX_CHAIN);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(x509_chain_fini) struct x509_chain chain = {0};
    struct span in = span_of(data, size), pem = in, list = {0};
    const ptrdiff_t cut = span_find(in, SPAN("\0\0\0\0"));

    if (cut >= 0) {
        pem = span_cut(in, 0, (size_t)cut);
        list = span_from(in, (size_t)cut + 4);
    }
    if (x509_chain_read_pem(&chain, pem) < 0)
        CHECK(chain.count == 0);
    else
        judge(&chain, list);
    return 0;
}
