/* Real quotes with the collateral of their time: the verdicts of an independent checker
 * (EXPECTED.json), each within its clock window and refused outside it. */
#include "tests/unit/lib/vectors.h"

#include <time.h>

#include "attest/tdx.h"

#define GO      "tdx/go-tdx-guest/"
#define TINFOIL "tdx/tinfoil-verifier-collateral-2026/"

/* ---- Files ---- */

static struct buf quote_load(const char *name)
{
    struct buf raw, quote;
    char path[200];

    snprintf(path, sizeof(path), "tdx/%s", name);
    raw = vectors_bytes(path);
    if (!strstr(name, "hex"))
        return raw;
    while (raw.len > 0 && raw.data[raw.len - 1] == '\n')
        raw.len--;
    buf_byte(&raw, '\0');
    quote = bytes_of_hex((const char *)raw.data + (raw.data[1] == 'x' ? 2 : 0));
    buf_fini(&raw);
    return quote;
}

static void set_service(struct collateral *c, const char *tcb, const char *tcb_chain,
                        const char *qe, const char *qe_chain)
{
    AUTO(buf_fini) struct buf tcb_body = vectors_bytes(tcb), tcb_pem = vectors_bytes(tcb_chain);
    AUTO(buf_fini) struct buf qe_body = vectors_bytes(qe), qe_pem = vectors_bytes(qe_chain);

    assert_int_equal(collateral_set_tcb_info(c, buf_span(&tcb_body), buf_span(&tcb_pem)), 0);
    assert_int_equal(collateral_set_qe_identity(c, buf_span(&qe_body), buf_span(&qe_pem)), 0);
}

static void go_load(struct collateral *c)
{
    set_service(c, GO "sample_tcbInfo_response", GO "tcbinfo_issuer_chain.pem",
                GO "sample_qeIdentity_response", GO "qeidentity_issuer_chain.pem");
    c->pck_crl = vectors_bytes(GO "pckcrl");
    c->pck_crl_chain = vectors_bytes(GO "pckcrl_issuer_chain.pem");
    c->root_crl = vectors_bytes(GO "rootcrl.der");
}

static void tinfoil_load(struct collateral *c)
{
    set_service(c, TINFOIL "tcb_info_90c06f000000.json", TINFOIL "tcb_info_90c06f000000_chain.pem",
                TINFOIL "qe_identity.json", TINFOIL "qe_identity_chain.pem");
    c->pck_crl = vectors_bytes(TINFOIL "pck_crl_platform.crl");
    c->pck_crl_chain = vectors_bytes(TINFOIL "pck_crl_platform_chain.pem");
    c->root_crl = vectors_bytes(TINFOIL "root_ca.crl");
}

static void collateral_load(struct collateral *c, const char *name)
{
    AUTO(buf_fini) struct buf json = {0};
    char path[200];

    *c = (struct collateral){0};
    if (strstr(name, "go-tdx-guest/")) {
        go_load(c);
    } else if (strstr(name, "tinfoil")) {
        tinfoil_load(c);
    } else {
        snprintf(path, sizeof(path), "tdx/%s", name);
        json = vectors_bytes(path);
        assert_int_equal(collateral_read_bytes(c, buf_span(&json)), 0);
    }
}

static uint64_t date_of(const json_t *row, const char *name)
{
    struct tm tm = {0};

    assert_non_null(strptime(vector_text(row, name), "%Y-%m-%dT%H:%M:%SZ", &tm));
    return (uint64_t)timegm(&tm);
}

/* ---- One row ---- */

struct row {
    const json_t *json;
    struct buf bytes;
    struct quote quote;
    struct collateral collateral;
    struct x509_cert *root;
};

static void row_load(struct row *r, const json_t *json)
{
    *r = (struct row){.json = json, .root = tdx_intel_root()};
    r->bytes = quote_load(vector_text(json, "quote"));
    collateral_load(&r->collateral, vector_text(json, "collateral"));
    assert_int_equal(r->bytes.len, json_integer_value(json_object_get(json, "size")));
}

static void row_fini(struct row *r)
{
    buf_fini(&r->bytes);
    collateral_fini(&r->collateral);
    x509_cert_free(r->root);
}
AUTO_FINI(struct row, row_fini)

