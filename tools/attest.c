/* cocoonctl attest: what a worker's attestation document says, and whether it holds. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "attest/document_read.h"
#include "attest/verify.h"
#include "base/encode.h"
#include "tools/admin.h"
#include "tools/inputs.h"
#include "tools/output.h"

static const char NOT_PROVEN[] =
    "Not proven: that the machine was not attacked physically, that the measured image is good\n"
    "(see docs/image.md), that GPU and trust domain share a box, or what a gateway that encrypts\n"
    "by itself does with the text (see docs/security.md).\n";

/* ---- Getting it ---- */

static bool is_url(const char *where)
{
    return strncmp(where, "http://", 7) == 0 || strncmp(where, "https://", 8) == 0;
}

static int document_get(const struct command *c, const char *where, struct buf *out)
{
    unsigned status;

    if (!is_url(where))
        return input_file(c, where, ATTEST_MAX_DOCUMENT, out);
    if (url_get(where, &status, out) < 0)
        return failure(c, "%s does not answer", where);
    if (status != 200)
        return failure(c, "%s answers %u", where, status);
    return -1;
}

/* ---- Printing ---- */

static void hex_print(const char *name, struct span bytes)
{
    char hex[2 * 64 + 1];

    hex_encode(hex, bytes);
    printf("%-16s  %s\n", name, hex);
}

static void text_print(const char *name, struct span text)
{
    char *shown = text_shown(text);

    printf("%-16s  %s\n", name, shown);
    free(shown);
}

static void time_print(const char *name, uint64_t seconds)
{
    char text[TIME_TEXT_LEN];

    time_text(text, seconds);
    printf("%-16s  %s\n", name, text);
}

static void keyset_print(const struct keyset *k)
{
    text_print("worker", span_str(k->worker_id));
    text_print("payout", span_str(k->payout));
    for (size_t i = 0; i < k->model_count; i++)
        text_print("model", k->models[i]);
    text_print("model digest", k->model_digest);
    text_print("config sha256", k->config_sha256);
    text_print("engine", k->engine);
    printf("%-16s  %s, %u\n", "gpu", k->gpu_nvidia ? "nvidia-cc" : "none", k->gpu_count);
    hex_print("keyset sha256", SPAN_OF(k->digest));
    time_print("keys from", k->not_before);
    time_print("keys until", k->not_after);
}

static void quote_print(struct span bytes)
{
    struct quote q;
    const enum attest_reason reason = quote_parse(&q, bytes);

    if (bytes.len == 0) {
        printf("%-16s  none\n", "quote");
        return;
    }
    if (reason != ATTEST_OK) {
        printf("%-16s  %s\n", "quote", attest_reason_sentence(reason));
        return;
    }
    printf("%-16s  TDX v%u%s, %zu bytes\n", "quote", q.version, q.td15 ? ", TD 1.5" : "",
           bytes.len);
    hex_print("mrtd", span_of(q.mrtd, ATTEST_MR_LEN));
    for (int i = 0; i < 4; i++) {
        char name[] = "rtmr0";

        name[4] = (char)('0' + i);
        hex_print(name, span_of(q.rtmr[i], ATTEST_MR_LEN));
    }
    printf("%-16s  %016llx\n", "td attributes", (unsigned long long)q.td_attributes);
    printf("%-16s  %016llx\n", "xfam", (unsigned long long)q.xfam);
}

static void devices_print(struct span evidence)
{
    AUTO(buf_fini) struct buf pins = {0};
    struct span rest;

    printf("%-16s  %zu bytes\n", "gpu evidence", evidence.len);
    if (evidence.len > 0 && gpu_evidence_pins(evidence, &pins) < 0)
        text_print("gpu pin", SPAN("none: the evidence is not well-formed"));
    for (rest = buf_span(&pins); rest.len > 0;) {
        const struct span pin = span_split(&rest, '\n'); /* visible ASCII */

        printf("%-16s  %.*s\n", "gpu pin", SPAN_FMT(pin));
    }
}

static int attest_show(const struct command *c, int argc, char **argv)
{
    AUTO(attest_document_fini) struct attest_document d = {0};
    AUTO(keyset_fini) struct keyset k = {0};
    AUTO(buf_fini) struct buf bytes = {0};
    struct operands operands;
    int code = options_parse(c, NULL, 0, argc, argv, 1, 1, &operands);

    if (code < 0)
        code = document_get(c, operands.items[0], &bytes);
    if (code >= 0)
        return code;
    if (attest_document_read(&d, buf_span(&bytes)) < 0)
        return failure(c, "%s is no attestation document", operands.items[0]);
    if (keyset_parse(&k, buf_span(&d.keyset)) < 0)
        return failure(c, "%s has a keyset that is not well-formed", operands.items[0]);
    text_print("tee", d.tee);
    hex_print("nonce", SPAN_OF(d.nonce));
    keyset_print(&k);
    quote_print(buf_span(&d.quote));
    devices_print(buf_span(&d.device_evidence));
    printf("%-16s  %zu bytes\n", "event log", d.event_log.len);
    printf("%-16s  %s\n", "collateral", d.collateral ? "stapled" : "none");
    printf("\nNothing of this is verified: see cocoonctl attest verify.\n");
    return EXIT_DONE;
}

