/* cocoonctl receipts: what saved receipts, answers and evidence prove, offline, and what not. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/encode.h"
#include "tools/inputs.h"
#include "tools/output.h"
#include "tools/proof.h"

enum { FILE_MAX = 64 * 1024 * 1024 + 1 };

/* ---- Sentences ---- */

/* Whoever wants them: printed, or collected as JSON. */
typedef void sentence_fn(void *arg, const char *text);

__attribute__((format(printf, 3, 4))) static void say(sentence_fn *fn, void *arg, const char *fmt,
                                                      ...)
{
    AUTO(buf_fini) struct buf text = {0};
    va_list args;
    char *shown;

    va_start(args, fmt);
    buf_vprintf(&text, fmt, args);
    va_end(args);
    shown = text_shown(buf_span(&text));
    fn(arg, shown);
    free(shown);
}

static void time_ms_text(char out[static TIME_TEXT_LEN], uint64_t ms)
{
    time_text(out, ms / 1000);
}

static void worker_proven(const struct proof_item *d, sentence_fn *fn, void *arg)
{
    const struct attest_verdict *v = &d->verdict;
    char at[TIME_TEXT_LEN];

    if (!d->good || !d->judged_s)
        return;
    time_text(at, d->judged_s);
    if (v->env == ATTEST_PRODUCTION)
        say(fn, arg,
            "On %s, software that the policy names \"%s\" ran in an Intel TDX trust domain and "
            "held "
            "the keys of %s; %u GPUs in confidential mode were attested with it.",
            at, v->measurement, d->name, v->gpu_count);
    else
        say(fn, arg,
            "The keys of %s come from DEVELOPMENT evidence that anybody can make: they prove no "
            "hardware.",
            d->name);
}

static void record_proven(const struct proof *p, const struct proof_item *it, sentence_fn *fn,
                          void *arg)
{
    const struct usage_record *u = &it->record->u;
    const struct proof_record *partner = proof_partner(p, it->record);
    char from[TIME_TEXT_LEN], to[TIME_TEXT_LEN];

    if (!it->record->is_receipt && partner)
        return;
    time_ms_text(from, u->t0_ms);
    time_ms_text(to, u->t1_ms);
    say(fn, arg,
        "The holder of these keys signed that in call %s (attempt %" PRIu32 ") the model %.*s took "
        "%" PRId64 " tokens and made %" PRId64 ", from %s to %s by its own clock, and ended with "
        "\"%s\".",
        u->call, u->attempt, SPAN_FMT(u->model), u->in, u->out, from, to,
        usage_outcome_name(u->outcome));
    if (it->record->is_receipt)
        say(fn, arg, "It ran with the weights %.*s and the measured configuration %.*s.",
            SPAN_FMT(it->record->extra.model_digest), SPAN_FMT(it->record->extra.config_sha256));
    if (it->record->is_receipt && partner)
        say(fn, arg, "What the gateway may charge for call %s by its usage record is the same.",
            u->call);
}

static void bill_proven(const struct proof_item *it, sentence_fn *fn, void *arg)
{
    const struct bill *b = &it->bill;

    say(fn, arg,
        "The holder of the operator's key billed account %s %" PRId64 " nano for call %s, of which "
        "%" PRId64 " are its fee: %" PRId64 " tokens in and %" PRId64 " out at price book %" PRId64
        ", coefficient %" PRId64 "/1000%s.",
        b->account, b->amount, b->call, b->fee, b->in, b->out, b->price, b->coefficient,
        it->price_checked ? ", no more than the book says" : "");
    if (it->usage_bound)
        say(fn, arg, "That bill is for what the worker counted, or less.");
}

static void proven(const struct proof *p, sentence_fn *fn, void *arg)
{
    for (size_t i = 0; i < p->count; i++)
        worker_proven(p->items[i], fn, arg);
    for (size_t i = 0; i < p->count; i++)
        if (p->items[i]->record && p->items[i]->good)
            record_proven(p, p->items[i], fn, arg);
    for (size_t i = 0; i < p->count; i++)
        if (p->items[i]->has_bill && p->items[i]->good)
            bill_proven(p->items[i], fn, arg);
    for (size_t i = 0; i < p->count; i++)
        if (p->items[i]->bound && p->items[i]->good)
            say(fn, arg, "%s: %s", p->items[i]->name, p->items[i]->why);
}

