/* Reads and verifies SPDM 1.1 measurement reports of NVIDIA GPUs (DSP0274 §10.11; layout of the
 * opaque data: NVIDIA's attestation guide). Integers are little-endian. */
#include "attest/gpu.h"

#include <stdio.h>

#include "base/encode.h"
#include "base/json.h"
#include "crypto/der.h"
#include "crypto/ecdsa.h"

static const char FORMAT[] = "nvidia-spdm/v1";
/* DICE TCB info (TCG DICE Attestation Architecture §6.1.1), of a Hopper's leaf and a Blackwell's.
 */
static const char *const DICE_TCB_INFO[] = {"2.23.133.5.4.1", "2.23.133.5.4.1.1"};

/* The nonce of NVIDIA's own samples: a report made for it proves no freshness. */
static const uint8_t CANNED_NONCE[GPU_NONCE_LEN] = {
    0x93, 0x1d, 0x8d, 0xd0, 0xad, 0xd2, 0x03, 0xac, 0x3d, 0x8b, 0x4f, 0xbd, 0xe7, 0x5e, 0x11, 0x52,
    0x78, 0xee, 0xfc, 0xdc, 0xea, 0xc5, 0xb8, 0x76, 0x71, 0xa7, 0x48, 0xf3, 0x23, 0x64, 0xdf, 0xcb};

enum {
    REQUEST_LEN = 37, /* 11 E0 01 FF, nonce, slot */
    REQUEST_NONCE_AT = 4,
    RESPONSE_HEAD_LEN = 8, /* 11 60 p1 p2, blocks, length of the record in 3 bytes */
    BLOCK_HEAD_LEN = 4,    /* index, specification, length in 2 bytes */
    DMTF_HEAD_LEN = 3,     /* value type, length in 2 bytes */
    DIGEST_LEN = 48
};
enum { TAG_FWIDS = 0xa6 }; /* [6], constructed */
/* Firmware's key, device, provisioner, family, root. */
enum { CHAIN_LEN = 5, CHAIN_DEVICE = 1 };
enum {
    OPAQUE_DRIVER = 3,
    OPAQUE_VBIOS = 6,
    OPAQUE_FWID = 20,
    OPAQUE_PROTECTED_PCIE = 21,
    OPAQUE_FEATURE = 36
};
enum { PROTECTED_PCIE_OFF = 0x55, FEATURE_ALONE = 0, FEATURE_LINKED = 1 };

/* ---- The report's bytes ---- */

static size_t u16le(const uint8_t *p)
{
    return (size_t)p[0] | (size_t)p[1] << 8;
}

/* The first len bytes of *rest, which is moved behind them. */
static int take(struct span *rest, size_t len, struct span *out)
{
    if (rest->len < len)
        return E_INVALID;
    *out = span_of(rest->data, len);
    *rest = span_of(rest->data + len, rest->len - len);
    return 0;
}

static int block_take(struct gpu_report *r, struct span *record)
{
    struct span head, body, dmtf;
    size_t index;

    TRY(take(record, BLOCK_HEAD_LEN, &head));
    TRY(take(record, u16le(head.data + 2), &body));
    index = head.data[0];
    if (index == 0 || index > GPU_MAX_BLOCKS || head.data[1] != 1 || r->blocks[index - 1].data)
        return E_INVALID;
    TRY(take(&body, DMTF_HEAD_LEN, &dmtf));
    if (u16le(dmtf.data + 1) != body.len)
        return E_INVALID;
    r->blocks[index - 1] = body;
    if (index > r->block_count)
        r->block_count = index;
    return 0;
}

static int record_read(struct gpu_report *r, struct span record, size_t blocks)
{
    for (size_t i = 0; i < blocks; i++)
        TRY(block_take(r, &record));
    return record.len == 0 ? 0 : E_INVALID;
}

/* Without the NULs that end a text. */
static struct span text_of(struct span s)
{
    while (s.len > 0 && s.data[s.len - 1] == '\0')
        s.len--;
    return s;
}

static unsigned pcie_mode(struct span status)
{
    return status.len == 1 && status.data[0] == PROTECTED_PCIE_OFF ? 0 : GPU_SWITCHED;
}

/* A little-endian number of any length. */
static unsigned feature_mode(struct span feature)
{
    for (size_t i = 1; i < feature.len; i++)
        if (feature.data[i] != 0)
            return GPU_SWITCHED;
    if (feature.len == 0 || feature.data[0] > FEATURE_LINKED)
        return GPU_SWITCHED;
    return feature.data[0] == FEATURE_ALONE ? GPU_ALONE : GPU_LINKED;
}

