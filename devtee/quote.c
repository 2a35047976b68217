/* Quotes v4 and v5 (attestation.md §1 to §3). */
#include "devtee/issuer_impl.h"

#include "devtee/levels.h"

enum { HEADER_LEN = 48, TD10_LEN = 584, TD15_LEN = 648, TD15_EX_LEN = 885 };
enum { QE_AUTH_LEN = 32, QE_LEN = 384 };
enum { OUTER_TYPE = 6, INNER_TYPE = 5 }; // QE report; PCK chain as PEM

static void put_u16(struct buf *out, uint16_t v)
{
    buf_byte(out, (uint8_t)v);
    buf_byte(out, (uint8_t)(v >> 8));
}

static void put_u32(struct buf *out, uint32_t v)
{
    put_u16(out, (uint16_t)v);
    put_u16(out, (uint16_t)(v >> 16));
}

static void put_zeroes(struct buf *out, size_t len)
{
    memset(buf_reserve(out, len), 0, len);
    out->len += len;
}

/* base: where in out the patched part starts, of len bytes; what lies beyond is not there in this
 * form of quote. */
static void apply_patches(struct buf *out, size_t base, size_t len,
                          const struct devtee_patches *patches)
{
    for (size_t i = 0; i < patches->count; i++) {
        const struct devtee_patch *p = &patches->items[i];
        if (p->at + p->len <= len)
            memcpy(out->data + base + p->at, p->bytes, p->len);
    }
}

/* ---- Header and TD report ---- */

/* As a version 5 quote tells it. */
static const struct {
    uint8_t type;
    uint16_t len;
} BODIES[] = {
    [DEVTEE_V5_TD10] = {2, TD10_LEN},
    [DEVTEE_V5_TD15] = {3, TD15_LEN},
    [DEVTEE_V5_TD15_EX] = {4, TD15_EX_LEN},
};

static void put_header(struct buf *out, const struct devtee_faults *f)
{
    const bool v4 = f->form == DEVTEE_V4;
    const size_t base = out->len;

    put_u16(out, v4 ? 4 : 5);
    put_u16(out, 2);    // attestation key: ECDSA on P-256
    put_u32(out, 0x81); // TDX
    put_u32(out, 0);
    buf_append(out, SPAN("\x93\x9a\x72\x33\xf7\x9c\x4c\xa9\x94\x0a\x0d\xb3\x95\x7f\x06\x07"));
    put_zeroes(out, 20);
    apply_patches(out, base, HEADER_LEN, &f->header);
    if (v4)
        return;
    put_u16(out, BODIES[f->form].type);
    put_u32(out, BODIES[f->form].len);
}

/* VM 0; TD_ID, which every start has anew; no device, no service TD, nothing of the platform that
 * the trust domain began on. */
static void put_extension(struct buf *out)
{
    put_zeroes(out, 1);
    buf_append(out, SPAN("dev: a trust domain of one start"));
    put_zeroes(out, TD15_EX_LEN - TD15_LEN - 33);
}

static void put_report(struct buf *out, const struct devtee_issuer *issuer,
                       const struct devtee_faults *f,
                       const uint8_t report_data[static DEVTEE_REPORT_DATA_LEN])
{
    static const uint8_t svn[16] = {6, 1, 3}; // module 1.6
    const size_t base = out->len;

    buf_append(out, SPAN_OF(svn));
    buf_append(out, SPAN_OF(issuer->mrseam));
    put_zeroes(out, 48 + 8);                     // MRSIGNERSEAM: Intel; SEAMATTRIBUTES
    buf_append(out, SPAN("\0\0\0\x10\0\0\0\0")); // TDATTRIBUTES: SEPT_VE_DISABLE
    buf_append(out, SPAN("\xe7\x02\x06\0\0\0\0\0"));
    buf_append(out, SPAN_OF(issuer->mrtd));
    put_zeroes(out, (size_t)3 * 48); // MRCONFIGID, MROWNER, MROWNERCONFIG
    buf_append(out, SPAN_OF(issuer->rtmr));
    buf_append(out, span_of(report_data, DEVTEE_REPORT_DATA_LEN));
    CHECK(out->len - base == TD10_LEN);
    if (f->form >= DEVTEE_V5_TD15) {
        buf_append(out, SPAN_OF(svn));
        put_zeroes(out, 48);
    }
    if (f->form == DEVTEE_V5_TD15_EX)
        put_extension(out);
    apply_patches(out, base, out->len - base, &f->body);
}