/* ---- Verifying ---- */

static const char *state_name(uint8_t state)
{
    static const char *const NAMES[] = {
        [ATTEST_NOT_REACHED] = "not reached",
        [ATTEST_PASSED] = "pass",
        [ATTEST_FAILED] = "FAIL",
        [ATTEST_NOT_NEEDED] = "not needed",
    };
    return NAMES[state];
}

/* What was judged, and what came of it. */
struct judged {
    uint64_t at;          /* as of when */
    struct keyset keyset; /* empty when refused */
    struct attest_verdict verdict;
};

static void judged_fini(struct judged *j)
{
    keyset_fini(&j->keyset);
}
AUTO_FINI(struct judged, judged_fini)

static bool has_passed(const struct attest_verdict *v, enum attest_step step)
{
    return v->steps[step] == ATTEST_PASSED;
}

static void platform_print(const struct attest_verdict *v)
{
    uint8_t ppid[SHA256_LEN];

    if (has_passed(v, ATTEST_STEP_PCK_CHAIN)) {
        sha256(ppid, SPAN_OF(v->ppid));
        hex_print("fmspc", SPAN_OF(v->fmspc));
        hex_print("ppid sha256", SPAN_OF(ppid));
    }
    if (v->status != TCB_NONE) {
        printf("%-16s  %s (platform %s, module %s, quoting enclave %s)\n", "tcb status",
               tcb_status_name(v->status), tcb_status_name(v->platform_status),
               tcb_status_name(v->module_status), tcb_status_name(v->qe_status));
        printf("%-16s  %u (quoting enclave %u)\n", "evaluation", v->tcb_evaluation,
               v->qe_evaluation);
    }
    if (v->tcb_date)
        time_print("tcb date", v->tcb_date);
    for (size_t i = 0; i < v->advisory_count; i++)
        text_print("advisory", span_str(v->advisories[i]));
}

static void ends_print(const struct judged *j)
{
    time_print("judged at", j->at);
    if (j->keyset.not_after)
        time_print("keys until", j->keyset.not_after);
    if (j->verdict.collateral_until)
        time_print("collateral until", j->verdict.collateral_until);
    if (j->verdict.valid_until)
        time_print("verify again by", j->verdict.valid_until);
}

static void verdict_print(const struct judged *j)
{
    const struct attest_verdict *v = &j->verdict;

    for (int i = 0; i < ATTEST_STEPS; i++)
        printf("%-12s  %s\n", state_name(v->steps[i]), attest_step_title((enum attest_step)i));
    printf("\n");
    platform_print(v);
    if (has_passed(v, ATTEST_STEP_QUOTE))
        hex_print("mrtd", SPAN_OF(v->mrtd));
    if (v->measurement[0])
        text_print("measurement", span_str(v->measurement));
    if (v->gpu_count > 0) {
        printf("%-16s  %u\n", "gpus", v->gpu_count);
        text_print("gpu driver", span_str(v->gpu_driver));
        text_print("gpu vbios", span_str(v->gpu_vbios));
        for (uint32_t i = 0; i < v->gpu_count; i++)
            text_print("gpu serial", span_str(v->gpu_serials[i]));
    }
    ends_print(j);
    if (v->reason == ATTEST_OK) {
        printf("%-16s  accepted, %s\n\n%s", "verdict", attest_env_name(v->env), NOT_PROVEN);
        return;
    }
    printf("%-16s  refused: %s: %s%s%s\n", "verdict", attest_reason_name(v->reason),
           attest_reason_sentence(v->reason), v->detail[0] ? " " : "", v->detail);
}

static json_t *hex_json(struct span bytes)
{
    char hex[2 * 64 + 1];

    hex_encode(hex, bytes);
    return json_string(hex);
}

static void number_set(json_t *doc, const char *name, uint64_t value)
{
    json_object_set_new(doc, name, json_integer((json_int_t)value));
}

/* What was not reached is 0. */
static void numbers_set(json_t *doc, const struct judged *j)
{
    const struct attest_verdict *v = &j->verdict;

    number_set(doc, "evaluation", v->tcb_evaluation);
    number_set(doc, "qe_evaluation", v->qe_evaluation);
    number_set(doc, "gpu_count", v->gpu_count);
    number_set(doc, "tcb_date", v->tcb_date);
    number_set(doc, "judged_at", j->at);
    number_set(doc, "keys_until", j->keyset.not_after);
    number_set(doc, "collateral_until", v->collateral_until);
    number_set(doc, "valid_until", v->valid_until);
}