static int opaque_read(struct gpu_report *r, struct span opaque)
{
    while (opaque.len > 0) {
        struct span head, value;

        TRY(take(&opaque, 4, &head));
        TRY(take(&opaque, u16le(head.data + 2), &value));
        switch (u16le(head.data)) {
        case OPAQUE_DRIVER:
            r->driver = text_of(value);
            break;
        case OPAQUE_VBIOS:
            r->vbios = value;
            break;
        case OPAQUE_FWID:
            r->fwid = value;
            break;
        case OPAQUE_PROTECTED_PCIE:
            r->modes |= pcie_mode(value);
            break;
        case OPAQUE_FEATURE:
            r->modes |= feature_mode(value);
            break;
        default:
            break;
        }
    }
    return 0;
}

int gpu_report_parse(struct gpu_report *out, struct span bytes)
{
    struct span rest = bytes, request, head, record, nonce, opaque_len, opaque;

    *out = (struct gpu_report){0};
    if (bytes.len > GPU_MAX_REPORT)
        return E_INVALID;
    TRY(take(&rest, REQUEST_LEN, &request));
    if (memcmp(request.data, "\x11\xe0\x01\xff", 4) != 0)
        return E_INVALID;
    TRY(take(&rest, RESPONSE_HEAD_LEN, &head));
    if (head.data[0] != 0x11 || head.data[1] != 0x60)
        return E_INVALID;
    TRY(take(&rest, u16le(head.data + 5) | (size_t)head.data[7] << 16, &record));
    TRY(record_read(out, record, head.data[4]));
    TRY(take(&rest, GPU_NONCE_LEN, &nonce));
    TRY(take(&rest, 2, &opaque_len));
    TRY(take(&rest, u16le(opaque_len.data), &opaque));
    TRY(opaque_read(out, opaque));
    if (rest.len != P384_SIG_LEN || out->driver.len == 0) /* switches have reports, but no driver */
        return E_INVALID;
    out->nonce = request.data + REQUEST_NONCE_AT;
    out->signature = rest;
    out->signed_bytes = span_of(bytes.data, bytes.len - rest.len);
    return 0;
}

/* ---- One GPU ---- */

/* FWID ::= SEQUENCE { hashAlg OID, digest OCTET STRING }; members are the SEQUENCE's. */
static int fwid_read(struct span members, struct span *digest)
{
    struct span algorithm;

    TRY(der_take(&members, TAG_OID, &algorithm));
    return der_take(&members, TAG_OCTET_STRING, digest);
}

static int leaf_tcb_info(const struct x509_cert *leaf, struct span *out)
{
    const int error = x509_cert_extension(leaf, DICE_TCB_INFO[0], out);

    return error == E_NOT_FOUND ? x509_cert_extension(leaf, DICE_TCB_INFO[1], out) : error;
}

/* The digest of the first FWID in the leaf's extension, which is a SEQUENCE with it: bare in the
 * older CompositeDeviceID (version, device key, FWID), in [6] SEQUENCE OF FWID in DiceTcbInfo. */
static int leaf_fwid(const struct x509_cert *leaf, struct span *out)
{
    struct span info, members, content, fwid;
    uint8_t tag;

    TRY(leaf_tcb_info(leaf, &info));
    TRY(der_take(&info, TAG_SEQUENCE, &members));
    for (;;) {
        TRY(der_next(&members, &tag, &content));
        if (tag == TAG_SEQUENCE && fwid_read(content, out) == 0)
            return 0;
        if (tag == TAG_FWIDS) {
            TRY(der_take(&content, TAG_SEQUENCE, &fwid));
            return fwid_read(fwid, out);
        }
    }
}

enum attest_reason gpu_report_verify(const struct gpu_report *report, struct span chain_pem,
                                     const struct x509_cert *root, uint64_t now_s,
                                     struct x509_chain *chain)
{
    struct span fwid;

    if (x509_chain_read_pem(chain, chain_pem) < 0 || chain->count != CHAIN_LEN ||
        x509_chain_verify(chain, root, NULL, 0, now_s, NULL) != X509_OK)
        return ATTEST_GPU_CHAIN_INVALID;
    if (x509_cert_p384_verify(chain->certs[0], report->signed_bytes, report->signature) < 0)
        return ATTEST_GPU_SIGNATURE_INVALID;
    if (leaf_fwid(chain->certs[0], &fwid) < 0 || fwid.len == 0 || !crypto_equal(fwid, report->fwid))
        return ATTEST_GPU_FWID_MISMATCH;
    return ATTEST_OK;
}

/* As NVIDIA writes it, "96.00.9F.00.01": the low word from its high byte down, then the next byte.
 */
static void vbios_text(struct span v, char out[static 32])
{
    if (v.len == 8)
        snprintf(out, 32, "%02X.%02X.%02X.%02X.%02X", v.data[3], v.data[2], v.data[1], v.data[0],
                 v.data[4]);
}

