/* GPUs of a root made here: chains of five to it and measurement reports, for any nonce. */
#ifndef TESTS_UNIT_LIB_ATTEST_DEV_GPU_H
#define TESTS_UNIT_LIB_ATTEST_DEV_GPU_H

#include "tests/unit/lib/vectors.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "attest/gpu.h"

enum { DEV_GPU_CERTS = 5, DEV_GPU_FWID_LEN = 48 }; /* leaf first, root last */

struct dev_gpu {
    EVP_PKEY *keys[DEV_GPU_CERTS];
    X509 *certs[DEV_GPU_CERTS];
    bool blackwell;     /* its leaf names the firmware as a Blackwell's does, else as a Hopper's */
    struct span opaque; /* more fields for its reports; at most 100 bytes */
};

/* DiceTcbInfo of a GB100's leaf, byte for byte: two FWIDs, of which the first is the firmware's. */
static const char DEV_GPU_TCB_INFO[] =
    "3081b180064e5649444941810d4742313030204130312047535082023031830101840100850100a67e"
    "303d06096086480165030402020430"
    "d090cab1b6e6ffddca83d1781e25b3f040fa1f3c7608230cb5f41b1c1b99f5f748349e59d0ef8eb830c9bc79ccf775"
    "02"
    "303d06096086480165030402020430"
    "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
    "00"
    "870500800000018801c0890100";
enum { DEV_GPU_TCB_FWID_AT = 56 };

static inline void dev_gpu_fini(struct dev_gpu *g)
{
    for (int i = 0; i < DEV_GPU_CERTS; i++) {
        EVP_PKEY_free(g->keys[i]);
        X509_free(g->certs[i]);
    }
}
AUTO_FINI(struct dev_gpu, dev_gpu_fini)

