/* Certificates on OpenSSL's X509: bounded, whole, their dates read once. */
#include "crypto/x509.h"

#include <stdlib.h>
#include <time.h>
#include <openssl/err.h>
#include <openssl/objects.h>
#include <openssl/x509v3.h>

#include "crypto/ecdsa.h"
#include "crypto/ecdsa_impl.h"
#include "crypto/x509_impl.h"

int asn1_time_read(const ASN1_TIME *t, uint64_t *out)
{
    struct tm tm;
    time_t at;

    if (!t || ASN1_TIME_to_tm(t, &tm) != 1)
        return E_INVALID;
    at = timegm(&tm);
    *out = at > 0 ? (uint64_t)at : 0;
    return 0;
}

/* ---- Reading ---- */

/* Takes the bytes of der. */
static int cert_take(struct x509_cert **out, struct buf *der)
{
    AUTO(x509_cert_free) struct x509_cert *cert = mem_zero(sizeof(*cert));
    const uint8_t *at;

    buf_take(&cert->der, der);
    at = cert->der.data;
    cert->x = d2i_X509(NULL, &at, (long)cert->der.len);
    if (!cert->x || at != cert->der.data + cert->der.len) {
        ERR_clear_error();
        return E_INVALID;
    }
    /* OpenSSL decodes the extensions at first use: now, so that threads may share what is read. */
    (void)X509_check_purpose(cert->x, -1, 0);
    ERR_clear_error();
    TRY(asn1_time_read(X509_get0_notBefore(cert->x), &cert->not_before));
    TRY(asn1_time_read(X509_get0_notAfter(cert->x), &cert->not_after));
    *out = cert;
    cert = NULL;
    return 0;
}

int x509_cert_read(struct x509_cert **out, struct span bytes)
{
    AUTO(buf_fini) struct buf der = {0};

    TRY(pem_or_der(bytes, "CERTIFICATE", X509_MAX_CERT, &der));
    return cert_take(out, &der);
}

void x509_cert_free(struct x509_cert *cert)
{
    if (!cert)
        return;
    X509_free(cert->x);
    buf_fini(&cert->der);
    free(cert);
}

struct x509_cert *x509_cert_share(const struct x509_cert *cert)
{
    struct x509_cert *shared = mem_zero(sizeof(*shared));

    CHECK(X509_up_ref(cert->x) == 1);
    shared->x = cert->x;
    shared->not_before = cert->not_before;
    shared->not_after = cert->not_after;
    buf_append(&shared->der, buf_span(&cert->der));
    return shared;
}

struct known {
    const struct x509_cert *const *certs;
    size_t count;
};

/* Takes the bytes of der. */
static int chain_add(struct x509_chain *chain, struct buf *der, struct known known)
{
    struct x509_cert **place = &chain->certs[chain->count];

    for (size_t i = 0; i < known.count && !*place; i++)
        if (span_eq(buf_span(&known.certs[i]->der), buf_span(der)))
            *place = x509_cert_share(known.certs[i]);
    if (!*place)
        TRY(cert_take(place, der));
    chain->count++;
    return 0;
}

static int chain_read(struct x509_chain *chain, struct span pem, struct known known)
{
    struct span rest = pem;
    int error;

    for (;;) {
        AUTO(buf_fini) struct buf der = {0};

        error = pem_next(&rest, "CERTIFICATE", X509_MAX_CERT, &der);
        if (error == E_NOT_FOUND)
            return chain->count > 0 ? 0 : E_INVALID;
        TRY(error);
        if (chain->count == X509_MAX_CHAIN)
            return E_TOO_LARGE;
        TRY(chain_add(chain, &der, known));
    }
}

int x509_chain_read_pem(struct x509_chain *out, struct span pem)
{
    return x509_chain_read_known(out, pem, NULL, 0);
}

int x509_chain_read_known(struct x509_chain *out, struct span pem,
                          const struct x509_cert *const *known, size_t known_count)
{
    int error;

    *out = (struct x509_chain){0};
    error = chain_read(out, pem, (struct known){known, known_count});
    if (error < 0)
        x509_chain_fini(out);
    return error;
}