static bool block_is_pinned(const uint8_t pin[static DIGEST_LEN], struct span block)
{
    static const uint8_t ANY[DIGEST_LEN] = {0};

    return memcmp(pin, ANY, DIGEST_LEN) == 0 ||
           (block.len == DIGEST_LEN && memcmp(pin, block.data, DIGEST_LEN) == 0);
}

static bool pin_matches(const struct gpu_pin *pin, const struct gpu_report *r)
{
    char vbios[32] = "";

    vbios_text(r->vbios, vbios);
    if (!span_is(r->driver, pin->driver) || !span_is(span_str(vbios), pin->vbios) ||
        pin->block_count != r->block_count)
        return false;
    for (size_t i = 0; i < pin->block_count; i++)
        if (!block_is_pinned(pin->blocks[i], r->blocks[i]))
            return false;
    return true;
}

/* ---- All of a worker's GPUs ---- */

static int refuse(struct attest_verdict *v, enum attest_reason reason, size_t gpu)
{
    return attest_refuse(v, ATTEST_STEP_GPU, reason, "GPU %zu", gpu);
}

/* Device certificates seen so far: no GPU counts twice. And what the reports tell of modes. */
struct seen {
    struct x509_chain chains[GPU_MAX];
    size_t count;
    unsigned modes; /* of all */
};

static void seen_fini(struct seen *s)
{
    for (size_t i = 0; i < s->count; i++)
        x509_chain_fini(&s->chains[i]);
}
AUTO_FINI(struct seen, seen_fini)

static bool same_cert(const struct x509_cert *a, const struct x509_cert *b)
{
    return x509_cert_same(a, b) || crypto_equal(x509_cert_serial(a), x509_cert_serial(b));
}

/* Whether the last chain's leaf or device is one of those before it; the leaf may change with
 * firmware or a reset. */
static bool seen_before(const struct seen *s)
{
    const struct x509_chain *last = &s->chains[s->count - 1];

    for (const struct x509_chain *it = s->chains; it < last; it++)
        if (same_cert(it->certs[0], last->certs[0]) ||
            same_cert(it->certs[CHAIN_DEVICE], last->certs[CHAIN_DEVICE]))
            return true;
    return false;
}

static void serial_text(const struct x509_cert *cert, char out[static ATTEST_SERIAL_LEN])
{
    hex_encode(out, span_cut(x509_cert_serial(cert), 0, ATTEST_SERIAL_LEN / 2));
}

static bool is_listed(const struct gpu_input *in, const char *serial)
{
    for (size_t i = 0; i < in->revoked_count; i++)
        if (strcmp(in->revoked[i], serial) == 0)
            return true;
    return false;
}

static int revoked_check(const struct gpu_input *in, const struct x509_chain *chain, size_t gpu,
                         struct attest_verdict *v)
{
    char serial[ATTEST_SERIAL_LEN];

    for (size_t i = 0; i < chain->count; i++) {
        serial_text(chain->certs[i], serial);
        if (is_listed(in, serial))
            return attest_refuse(v, ATTEST_STEP_GPU, ATTEST_GPU_REVOKED,
                                 "GPU %zu, certificate %zu, serial number %s", gpu, i + 1, serial);
    }
    return 0;
}

/* A GPU that is linked has a peer, which must be one of them: NVIDIA's verifier refuses mixtures.
 */
static bool modes_fit(unsigned modes)
{
    return !(modes & GPU_SWITCHED) &&
           (modes & (GPU_ALONE | GPU_LINKED)) != (GPU_ALONE | GPU_LINKED);
}

static bool any_pin_matches(const struct gpu_input *in, const struct gpu_report *r)
{
    for (size_t i = 0; i < in->pin_count; i++)
        if (pin_matches(&in->pins[i], r))
            return true;
    return in->pin_count == 0;
}

static int item_read(const json_t *item, struct buf *report, struct buf *chain)
{
    struct span text;

    if (json_obj_string(item, "report", &text) < 0 || base64_decode(report, text) < 0)
        return E_INVALID;
    if (json_obj_string(item, "chain", &text) < 0 || base64_decode(chain, text) < 0)
        return E_INVALID;
    return chain->len <= GPU_MAX_REPORT ? 0 : E_INVALID;
}

static int item_verify(const struct gpu_input *in, const json_t *item, struct seen *seen,
                       struct attest_verdict *v)
{
    AUTO(buf_fini) struct buf bytes = {0}, pem = {0};
    struct gpu_report report;
    struct x509_chain *chain = &seen->chains[seen->count];
    const size_t gpu = seen->count++;
    enum attest_reason reason;