static void record_open_ends(const struct proof *p, const struct proof_item *it, sentence_fn *fn,
                             void *arg)
{
    const struct proof_record *r = it->record, *partner = proof_partner(p, r);
    const char *call = r->u.call;

    if (!r->is_receipt && partner)
        return;
    if (!r->is_receipt)
        say(fn, arg, "What was asked and answered in call %s: its content receipt is not here.",
            call);
    if (r->is_receipt && !proof_has_contents(p, r, "answer"))
        say(fn, arg, "What the answer of call %s was: it is not among the files.", call);
    if (r->is_receipt && !proof_has_contents(p, r, "request"))
        say(fn, arg, "What was asked in call %s: the request is not among the files.", call);
    if (r->is_receipt && !partner)
        say(fn, arg, "What the gateway was told to charge for call %s: no usage record is here.",
            call);
    if (r->u.outcome != USAGE_STOP && r->u.outcome != USAGE_LENGTH)
        say(fn, arg, "That the answer of call %s is complete: the worker says \"%s\".", call,
            usage_outcome_name(r->u.outcome));
}

static void bill_open_ends(const struct proof *p, const struct proof_item *it, sentence_fn *fn,
                           void *arg)
{
    const char *call = it->bill.call;

    if (p->operator_key.len == 0)
        say(fn, arg,
            "That the key of call %s's bill is the operator's: its document is worth what the "
            "connection was that it came over (--operator-key).",
            call);
    if (!it->usage_bound)
        say(fn, arg,
            "That call %s's bill is for what the worker counted: no usage record here "
            "holds.",
            call);
    if (!it->price_checked)
        say(fn, arg, "That call %s's bill follows the price book: it is not here.", call);
}

static void not_proven(const struct proof *p, sentence_fn *fn, void *arg)
{
    bool billed = false;

    for (size_t i = 0; i < p->count; i++) {
        if (!p->items[i]->has_bill || !p->items[i]->good)
            continue;
        billed = true;
        bill_open_ends(p, p->items[i], fn, arg);
    }
    for (size_t i = 0; i < p->count; i++)
        if (p->items[i]->record && p->items[i]->good)
            record_open_ends(p, p->items[i], fn, arg);
    if (!billed)
        say(fn, arg,
            "Who asked, and what was charged: receipts name no account, and no bill is "
            "here.");
    say(fn, arg,
        "When it was: times are the worker's own, and evidence is judged as of them "
        "unless --at says otherwise.");
    say(fn, arg, "That the machine's certificates were not revoked later.");
    say(fn, arg,
        "That the machine was not attacked physically, that the measured image is good "
        "(docs/image.md), that GPU and trust domain share a box, or that the answer is "
        "right.");
}

/* ---- Printing ---- */

static void print_sentence(void *arg, const char *text)
{
    (void)arg;
    printf("  - %s\n", text);
}

static void print_text(const struct proof *p, bool good)
{
    for (size_t i = 0; i < p->count; i++) {
        const struct proof_item *it = p->items[i];
        char *name = text_shown(span_str(it->name)), *why = text_shown(span_str(it->why));

        printf("%s  %s (%s)\n      %s\n", it->good ? "pass" : "FAIL", name, proof_title(it), why);
        free(name);
        free(why);
    }
    printf("\nProven:\n");
    proven(p, print_sentence, NULL);
    printf("\nNot proven:\n");
    not_proven(p, print_sentence, NULL);
    printf("\n%s\n", good ? "All files hold and belong together." : "NOT ALL OF IT HOLDS.");
}

static void collect_sentence(void *arg, const char *text)
{
    json_array_append_new(arg, json_string(text));
}