static int verify_at(const struct row *r, uint64_t now, struct collateral_cache *cache,
                     struct attest_verdict *v)
{
    const struct tdx_input in = {.quote = &r->quote,
                                 .collateral = &r->collateral,
                                 .root = r->root,
                                 .now_s = now,
                                 .cache = cache};

    *v = (struct attest_verdict){0};
    return tdx_verify(&in, v);
}

static enum tcb_status status_of(const json_t *name)
{
    enum tcb_status status = TCB_NONE;

    if (json_is_string(name) && strcmp(json_string_value(name), "NotSupported") == 0)
        return TCB_NOT_SUPPORTED;
    if (json_is_string(name))
        assert_int_equal(tcb_status_read(span_str(json_string_value(name)), &status), 0);
    return status;
}

/* [status, advisories, date] or null. */
static void assert_platform(const struct attest_verdict *v, const json_t *level)
{
    char date[32];
    const time_t at = (time_t)v->tcb_date;

    if (!json_is_array(level)) {
        assert_int_equal(v->platform_status, TCB_NOT_SUPPORTED);
        return;
    }
    assert_int_equal(v->platform_status, status_of(json_array_get(level, 0)));
    assert_int_equal(v->advisory_count, json_array_size(json_array_get(level, 1)));
    strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", gmtime(&at));
    assert_string_equal(date, json_string_value(json_array_get(level, 2)));
}

static void assert_verdict(const struct row *r, const struct attest_verdict *v)
{
    uint8_t attributes[8];

    assert_int_equal(v->quote_version,
                     json_integer_value(json_object_get(r->json, "quote_version")));
    assert_int_equal(v->td15, json_integer_value(json_object_get(r->json, "body_type")) == 3);
    assert_hex(SPAN_OF(v->fmspc), vector_text(r->json, "fmspc"));
    assert_int_equal(v->tcb_evaluation, json_integer_value(json_object_get(r->json, "tcb_eval")));
    assert_hex(span_of(r->quote.tee_tcb_svn, 16), vector_text(r->json, "tee_tcb_svn"));
    for (int i = 0; i < 8; i++)
        attributes[i] = (uint8_t)(v->td_attributes >> 8 * i);
    assert_hex(SPAN_OF(attributes), vector_text(r->json, "td_attributes"));
    assert_int_equal(v->module_status, status_of(json_object_get(r->json, "module_status")));
    assert_int_equal(v->qe_status, status_of(json_object_get(r->json, "qe_status")));
    assert_int_equal(v->status, status_of(json_object_get(r->json, "final")));
    assert_platform(v, json_object_get(r->json, "platform_level"));
}

static void assert_window(const struct row *r, uint64_t from, uint64_t to)
{
    static const enum attest_reason ended[] = {ATTEST_PCK_EXPIRED, ATTEST_PCK_CRL_EXPIRED,
                                               ATTEST_ROOT_CRL_EXPIRED, ATTEST_TCB_INFO_EXPIRED,
                                               ATTEST_QE_IDENTITY_EXPIRED};
    const uint64_t outside[] = {from - 1, to + 1, from - 86400, to + 86400 * 365};
    struct attest_verdict v;

    for (size_t i = 0; i < 4; i++) {
        bool known = false;

        assert_int_equal(verify_at(r, outside[i], NULL, &v), E_DENIED);
        for (size_t k = 0; k < sizeof(ended) / sizeof(ended[0]); k++)
            known = known || v.reason == ended[k];
        if (!known)
            fail_msg("%s at %zu: %s", vector_text(r->json, "quote"), i,
                     attest_reason_name(v.reason));
    }
}

/* A host may be younger than its collateral. */
static uint64_t pck_begin(const struct row *r)
{
    AUTO(x509_chain_fini) struct x509_chain chain;

    assert_int_equal(x509_chain_read_pem(&chain, r->quote.pck_pem), 0);
    return x509_cert_not_before(chain.certs[0]);
}

