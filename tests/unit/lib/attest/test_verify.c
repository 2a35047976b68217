/* Whole documents against a signed policy: every named fault refused for its own reason, and what a
 * policy may say. */
#include "tests/unit/lib/attest/dev_evidence.h"

#include "attest/event_log.h"
#include "attest/verify.h"
#include "crypto/detached.h"

static const uint8_t SEED[DEVTEE_SEED_LEN] = {7};
static const uint8_t NONCE[ATTEST_NONCE_LEN] = {1, 2, 3};
static const uint8_t TLS[SHA256_LEN] = {9, 9};
#define DIGEST "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define UPPER  "00112233445566778899AABBCCDDEEFF00112233445566778899aabbccddeeff"
#define OTHER  "ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

/* What a case changes of an accepted document and policy. */
struct story {
    struct devtee_faults faults;
    const char *from, *to;                    /* replaced in the policy before it is signed */
    const char *config_sha256, *model_digest; /* pinned by the policy */
    bool log, bad_log, gpu, other_nonce, other_tls, unsigned_keyset, no_policy, no_root;
    const char *tee;
    uint64_t now_s;              /* 0: DEV_NOW */
    uint64_t expires, not_after; /* of the policy, of the keyset */
    const struct attest_floor *floor;
    bool accept_unattested;
};

static void keyset_make(struct buf *out, const struct story *s)
{
    static const uint8_t config[KEYSET_HPKE_LEN] = {7, 0, 0x20};
    struct keyset k = {
        .worker_id = "w-1",
        .payout = "0:" DIGEST,
        .hpke = {SPAN_OF(config)},
        .hpke_count = 1,
        .models = {SPAN("m")},
        .model_count = 1,
        .model_digest = SPAN("sha256:" DIGEST),
        .config_sha256 = SPAN(DIGEST),
        .engine = SPAN("fake 1"),
        .gpu_nvidia = s->gpu,
        .gpu_count = s->gpu,
        .not_before = DEV_NOW - 10,
        .not_after = s->not_after ? s->not_after : DEV_NOW + 3590,
    };

    memcpy(k.tls_spki, TLS, sizeof(TLS));
    keyset_write(&k, out);
}

static void replace(struct buf *text, const char *from, const char *to)
{
    AUTO(buf_fini) struct buf out = {0};
    const char *at;

    if (!from)
        return;
    at = strstr(buf_cstr(text), from);
    assert_non_null(at);
    const size_t before = (size_t)(at - (const char *)text->data);
    buf_append(&out, span_of(text->data, before));
    buf_append_str(&out, to);
    buf_append_str(&out, at + strlen(from));
    buf_take(text, &out);
}

static int policy_make(const struct devtee_issuer *issuer, const struct story *s,
                       struct attest_policy **out, char why[static 200])
{
    const struct devtee_policy dev = {.root = "root.pem",
                                      .sequence = 3,
                                      .expires = s->expires ? s->expires : DEV_NOW + 1000000,
                                      .config_sha256 = s->config_sha256,
                                      .model_digest = s->model_digest};
    AUTO(buf_fini) struct buf text = {0}, sig = {0}, pem = {0};
    uint8_t key[ED25519_KEY_LEN];
    const struct span keys[] = {SPAN_OF(key)};

    devtee_policy_write(issuer, &dev, &text);
    replace(&text, s->from, s->to);
    ed25519_public(devtee_release_key(issuer), key);
    assert_int_equal(
        detached_sign("cgw/policy/v1", buf_span(&text), devtee_release_key(issuer), &sig), 0);
    TRY(attest_policy_read(out, buf_span(&text), buf_span(&sig), keys, 1, why));
    if (attest_policy_dev_root(*out) && !s->no_root) {
        struct x509_cert *root;

        devtee_root(issuer, &pem);
        assert_int_equal(x509_cert_read(&root, buf_span(&pem)), 0);
        attest_policy_set_dev_root(*out, root);
    }
    return 0;
}