static inline void dev_gpu_extend(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509_EXTENSION *extension;

    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    assert_non_null(extension);
    assert_int_equal(X509_add_ext(cert, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

static inline void dev_gpu_extend_as(X509 *cert, const char *name, struct span der)
{
    ASN1_OBJECT *oid = OBJ_txt2obj(name, 1);
    ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
    X509_EXTENSION *extension;

    ASN1_OCTET_STRING_set(value, der.data, (int)der.len);
    extension = X509_EXTENSION_create_by_OBJ(NULL, oid, 0, value);
    assert_int_equal(X509_add_ext(cert, extension, -1), 1);
    X509_EXTENSION_free(extension);
    ASN1_OCTET_STRING_free(value);
    ASN1_OBJECT_free(oid);
}

/* As a Hopper has it: SEQUENCE { SEQUENCE { OID of SHA-384, OCTET STRING of 48 zeros } }. */
static inline void dev_gpu_fwid(X509 *cert, bool blackwell)
{
    const uint8_t der[65] = {0x30, 63,   0x30, 61,   0x06, 0x09, 0x60, 0x86, 0x48,
                             0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x04, 48};
    AUTO(buf_fini) struct buf tcb_info = bytes_of_hex(DEV_GPU_TCB_INFO);

    if (blackwell)
        dev_gpu_extend_as(cert, "2.23.133.5.4.1.1", buf_span(&tcb_info));
    else
        dev_gpu_extend_as(cert, "2.23.133.5.4.1", SPAN_OF(der));
}

/* The certificate at `at`, signed by the one behind it. */
static inline void dev_gpu_certify(struct dev_gpu *g, int at, long serial)
{
    const int by = at + 1 < DEV_GPU_CERTS ? at + 1 : at;
    char name[16];
    X509 *cert = g->certs[at] = X509_new();
    X509 *issuer = g->certs[by];

    g->keys[at] = EVP_EC_gen("P-384");
    snprintf(name, sizeof(name), "dev gpu %d", at);
    X509_set_version(cert, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), serial);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
                               (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(cert, X509_get_subject_name(issuer));
    ASN1_TIME_set(X509_getm_notBefore(cert), 1700000000);
    ASN1_TIME_set(X509_getm_notAfter(cert), 1900000000);
    X509_set_pubkey(cert, g->keys[at]);
    dev_gpu_extend(cert, issuer, NID_subject_key_identifier, "hash");
    dev_gpu_extend(cert, issuer, NID_authority_key_identifier, "keyid:always");
    if (at > 0) {
        dev_gpu_extend(cert, issuer, NID_basic_constraints, "critical,CA:TRUE");
        dev_gpu_extend(cert, issuer, NID_key_usage, "critical,keyCertSign");
    } else {
        dev_gpu_extend(cert, issuer, NID_key_usage, "critical,digitalSignature");
        dev_gpu_fwid(cert, g->blackwell);
    }
    assert_true(X509_sign(cert, g->keys[by], EVP_sha384()) > 0);
}

/* kept: so many certificates of `like`, counted from the root, are the new GPU's too. */
static inline void dev_gpu_make(struct dev_gpu *g, const struct dev_gpu *like, int kept)
{
    *g = (struct dev_gpu){.blackwell = g->blackwell, .opaque = g->opaque};
    for (int i = DEV_GPU_CERTS - 1; i >= 0; i--)
        if (i >= DEV_GPU_CERTS - kept) {
            g->keys[i] = like->keys[i];
            g->certs[i] = like->certs[i];
            EVP_PKEY_up_ref(g->keys[i]);
            X509_up_ref(g->certs[i]);
        } else {
            dev_gpu_certify(g, i, 1000 * (like ? 2 + kept : 1) + i);
        }
}

static inline void dev_gpu_chain(const struct dev_gpu *g, struct buf *out)
{
    for (int i = 0; i < DEV_GPU_CERTS; i++) {
        BIO *bio = BIO_new(BIO_s_mem());
        char *text;

        assert_int_equal(PEM_write_bio_X509(bio, g->certs[i]), 1);
        const long len = BIO_get_mem_data(bio, &text);
        buf_append(out, span_of(text, (size_t)len));
        BIO_free(bio);
    }
}

/* Appends r ‖ s over all that out holds. */
static inline void dev_gpu_sign(const struct dev_gpu *g, struct buf *out)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    uint8_t der[128], raw[96];
    const uint8_t *at = der;
    size_t len = sizeof(der);
    ECDSA_SIG *sig;

    assert_int_equal(EVP_DigestSignInit(ctx, NULL, EVP_sha384(), NULL, g->keys[0]), 1);
    assert_int_equal(EVP_DigestSign(ctx, der, &len, out->data, out->len), 1);
    EVP_MD_CTX_free(ctx);
    sig = d2i_ECDSA_SIG(NULL, &at, (long)len);
    BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, 48);
    BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + 48, 48);
    ECDSA_SIG_free(sig);
    buf_append(out, SPAN_OF(raw));
}

static inline void dev_gpu_opaque(const struct dev_gpu *g, struct buf *out)
{
    AUTO(buf_fini) struct buf tcb_info = bytes_of_hex(DEV_GPU_TCB_INFO);
    const uint8_t zeros[DEV_GPU_FWID_LEN] = {0};

    buf_byte(out, (uint8_t)(74 + g->opaque.len));
    buf_append(out, SPAN("\0\x03\0\x06\0"
                         "550.1\0"
                         "\x06\0\x08\0\0\x9f\0\x96\x01\0\0\0"
                         "\x14\0\x30\0"));
    buf_append(out, g->blackwell ? span_cut(buf_span(&tcb_info), DEV_GPU_TCB_FWID_AT, 48)
                                 : SPAN_OF(zeros));
    buf_append(out, g->opaque);
}

/* One block of 48 times `fill`, driver 550.1, VBIOS 96.00.9F.00.01. */
static inline void dev_gpu_report(const struct dev_gpu *g, const uint8_t *nonce, uint8_t fill,
                                  struct buf *out)
{
    uint8_t block[48];
    const uint8_t zeros[32] = {0};

    memset(block, fill, sizeof(block));
    buf_append(out, SPAN("\x11\xe0\x01\xff"));
    buf_append(out, span_of(nonce, GPU_NONCE_LEN));
    buf_append(out, SPAN("\x01\x11\x60\0\0\x01\x37\0\0\x01\x01\x33\0\0\x30\0"));
    buf_append(out, SPAN_OF(block));
    buf_append(out, SPAN_OF(zeros));
    dev_gpu_opaque(g, out);
    dev_gpu_sign(g, out);
}

#endif
