/* Certificates and revocation lists, DER from the inside out. */
#include "devtee/cert.h"

#include "base/encode.h"
#include "crypto/hash.h"
#include "devtee/asn1.h"

enum { KEY_ID_LEN = 20, PEM_LINE = 64 };

static void put_algorithm(struct buf *out)
{
    const size_t mark = out->len;

    asn1_oid(out, "1.2.840.10045.4.3.2"); // ecdsa-with-SHA256
    asn1_close(out, ASN1_SEQUENCE, mark);
}

static void put_name_part(struct buf *out, const char *oid, const char *text)
{
    const size_t mark = out->len;

    asn1_oid(out, oid);
    asn1_put(out, ASN1_UTF8, span_str(text));
    asn1_close(out, ASN1_SEQUENCE, mark);
    asn1_close(out, ASN1_SET, mark);
}

static void put_name(struct buf *out, const char *common_name)
{
    const size_t mark = out->len;

    put_name_part(out, "2.5.4.10", "INSECURE DEV");
    put_name_part(out, "2.5.4.3", common_name);
    asn1_close(out, ASN1_SEQUENCE, mark);
}

static void put_point(struct buf *out, const struct devtee_key *key)
{
    buf_byte(out, 0x04); // uncompressed
    buf_append(out, span_of(devtee_key_xy(key), DEVTEE_XY_LEN));
}

static void put_public_key(struct buf *out, const struct devtee_key *key)
{
    AUTO(buf_fini) struct buf point = {0};
    const size_t mark = out->len;

    asn1_oid(out, "1.2.840.10045.2.1");   // id-ecPublicKey
    asn1_oid(out, "1.2.840.10045.3.1.7"); // P-256
    asn1_close(out, ASN1_SEQUENCE, mark);
    put_point(&point, key);
    asn1_bits(out, buf_span(&point), 0);
    asn1_close(out, ASN1_SEQUENCE, mark);
}

static void put_validity(struct buf *out, uint64_t from, uint64_t to)
{
    const size_t mark = out->len;

    asn1_time(out, from);
    asn1_time(out, to);
    asn1_close(out, ASN1_SEQUENCE, mark);
}

/* tbs, algorithm and signature over tbs, in one element. */
static void put_signed(struct buf *out, struct span tbs, const struct devtee_key *key, bool bad)
{
    AUTO(buf_fini) struct buf der = {0};
    uint8_t sig[DEVTEE_SIG_LEN];
    const size_t mark = out->len;

    devtee_key_sign(key, tbs, sig);
    sig[DEVTEE_SIG_LEN - 1] ^= bad ? 1 : 0;
    asn1_number(&der, span_of(sig, 32));
    asn1_number(&der, span_of(sig + 32, 32));
    asn1_close(&der, ASN1_SEQUENCE, 0);
    buf_append(out, tbs);
    put_algorithm(out);
    asn1_bits(out, buf_span(&der), 0);
    asn1_close(out, ASN1_SEQUENCE, mark);
}

/* ---- Extensions ---- */

static void put_extension(struct buf *out, const char *oid, bool critical, struct span value)
{
    const size_t mark = out->len;

    asn1_oid(out, oid);
    if (critical)
        asn1_true(out);
    asn1_put(out, ASN1_OCTET_STRING, value);
    asn1_close(out, ASN1_SEQUENCE, mark);
}

static void key_id(const struct devtee_key *key, uint8_t out[static SHA256_LEN])
{
    sha256(out, span_of(devtee_key_xy(key), DEVTEE_XY_LEN));
}

static void put_key_ids(struct buf *out, const struct devtee_key *subject,
                        const struct devtee_key *issuer)
{
    AUTO(buf_fini) struct buf value = {0};
    uint8_t id[SHA256_LEN];

    key_id(issuer, id);
    asn1_put(&value, 0x80, span_of(id, KEY_ID_LEN));
    asn1_close(&value, ASN1_SEQUENCE, 0);
    put_extension(out, "2.5.29.35", false, buf_span(&value));
    if (!subject)
        return;
    key_id(subject, id);
    buf_clear(&value);
    asn1_put(&value, ASN1_OCTET_STRING, span_of(id, KEY_ID_LEN));
    put_extension(out, "2.5.29.14", false, buf_span(&value));
}