static void member_add(struct buf *document, const char *name, const struct buf *value, bool text)
{
    document->len--; /* the closing brace */
    buf_printf(document, ",\"%s\":", name);
    if (text)
        buf_byte(document, '"');
    buf_append(document, buf_span(value));
    buf_append_str(document, text ? "\"}" : "}");
}

static void document_make(const struct devtee_issuer *issuer, const struct story *s,
                          struct buf *out)
{
    AUTO(collateral_fini) struct collateral collateral = {0};
    AUTO(buf_fini) struct buf keyset = {0}, quote = {0}, stapled = {0}, log = {0}, log64 = {0};
    uint8_t report_data[64];

    keyset_make(&keyset, s);
    attest_report_data(report_data, NONCE, buf_span(&keyset), SPAN(""));
    report_data[0] ^= s->unsigned_keyset;
    if (!s->tee || strcmp(s->tee, "none") != 0)
        devtee_quote(issuer, &s->faults, report_data, &quote);
    attest_document_write(out, s->tee ? s->tee : "tdx", NONCE, buf_span(&keyset), SPAN(""),
                          buf_span(&quote));
    devtee_collateral(issuer, &s->faults, &collateral);
    collateral_write(&collateral, &stapled);
    member_add(out, "collateral", &stapled, false);
    if (!s->log && !s->bad_log)
        return;
    buf_append(&log, devtee_event_log(issuer));
    log.data[log.len - 100] ^= s->bad_log;
    base64_encode(&log64, buf_span(&log));
    member_add(out, "event_log", &log64, true);
}

static enum attest_reason judge(const struct story *s, struct attest_verdict *v)
{
    AUTO(devtee_issuer_free) struct devtee_issuer *issuer = devtee_issuer_new(SEED, "test");
    AUTO(attest_policy_unref) struct attest_policy *policy = NULL;
    AUTO(keyset_fini) struct keyset keyset = {0};
    AUTO(buf_fini) struct buf document = {0};
    static const uint8_t other[32] = {77};
    char why[200];

    if (!s->no_policy)
        assert_int_equal(policy_make(issuer, s, &policy, why), 0);
    document_make(issuer, s, &document);
    const struct attest_input in = {.document = buf_span(&document),
                                    .nonce = s->other_nonce ? other : NONCE,
                                    .tls_spki = s->other_tls ? other : TLS,
                                    .now_s = s->now_s ? s->now_s : DEV_NOW,
                                    .policy = policy,
                                    .floor = s->floor,
                                    .accept_unattested = s->accept_unattested};
    const int error = attest_verify(&in, &keyset, v);

    assert_int_equal(error, v->reason == ATTEST_OK ? 0 : E_DENIED);
    if (error < 0)
        assert_int_equal(v->env, ATTEST_UNATTESTED);
    return v->reason;
}

static void expect(const struct story *s, enum attest_reason reason)
{
    struct attest_verdict v;

    const enum attest_reason got = judge(s, &v);
    if (got != reason)
        print_message("%s, expected %s (%s)\n", attest_reason_name(got), attest_reason_name(reason),
                      v.detail);
    assert_int_equal(got, reason);
}

/* ---- Documents ---- */

static void good_evidence_under_a_dev_root_is_insecure_dev(void **state)
{
    struct attest_verdict v;

    (void)state;
    assert_int_equal(judge(&(struct story){0}, &v), ATTEST_OK);
    assert_int_equal(v.env, ATTEST_INSECURE_DEV);
    assert_string_equal(v.measurement, "insecure dev");
    assert_int_equal(v.valid_until, DEV_NOW + 3590);
    for (int step = 0; step < ATTEST_STEP_GPU; step++)
        assert_int_equal(v.steps[step], ATTEST_PASSED);
    assert_int_equal(v.steps[ATTEST_STEP_GPU], ATTEST_NOT_NEEDED);
    expect(&(struct story){.tee = "insecure-dev"}, ATTEST_OK);
}