static void row_check(const json_t *json)
{
    AUTO(row_fini) struct row r;
    AUTO(collateral_cache_free) struct collateral_cache *cache = collateral_cache_new(2);
    struct attest_verdict v;
    uint64_t from = date_of(json, "collateral_valid_from"),
             to = date_of(json, "collateral_valid_to");
    const bool good = status_of(json_object_get(json, "final")) == TCB_UP_TO_DATE;

    row_load(&r, json);
    if (json_integer_value(json_object_get(json, "quote_version")) == 3) {
        assert_int_equal(quote_parse(&r.quote, buf_span(&r.bytes)),
                         ATTEST_QUOTE_FORMAT_UNSUPPORTED);
        return;
    }
    assert_int_equal(quote_parse(&r.quote, buf_span(&r.bytes)), ATTEST_OK);
    if (pck_begin(&r) > from)
        from = pck_begin(&r);
    for (int i = 0; i < 3; i++) {
        const uint64_t now = i == 0 ? from : i == 1 ? (from + to) / 2 : to;

        assert_int_equal(verify_at(&r, now, cache, &v), good ? 0 : E_DENIED);
        assert_int_equal(v.reason, good ? ATTEST_OK : ATTEST_TCB_NOT_SUPPORTED);
        assert_verdict(&r, &v);
        assert_int_equal(v.collateral_until, good ? to : 0);
    }
    assert_window(&r, from, to);
}

static void every_expected_verdict_is_reproduced(void **state)
{
    json_t *doc = vectors_load("tdx/EXPECTED.json");
    const json_t *row;
    size_t i;

    (void)state;
    assert_int_equal(json_array_size(json_object_get(doc, "rows")), 9);
    json_array_foreach(json_object_get(doc, "rows"), i, row) {
        print_message("%s with %s\n", vector_text(row, "quote"), vector_text(row, "collateral"));
        row_check(row);
    }
    json_decref(doc);
}

/* ---- What the rows do not say ---- */

static void load(struct row *r, const char *quote, const char *collateral)
{
    *r = (struct row){.bytes = quote_load(quote)}; /* first: it may skip the test */
    r->root = tdx_intel_root();
    collateral_load(&r->collateral, collateral);
    assert_int_equal(quote_parse(&r->quote, buf_span(&r->bytes)), ATTEST_OK);
}

enum { IN_JUNE_2025 = 1751000000, IN_JANUARY_2026 = 1769800000 };

static void the_component_that_is_too_old_is_named(void **state)
{
    AUTO(row_fini) struct row r = {0};
    struct attest_verdict v;

    (void)state;
    load(&r, "dcap-qvl/tdx_quote_outdated", "tinfoil");
    assert_int_equal(verify_at(&r, IN_JANUARY_2026, NULL, &v), E_DENIED);
    assert_int_equal(v.reason, ATTEST_TCB_NOT_SUPPORTED);
    assert_string_equal(v.detail, "SGX component 8 (OS/VMM, SEAMLDR ACM) is 3, the lowest level "
                                  "needs 5");
    assert_int_equal(v.steps[ATTEST_STEP_TCB_LEVEL], ATTEST_FAILED);
    assert_int_equal(v.steps[ATTEST_STEP_QUOTE_SIGNATURE], ATTEST_PASSED);
}

static void collateral_of_another_platform_is_refused(void **state)
{
    AUTO(row_fini) struct row r = {0};
    struct attest_verdict v;

    (void)state;
    load(&r, "dcap-qvl/tdx_quote", "tinfoil");
    assert_int_equal(verify_at(&r, IN_JANUARY_2026, NULL, &v), E_DENIED);
    assert_int_equal(v.reason, ATTEST_PCK_FMSPC_MISMATCH);
    assert_string_equal(v.detail, "it is for 90c06f000000, the platform is b0c06f000000");
}

static void the_processor_ca_s_list_is_not_the_platform_ca_s(void **state)
{
    AUTO(row_fini) struct row r = {0};
    struct attest_verdict v;

    (void)state;
    load(&r, "cocoon/quote.dat", "tinfoil");
    buf_fini(&r.collateral.pck_crl);
    r.collateral.pck_crl = vectors_bytes(TINFOIL "pck_crl_processor.crl");
    assert_int_equal(verify_at(&r, IN_JANUARY_2026, NULL, &v), E_DENIED);
    assert_int_equal(v.reason, ATTEST_PCK_CRL_INVALID);
}