static void put_extensions(struct buf *out, const struct cert_form *form)
{
    const size_t mark = out->len;

    put_key_ids(out, form->key, form->issuer_key);
    put_extension(out, "2.5.29.15", true, // keyCertSign, cRLSign; digitalSignature, nonRepudiation
                  form->ca ? SPAN("\x03\x02\x01\x06") : SPAN("\x03\x02\x06\xc0"));
    put_extension(out, "2.5.29.19", true,
                  form->ca ? SPAN("\x30\x03\x01\x01\xff") : SPAN("\x30\x00"));
    if (form->sgx.len > 0)
        put_extension(out, "1.2.840.113741.1.13.1", false, form->sgx);
    asn1_close(out, ASN1_SEQUENCE, mark);
    asn1_close(out, ASN1_CONTEXT + 3, mark);
}

/* ---- Whole ---- */

void cert_serial(const char *subject, const struct devtee_key *key,
                 uint8_t out[static CERT_SERIAL_LEN])
{
    const struct span parts[] = {span_str(subject), span_of(devtee_key_xy(key), DEVTEE_XY_LEN)};
    uint8_t digest[SHA256_LEN];

    sha256_parts(digest, parts, 2);
    memcpy(out, digest, CERT_SERIAL_LEN);
    out[0] = (uint8_t)((out[0] & 0x7f) | 0x40); // positive, and of full length
}

void cert_write(const struct cert_form *form, struct buf *der)
{
    AUTO(buf_fini) struct buf tbs = {0};
    uint8_t serial[CERT_SERIAL_LEN];

    cert_serial(form->subject, form->key, serial);
    asn1_uint(&tbs, 2); // version 3
    asn1_close(&tbs, ASN1_CONTEXT, 0);
    asn1_number(&tbs, SPAN_OF(serial));
    put_algorithm(&tbs);
    put_name(&tbs, form->issuer);
    put_validity(&tbs, form->not_before, form->not_after);
    put_name(&tbs, form->subject);
    put_public_key(&tbs, form->key);
    put_extensions(&tbs, form);
    asn1_close(&tbs, ASN1_SEQUENCE, 0);
    put_signed(der, buf_span(&tbs), form->issuer_key, false);
}

static void put_revoked(struct buf *out, const struct crl_form *form)
{
    const size_t mark = out->len;

    asn1_number(out, span_of(form->revoked, CERT_SERIAL_LEN));
    asn1_time(out, form->this_update);
    asn1_close(out, ASN1_SEQUENCE, mark);
    asn1_close(out, ASN1_SEQUENCE, mark);
}

static void put_crl_extensions(struct buf *out, const struct crl_form *form)
{
    const size_t mark = out->len;

    put_extension(out, "2.5.29.20", false, SPAN("\x02\x01\x01")); // number 1
    put_key_ids(out, NULL, form->issuer_key);
    asn1_close(out, ASN1_SEQUENCE, mark);
    asn1_close(out, ASN1_CONTEXT, mark);
}

void crl_write(const struct crl_form *form, struct buf *der)
{
    AUTO(buf_fini) struct buf tbs = {0};

    asn1_uint(&tbs, 1); // version 2
    put_algorithm(&tbs);
    put_name(&tbs, form->issuer);
    asn1_time(&tbs, form->this_update);
    asn1_time(&tbs, form->next_update);
    if (form->revoked)
        put_revoked(&tbs, form);
    put_crl_extensions(&tbs, form);
    asn1_close(&tbs, ASN1_SEQUENCE, 0);
    put_signed(der, buf_span(&tbs), form->issuer_key, form->bad_signature);
}

void pem_write(struct buf *out, struct span der)
{
    AUTO(buf_fini) struct buf text = {0};

    base64_encode(&text, der);
    buf_append_str(out, "-----BEGIN CERTIFICATE-----\n");
    for (size_t at = 0; at < text.len; at += PEM_LINE) {
        buf_append(out, span_cut(buf_span(&text), at, PEM_LINE));
        buf_byte(out, '\n');
    }
    buf_append_str(out, "-----END CERTIFICATE-----\n");
}