static void each_fault_has_its_reason(void **state)
{
    unsigned wrong = 0;

    (void)state;
    for (const struct devtee_fault *it = devtee_fault_table; it->name; it++) {
        struct story s = {0};
        struct attest_verdict v;

        it->set(&s.faults);
        const enum attest_reason reason = judge(&s, &v);
        wrong += reason != it->reason;
        if (reason != it->reason)
            print_message("%s: %s, expected %s (%s)\n", it->name, attest_reason_name(reason),
                          attest_reason_name(it->reason), v.detail);
    }
    assert_int_equal(wrong, 0);
}

static void what_the_document_claims_must_fit_the_tunnel_and_the_quote(void **state)
{
    (void)state;
    expect(&(struct story){.other_nonce = true}, ATTEST_NONCE_MISMATCH);
    expect(&(struct story){.other_tls = true}, ATTEST_TLS_KEY_MISMATCH);
    expect(&(struct story){.unsigned_keyset = true}, ATTEST_REPORT_DATA_MISMATCH);
    expect(&(struct story){.tee = "sev-snp"}, ATTEST_TEE_UNSUPPORTED);
    expect(&(struct story){.now_s = DEV_NOW + 3700}, ATTEST_KEYSET_EXPIRED);
    expect(&(struct story){.no_policy = true}, ATTEST_POLICY_MISSING);
}

static enum attest_reason judge_bytes(struct span document)
{
    const struct attest_input in = {.document = document, .now_s = DEV_NOW};
    AUTO(keyset_fini) struct keyset keyset = {0};
    struct attest_verdict v;

    assert_int_equal(attest_verify(&in, &keyset, &v), E_DENIED);
    assert_int_equal(v.steps[ATTEST_STEP_DOCUMENT], ATTEST_FAILED);
    return v.reason;
}

static void a_document_and_its_keyset_have_their_form(void **state)
{
    AUTO(buf_fini) struct buf document = {0};

    (void)state;
    assert_int_equal(judge_bytes(SPAN("{}")), ATTEST_DOCUMENT_INVALID);
    attest_document_write(&document, "tdx", NONCE, SPAN("{}"), SPAN(""), SPAN(""));
    assert_int_equal(judge_bytes(buf_span(&document)), ATTEST_KEYSET_INVALID);
    document.len--;
    assert_int_equal(judge_bytes(buf_span(&document)), ATTEST_DOCUMENT_INVALID);
}

static void an_event_log_must_lead_to_the_registers(void **state)
{
    (void)state;
    expect(&(struct story){.log = true}, ATTEST_OK);
    expect(&(struct story){.bad_log = true}, ATTEST_EVENT_LOG_INVALID);
    const char *zero = "\"rtmr3\":\"zero\"", *by_log = "\"rtmr3\":\"event-log\"";
    expect(&(struct story){.log = true, .from = zero, .to = by_log}, ATTEST_OK);
    expect(&(struct story){.from = zero, .to = by_log}, ATTEST_EVENT_LOG_INVALID);
}

static void a_worker_without_evidence_passes_where_it_is_allowed_alone(void **state)
{
    struct attest_verdict v;

    (void)state;
    expect(&(struct story){.tee = "none"}, ATTEST_UNATTESTED_REFUSED);
    assert_int_equal(judge(&(struct story){.tee = "none", .accept_unattested = true}, &v),
                     ATTEST_OK);
    assert_int_equal(v.env, ATTEST_UNATTESTED);
    expect(&(struct story){.tee = "none", .accept_unattested = true, .no_policy = true}, ATTEST_OK);
    expect(&(struct story){.tee = "none", .accept_unattested = true, .now_s = DEV_NOW + 3700},
           ATTEST_KEYSET_EXPIRED);
}

static void a_policy_that_has_ended_lets_no_worker_without_evidence_pass(void **state)
{
    struct story s = {.tee = "none", .accept_unattested = true, .expires = DEV_NOW};
    struct attest_verdict v;

    (void)state;
    expect(&s, ATTEST_POLICY_EXPIRED);
    s.expires = DEV_NOW + 5;
    assert_int_equal(judge(&s, &v), ATTEST_OK);
    assert_int_equal(v.valid_until, DEV_NOW + 5);
}

/* ---- What a policy says ---- */