/* ---- Authentication data ---- */

static void put_qe_report(struct buf *out, const struct devtee_issuer *issuer,
                          const struct devtee_faults *f, struct span qe_auth)
{
    const struct span bound[] = {span_of(devtee_key_xy(issuer->attestation), DEVTEE_XY_LEN),
                                 qe_auth};
    const size_t base = out->len;
    uint8_t hash[SHA256_LEN];

    put_zeroes(out, QE_LEN);
    uint8_t *report = out->data + base;
    memcpy(report, level_svns[0], COMPONENTS); // CPUSVN
    report[48] = 0x15;                         // INIT, MODE64BIT, PROVISIONKEY
    report[56] = 0xe7;                         // XFRM
    memcpy(report + 64, issuer->mrenclave, sizeof(issuer->mrenclave));
    memcpy(report + 128, issuer->qe_mrsigner, sizeof(issuer->qe_mrsigner));
    report[256] = 2; // ISVPRODID
    report[258] = 6; // ISVSVN
    sha256_parts(hash, bound, 2);
    hash[0] ^= f->bad_ak_hash ? 1 : 0;
    memcpy(report + 320, hash, sizeof(hash));
    apply_patches(out, base, QE_LEN, &f->qe_report);
}

static void put_certification(struct buf *out, const struct devtee_issuer *issuer,
                              const struct devtee_faults *f)
{
    AUTO(buf_fini) struct buf pem = {0};
    const uint8_t auth_bytes[QE_AUTH_LEN] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const struct span qe_auth = span_of(auth_bytes, f->no_qe_auth ? 0 : QE_AUTH_LEN);
    const size_t report = out->len;

    put_qe_report(out, issuer, f, qe_auth);
    issuer_sign(out, issuer->pck, span_from(buf_span(out), report), f->bad_qe_report_signature);
    put_u16(out, (uint16_t)qe_auth.len);
    buf_append(out, qe_auth);
    if (!f->no_pck_chain) {
        issuer_pck_chain(issuer, f, &pem);
        buf_byte(&pem, 0);
    }
    put_u16(out, f->inner_type ? f->inner_type : INNER_TYPE);
    put_u32(out, (uint32_t)pem.len);
    buf_append(out, buf_span(&pem));
}

static void put_authentication(struct buf *out, const struct devtee_issuer *issuer,
                               const struct devtee_faults *f, struct span signed_bytes)
{
    AUTO(buf_fini) struct buf certification = {0};

    put_certification(&certification, issuer, f);
    issuer_sign(out, issuer->attestation, signed_bytes, f->bad_quote_signature);
    buf_append(out, span_of(devtee_key_xy(issuer->attestation), DEVTEE_XY_LEN));
    put_u16(out, f->outer_type ? f->outer_type : OUTER_TYPE);
    put_u32(out, (uint32_t)certification.len);
    buf_append(out, buf_span(&certification));
}

void devtee_quote(const struct devtee_issuer *issuer, const struct devtee_faults *faults,
                  const uint8_t report_data[static DEVTEE_REPORT_DATA_LEN], struct buf *out)
{
    static const struct devtee_faults none;
    const struct devtee_faults *f = faults ? faults : &none;
    AUTO(buf_fini) struct buf quote = {0}, authentication = {0};

    put_header(&quote, f);
    put_report(&quote, issuer, f, report_data);
    put_authentication(&authentication, issuer, f, buf_span(&quote));
    put_u32(&quote, (uint32_t)authentication.len);
    buf_append(&quote, buf_span(&authentication));
    quote.len -= f->truncate;
    for (size_t i = 0; i < f->trail; i++)
        buf_byte(&quote, 0xaa);
    buf_append(out, buf_span(&quote));
}