static void every_bit_of_what_is_signed_matters(void **state)
{
    AUTO(row_fini) struct row r = {0};
    struct attest_verdict v;
    size_t signed_end;

    (void)state;
    load(&r, "dcap-qvl/tdx_quote", "dcap-qvl/tdx_quote_collateral.json");
    assert_int_equal(verify_at(&r, IN_JUNE_2025, NULL, &v), 0);
    signed_end = (size_t)(r.quote.pck_pem.data - r.bytes.data);
    for (size_t i = 48; i < signed_end; i += 61) {
        r.bytes.data[i] ^= 0x10;
        if (quote_parse(&r.quote, buf_span(&r.bytes)) == ATTEST_OK &&
            verify_at(&r, IN_JUNE_2025, NULL, &v) == 0)
            fail_msg("byte %zu", i);
        r.bytes.data[i] ^= 0x10;
    }
    assert_int_equal(quote_parse(&r.quote, buf_span(&r.bytes)), ATTEST_OK);
    for (size_t i = 0; i < r.collateral.tcb_info.len; i += 211) {
        r.collateral.tcb_info.data[i] ^= 1;
        assert_int_equal(verify_at(&r, IN_JUNE_2025, NULL, &v), E_DENIED);
        assert_int_equal(v.reason, ATTEST_TCB_INFO_SIGNATURE_INVALID);
        r.collateral.tcb_info.data[i] ^= 1;
    }
}

/* The reasons that a changed byte at `at` may have; the first is the usual one. */
struct part {
    size_t end;
    enum attest_reason reasons[3];
};

static bool is_one_of(enum attest_reason reason, const struct part *part)
{
    for (size_t i = 0; i < 3; i++)
        if (reason != ATTEST_OK && part->reasons[i] == reason)
            return true;
    return false;
}

static enum attest_reason reason_of(struct row *r, uint64_t now, struct collateral_cache *cache)
{
    struct attest_verdict v;
    const enum attest_reason reason = quote_parse(&r->quote, buf_span(&r->bytes));

    if (reason != ATTEST_OK)
        return reason;
    return verify_at(r, now, cache, &v) == 0 ? ATTEST_OK : v.reason;
}

/* Where the parts of a quote end that begins as r's does, and what refuses each. */
static size_t parts_of(const struct row *r, struct part out[static 32])
{
    const size_t body = r->quote.version == 5 ? 54 : 48;
    const size_t auth = r->quote.signed_bytes.len;
    const size_t pem = (size_t)(r->quote.pck_pem.data - r->bytes.data);
    const size_t auth_data = auth + 4 + 64 + 64 + 6 + 384 + 64 + 2;
    const struct part parts[] = {
        {2, {ATTEST_QUOTE_FORMAT_UNSUPPORTED, ATTEST_QUOTE_TRUNCATED}},
        {4, {ATTEST_ATTESTATION_KEY_TYPE_UNSUPPORTED}},
        {8, {ATTEST_WRONG_TEE_TYPE}},
        {12, {ATTEST_QUOTE_SIGNATURE_INVALID}}, /* reserved, and signed */
        {28, {ATTEST_QE_VENDOR_UNKNOWN}},
        {48, {ATTEST_QUOTE_SIGNATURE_INVALID}},
        {body, {ATTEST_QUOTE_FORMAT_UNSUPPORTED, ATTEST_WRONG_TEE_TYPE}},
        {body + 1, {ATTEST_QUOTE_SIGNATURE_INVALID, ATTEST_MODULE_NOT_SUPPORTED}},
        {body + 2, {ATTEST_MODULE_IDENTITY_MISSING, ATTEST_QUOTE_SIGNATURE_INVALID}},
        {body + 64, {ATTEST_QUOTE_SIGNATURE_INVALID}},
        {body + 112, {ATTEST_MODULE_MRSIGNER_MISMATCH}},
        {body + 120, {ATTEST_MODULE_ATTRIBUTES_MISMATCH}},
        {auth, {ATTEST_QUOTE_SIGNATURE_INVALID}},
        {auth + 4, {ATTEST_QUOTE_TRUNCATED, ATTEST_QUOTE_FORMAT_UNSUPPORTED}},
        {auth + 68, {ATTEST_QUOTE_SIGNATURE_INVALID}},
        {auth + 132, {ATTEST_AK_BINDING_INVALID}},
        {auth + 134, {ATTEST_CERTIFICATION_DATA_UNSUPPORTED}},
        {auth + 138, {ATTEST_QUOTE_TRUNCATED, ATTEST_QUOTE_FORMAT_UNSUPPORTED}},
        {auth_data - 2, {ATTEST_QE_REPORT_SIGNATURE_INVALID}},
        {auth_data, {ATTEST_CERTIFICATION_DATA_UNSUPPORTED, ATTEST_QUOTE_TRUNCATED}},
        {pem - 6, {ATTEST_AK_BINDING_INVALID}},
        {pem - 4, {ATTEST_CERTIFICATION_DATA_UNSUPPORTED}},
        {pem, {ATTEST_QUOTE_TRUNCATED, ATTEST_QUOTE_FORMAT_UNSUPPORTED}},
        {pem + r->quote.pck_pem.len, {ATTEST_PCK_CHAIN_INVALID, ATTEST_ROOT_CA_UNTRUSTED}},
    };

    memcpy(out, parts, sizeof(parts));
    return sizeof(parts) / sizeof(parts[0]);
}