static void a_production_policy_refuses_a_dev_root(void **state)
{
    const struct story s = {.from = "\"environment\":\"dev\"",
                            .to = "\"environment\":\"production\"",
                            .config_sha256 = DIGEST,
                            .model_digest = "sha256:" DIGEST};
    AUTO(devtee_issuer_free) struct devtee_issuer *issuer = devtee_issuer_new(SEED, "test");
    AUTO(attest_policy_unref) struct attest_policy *policy = NULL;
    char why[200];

    (void)state;
    assert_int_equal(policy_make(issuer, &s, &policy, why), E_INVALID);
    assert_non_null(strstr(why, "insecure_dev_root"));
}

static void dev_evidence_is_untrusted_under_intels_root(void **state)
{
    (void)state;
    expect(&(struct story){.from = ",\"insecure_dev_root\":\"root.pem\"", .to = ""},
           ATTEST_ROOT_CA_UNTRUSTED);
}

static void a_dev_policy_without_its_root_trusts_nobody(void **state)
{
    (void)state;
    expect(&(struct story){.no_root = true}, ATTEST_ROOT_CA_UNTRUSTED);
}

/* Sets eight bytes of the quote's body, little-endian. */
static enum attest_reason judge_bits(size_t at, uint64_t value)
{
    struct story s = {.faults = {.body = {.count = 1}}};
    struct devtee_patch *p = &s.faults.body.items[0];
    struct attest_verdict v;

    *p = (struct devtee_patch){.at = at, .len = 8};
    for (size_t i = 0; i < 8; i++)
        p->bytes[i] = (uint8_t)(value >> 8 * i);
    return judge(&s, &v);
}

/* How many of the 64 bits, each flipped in good, are judged otherwise than allowed says. */
static unsigned bits_misjudged(size_t at, uint64_t good, uint64_t allowed)
{
    unsigned wrong = 0;

    assert_int_equal(judge_bits(at, good), ATTEST_OK);
    for (unsigned bit = 0; bit < 64; bit++) {
        const uint64_t flip = UINT64_C(1) << bit;
        const enum attest_reason want = allowed & flip ? ATTEST_OK : ATTEST_POLICY_TD_ATTRIBUTES;

        if (judge_bits(at, good ^ flip) != want) {
            print_message("bit %u at %zu\n", bit, at);
            wrong++;
        }
    }
    return wrong;
}

static void each_attribute_bit_is_judged(void **state)
{
    enum { TD_ATTRIBUTES = 120, XFAM = 128 };

    (void)state;
    /* SEPT_VE_DISABLE must be set; PKS and KL may. */
    assert_int_equal(bits_misjudged(TD_ATTRIBUTES, UINT64_C(1) << 28, UINT64_C(3) << 30), 0);
    /* x87 and SSE must be set; others may, as far as TDX 1.5 defines them. */
    assert_int_equal(bits_misjudged(XFAM, 3, 0x0006DBE4), 0);
    assert_int_equal(bits_misjudged(XFAM, 0x0006DBE7, 0x0006DBE4), 0);
}

static void pins_are_held(void **state)
{
    (void)state;
    expect(&(struct story){.config_sha256 = DIGEST, .model_digest = "sha256:" DIGEST}, ATTEST_OK);
    expect(&(struct story){.config_sha256 = OTHER}, ATTEST_POLICY_CONFIG);
    expect(&(struct story){.model_digest = "sha256:" OTHER}, ATTEST_POLICY_MODEL);
    expect(&(struct story){.model_digest = "verity:" DIGEST}, ATTEST_POLICY_MODEL);
    expect(&(struct story){.from = "\"ppid_sha256\":[]", .to = "\"ppid_sha256\":[\"" OTHER "\"]"},
           ATTEST_POLICY_PPID);
    /* SHA-256 of the dev platform's PPID, 16 zero bytes. */
    expect(&(struct story){.from = "\"ppid_sha256\":[]",
                           .to = "\"ppid_sha256\":[\"374708fff7719dd5979ec875d56cd2286f6d3cf7ec317"
                                 "a3b25632aab28ec37bb\"]"},
           ATTEST_OK);
}

