/* Takes a quote apart. Every part is cut from what its own length field grants, and a length that
 * does not fit ends the reading. */
#include "attest/quote.h"

enum {
    HEADER_LEN = 48,
    VERSION_4 = 4,
    VERSION_5 = 5,
    KEY_ECDSA_P256 = 2,
    TEE_TDX = 0x81,
    BODY_SGX = 1,
    BODY_TD10 = 2,
    BODY_TD15 = 3,
    TD10_LEN = 584,
    BODY_TD15_EX = 4,
    TD15_LEN = 648,
    TD15_EX_LEN = 885,
    SIGNATURE_LEN = 64,
    KEY_LEN = 64,
    CERTIFICATION_QE_REPORT = 6,
    CERTIFICATION_PCK_CHAIN = 5
};

static const uint8_t INTEL_QE_VENDOR[16] = {0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9,
                                            0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07};

static uint16_t u16le(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t u32le(const uint8_t *p)
{
    return (uint32_t)u16le(p + 2) << 16 | u16le(p);
}

static uint64_t u64le(const uint8_t *p)
{
    return (uint64_t)u32le(p + 4) << 32 | u32le(p);
}

/* ---- A cursor that remembers having run out ---- */

struct cursor {
    struct span rest;
    bool ended; /* more was asked for than there is */
};

static struct span take(struct cursor *c, size_t len)
{
    struct span part = span_cut(c->rest, 0, len);

    if (part.len < len) {
        c->ended = true;
        return (struct span){0};
    }
    c->rest = span_from(c->rest, len);
    return part;
}

static uint16_t take_u16(struct cursor *c)
{
    struct span part = take(c, 2);

    return part.len == 2 ? u16le(part.data) : 0;
}

static uint32_t take_u32(struct cursor *c)
{
    struct span part = take(c, 4);

    return part.len == 4 ? u32le(part.data) : 0;
}

/* ---- Header and body ---- */

/* attestation.md §1, offsets 0 to 47. */
static enum attest_reason header_read(struct quote *out, struct span header)
{
    if (header.len < HEADER_LEN)
        return ATTEST_QUOTE_TRUNCATED;
    out->version = u16le(header.data);
    if (out->version != VERSION_4 && out->version != VERSION_5)
        return ATTEST_QUOTE_FORMAT_UNSUPPORTED;
    if (u32le(header.data + 4) != TEE_TDX)
        return ATTEST_WRONG_TEE_TYPE;
    if (u16le(header.data + 2) != KEY_ECDSA_P256)
        return ATTEST_ATTESTATION_KEY_TYPE_UNSUPPORTED;
    if (memcmp(header.data + 12, INTEL_QE_VENDOR, sizeof(INTEL_QE_VENDOR)) != 0)
        return ATTEST_QE_VENDOR_UNKNOWN;
    return ATTEST_OK;
}

/* Version 5 says which body follows; version 4 has the one of TD 1.0. */
static enum attest_reason body_type_read(struct cursor *c, const struct quote *q, size_t *len)
{
    uint16_t type;
    uint32_t size;

    *len = TD10_LEN;
    if (q->version == VERSION_4)
        return ATTEST_OK;
    type = take_u16(c);
    size = take_u32(c);
    if (c->ended)
        return ATTEST_QUOTE_TRUNCATED;
    if (type == BODY_SGX)
        return ATTEST_WRONG_TEE_TYPE;
    *len = type == BODY_TD10 ? TD10_LEN : type == BODY_TD15 ? TD15_LEN : TD15_EX_LEN;
    if (type < BODY_TD10 || type > BODY_TD15_EX || size != *len)
        return ATTEST_QUOTE_FORMAT_UNSUPPORTED;
    return ATTEST_OK;
}

/* Offsets are those of attestation.md §1 less the header's 48, and §2; from 648 on those of
 * sgx_report2_body_v1_5_ex_t in Intel's sgx_quote_5.h. */
static void body_read(struct quote *out, struct span body)
{
    const uint8_t *p = body.data;

    out->tee_tcb_svn = p;
    out->mrseam = p + 16;
    out->mrsignerseam = p + 64;
    out->seam_attributes = u64le(p + 112);
    out->td_attributes = u64le(p + 120);
    out->xfam = u64le(p + 128);
    out->mrtd = p + 136;
    out->mrconfigid = p + 184;
    out->mrowner = p + 232;
    out->mrownerconfig = p + 280;
    for (size_t i = 0; i < 4; i++)
        out->rtmr[i] = p + 328 + i * ATTEST_MR_LEN;
    out->report_data = p + 520;
    out->td15 = body.len >= TD15_LEN;
    if (out->td15) {
        out->tee_tcb_svn_2 = p + 584;
        out->mrservicetd = p + 600;
    }
    if (body.len == TD15_EX_LEN) {
        out->vm_index = p[648];
        out->init_service_td = p + 729;
        out->service_td_now = p + 829;
    }
}

/* ---- Authentication data ---- */

/* A certification data's type and size, which must take all that is left. */
static enum attest_reason certification_read(struct cursor *c, uint16_t want)
{
    const uint16_t type = take_u16(c);
    const uint32_t size = take_u32(c);

    if (c->ended)
        return ATTEST_QUOTE_TRUNCATED;
    if (type != want)
        return ATTEST_CERTIFICATION_DATA_UNSUPPORTED;
    if (size > c->rest.len)
        return ATTEST_QUOTE_TRUNCATED;
    return size == c->rest.len ? ATTEST_OK : ATTEST_QUOTE_FORMAT_UNSUPPORTED;
}

static enum attest_reason authentication_read(struct quote *out, struct cursor *c)
{
    enum attest_reason reason;

    out->signature = take(c, SIGNATURE_LEN);
    out->attestation_key = take(c, KEY_LEN);
    reason = certification_read(c, CERTIFICATION_QE_REPORT);
    if (reason != ATTEST_OK)
        return reason;
    out->qe_report = take(c, QE_REPORT_LEN);
    out->qe_report_signature = take(c, SIGNATURE_LEN);
    out->qe_auth = take(c, take_u16(c));
    reason = certification_read(c, CERTIFICATION_PCK_CHAIN);
    if (reason != ATTEST_OK)
        return reason;
    out->pck_pem = c->rest;
    return out->pck_pem.len > 0 ? ATTEST_OK : ATTEST_CERTIFICATION_DATA_UNSUPPORTED;
}

enum attest_reason quote_parse(struct quote *out, struct span bytes)
{
    struct cursor c = {.rest = bytes}, inner = {0};
    struct span body;
    size_t body_len;
    enum attest_reason reason;

    *out = (struct quote){0};
    if (bytes.len > QUOTE_MAX)
        return ATTEST_QUOTE_FORMAT_UNSUPPORTED;
    reason = header_read(out, take(&c, HEADER_LEN));
    if (reason == ATTEST_OK)
        reason = body_type_read(&c, out, &body_len);
    if (reason != ATTEST_OK)
        return reason;
    body = take(&c, body_len);
    if (c.ended)
        return ATTEST_QUOTE_TRUNCATED;
    body_read(out, body);
    out->signed_bytes = span_cut(bytes, 0, (size_t)(body.data - bytes.data) + body.len);
    inner.rest = take(&c, take_u32(&c));
    return c.ended ? ATTEST_QUOTE_TRUNCATED : authentication_read(out, &inner);
}

/* attestation.md §3. */
void qe_report_read(struct qe_report *out, struct span report)
{
    const uint8_t *p = report.data;

    out->miscselect = u32le(p + 16);
    out->attributes = p + 48;
    out->mrsigner = p + 128;
    out->isv_prod_id = u16le(p + 256);
    out->isv_svn = u16le(p + 258);
    out->report_data = p + 320;
}