    if (item_read(item, &bytes, &pem) < 0 || gpu_report_parse(&report, buf_span(&bytes)) < 0)
        return refuse(v, ATTEST_GPU_EVIDENCE_INVALID, gpu);
    if (memcmp(report.nonce, CANNED_NONCE, GPU_NONCE_LEN) == 0 ||
        memcmp(report.nonce, in->nonce, GPU_NONCE_LEN) != 0)
        return refuse(v, ATTEST_GPU_NONCE_MISMATCH, gpu);
    reason = gpu_report_verify(&report, buf_span(&pem), in->root, in->now_s, chain);
    if (reason != ATTEST_OK)
        return refuse(v, reason, gpu);
    TRY(revoked_check(in, chain, gpu, v));
    seen->modes |= report.modes;
    if (!modes_fit(seen->modes))
        return refuse(v, ATTEST_GPU_MODE, gpu);
    if (seen_before(seen))
        return refuse(v, ATTEST_GPU_COUNT_MISMATCH, gpu);
    if (!any_pin_matches(in, &report))
        return refuse(v, ATTEST_GPU_MEASUREMENT, gpu);
    for (size_t i = 0; i < chain->count; i++)
        attest_until(v, x509_cert_not_after(chain->certs[i]));
    serial_text(chain->certs[CHAIN_DEVICE], v->gpu_serials[gpu]);
    snprintf(v->gpu_driver, sizeof(v->gpu_driver), "%.*s",
             (int)(report.driver.len < 31 ? report.driver.len : 31),
             (const char *)report.driver.data);
    vbios_text(report.vbios, v->gpu_vbios);
    return 0;
}

/* The list of reports, which belongs to *root. */
static int items_read(struct span evidence, json_t **root, const json_t **items)
{
    struct span format;

    if (json_read(evidence, root) < 0 || json_obj_string(*root, "format", &format) < 0 ||
        !span_is(format, FORMAT))
        return E_INVALID;
    *items = json_object_get(*root, "items");
    return json_is_array(*items) && json_array_size(*items) <= GPU_MAX ? 0 : E_INVALID;
}

int gpu_verify(const struct gpu_input *in, struct attest_verdict *v)
{
    AUTO(seen_fini) struct seen seen = {0};
    AUTO_JSON json_t *root = NULL;
    const json_t *items;

    if (items_read(in->evidence, &root, &items) < 0)
        return attest_refuse(v, ATTEST_STEP_GPU, ATTEST_GPU_EVIDENCE_INVALID, "%s", "");
    if (json_array_size(items) != in->count || in->count == 0)
        return attest_refuse(v, ATTEST_STEP_GPU, ATTEST_GPU_COUNT_MISMATCH,
                             "%zu reports, %u in the keyset", json_array_size(items), in->count);
    for (size_t i = 0; i < json_array_size(items); i++)
        TRY(item_verify(in, json_array_get(items, i), &seen, v));
    v->gpu_count = in->count;
    v->steps[ATTEST_STEP_GPU] = ATTEST_PASSED;
    return 0;
}

static void pin_write(const struct gpu_report *r, struct buf *out)
{
    static const uint8_t NOT_JUDGED[DIGEST_LEN] = {0};
    char text[2 * DIGEST_LEN + 1] = "";

    vbios_text(r->vbios, text);
    buf_append_str(out, "{\"driver\":\"");
    buf_json_escape(out, r->driver);
    buf_printf(out, "\",\"vbios\":\"%s\",\"blocks\":[", text);
    for (size_t i = 0; i < r->block_count; i++) {
        hex_encode(text, r->blocks[i].len == DIGEST_LEN ? r->blocks[i] : SPAN_OF(NOT_JUDGED));
        buf_printf(out, "%s\"%s\"", i > 0 ? "," : "", text);
    }
    buf_append_str(out, "]}\n");
}

int gpu_evidence_pins(struct span evidence, struct buf *out)
{
    AUTO_JSON json_t *root = NULL;
    const json_t *items;

    TRY(items_read(evidence, &root, &items));
    for (size_t i = 0; i < json_array_size(items); i++) {
        AUTO(buf_fini) struct buf bytes = {0}, pem = {0};
        struct gpu_report report;

        TRY(item_read(json_array_get(items, i), &bytes, &pem));
        TRY(gpu_report_parse(&report, buf_span(&bytes)));
        if (!span_visible(report.driver, sizeof(((struct gpu_pin *)0)->driver) - 1))
            return E_INVALID;
        pin_write(&report, out);
    }
    return 0;
}

void gpu_evidence_write(struct buf *out, const struct span *reports, const struct span *chains,
                        size_t count)
{
    buf_printf(out, "{\"format\":\"%s\",\"items\":[", FORMAT);
    for (size_t i = 0; i < count; i++) {
        buf_append_str(out, i > 0 ? ",{\"report\":\"" : "{\"report\":\"");
        base64_encode(out, reports[i]);
        buf_append_str(out, "\",\"chain\":\"");
        base64_encode(out, chains[i]);
        buf_append_str(out, "\"}");
    }
    buf_append_str(out, "]}");
}