static void a_policy_ends_and_its_end_bounds_the_verdict(void **state)
{
    struct attest_verdict v;

    (void)state;
    expect(&(struct story){.expires = DEV_NOW}, ATTEST_POLICY_EXPIRED);
    assert_int_equal(judge(&(struct story){.expires = DEV_NOW + 5}, &v), ATTEST_OK);
    assert_int_equal(v.valid_until, DEV_NOW + 5);
}

static void a_keyset_s_age_bounds_the_verdict(void **state)
{
    struct attest_verdict v;

    (void)state;
    assert_int_equal(judge(&(struct story){.not_after = DEV_NOW + 86000}, &v), ATTEST_OK);
    assert_int_equal(v.valid_until, DEV_NOW - 10 + 70 * 60);
}

static void names_write(struct buf *out, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        buf_printf(out, "%s\"DEV-SA-%u\"", i ? "," : "", i);
}

/* A verdict has room for so many: of those that it lost nobody can say that they are named. */
static void no_exception_covers_more_advisories_than_a_verdict_holds(void **state)
{
    for (unsigned more = 0; more < 2; more++) {
        AUTO(buf_fini) struct buf there = {0}, named = {0};
        struct story s = {.from = "\"exceptions\":[]"};

        names_write(&there, ATTEST_MAX_ADVISORIES - 1 + more);
        assert_int_equal(devtee_fault_add(&s.faults, "module_out_of_date"), 0);
        s.faults.tcb_info.items[s.faults.tcb_info.count++] =
            (struct devtee_edit){"\"DEV-SA-00002\"", buf_cstr(&there)};
        buf_append_str(&named, "\"exceptions\":[{\"fmspc\":\"00dec0de0000\",\"status\":"
                               "\"OutOfDate\",\"advisories\":[");
        names_write(&named, ATTEST_MAX_ADVISORIES + 1);
        buf_append_str(&named, "],\"until\":1790000009}]");
        s.to = buf_cstr(&named);
        expect(&s, more ? ATTEST_POLICY_TCB_STATUS : ATTEST_OK);
    }
    (void)state;
}

static void an_exception_covers_its_platform_status_and_time_alone(void **state)
{
    struct story s = {.from = "\"exceptions\":[]"};
    char to[200];
    struct attest_verdict v;
    const struct {
        const char *fmspc, *status;
        uint64_t until;
        enum attest_reason reason;
    } cases[] = {
        {"00dec0de0000", "OutOfDate", DEV_NOW + 9, ATTEST_OK},
        {"00dec0de0000", "OutOfDate", DEV_NOW, ATTEST_POLICY_TCB_STATUS},
        {"00dec0de0001", "OutOfDate", DEV_NOW + 9, ATTEST_POLICY_TCB_STATUS},
        {"00dec0de0000", "SWHardeningNeeded", DEV_NOW + 9, ATTEST_POLICY_TCB_STATUS},
    };

    (void)state;
    assert_int_equal(devtee_fault_add(&s.faults, "module_out_of_date"), 0);
    s.to = to;
    assert_int_equal(judge(&(struct story){.faults = s.faults}, &v), ATTEST_POLICY_TCB_STATUS);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int len = snprintf(to, sizeof(to),
                           "\"exceptions\":[{\"fmspc\":\"%s\",\"status\":\"%s\",\"advisories\":[",
                           cases[i].fmspc, cases[i].status);

        for (size_t a = 0; a < v.advisory_count; a++)
            len += snprintf(to + len, sizeof(to) - (size_t)len, "%s\"%s\"", a ? "," : "",
                            v.advisories[a]);
        snprintf(to + len, sizeof(to) - (size_t)len, "],\"until\":%llu}]",
                 (unsigned long long)cases[i].until);
        expect(&s, cases[i].reason);
    }
    assert_true(v.advisory_count > 0);
    s.to = "\"exceptions\":[{\"fmspc\":\"00dec0de0000\",\"status\":\"OutOfDate\","
           "\"advisories\":[\"DEV-SA-99999\"],\"until\":1790000009}]";
    expect(&s, ATTEST_POLICY_TCB_STATUS); /* an advisory that it does not name */
}

