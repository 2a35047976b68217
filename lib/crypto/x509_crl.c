/* Certificate revocation lists on OpenSSL's X509_CRL. */
#include <stdlib.h>
#include <openssl/err.h>

#include "crypto/x509_impl.h"

static int crl_parse(struct x509_crl *crl, struct span der)
{
    const uint8_t *at = der.data;

    crl->x = d2i_X509_CRL(NULL, &at, (long)der.len);
    if (!crl->x || at != der.data + der.len) {
        ERR_clear_error();
        return E_INVALID;
    }
    TRY(asn1_time_read(X509_CRL_get0_lastUpdate(crl->x), &crl->this_update));
    if (!X509_CRL_get0_nextUpdate(crl->x))
        return 0;
    return asn1_time_read(X509_CRL_get0_nextUpdate(crl->x), &crl->next_update);
}

int x509_crl_read(struct x509_crl **out, struct span bytes)
{
    AUTO(x509_crl_free) struct x509_crl *crl = mem_zero(sizeof(*crl));
    AUTO(buf_fini) struct buf der = {0};

    TRY(pem_or_der(bytes, "X509 CRL", X509_MAX_CRL, &der));
    TRY(crl_parse(crl, buf_span(&der)));
    *out = crl;
    crl = NULL;
    return 0;
}

void x509_crl_free(struct x509_crl *crl)
{
    if (!crl)
        return;
    X509_CRL_free(crl->x);
    free(crl);
}

bool x509_crl_issuer_is(const struct x509_crl *crl, const char *cn)
{
    return x509_name_is(X509_CRL_get_issuer(crl->x), cn);
}

bool x509_crl_issued_by(const struct x509_crl *crl, const struct x509_cert *ca)
{
    return X509_NAME_cmp(X509_CRL_get_issuer(crl->x), X509_get_subject_name(ca->x)) == 0;
}

uint64_t x509_crl_this_update(const struct x509_crl *crl)
{
    return crl->this_update;
}

uint64_t x509_crl_next_update(const struct x509_crl *crl)
{
    return crl->next_update;
}
