/* Makes small certificates and revocation lists for tests, with OpenSSL's own writers. */
#ifndef TESTS_UNIT_LIB_CRYPTO_X509_MAKER_H
#define TESTS_UNIT_LIB_CRYPTO_X509_MAKER_H

#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/buf.h"

enum { MAKER_BEGIN = 1700000000, MAKER_END = 1800000000, MAKER_NOW = 1750000000 };

/* A certificate with its key; what is 0 or NULL has a usual value. */
struct made {
    X509 *x;
    EVP_PKEY *key;
};

struct make_form {
    const char *cn;
    const char *curve;         /* "P-256" */
    const struct made *issuer; /* NULL: itself */
    bool ca;
    time_t begin, end;
    const char *second_cn;
    const char *oid; /* of an extension with the value "value" */
    int oid_times;
    bool oid_critical;
    const char *constraints, *usage; /* in OpenSSL's words; "" for none */
    int serial;
};

static inline void made_extension(X509 *x, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509_EXTENSION *ext;

    X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
    ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    CHECK(ext != NULL && X509_add_ext(x, ext, -1) == 1);
    X509_EXTENSION_free(ext);
}

static inline void made_private_extension(X509 *x, const char *oid, bool critical)
{
    ASN1_OBJECT *object = OBJ_txt2obj(oid, 1);
    ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
    X509_EXTENSION *ext;

    ASN1_OCTET_STRING_set(value, (const uint8_t *)"value", 5);
    ext = X509_EXTENSION_create_by_OBJ(NULL, object, critical, value);
    CHECK(X509_add_ext(x, ext, -1) == 1);
    X509_EXTENSION_free(ext);
    ASN1_OCTET_STRING_free(value);
    ASN1_OBJECT_free(object);
}

static inline void made_add_name(X509_NAME *name, const char *cn)
{
    CHECK(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const uint8_t *)cn, -1, -1, 0) ==
          1);
}

static inline struct made made_cert(struct make_form form)
{
    static int serials = 100;
    struct made out = {X509_new(), EVP_EC_gen(form.curve ? form.curve : "P-256")};
    const struct made *issuer = form.issuer ? form.issuer : &out;
    X509_NAME *name = X509_get_subject_name(out.x);

    X509_set_version(out.x, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(out.x), form.serial ? form.serial : serials++);
    made_add_name(name, form.cn);
    if (form.second_cn)
        made_add_name(name, form.second_cn);
    X509_set_issuer_name(out.x, X509_get_subject_name(issuer->x));
    ASN1_TIME_set(X509_getm_notBefore(out.x), form.begin ? form.begin : MAKER_BEGIN);
    ASN1_TIME_set(X509_getm_notAfter(out.x), form.end ? form.end : MAKER_END);
    X509_set_pubkey(out.x, out.key);
    made_extension(out.x, issuer->x, NID_subject_key_identifier, "hash");
    made_extension(out.x, issuer->x, NID_authority_key_identifier, "keyid:always");
    if (!form.constraints)
        form.constraints = form.ca ? "critical,CA:TRUE" : "critical,CA:FALSE";
    if (!form.usage)
        form.usage = form.ca ? "critical,keyCertSign,cRLSign" : "critical,digitalSignature";
    if (form.constraints[0])
        made_extension(out.x, issuer->x, NID_basic_constraints, form.constraints);
    if (form.usage[0])
        made_extension(out.x, issuer->x, NID_key_usage, form.usage);
    for (int i = 0; i < form.oid_times; i++)
        made_private_extension(out.x, form.oid, form.oid_critical);
    CHECK(X509_sign(out.x, issuer->key, EVP_sha256()) > 0);
    return out;
}

static inline void made_free(struct made *made)
{
    X509_free(made->x);
    EVP_PKEY_free(made->key);
}

static inline struct buf made_der(const struct made *made)
{
    struct buf out = {0};
    uint8_t *der = NULL;
    const int len = i2d_X509(made->x, &der);

    CHECK(len > 0);
    buf_append(&out, span_of(der, (size_t)len));
    OPENSSL_free(der);
    return out;
}

static inline void made_pem(struct buf *out, const struct made *made)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    long len;

    CHECK(PEM_write_bio_X509(bio, made->x) == 1);
    len = BIO_get_mem_data(bio, &text);
    buf_append(out, span_of(text, (size_t)len));
    BIO_free(bio);
}

/* What stands critical in a list without being understood. */
static inline void made_crl_critical(X509_CRL *crl)
{
    ASN1_OBJECT *object = OBJ_txt2obj("1.2.3.4", 1);
    ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
    X509_EXTENSION *ext;

    ASN1_OCTET_STRING_set(value, (const uint8_t *)"value", 5);
    ext = X509_EXTENSION_create_by_OBJ(NULL, object, 1, value);
    CHECK(X509_CRL_add_ext(crl, ext, -1) == 1);
    X509_EXTENSION_free(ext);
    ASN1_OCTET_STRING_free(value);
    ASN1_OBJECT_free(object);
}

/* DER of a list by issuer (signed with signer's key) that names revoked, when not NULL; end 0: no
 * next update. */
static inline struct buf made_crl(const struct made *issuer, const struct made *signer,
                                  const struct made *revoked, time_t begin, time_t end,
                                  bool critical)
{
    X509_CRL *crl = X509_CRL_new();
    ASN1_TIME *at = ASN1_TIME_set(NULL, begin);
    struct buf out = {0};
    uint8_t *der = NULL;
    int len;

    X509_CRL_set_version(crl, X509_CRL_VERSION_2);
    X509_CRL_set_issuer_name(crl, X509_get_subject_name(issuer->x));
    X509_CRL_set1_lastUpdate(crl, at);
    if (end)
        X509_CRL_set1_nextUpdate(crl, ASN1_TIME_set(at, end));
    if (revoked) {
        X509_REVOKED *entry = X509_REVOKED_new();

        X509_REVOKED_set_serialNumber(entry, X509_get_serialNumber(revoked->x));
        X509_REVOKED_set_revocationDate(entry, at);
        X509_CRL_add0_revoked(crl, entry);
    }
    if (critical)
        made_crl_critical(crl);
    CHECK(X509_CRL_sign(crl, signer->key, EVP_sha256()) > 0);
    len = i2d_X509_CRL(crl, &der);
    CHECK(len > 0);
    buf_append(&out, span_of(der, (size_t)len));
    OPENSSL_free(der);
    X509_CRL_free(crl);
    ASN1_TIME_free(at);
    return out;
}

#endif