/* attestation.md §5 step 12: it is an old module, of which more is known: that a restart helps. */
static void a_relaunch_that_is_advised_is_judged_as_out_of_date(void **state)
{
    static const struct {
        const char *fault, *accept;
        enum attest_reason reason;
    } cases[] = {
        {"td_relaunch_advised", "\"UpToDate\"", ATTEST_POLICY_TCB_STATUS},
        {"td_relaunch_advised", "\"UpToDate\",\"TDRelaunchAdvised\"", ATTEST_OK},
        {"td_relaunch_advised", "\"UpToDate\",\"OutOfDate\"", ATTEST_OK},
        {"td_relaunch_advised", "\"OutOfDateConfigurationNeeded\"", ATTEST_POLICY_TCB_STATUS},
        {"td_relaunch_configuration_needed", "\"OutOfDate\"", ATTEST_POLICY_TCB_STATUS},
        {"td_relaunch_configuration_needed", "\"OutOfDateConfigurationNeeded\"", ATTEST_OK},
        {"module_out_of_date", "\"TDRelaunchAdvised\"", ATTEST_POLICY_TCB_STATUS},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct story s = {.from = "\"accept\":[\"UpToDate\"]"};
        char to[160];

        assert_int_equal(devtee_fault_add(&s.faults, cases[i].fault), 0);
        snprintf(to, sizeof(to), "\"accept\":[%s]", cases[i].accept);
        s.to = to;
        expect(&s, cases[i].reason);
    }
}

static void an_exception_for_out_of_date_covers_an_advised_relaunch(void **state)
{
    struct story s = {.from = "\"exceptions\":[]",
                      .to = "\"exceptions\":[{\"fmspc\":\"00dec0de0000\",\"status\":\"OutOfDate\","
                            "\"advisories\":[\"DEV-SA-00001\",\"DEV-SA-00002\"],"
                            "\"until\":1790000009}]"};

    (void)state;
    assert_int_equal(devtee_fault_add(&s.faults, "td_relaunch_advised"), 0);
    expect(&s, ATTEST_OK);
}

static void a_floor_refuses_older_collateral(void **state)
{
    struct attest_floor floor = {.qe = DEVTEE_EVALUATION + 1};

    (void)state;
    expect(&(struct story){.floor = &floor}, ATTEST_TCB_EVAL_DATA_NUMBER_TOO_LOW);
}

static int platform_of(const struct story *s, struct attest_platform *out)
{
    AUTO(devtee_issuer_free) struct devtee_issuer *issuer = devtee_issuer_new(SEED, "test");
    AUTO(attest_policy_unref) struct attest_policy *policy = NULL;
    AUTO(buf_fini) struct buf document = {0};
    char why[200];

    assert_int_equal(policy_make(issuer, s, &policy, why), 0);
    document_make(issuer, s, &document);
    return attest_document_platform(buf_span(&document), policy, s->now_s ? s->now_s : DEV_NOW,
                                    out);
}

/* Who dials in must not make the gateway ask a service for what does not exist. */
static void a_platform_is_one_that_the_root_vouches_for(void **state)
{
    static const uint8_t fmspc[] = {0x00, 0xDE, 0xC0, 0xDE, 0x00, 0x00};
    struct attest_platform p;

    (void)state;
    assert_int_equal(platform_of(&(struct story){.now_s = 0}, &p), 0);
    assert_memory_equal(p.fmspc, fmspc, sizeof(fmspc));
    assert_true(p.platform_ca && p.stapled);
    assert_int_equal(platform_of(&(struct story){.faults.pck_revoked = true}, &p), 0);
    assert_int_equal(platform_of(&(struct story){.faults.foreign_root = true}, &p), E_INVALID);
    assert_int_equal(platform_of(&(struct story){.faults.bad_pck_certificate = true}, &p),
                     E_INVALID);
    assert_int_equal(platform_of(&(struct story){.faults.pck_expired = true}, &p), E_INVALID);
    assert_int_equal(platform_of(&(struct story){.no_root = true}, &p), E_INVALID);
    assert_int_equal(platform_of(&(struct story){.tee = "none"}, &p), E_INVALID);
}