/* Filling between the certificates' letters may change: white space, and the NUL behind them. */
static bool is_filling(const struct row *r, size_t at)
{
    return strchr(" \t\r\n", r->bytes.data[at]) != NULL; /* the NUL too */
}

static void a_changed_byte_of_a_real_quote_has_its_reason(void **state)
{
    static const struct {
        const char *quote, *collateral;
        uint64_t now;
    } rows[] = {
        {"dcap-qvl/tdx_quote", "dcap-qvl/tdx_quote_collateral.json", IN_JUNE_2025},
        {"dcap-qvl/near-gas-test/quote_hex.txt", "dcap-qvl/near-gas-test/quote_collateral.json",
         1757000000},
        {"cocoon/quote.dat", "tinfoil", IN_JANUARY_2026},
        {"go-tdx-guest/quote_v5_sample.dat", "tinfoil", IN_JANUARY_2026},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        AUTO(row_fini) struct row r = {0};
        AUTO(collateral_cache_free) struct collateral_cache *cache = collateral_cache_new(1);
        struct part parts[32];
        size_t count, part = 0;

        load(&r, rows[i].quote, rows[i].collateral);
        assert_int_equal(reason_of(&r, rows[i].now, cache), ATTEST_OK);
        count = parts_of(&r, parts);
        for (size_t at = i % 3; at < parts[count - 1].end; at += 3) {
            const uint8_t byte = r.bytes.data[at];
            enum attest_reason reason;

            while (at >= parts[part].end)
                part++;
            if (part == count - 1 && is_filling(&r, at))
                continue;
            r.bytes.data[at] = byte ^ (uint8_t)(1 << at % 8);
            reason = reason_of(&r, rows[i].now, cache);
            if (!is_one_of(reason, &parts[part]))
                fail_msg("%s, byte %zu: %s", rows[i].quote, at, attest_reason_name(reason));
            r.bytes.data[at] = byte;
        }
        assert_int_equal(reason_of(&r, rows[i].now, cache), ATTEST_OK);
    }
}

/* ---- Quotes put together from parts of several ---- */

struct parts {
    struct span body, signature, key, qe_report, qe_signature, qe_auth, pem;
};

static struct parts parts_from(const struct quote *q)
{
    return (struct parts){q->signed_bytes,        q->signature, q->attestation_key, q->qe_report,
                          q->qe_report_signature, q->qe_auth,   q->pck_pem};
}

static void put_le(struct buf *out, size_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        buf_byte(out, (uint8_t)(value >> 8 * i));
}

static void put_together(struct buf *out, const struct parts *p)
{
    const size_t inner = 384 + 64 + 2 + p->qe_auth.len + 6 + p->pem.len;

    buf_append(out, p->body);
    put_le(out, 64 + 64 + 6 + inner, 4);
    buf_append(out, p->signature);
    buf_append(out, p->key);
    put_le(out, 6, 2);
    put_le(out, inner, 4);
    buf_append(out, p->qe_report);
    buf_append(out, p->qe_signature);
    put_le(out, p->qe_auth.len, 2);
    buf_append(out, p->qe_auth);
    put_le(out, 5, 2);
    put_le(out, p->pem.len, 4);
    buf_append(out, p->pem);
}

static void assert_parts(const struct row *r, const struct parts *p, enum attest_reason reason)
{
    AUTO(buf_fini) struct buf bytes = {0};
    struct row made = {.bytes = {0}, .collateral = r->collateral, .root = r->root};

    put_together(&bytes, p);
    made.bytes = bytes;
    assert_string_equal(attest_reason_name(reason_of(&made, IN_JANUARY_2026, NULL)),
                        attest_reason_name(reason));
}

