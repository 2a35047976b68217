/* Collateral as bytes: read from an attestation document, from dcap-qvl's files or from the answers
 * of the certification service, whose signed values are cut out as they stand. */
#include "attest/collateral.h"

#include "base/encode.h"
#include "crypto/ecdsa.h"

enum { JSON_MAX = 4 * COLLATERAL_MAX }; /* escapes and hex make the text longer */

void collateral_fini(struct collateral *c)
{
    buf_fini(&c->tcb_info);
    buf_fini(&c->tcb_info_signature);
    buf_fini(&c->tcb_info_chain);
    buf_fini(&c->qe_identity);
    buf_fini(&c->qe_identity_signature);
    buf_fini(&c->qe_identity_chain);
    buf_fini(&c->pck_crl);
    buf_fini(&c->pck_crl_chain);
    buf_fini(&c->root_crl);
}

static size_t collateral_len(const struct collateral *c)
{
    return c->tcb_info.len + c->tcb_info_signature.len + c->tcb_info_chain.len +
           c->qe_identity.len + c->qe_identity_signature.len + c->qe_identity_chain.len +
           c->pck_crl.len + c->pck_crl_chain.len + c->root_crl.len;
}

/* ---- Reading ---- */

static int text_read(struct buf *out, struct span value)
{
    buf_append(out, value);
    return 0;
}

static int hex_read(struct buf *out, struct span value)
{
    const size_t len = value.len / 2;

    TRY(hex_decode(buf_reserve(out, len + 1), len, value));
    out->len += len;
    return 0;
}

static int signature_read(struct buf *out, struct span value)
{
    return value.len == 2 * P256_SIG_LEN ? hex_read(out, value) : E_INVALID;
}

static struct span trim(struct span s)
{
    while (s.len > 0 && strchr(" \t\r\n", s.data[s.len - 1]))
        s.len--;
    while (s.len > 0 && strchr(" \t\r\n", s.data[0]))
        s = span_from(s, 1);
    return s;
}

/* PEM, hex as dcap-qvl has it, or base64: DER begins with 30 in hex, and never so in base64. */
static int list_read(struct buf *out, struct span value)
{
    const struct span text = trim(value);

    if (span_starts(text, SPAN("-----BEGIN ")))
        return text_read(out, text);
    if (span_starts(text, SPAN("30")))
        return hex_read(out, text);
    return base64_decode(out, text);
}

/* As text, or as the service's header has it: percent-encoded, and '+' a letter of base64. */
static int chain_read(struct buf *out, struct span value)
{
    if (!span_starts(value, SPAN("-----BEGIN%20")))
        return text_read(out, value);
    for (size_t i = 0; i < value.len; i++) {
        uint8_t byte = value.data[i];
        if (byte == '%' && hex_decode(&byte, 1, span_cut(value, i + 1, 2)) == 0)
            i += 2;
        buf_byte(out, byte);
    }
    return span_utf8(buf_span(out)) ? 0 : E_INVALID;
}

struct part {
    const char *name;
    struct buf *out;
    int (*read)(struct buf *out, struct span value);
    bool optional;
};

static int parts_read(const json_t *object, const struct part *parts, size_t count)
{
    size_t room = COLLATERAL_MAX;

    for (size_t i = 0; i < count; i++) {
        struct span value;
        int error = json_obj_string(object, parts[i].name, &value);

        if (error == E_NOT_FOUND && parts[i].optional)
            continue;
        if (error < 0)
            return E_INVALID;
        if (value.len > 2 * room)
            return E_TOO_LARGE;
        TRY(parts[i].read(parts[i].out, value));
        if (parts[i].out->len > room)
            return E_TOO_LARGE;
        room -= parts[i].out->len;
    }
    return 0;
}

/* The lists' own issuers are those of the PCK chain, so their chain need not be there. */
int collateral_read(struct collateral *out, const json_t *object)
{
    const struct part parts[] = {
        {"tcb_info", &out->tcb_info, text_read, false},
        {"tcb_info_signature", &out->tcb_info_signature, signature_read, false},
        {"tcb_info_issuer_chain", &out->tcb_info_chain, chain_read, false},
        {"qe_identity", &out->qe_identity, text_read, false},
        {"qe_identity_signature", &out->qe_identity_signature, signature_read, false},
        {"qe_identity_issuer_chain", &out->qe_identity_chain, chain_read, false},
        {"pck_crl", &out->pck_crl, list_read, false},
        {"pck_crl_issuer_chain", &out->pck_crl_chain, chain_read, true},
        {"root_ca_crl", &out->root_crl, list_read, false},
    };
    int error;

    *out = (struct collateral){0};
    error = parts_read(object, parts, sizeof(parts) / sizeof(parts[0]));
    if (error < 0)
        collateral_fini(out);
    return error;
}

int collateral_read_bytes(struct collateral *out, struct span json)
{
    AUTO_JSON json_t *object = NULL;

    *out = (struct collateral){0};
    if (json.len > JSON_MAX)
        return E_TOO_LARGE;
    if (json_read(json, &object) < 0)
        return E_INVALID;
    return collateral_read(out, object);
}

/* ---- Writing ---- */

static void put_text(struct buf *out, const char *name, const struct buf *value)
{
    buf_printf(out, ",\"%s\":\"", name);
    buf_json_escape(out, buf_span(value));
    buf_byte(out, '"');
}