static void gpus_are_asked_for_and_shown_together(void **state)
{
    (void)state;
    expect(&(struct story){.from = "\"require\":\"any\"", .to = "\"require\":\"nvidia-cc\""},
           ATTEST_POLICY_GPU);
    expect(&(struct story){.gpu = true}, ATTEST_GPU_EVIDENCE_INVALID);
    expect(
        &(struct story){.gpu = true, .from = "\"require\":\"any\"", .to = "\"require\":\"none\""},
        ATTEST_POLICY_GPU);
}

static void a_policy_may_withdraw_gpus(void **state)
{
    (void)state;
    expect(&(struct story){.from = "\"pinned\":[]",
                           .to = "\"pinned\":[],\"revoked\":"
                                 "[\"530d7c3cbc31b7645ccfc78b123963978e709059\",\"01\"]"},
           ATTEST_OK);
}

static void a_policy_of_another_form_is_refused(void **state)
{
    static const struct {
        const char *from, *to, *why;
    } cases[] = {
        {"{\"version\":1", "{\"version\":2", "version"},
        {"{\"version\":1", "{\"extra\":1,\"version\":1", "policy"},
        {"{\"version\":1", "{\"version\":1,\"version\":1", "twice"},
        {"\"environment\":\"dev\"", "\"environment\":\"test\"", "environment"},
        {"\"sequence\":3", "\"sequence\":-3", "sequence"},
        {"\"sequence\":3,", "", "sequence"},
        {"\"mrtd\":\"", "\"mrtd\":\"0", "mrtd"},
        {"\"rtmr3\":\"zero\"", "\"rtmr3\":\"any\"", "rtmr3"},
        {"\"accept\":[\"UpToDate\"]", "\"accept\":[\"Revoked\"]", "accept"},
        {"\"accept\":[\"UpToDate\"]", "\"accept\":[\"Fine\"]", "accept"},
        {"\"ppid_sha256\":[]", "\"ppid_sha256\":[\"00\"]", "ppid_sha256"},
        {"\"ppid_sha256\":[]", "\"ppid_sha256\":[],\"x\":1", "tcb"},
        {"\"require\":\"any\"", "\"require\":\"some\"", "require"},
        {"\"pinned\":[]", "\"pinned\":[{}]", "driver"},
        {"\"pinned\":[]", "\"pinned\":[],\"denied\":[]", "gpu"},
        /* What could be no certificate's serial number would withdraw none. */
        {"\"pinned\":[]", "\"pinned\":[],\"revoked\":\"\"", "revoked"},
        {"\"pinned\":[]", "\"pinned\":[],\"revoked\":[\"\"]", "revoked"},
        {"\"pinned\":[]", "\"pinned\":[],\"revoked\":[\"1\"]", "revoked"},
        {"\"pinned\":[]", "\"pinned\":[],\"revoked\":[\"AB\"]", "revoked"},
        {"\"pinned\":[]", "\"pinned\":[],\"revoked\":[\"00ab\"]", "revoked"},
        {"\"pinned\":[]", "\"pinned\":[],\"revoked\":[\"" UPPER "\"]", "revoked"},
        /* Held as text against a keyset's, which is in lower case. */
        {"\"config_sha256\":[]", "\"config_sha256\":[\"" UPPER "\"]", "config_sha256"},
        {"\"model_digest\":[]", "\"model_digest\":[\"sha256:" UPPER "\"]", "model_digest"},
    };
    AUTO(devtee_issuer_free) struct devtee_issuer *issuer = devtee_issuer_new(SEED, "test");

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct story s = {.from = cases[i].from, .to = cases[i].to};
        struct attest_policy *policy = NULL;
        char why[200];

        const int error = policy_make(issuer, &s, &policy, why);
        if (error != E_INVALID || !strstr(why, cases[i].why))
            print_message("%s: %d %s\n", cases[i].to, error, why);
        assert_int_equal(error, E_INVALID);
        assert_non_null(strstr(why, cases[i].why));
    }
}