/* The certificates of a chain in the order of `order`, a digit each. */
static void reordered(struct buf *out, struct span pem, const char *order)
{
    static const char END[] = "-----END CERTIFICATE-----";
    struct span certs[3];

    for (size_t i = 0; i < 3; i++) {
        const size_t len = (size_t)span_find(pem, span_str(END)) + sizeof(END) - 1;

        certs[i] = span_cut(pem, 0, len);
        pem = span_from(pem, len);
    }
    for (; *order; order++) {
        struct span c = certs[*order - '0'];

        buf_append(out, span_from(c, (size_t)span_find(c, SPAN("-----BEGIN"))));
        buf_byte(out, '\n');
    }
}

/* Two machines of one kind, whose collateral is the same. */
static void parts_of_two_real_quotes_make_no_third(void **state)
{
    AUTO(row_fini) struct row a = {0}, b = {0};
    static const char *const orders[] = {"102", "021", "210", "01", "0122", "002", "112"};

    (void)state;
    load(&a, "cocoon/quote.dat", "tinfoil");
    load(&b, "go-tdx-guest/quote_v5_sample.dat", "tinfoil");
    const struct parts mine = parts_from(&a.quote), other = parts_from(&b.quote);
    struct parts p = mine;

    assert_parts(&a, &p, ATTEST_OK);
    assert_parts(&a, &other, ATTEST_OK);
    p.pem = other.pem;
    assert_parts(&a, &p, ATTEST_QE_REPORT_SIGNATURE_INVALID);
    p.qe_report = other.qe_report;
    p.qe_signature = other.qe_signature;
    assert_parts(&a, &p, ATTEST_AK_BINDING_INVALID);
    p.key = other.key;
    p.qe_auth = other.qe_auth;
    assert_parts(&a, &p, ATTEST_QUOTE_SIGNATURE_INVALID);
    p.signature = other.signature;
    assert_parts(&a, &p, ATTEST_QUOTE_SIGNATURE_INVALID);
    p.body = other.body;
    assert_parts(&a, &p, ATTEST_OK);
    for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
        AUTO(buf_fini) struct buf pem = {0};

        p = mine;
        reordered(&pem, mine.pem, orders[i]);
        p.pem = buf_span(&pem);
        assert_parts(&a, &p, ATTEST_PCK_CHAIN_INVALID);
    }
}

/* The body of a version under the other's number. */
static void a_version_is_no_other(void **state)
{
    AUTO(row_fini) struct row a = {0}, b = {0};
    AUTO(buf_fini) struct buf five = {0}, four = {0};

    (void)state;
    load(&a, "cocoon/quote.dat", "tinfoil");
    load(&b, "go-tdx-guest/quote_v5_sample.dat", "tinfoil");
    struct parts up = parts_from(&a.quote), down = parts_from(&b.quote);

    buf_append(&five,
               span_cut(up.body, 0, 48)); /* all as version 5 has it, but for the signature */
    put_le(&five, 2, 2);
    put_le(&five, 584, 4);
    buf_append(&five, span_from(up.body, 48));
    five.data[0] = 5;
    up.body = buf_span(&five);
    assert_parts(&a, &up, ATTEST_QUOTE_SIGNATURE_INVALID);
    buf_append(&four, span_cut(down.body, 0, 48)); /* and less than was signed */
    buf_append(&four, span_cut(down.body, 54, 584));
    four.data[0] = 4;
    down.body = buf_span(&four);
    assert_parts(&b, &down, ATTEST_QUOTE_SIGNATURE_INVALID);
}