static void put_hex(struct buf *out, const char *name, const struct buf *value)
{
    char hex[2 * P256_SIG_LEN + 1] = "";

    if (value->len == P256_SIG_LEN)
        hex_encode(hex, buf_span(value));
    buf_printf(out, ",\"%s\":\"%s\"", name, hex);
}

static void put_list(struct buf *out, const char *name, const struct buf *value)
{
    if (span_starts(buf_span(value), SPAN("-----BEGIN ")) && span_utf8(buf_span(value))) {
        put_text(out, name, value);
        return;
    }
    buf_printf(out, ",\"%s\":\"", name);
    base64_encode(out, buf_span(value));
    buf_byte(out, '"');
}

void collateral_write(const struct collateral *c, struct buf *out)
{
    const size_t begin = out->len;

    put_text(out, "tcb_info", &c->tcb_info);
    put_hex(out, "tcb_info_signature", &c->tcb_info_signature);
    put_text(out, "tcb_info_issuer_chain", &c->tcb_info_chain);
    put_text(out, "qe_identity", &c->qe_identity);
    put_hex(out, "qe_identity_signature", &c->qe_identity_signature);
    put_text(out, "qe_identity_issuer_chain", &c->qe_identity_chain);
    put_list(out, "pck_crl", &c->pck_crl);
    put_text(out, "pck_crl_issuer_chain", &c->pck_crl_chain);
    put_list(out, "root_ca_crl", &c->root_crl);
    out->data[begin] = '{'; /* instead of the first comma */
    buf_byte(out, '}');
}

/* ---- From the certification service ---- */

struct answer {
    struct buf value, signature, chain;
};

static void answer_fini(struct answer *a)
{
    buf_fini(&a->value);
    buf_fini(&a->signature);
    buf_fini(&a->chain);
}
AUTO_FINI(struct answer, answer_fini)

static int answer_read(struct answer *out, const char *name, struct span body, struct span chain)
{
    AUTO_JSON json_t *doc = NULL;
    struct json_member member;
    struct span signature;

    if (body.len > COLLATERAL_MAX || chain.len > COLLATERAL_MAX - body.len)
        return E_TOO_LARGE;
    if (json_read(body, &doc) < 0 || json_obj_string(doc, "signature", &signature) < 0 ||
        json_member_find(body, name, &member) < 0 || !span_starts(member.value, SPAN("{")) ||
        !span_utf8(chain))
        return E_INVALID;
    TRY(signature_read(&out->signature, signature));
    buf_append(&out->value, member.value);
    return chain_read(&out->chain, chain);
}

int collateral_set_tcb_info(struct collateral *c, struct span body, struct span chain)
{
    AUTO(answer_fini) struct answer a = {0};

    TRY(answer_read(&a, "tcbInfo", body, chain));
    buf_take(&c->tcb_info, &a.value);
    buf_take(&c->tcb_info_signature, &a.signature);
    buf_take(&c->tcb_info_chain, &a.chain);
    return collateral_len(c) > COLLATERAL_MAX ? E_TOO_LARGE : 0;
}

int collateral_set_qe_identity(struct collateral *c, struct span body, struct span chain)
{
    AUTO(answer_fini) struct answer a = {0};

    TRY(answer_read(&a, "enclaveIdentity", body, chain));
    buf_take(&c->qe_identity, &a.value);
    buf_take(&c->qe_identity_signature, &a.signature);
    buf_take(&c->qe_identity_chain, &a.chain);
    return collateral_len(c) > COLLATERAL_MAX ? E_TOO_LARGE : 0;
}

/* DER is binary: its first byte is that of '0', the second is none of text's. */
static int list_set(const struct collateral *c, struct span body, struct buf *out)
{
    AUTO(buf_fini) struct buf list = {0};

    if (body.len > JSON_MAX)
        return E_TOO_LARGE;
    if (body.len > 2 && body.data[0] == 0x30 && body.data[1] >= 0x80)
        buf_append(&list, body);
    else
        TRY(list_read(&list, body));
    buf_take(out, &list);
    return collateral_len(c) > COLLATERAL_MAX ? E_TOO_LARGE : 0;
}

int collateral_set_pck_crl(struct collateral *c, struct span body, struct span chain)
{
    if (chain.len > COLLATERAL_MAX || !span_utf8(chain))
        return E_INVALID;
    buf_clear(&c->pck_crl_chain);
    TRY(chain_read(&c->pck_crl_chain, chain));
    return list_set(c, body, &c->pck_crl);
}

int collateral_set_root_crl(struct collateral *c, struct span body)
{
    return list_set(c, body, &c->root_crl);
}

/* ---- Digest ---- */

static void put_be64(uint8_t out[static 8], uint64_t value)
{
    for (int i = 7; i >= 0; i--, value >>= 8)
        out[i] = (uint8_t)value;
}

void collateral_digest(const struct collateral *c, uint8_t out[static SHA256_LEN])
{
    enum { PARTS = 9 };
    const struct buf *const bufs[PARTS] = {
        &c->tcb_info,    &c->tcb_info_signature,    &c->tcb_info_chain,
        &c->qe_identity, &c->qe_identity_signature, &c->qe_identity_chain,
        &c->pck_crl,     &c->pck_crl_chain,         &c->root_crl,
    };
    uint8_t lengths[PARTS][8];
    struct span spans[2 * PARTS];

    for (size_t i = 0; i < PARTS; i++) {
        put_be64(lengths[i], bufs[i]->len);
        spans[2 * i] = SPAN_OF(lengths[i]);
        spans[2 * i + 1] = buf_span(bufs[i]);
    }
    sha256_parts(out, spans, 2 * PARTS);
}