static void a_policy_needs_a_signature_by_a_release_key(void **state)
{
    AUTO(devtee_issuer_free) struct devtee_issuer *issuer = devtee_issuer_new(SEED, "test");
    const struct devtee_policy dev = {.root = "r", .sequence = 1, .expires = DEV_NOW};
    AUTO(buf_fini) struct buf text = {0}, sig = {0}, other = {0};
    uint8_t key[ED25519_KEY_LEN], stranger[ED25519_KEY_LEN] = {1};
    const struct span keys[] = {SPAN_OF(stranger), SPAN_OF(key)};
    struct attest_policy *policy = NULL;
    char why[200];

    (void)state;
    devtee_policy_write(issuer, &dev, &text);
    ed25519_public(devtee_release_key(issuer), key);
    assert_int_equal(
        detached_sign("cgw/policy/v1", buf_span(&text), devtee_release_key(issuer), &sig), 0);
    assert_int_equal(
        detached_sign("cgw/operator/v1", buf_span(&text), devtee_release_key(issuer), &other), 0);
    assert_int_equal(attest_policy_read(&policy, buf_span(&text), buf_span(&sig), keys, 1, why),
                     E_AUTH);
    assert_int_equal(attest_policy_read(&policy, buf_span(&text), buf_span(&other), keys, 2, why),
                     E_AUTH);
    assert_int_equal(attest_policy_read(&policy, buf_span(&text), SPAN(""), keys, 2, why), E_AUTH);
    buf_append(&other, buf_span(&sig)); /* one good line is enough */
    assert_int_equal(attest_policy_read(&policy, buf_span(&text), buf_span(&other), keys, 2, why),
                     0);
    attest_policy_unref(policy);
    text.data[text.len - 1] = ' ';
    assert_int_equal(attest_policy_read(&policy, buf_span(&text), buf_span(&sig), keys, 2, why),
                     E_AUTH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_evidence_under_a_dev_root_is_insecure_dev),
        cmocka_unit_test(each_fault_has_its_reason),
        cmocka_unit_test(what_the_document_claims_must_fit_the_tunnel_and_the_quote),
        cmocka_unit_test(a_document_and_its_keyset_have_their_form),
        cmocka_unit_test(an_event_log_must_lead_to_the_registers),
        cmocka_unit_test(a_worker_without_evidence_passes_where_it_is_allowed_alone),
        cmocka_unit_test(a_policy_that_has_ended_lets_no_worker_without_evidence_pass),
        cmocka_unit_test(a_production_policy_refuses_a_dev_root),
        cmocka_unit_test(dev_evidence_is_untrusted_under_intels_root),
        cmocka_unit_test(a_dev_policy_without_its_root_trusts_nobody),
        cmocka_unit_test(each_attribute_bit_is_judged),
        cmocka_unit_test(pins_are_held),
        cmocka_unit_test(a_policy_ends_and_its_end_bounds_the_verdict),
        cmocka_unit_test(a_keyset_s_age_bounds_the_verdict),
        cmocka_unit_test(no_exception_covers_more_advisories_than_a_verdict_holds),
        cmocka_unit_test(an_exception_covers_its_platform_status_and_time_alone),
        cmocka_unit_test(a_relaunch_that_is_advised_is_judged_as_out_of_date),
        cmocka_unit_test(an_exception_for_out_of_date_covers_an_advised_relaunch),
        cmocka_unit_test(a_floor_refuses_older_collateral),
        cmocka_unit_test(a_platform_is_one_that_the_root_vouches_for),
        cmocka_unit_test(gpus_are_asked_for_and_shown_together),
        cmocka_unit_test(a_policy_may_withdraw_gpus),
        cmocka_unit_test(a_policy_of_another_form_is_refused),
        cmocka_unit_test(a_policy_needs_a_signature_by_a_release_key),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