void x509_chain_fini(struct x509_chain *chain)
{
    for (size_t i = 0; i < chain->count; i++)
        x509_cert_free(chain->certs[i]);
    *chain = (struct x509_chain){0};
}

/* ---- What it says ---- */

struct span x509_cert_der(const struct x509_cert *cert)
{
    return buf_span(&cert->der);
}

void x509_cert_spki_sha256(const struct x509_cert *cert, uint8_t out[static SHA256_LEN])
{
    uint8_t *der = NULL;
    const int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert->x), &der);

    CHECK(len > 0); /* it was parsed from such bytes */
    sha256(out, span_of(der, (size_t)len));
    OPENSSL_free(der);
}

bool x509_cert_same(const struct x509_cert *a, const struct x509_cert *b)
{
    return span_eq(buf_span(&a->der), buf_span(&b->der));
}

bool x509_cert_is_ca(const struct x509_cert *cert)
{
    return X509_check_ca(cert->x) != 0;
}

bool x509_name_is(const X509_NAME *name, const char *cn)
{
    const int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
    uint8_t *text = NULL;
    bool is;
    int len;

    if (at < 0 || X509_NAME_get_index_by_NID(name, NID_commonName, at) >= 0)
        return false;
    len = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
    if (len < 0) {
        ERR_clear_error();
        return false;
    }
    is = span_is(span_of(text, (size_t)len), cn);
    OPENSSL_free(text);
    return is;
}

bool x509_cert_subject_is(const struct x509_cert *cert, const char *cn)
{
    return x509_name_is(X509_get_subject_name(cert->x), cn);
}

bool x509_cert_issuer_is(const struct x509_cert *cert, const char *cn)
{
    return x509_name_is(X509_get_issuer_name(cert->x), cn);
}

struct span x509_cert_serial(const struct x509_cert *cert)
{
    const ASN1_INTEGER *serial = X509_get0_serialNumber(cert->x);

    return span_of(ASN1_STRING_get0_data(serial), (size_t)ASN1_STRING_length(serial));
}

uint64_t x509_cert_not_before(const struct x509_cert *cert)
{
    return cert->not_before;
}

uint64_t x509_cert_not_after(const struct x509_cert *cert)
{
    return cert->not_after;
}

int x509_cert_extension(const struct x509_cert *cert, const char *oid, struct span *out)
{
    ASN1_OBJECT *object = OBJ_txt2obj(oid, 1);
    const ASN1_OCTET_STRING *value;
    int at, again;

    CHECK(object != NULL);
    at = X509_get_ext_by_OBJ(cert->x, object, -1);
    again = at < 0 ? -1 : X509_get_ext_by_OBJ(cert->x, object, at);
    ASN1_OBJECT_free(object);
    if (at < 0)
        return E_NOT_FOUND;
    if (again >= 0)
        return E_INVALID;
    value = X509_EXTENSION_get_data(X509_get_ext(cert->x, at));
    *out = span_of(ASN1_STRING_get0_data(value), (size_t)ASN1_STRING_length(value));
    return 0;
}

/* ---- Signatures by its key ---- */

static int key_verify(const struct x509_cert *cert, const char *group, const char *digest,
                      struct span message, struct span sig)
{
    EVP_PKEY *key = X509_get0_pubkey(cert->x);
    char name[32];

    if (!key || EVP_PKEY_get_group_name(key, name, sizeof(name), NULL) != 1 ||
        strcmp(name, group) != 0) {
        ERR_clear_error();
        return E_INVALID;
    }
    return ecdsa_pkey_verify(key, digest, message, sig);
}

int x509_cert_p256_verify(const struct x509_cert *cert, struct span message, struct span sig)
{
    if (sig.len != P256_SIG_LEN)
        return E_INVALID;
    return key_verify(cert, SN_X9_62_prime256v1, "SHA256", message, sig);
}

int x509_cert_p384_verify(const struct x509_cert *cert, struct span message, struct span sig)
{
    if (sig.len != P384_SIG_LEN)
        return E_INVALID;
    return key_verify(cert, SN_secp384r1, "SHA384", message, sig);
}