static json_t *item_json(const struct proof_item *it)
{
    json_t *doc = json_pack("{s:s, s:s, s:b, s:s}", "file", it->name, "kind", proof_title(it),
                            "holds", it->good, "finding", it->why);
    const struct usage_record *u = it->record ? &it->record->u : NULL;

    if (!doc) /* a name that is no UTF-8 */
        return json_pack("{s:s, s:b, s:s}", "kind", proof_title(it), "holds", it->good, "finding",
                         it->why);
    if (u)
        json_object_update_new(
            doc, json_pack("{s:s, s:I, s:s%, s:I, s:I, s:s, s:s, s:I, s:I}", "call", u->call,
                           "attempt", (json_int_t)u->attempt, "model", u->model.data, u->model.len,
                           "in", (json_int_t)u->in, "out", (json_int_t)u->out, "outcome",
                           usage_outcome_name(u->outcome), "environment", u->env, "t0",
                           (json_int_t)u->t0_ms, "t1", (json_int_t)u->t1_ms));
    if (it->has_bill)
        json_object_update_new(doc, json_pack("{s:s, s:s, s:I, s:I, s:b, s:b}", "call",
                                              it->bill.call, "account", it->bill.account,
                                              "amount_nano", (json_int_t)it->bill.amount,
                                              "fee_nano", (json_int_t)it->bill.fee, "usage_bound",
                                              it->usage_bound, "price_checked", it->price_checked));
    if (it->judged_s)
        json_object_update_new(doc, json_pack("{s:I, s:s, s:s, s:s}", "judged_at",
                                              (json_int_t)it->judged_s, "environment",
                                              attest_env_name(it->verdict.env), "measurement",
                                              it->verdict.measurement, "reason",
                                              attest_reason_name(it->verdict.reason)));
    return doc;
}

static void print_json(const struct proof *p, bool good)
{
    json_t *files = json_array(), *yes = json_array(), *no = json_array();

    for (size_t i = 0; i < p->count; i++)
        json_array_append_new(files, item_json(p->items[i]));
    proven(p, collect_sentence, yes);
    not_proven(p, collect_sentence, no);
    AUTO_JSON json_t *doc = json_pack("{s:b, s:o, s:o, s:o}", "verified", good, "files", files,
                                      "proven", yes, "not_proven", no);
    json_print(doc);
}

/* ---- The command ---- */

static int files_read(const struct command *c, const struct operands *names, struct proof *p)
{
    for (size_t i = 0; i < names->count; i++) {
        AUTO(buf_wipe) struct buf bytes = {0};
        const int code = input_file(c, names->items[i], FILE_MAX, &bytes);
        if (code >= 0)
            return code;
        if (proof_add(p, names->items[i], buf_span(&bytes)) < 0)
            return failure(c, "more than %d files", PROOF_ITEMS_MAX);
    }
    return -1;
}

static int receipts_verify(const struct command *c, int argc, char **argv)
{
    AUTO(attest_policy_unref) struct attest_policy *policy = NULL;
    AUTO(proof_fini) struct proof p = {.now_s = clock_wall_ms() / 1000};
    struct option_texts keys = {.count = 0};
    const char *file = NULL, *operator_hex = NULL;
    uint8_t operator_key[ED25519_KEY_LEN];
    bool json = false;
    const struct option options[] = {
        {"policy", OPTION_TEXT, &file, "which workers count; signed in the same name with .sig"},
        {"release-key", OPTION_TEXTS, &keys, "a key that may sign policies, in hex"},
        {"operator-key", OPTION_TEXT, &operator_hex,
         "in hex: must have signed the operator's document, whose signature is among the files"},
        {"at", OPTION_TIME, &p.at_s, "judge evidence as of then (the requests' own time)"},
        {"json", OPTION_FLAG, &json, "print JSON"}};
    struct operands names;
    int code = options_parse(c, options, COUNT(options), argc, argv, 1, PROOF_ITEMS_MAX, &names);

    if (code < 0 && operator_hex &&
        hex_decode(operator_key, sizeof(operator_key), span_str(operator_hex)) < 0)
        return usage_error(c, "--operator-key must be 64 hex digits");
    if (operator_hex)
        p.operator_key = SPAN_OF(operator_key);
    if (code < 0)
        code = input_policy(c, file, &keys, &policy);
    if (code < 0)
        code = files_read(c, &names, &p);
    if (code >= 0)
        return code;
    p.policy = policy;
    const bool good = proof_judge(&p);
    if (json)
        print_json(&p, good);
    else
        print_text(&p, good);
    return good ? EXIT_DONE : EXIT_FAILED;
}

const struct command receipt_commands[] = {
    {"receipts", "verify", "FILE...", "What saved receipts, answers and evidence prove.",
     receipts_verify},
    {NULL, NULL, NULL, NULL, NULL},
};