static void a_changed_byte_of_real_collateral_has_its_reason(void **state)
{
    AUTO(row_fini) struct row r = {0};

    (void)state;
    load(&r, "cocoon/quote.dat", "tinfoil");
    struct collateral *c = &r.collateral;
    const struct {
        struct buf *bytes;
        struct part part;
    } parts[] = {
        {&c->tcb_info, {0, {ATTEST_TCB_INFO_SIGNATURE_INVALID}}},
        {&c->tcb_info_signature, {0, {ATTEST_TCB_INFO_SIGNATURE_INVALID}}},
        {&c->tcb_info_chain, {0, {ATTEST_TCB_INFO_CHAIN_INVALID}}},
        {&c->qe_identity, {0, {ATTEST_QE_IDENTITY_SIGNATURE_INVALID}}},
        {&c->qe_identity_signature, {0, {ATTEST_QE_IDENTITY_SIGNATURE_INVALID}}},
        {&c->qe_identity_chain, {0, {ATTEST_QE_IDENTITY_CHAIN_INVALID}}},
        {&c->pck_crl, {0, {ATTEST_PCK_CRL_INVALID, ATTEST_PCK_CRL_EXPIRED}}},
        {&c->root_crl, {0, {ATTEST_ROOT_CRL_INVALID, ATTEST_ROOT_CRL_EXPIRED}}},
    };

    assert_int_equal(reason_of(&r, IN_JANUARY_2026, NULL), ATTEST_OK);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        for (size_t at = i; at < parts[i].bytes->len; at += 13) {
            uint8_t *byte = &parts[i].bytes->data[at];
            enum attest_reason reason;

            if (strchr("\r\n", *byte) && span_starts(buf_span(parts[i].bytes), SPAN("-----")))
                continue;
            *byte ^= (uint8_t)(1 << at % 8);
            reason = reason_of(&r, IN_JANUARY_2026, NULL);
            if (!is_one_of(reason, &parts[i].part))
                fail_msg("part %zu, byte %zu: %s", i, at, attest_reason_name(reason));
            *byte ^= (uint8_t)(1 << at % 8);
        }
}

static void real_quotes_name_their_platform(void **state)
{
    static const struct {
        const char *file, *fmspc;
    } quotes[] = {{"dcap-qvl/tdx_quote", "b0c06f000000"},
                  {"dcap-qvl/quote-from-tappd.hex", NULL},
                  {"go-tdx-guest/ccel/cos-113-tdx-quote.dat", NULL},
                  {"go-tdx-guest/quote_v5_sample.dat", "90c06f000000"}};
    AUTO(x509_cert_free) struct x509_cert *root = tdx_intel_root();
    enum { PCK_TIME = 1770000000 }; /* all of these certificates live then */

    (void)state;
    for (size_t i = 0; i < sizeof(quotes) / sizeof(quotes[0]); i++) {
        AUTO(buf_fini) struct buf bytes = quote_load(quotes[i].file);
        struct quote quote;
        uint8_t fmspc[6];
        bool platform_ca = false;

        assert_int_equal(quote_parse(&quote, buf_span(&bytes)), ATTEST_OK);
        assert_int_equal(tdx_platform(&quote, root, PCK_TIME, fmspc, &platform_ca), ATTEST_OK);
        assert_true(platform_ca);
        if (quotes[i].fmspc)
            assert_hex(SPAN_OF(fmspc), quotes[i].fmspc);
    }
}

static void collateral_survives_being_written_and_read(void **state)
{
    AUTO(row_fini) struct row r = {0};
    AUTO(collateral_fini) struct collateral again;
    AUTO(buf_fini) struct buf json = {0};
    uint8_t a[SHA256_LEN], b[SHA256_LEN];

    (void)state;
    load(&r, "cocoon/quote.dat", "tinfoil");
    collateral_write(&r.collateral, &json);
    assert_int_equal(collateral_read_bytes(&again, buf_span(&json)), 0);
    collateral_digest(&r.collateral, a);
    collateral_digest(&again, b);
    assert_memory_equal(a, b, sizeof(a));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_expected_verdict_is_reproduced),
        cmocka_unit_test(the_component_that_is_too_old_is_named),
        cmocka_unit_test(collateral_of_another_platform_is_refused),
        cmocka_unit_test(the_processor_ca_s_list_is_not_the_platform_ca_s),
        cmocka_unit_test(every_bit_of_what_is_signed_matters),
        cmocka_unit_test(a_changed_byte_of_a_real_quote_has_its_reason),
        cmocka_unit_test(parts_of_two_real_quotes_make_no_third),
        cmocka_unit_test(a_version_is_no_other),
        cmocka_unit_test(a_changed_byte_of_real_collateral_has_its_reason),
        cmocka_unit_test(real_quotes_name_their_platform),
        cmocka_unit_test(collateral_survives_being_written_and_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