static void verdict_json(const struct judged *j)
{
    const struct attest_verdict *v = &j->verdict;
    AUTO_JSON json_t *doc = json_pack(
        "{s:b, s:s, s:s, s:s, s:s, s:s}", "accepted", v->reason == ATTEST_OK, "environment",
        attest_env_name(v->env), "reason", attest_reason_name(v->reason), "detail", v->detail,
        "tcb_status", tcb_status_name(v->status), "measurement", v->measurement);
    json_t *steps = json_array(), *advisories = json_array(), *serials = json_array();
    uint8_t ppid[SHA256_LEN];

    numbers_set(doc, j);
    if (has_passed(v, ATTEST_STEP_PCK_CHAIN)) {
        sha256(ppid, SPAN_OF(v->ppid));
        json_object_set_new(doc, "ppid_sha256", hex_json(SPAN_OF(ppid)));
    }

    for (int i = 0; i < ATTEST_STEPS; i++)
        json_array_append_new(steps, json_pack("{s:s, s:s}", "step",
                                               attest_step_title((enum attest_step)i), "state",
                                               state_name(v->steps[i])));
    for (size_t i = 0; i < v->advisory_count; i++)
        json_array_append_new(advisories, json_string(v->advisories[i]));
    for (uint32_t i = 0; i < v->gpu_count; i++)
        json_array_append_new(serials, json_string(v->gpu_serials[i]));
    json_object_set_new(doc, "gpu_serials", serials);
    json_object_set_new(doc, "fmspc", hex_json(SPAN_OF(v->fmspc)));
    json_object_set_new(doc, "mrtd", hex_json(SPAN_OF(v->mrtd)));
    json_object_set_new(doc, "advisories", advisories);
    json_object_set_new(doc, "steps", steps);
    json_print(doc);
}

/* What `verify` is told. */
struct asked {
    const char *policy, *nonce, *collateral;
    struct option_texts keys;
    uint64_t at;
    bool json, unattested;
};

static int inputs_read(const struct command *c, const struct asked *a,
                       struct attest_policy **policy, uint8_t nonce[static ATTEST_NONCE_LEN],
                       struct collateral *collateral)
{
    const int code = input_policy(c, a->policy, &a->keys, policy);

    if (code >= 0)
        return code;
    if (a->nonce && hex_decode(nonce, ATTEST_NONCE_LEN, span_str(a->nonce)) < 0)
        return usage_error(c, "--nonce must be 64 lower-case hexadecimal digits");
    return a->collateral ? input_collateral(c, a->collateral, collateral) : -1;
}

static int attest_judge(const struct command *c, const struct asked *a, struct span document)
{
    AUTO(attest_policy_unref) struct attest_policy *policy = NULL;
    AUTO(collateral_fini) struct collateral collateral = {0};
    AUTO(judged_fini) struct judged judged = {.at = a->at ? a->at : (uint64_t)time(NULL)};
    uint8_t nonce[ATTEST_NONCE_LEN];
    const int code = inputs_read(c, a, &policy, nonce, &collateral);

    if (code >= 0)
        return code;
    const struct attest_input in = {.document = document,
                                    .nonce = a->nonce ? nonce : NULL,
                                    .now_s = judged.at,
                                    .policy = policy,
                                    .collateral = a->collateral ? &collateral : NULL,
                                    .accept_unattested = a->unattested};
    const int error = attest_verify(&in, &judged.keyset, &judged.verdict);
    if (a->json)
        verdict_json(&judged);
    else
        verdict_print(&judged);
    return error < 0 ? EXIT_FAILED : EXIT_DONE;
}

static int attest_check(const struct command *c, int argc, char **argv)
{
    struct asked a = {0};
    AUTO(buf_fini) struct buf bytes = {0};
    const struct option options[] = {
        {"policy", OPTION_TEXT, &a.policy, "file of the policy; signed in the same name with .sig"},
        {"release-key", OPTION_TEXTS, &a.keys, "a key that may sign policies, in hex"},
        {"collateral", OPTION_TEXT, &a.collateral, "a file with it (default: what is stapled)"},
        {"nonce", OPTION_TEXT, &a.nonce, "that it must answer, in hex (default: its own)"},
        {"at", OPTION_TIME, &a.at, "judge as of then (now)"},
        {"unattested", OPTION_FLAG, &a.unattested, "let a worker without evidence pass"},
        {"json", OPTION_FLAG, &a.json, "print JSON"}};
    struct operands operands;
    int code = options_parse(c, options, COUNT(options), argc, argv, 1, 1, &operands);

    if (code < 0)
        code = document_get(c, operands.items[0], &bytes);
    return code < 0 ? attest_judge(c, &a, buf_span(&bytes)) : code;
}

const struct command attest_commands[] = {
    {"attest", "show", "FILE|URL", "What an attestation document says.", attest_show},
    {"attest", "verify", "FILE|URL", "Whether it holds, under a signed policy.", attest_check},
    {NULL, NULL, NULL, NULL, NULL},
};
