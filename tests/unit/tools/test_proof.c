/* What saved files prove: the honest set does, and a byte flipped in any of them does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "attest/document_read.h"
#include "base/encode.h"
#include "crypto/detached.h"
#include "devtee/issuer.h"
#include "ledger/books/chain.h"
#include "tools/proof.h"

#define CALL   "00112233445566778899aabbccddeeff"
#define DIGEST "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define NOW_S  UINT64_C(1790000000)
#define LATER  (NOW_S + 200 * 86400)

enum { RECEIPT, USAGE, DOCUMENT, ANSWER, REQUEST, FILES, FLIP_STEP = 37, SIGNED_QUOTE = 632 };

static const char *const NAMES[FILES] = {"receipt.jws", "usage.jws", "attestation.json",
                                         "answer.json", "request.json"};

struct world {
    struct devtee_issuer *issuer;
    struct attest_policy *policy;
    struct ed25519 *key;
    struct keyset keyset;
    struct usage_record c, u;
    struct receipt_extra extra;
    struct buf files[FILES];
    struct collateral_cache *cache; /* thousands of verifications */
};

static struct attest_policy *policy_make(const struct devtee_issuer *issuer)
{
    static const struct devtee_policy dev = {
        .root = "root.pem", .sequence = 1, .expires = LATER - 86400};
    AUTO(buf_fini) struct buf text = {0}, sig = {0}, pem = {0};
    struct attest_policy *policy = NULL;
    struct x509_cert *root = NULL;
    uint8_t key[ED25519_KEY_LEN];
    char why[200];

    devtee_policy_write(issuer, &dev, &text);
    ed25519_public(devtee_release_key(issuer), key);
    assert_int_equal(
        detached_sign("cgw/policy/v1", buf_span(&text), devtee_release_key(issuer), &sig), 0);
    assert_int_equal(
        attest_policy_read(&policy, buf_span(&text), buf_span(&sig), &SPAN_OF(key), 1, why), 0);
    devtee_root(issuer, &pem);
    assert_int_equal(x509_cert_read(&root, buf_span(&pem)), 0);
    attest_policy_set_dev_root(policy, root);
    return policy;
}

static void keyset_make(struct world *w)
{
    static const uint8_t config[KEYSET_HPKE_LEN] = {7, 0, 0x20};
    AUTO(buf_fini) struct buf json = {0};
    struct keyset k = {.worker_id = "w-1",
                       .payout = "0:" DIGEST,
                       .hpke = {SPAN_OF(config)},
                       .hpke_count = 1,
                       .models = {SPAN("served")},
                       .model_count = 1,
                       .model_digest = SPAN("sha256:" DIGEST),
                       .config_sha256 = SPAN(DIGEST),
                       .engine = SPAN("fake 1"),
                       .not_before = NOW_S - 10,
                       .not_after = NOW_S + 3590};

    ed25519_public(w->key, k.receipt_key);
    keyset_write(&k, &json);
    assert_int_equal(keyset_parse(&w->keyset, buf_span(&json)), 0);
}

static void document_make(struct world *w, struct buf *out)
{
    static const uint8_t nonce[ATTEST_NONCE_LEN] = {4};
    AUTO(collateral_fini) struct collateral collateral = {0};
    AUTO(buf_fini) struct buf quote = {0};
    uint8_t report_data[DEVTEE_REPORT_DATA_LEN];

    attest_report_data(report_data, nonce, buf_span(&w->keyset.bytes), SPAN(""));
    devtee_quote(w->issuer, NULL, report_data, &quote);
    attest_document_write(out, "tdx", nonce, buf_span(&w->keyset.bytes), SPAN(""),
                          buf_span(&quote));
    devtee_collateral(w->issuer, NULL, &collateral);
    out->len--;
    buf_append_str(out, ",\"collateral\":");
    collateral_write(&collateral, out);
    buf_append_str(out, "}");
}

static struct usage_record honest(const struct world *w)
{
    struct usage_record r = {.in = 9,
                             .out = 2,
                             .model = SPAN("served"),
                             .outcome = USAGE_STOP,
                             .t0_ms = NOW_S * 1000,
                             .t1_ms = NOW_S * 1000 + 100,
                             .final = true};

    strcpy(r.call, CALL);
    strcpy(r.price, "3;1000");
    strcpy(r.env, "insecure-dev");
    sha256(r.kfp, w->keyset.hpke[0]);
    memcpy(r.keyset, w->keyset.digest, SHA256_LEN);
    memset(r.req, 3, sizeof(r.req));
    memset(r.resp, 4, sizeof(r.resp));
    return r;
}

static void sign(struct world *w)
{
    buf_clear(&w->files[RECEIPT]);
    buf_clear(&w->files[USAGE]);
    assert_int_equal(receipt_sign(&w->c, &w->extra, w->key, &w->files[RECEIPT]), 0);
    assert_int_equal(usage_record_sign(&w->u, w->key, &w->files[USAGE]), 0);
}

static int setup(void **state)
{
    static const uint8_t seed[DEVTEE_SEED_LEN] = {7};
    struct world *w = mem_zero(sizeof(*w));

    w->issuer = devtee_issuer_new(seed, "test");
    w->policy = policy_make(w->issuer);
    assert_int_equal(ed25519_generate(&w->key), 0);
    keyset_make(w);
    document_make(w, &w->files[DOCUMENT]);
    buf_append_str(&w->files[ANSWER], "{\"object\":\"chat.completion\"}");
    buf_append_str(&w->files[REQUEST], "{\"model\":\"served\"}");
    w->c = w->u = honest(w);
    w->extra = (struct receipt_extra){
        .rid = SPAN("r-1"), .model_digest = SPAN("sha256:" DIGEST), .config_sha256 = SPAN(DIGEST)};
    sha256(w->extra.resp_body, buf_span(&w->files[ANSWER]));
    sha256(w->extra.req_body, buf_span(&w->files[REQUEST]));
    sign(w);
    w->cache = collateral_cache_new(4);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    for (size_t i = 0; i < FILES; i++)
        buf_fini(&w->files[i]);
    keyset_fini(&w->keyset);
    collateral_cache_free(w->cache);
    attest_policy_unref(w->policy);
    devtee_issuer_free(w->issuer);
    ed25519_free(w->key);
    free(w);
    return 0;
}

static void add(struct proof *p, const char *name, const struct buf *file)
{
    assert_int_equal(proof_add(p, name, buf_span(file)), 0);
}

/* All files but `without` (FILES: none); the caller ends p. */
static bool judge(const struct world *w, size_t without, struct proof *p)
{
    *p = (struct proof){.policy = w->policy, .now_s = LATER, .cache = w->cache};
    for (size_t i = 0; i < FILES; i++)
        if (i != without)
            add(p, NAMES[i], &w->files[i]);
    return proof_judge(p);
}

static bool holds(const struct world *w, size_t without)
{
    AUTO(proof_fini) struct proof p = {.count = 0};

    return judge(w, without, &p);
}

/* The finding on the file of that name. */
static void expect(const struct world *w, size_t file, const char *part)
{
    AUTO(proof_fini) struct proof p = {.count = 0};

    assert_false(judge(w, FILES, &p));
    assert_false(p.items[file]->good);
    if (!strstr(p.items[file]->why, part))
        print_message("%s\n", p.items[file]->why);
    assert_non_null(strstr(p.items[file]->why, part));
}

static void an_honest_set_is_proven_long_after(void **state)
{
    AUTO(proof_fini) struct proof p = {.count = 0};
    const struct world *w = *state;

    assert_true(judge(w, FILES, &p));
    assert_string_equal(proof_title(p.items[RECEIPT]), "content receipt");
    assert_string_equal(proof_title(p.items[USAGE]), "usage record");
    assert_string_equal(proof_title(p.items[DOCUMENT]), "attestation document");
    assert_int_equal(p.items[DOCUMENT]->judged_s, NOW_S);
    assert_true(proof_has_contents(&p, p.items[RECEIPT]->record, "answer"));
    assert_true(proof_has_contents(&p, p.items[RECEIPT]->record, "request"));
    assert_ptr_equal(proof_partner(&p, p.items[RECEIPT]->record), p.items[USAGE]->record);
}

static void parts_of_a_set_prove_what_they_can(void **state)
{
    const struct world *w = *state;

    assert_true(holds(w, USAGE));
    assert_true(holds(w, ANSWER));
    assert_true(holds(w, REQUEST));
    assert_false(holds(w, RECEIPT)); /* nothing binds answer and request */
    assert_false(holds(w, DOCUMENT));
}

static void a_document_alone_proves_no_answer(void **state)
{
    const struct world *w = *state;
    AUTO(proof_fini) struct proof p = {.policy = w->policy, .now_s = NOW_S};

    add(&p, "attestation.json", &w->files[DOCUMENT]);
    assert_false(proof_judge(&p));
    assert_true(p.items[0]->good);
}

static void what_the_gateway_hands_over_is_taken_apart(void **state)
{
    const struct world *w = *state;
    AUTO(proof_fini) struct proof p = {.policy = w->policy, .now_s = LATER};
    AUTO(buf_fini) struct buf both = {0};

    buf_printf(&both, "{\"usage\":\"%.*s\",\"receipt\":\"%.*s\"}",
               SPAN_FMT(buf_span(&w->files[USAGE])), SPAN_FMT(buf_span(&w->files[RECEIPT])));
    add(&p, "handed.json", &both);
    add(&p, "attestation.json", &w->files[DOCUMENT]);
    assert_true(proof_judge(&p));
    assert_int_equal(p.count, 3);
    assert_string_equal(p.items[0]->name, "handed.json: usage");
}

static void a_line_end_behind_a_receipt_is_no_part_of_it(void **state)
{
    struct world *w = *state;

    buf_byte(&w->files[RECEIPT], '\n');
    assert_true(holds(w, FILES));
    buf_byte(&w->files[RECEIPT], '\n');
    assert_false(holds(w, FILES));
}

static void a_keyset_must_be_a_documents(void **state)
{
    const struct world *w = *state;
    AUTO(proof_fini) struct proof p = {.policy = w->policy, .now_s = LATER};
    AUTO(proof_fini) struct proof alone = {.policy = w->policy, .now_s = LATER};

    add(&p, "keyset.json", &w->keyset.bytes);
    add(&p, "attestation.json", &w->files[DOCUMENT]);
    add(&p, "receipt.jws", &w->files[RECEIPT]);
    assert_true(proof_judge(&p));
    add(&alone, "keyset.json", &w->keyset.bytes);
    add(&alone, "receipt.jws", &w->files[RECEIPT]);
    assert_false(proof_judge(&alone));
    assert_false(alone.items[0]->good || alone.items[1]->good);
}

static void any_flipped_byte_of_records_and_contents_is_found(void **state)
{
    static const size_t flipped[] = {RECEIPT, USAGE, ANSWER, REQUEST};
    struct world *w = *state;

    for (size_t f = 0; f < sizeof(flipped) / sizeof(flipped[0]); f++) {
        struct buf *file = &w->files[flipped[f]];
        for (size_t i = 0; i < file->len; i++) {
            file->data[i] ^= 1;
            assert_false(holds(w, FILES));
            file->data[i] ^= 1;
        }
    }
    assert_true(holds(w, FILES));
}

/* A document's unsigned bytes (a hint, what is behind the quote) may change; what it vouches for
 * may not. */
static void a_flipped_byte_of_a_document_changes_nothing_that_it_vouches_for(void **state)
{
    struct world *w = *state;
    struct buf *file = &w->files[DOCUMENT];
    AUTO(attest_document_fini) struct attest_document was = {0};
    size_t refused = 0;

    assert_int_equal(attest_document_read(&was, buf_span(file)), 0);
    for (size_t i = 0; i < file->len; i += FLIP_STEP) {
        AUTO(attest_document_fini) struct attest_document is = {0};
        file->data[i] ^= 1;
        if (holds(w, FILES)) {
            assert_int_equal(attest_document_read(&is, buf_span(file)), 0);
            assert_true(span_eq(buf_span(&is.keyset), buf_span(&was.keyset)));
            assert_memory_equal(is.nonce, was.nonce, ATTEST_NONCE_LEN);
            assert_memory_equal(is.quote.data, was.quote.data, SIGNED_QUOTE);
        } else {
            refused++;
        }
        file->data[i] ^= 1;
    }
    assert_true(refused > file->len / FLIP_STEP / 2);
}

static void records_are_held_against_the_keyset_that_signed_them(void **state)
{
    struct world *w = *state;

    w->c.keyset[0] ^= 1;
    sign(w);
    expect(w, RECEIPT, "another keyset");
    w->c = honest(w);
    w->c.kfp[0] ^= 1;
    sign(w);
    expect(w, RECEIPT, "does not hold the key");
    w->c = honest(w);
    w->u.model = SPAN("other");
    sign(w);
    expect(w, USAGE, "does not name its model");
    w->u = honest(w);
    w->extra.model_digest =
        SPAN("sha256:ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff");
    sign(w);
    expect(w, RECEIPT, "another model or configuration");
}

static void times_are_those_of_the_keys(void **state)
{
    struct world *w = *state;

    w->u.t0_ms = w->u.t1_ms = (NOW_S + 3590 + 400) * 1000;
    sign(w);
    expect(w, USAGE, "not within its keyset's");
    w->u = honest(w);
    w->u.t1_ms = w->u.t0_ms - 1;
    sign(w);
    expect(w, USAGE, "not within its keyset's");
    w->u.t0_ms = w->u.t1_ms = w->c.t0_ms = w->c.t1_ms = (NOW_S + 3590 + 200) * 1000;
    sign(w);
    assert_true(holds(w, FILES)); /* the old key's grace */
}

static void record_and_receipt_of_a_call_must_agree(void **state)
{
    struct world *w = *state;

    w->u.out = 3;
    sign(w);
    expect(w, USAGE, "do not agree");
    w->u = honest(w);
    w->u.req[0] ^= 1;
    sign(w);
    expect(w, RECEIPT, "do not agree");
}

static void a_label_that_the_evidence_does_not_bear_is_found(void **state)
{
    struct world *w = *state;

    strcpy(w->c.env, "production");
    strcpy(w->u.env, "production");
    sign(w);
    expect(w, RECEIPT, "another environment");
}

static void the_policy_judges_as_of_then_and_may_refuse(void **state)
{
    struct world *w = *state;
    AUTO(proof_fini) struct proof p = {.policy = w->policy, .now_s = NOW_S, .at_s = LATER};

    for (size_t i = 0; i < FILES; i++)
        add(&p, NAMES[i], &w->files[i]);
    assert_false(proof_judge(&p));
    assert_non_null(strstr(p.items[DOCUMENT]->why, "refuses"));
    assert_non_null(strstr(p.items[RECEIPT]->why, "refuses"));
    assert_false(p.items[ANSWER]->good);
}

static void another_workers_signature_is_nobodys(void **state)
{
    struct world *w = *state;

    ed25519_free(w->key);
    assert_int_equal(ed25519_generate(&w->key), 0);
    sign(w);
    expect(w, RECEIPT, "No attestation document");
    expect(w, ANSWER, "No receipt here");
}

static void contents_that_look_like_evidence_are_judged_as_it(void **state)
{
    struct world *w = *state;
    AUTO(proof_fini) struct proof p = {.policy = w->policy, .now_s = NOW_S};
    AUTO(buf_fini) struct buf odd = {0};

    buf_append_str(&odd, "{\"format\":\"cgw/attestation/v1\"}");
    add(&p, "odd", &odd);
    buf_clear(&odd);
    buf_append_str(&odd, "{\"usage\":\"x\",\"more\":1}");
    add(&p, "odder", &odd);
    assert_false(proof_judge(&p));
    assert_string_equal(proof_title(p.items[0]), "attestation document");
    assert_string_equal(proof_title(p.items[1]), "contents");
}

/* ---- What it cost ---- */

static const char BOOK[] =
    "{\"commission_bps\":500,\"currency\":\"TON\",\"format\":\"cgw/prices/v1\",\"models\":{"
    "\"served\":{\"cached\":\"1000000\",\"completion\":\"4000000\",\"minimum\":\"0\","
    "\"per_request\":\"5\",\"prompt\":\"1000000\",\"reasoning\":\"4000000\"}},\"version\":3}";
enum { COST = 9 + 8 + 5 };

/* A bill for the world's usage record, and what stands beside it. */
struct billed {
    struct ed25519 *key;
    struct bill bill;
    struct buf operator, handed;
    const char *since; /* of the key, as the operator's document has it; NULL: not told */
    bool spoil_tree;
};

static void billed_begin(struct billed *b, const struct world *w)
{
    *b = (struct billed){.bill = {.model = SPAN("served"),
                                  .price = 3,
                                  .coefficient = 1000,
                                  .in = 9,
                                  .out = 2,
                                  .amount = COST,
                                  .fee = 1,
                                  .t_ms = NOW_S * 1000}};
    assert_int_equal(ed25519_generate(&b->key), 0);
    strcpy(b->bill.call, CALL);
    strcpy(b->bill.account, "acme");
    strcpy(b->bill.worker, "0:" DIGEST);
    sha256(b->bill.price_sha256, span_str(BOOK));
    sha256(b->bill.usage, buf_span(&w->files[USAGE]));
}

static void tree_write(const struct billed *b, struct span jws, struct buf *out)
{
    uint8_t leaves[3][SHA256_LEN] = {{1}, {2}, {3}}, root[SHA256_LEN];
    AUTO(buf_fini) struct buf path = {0};
    struct tree tree = {.leaves = 0};
    char hex[2 * SHA256_LEN + 1];

    tree_leaf(leaves[1], jws);
    for (size_t i = 0; i < 3; i++)
        tree_add(&tree, leaves[i]);
    tree_root(&tree, root);
    root[0] ^= b->spoil_tree;
    tree_path(&path, leaves[0], 3, 1);
    hex_encode(hex, SPAN_OF(root));
    buf_printf(out, "{\"day\":\"2026-09-21\",\"leaf\":1,\"leaves\":3,\"root\":\"%s\",\"path\":[",
               hex);
    for (size_t at = 0; at < path.len; at += SHA256_LEN) {
        hex_encode(hex, span_cut(buf_span(&path), at, SHA256_LEN));
        buf_printf(out, "%s\"%s\"", at ? "," : "", hex);
    }
    buf_append_str(out, "]}");
}

/* Judges the handed-over bill beside document, price book and operator's document; the finding on
 * the bill is p's item 1, on its proof item 2. */
static bool billed_judge(struct billed *b, const struct world *w, struct proof *p)
{
    AUTO(buf_fini) struct buf jws = {0}, tree = {0};
    uint8_t public[ED25519_KEY_LEN];
    char hex[2 * ED25519_KEY_LEN + 1];

    assert_int_equal(bill_sign(&b->bill, b->key, &jws), 0);
    tree_write(b, buf_span(&jws), &tree);
    ed25519_public(b->key, public);
    hex_encode(hex, SPAN_OF(public));
    buf_clear(&b->operator);
    buf_printf(
        &b->operator,
        "{\"format\":\"cgw/operator/v1\",\"bill_keys\":[{\"kid\":\"x\",\"ed25519\":\"%s\"%s%s}]}",
        hex, b->since ? ",\"since\":" : "", b->since ? b->since : "");
    buf_clear(&b->handed);
    buf_printf(
        &b->handed, "{\"call\":\"" CALL "\",\"usage\":\"%.*s\",\"bill\":\"%.*s\",\"proof\":%.*s}",
        SPAN_FMT(buf_span(&w->files[USAGE])), SPAN_FMT(buf_span(&jws)), SPAN_FMT(buf_span(&tree)));
    *p = (struct proof){.policy = w->policy, .now_s = LATER, .cache = w->cache};
    add(p, "handed.json", &b->handed);
    add(p, "cocoon.json", &b->operator);
    add(p, "attestation.json", &w->files[DOCUMENT]);
    assert_int_equal(proof_add(p, "prices.json", span_str(BOOK)), 0);
    return proof_judge(p);
}

static void billed_end(struct billed *b)
{
    ed25519_free(b->key);
    buf_fini(&b->operator);
    buf_fini(&b->handed);
}

static void a_bill_is_held_against_record_prices_and_tree(void **state)
{
    AUTO(proof_fini) struct proof p = {.count = 0};
    const struct world *w = *state;
    struct billed b;

    billed_begin(&b, w);
    assert_true(billed_judge(&b, w, &p));
    assert_string_equal(proof_title(p.items[1]), "bill");
    assert_string_equal(proof_title(p.items[2]), "bill's proof");
    assert_true(p.items[1]->usage_bound && p.items[1]->price_checked);
    billed_end(&b);
}

static void refused_bill(const struct world *w, void (*change)(struct billed *b), size_t item,
                         const char *part)
{
    AUTO(proof_fini) struct proof p = {.count = 0};
    struct billed b;

    billed_begin(&b, w);
    change(&b);
    assert_false(billed_judge(&b, w, &p));
    assert_false(p.items[item]->good);
    if (!strstr(p.items[item]->why, part))
        print_message("%s\n", p.items[item]->why);
    assert_non_null(strstr(p.items[item]->why, part));
    billed_end(&b);
}

static void other_usage(struct billed *b)
{
    b->bill.usage[0] ^= 1;
}

static void more_tokens(struct billed *b)
{
    b->bill.out++;
}

static void more_money(struct billed *b)
{
    b->bill.amount++;
}

static void other_prices(struct billed *b)
{
    b->bill.price_sha256[0] ^= 1;
}

static void other_coefficient(struct billed *b)
{
    b->bill.coefficient = 2000;
}

static void other_tree(struct billed *b)
{
    b->spoil_tree = true;
}

static void a_bill_that_takes_too_much_is_found(void **state)
{
    const struct world *w = *state;

    refused_bill(w, other_usage, 1, "another usage record");
    refused_bill(w, more_tokens, 1, "more tokens");
    refused_bill(w, more_money, 1, "more than the price book says");
    refused_bill(w, other_prices, 1, "other prices");
    refused_bill(w, other_coefficient, 1, "another model or price");
    refused_bill(w, other_tree, 2, "no leaf of the tree");
}

static void a_bill_by_nobodys_key_is_none(void **state)
{
    const struct world *w = *state;
    AUTO(proof_fini) struct proof p = {.count = 0}, alone = {.now_s = NOW_S};
    struct billed b;

    billed_begin(&b, w);
    assert_true(billed_judge(&b, w, &p));
    add(&alone, "handed.json", &b.handed);
    assert_false(proof_judge(&alone));
    assert_non_null(strstr(alone.items[1]->why, "cocoon.json"));
    assert_false(alone.items[2]->good);
    billed_end(&b);
}

/* The files again, with one byte of what is handed over changed. */
static bool flipped_holds(struct billed *b, const struct world *w, size_t at)
{
    AUTO(proof_fini) struct proof p = {.policy = w->policy, .now_s = LATER, .cache = w->cache};
    const uint8_t had = b->handed.data[at];

    b->handed.data[at] = had == 'A' ? 'B' : 'A';
    add(&p, "handed.json", &b->handed);
    b->handed.data[at] = had;
    add(&p, "cocoon.json", &b->operator);
    add(&p, "attestation.json", &w->files[DOCUMENT]);
    assert_int_equal(proof_add(&p, "prices.json", span_str(BOOK)), 0);
    return proof_judge(&p);
}

static void any_flipped_byte_of_what_is_handed_over_is_found(void **state)
{
    static const char *const members[] = {"\"usage\":\"", "\"bill\":\""};
    const struct world *w = *state;
    AUTO(proof_fini) struct proof p = {.count = 0};
    struct billed b;

    billed_begin(&b, w);
    assert_true(billed_judge(&b, w, &p));
    /* as long as the day is open, no proof stands behind the bill */
    const char *proof = strstr(buf_cstr(&b.handed), ",\"proof\"");
    b.handed.len = (size_t)(proof - buf_cstr(&b.handed));
    buf_byte(&b.handed, '}');
    for (size_t i = 0; i < 2; i++) {
        const char *text = buf_cstr(&b.handed);
        const size_t from = (size_t)(strstr(text, members[i]) + strlen(members[i]) - text);
        const size_t end = from + strcspn(text + from, "\"");
        for (size_t at = from; at < end; at += at + 7 < end ? 7 : 1)
            if (flipped_holds(&b, w, at))
                fail_msg("byte %zu of %s", at - from, members[i]);
    }
    billed_end(&b);
}

/* Nothing signs the `call` beside bill and record: it must be theirs. */
static void another_call_beside_what_is_signed_is_found(void **state)
{
    const struct world *w = *state;
    AUTO(proof_fini) struct proof p = {.count = 0}, other = {.count = 0};
    struct billed b;

    billed_begin(&b, w);
    assert_true(billed_judge(&b, w, &p));
    const size_t at = (size_t)(strstr(buf_cstr(&b.handed), CALL) - buf_cstr(&b.handed));
    b.handed.data[at] = 'A';
    add(&other, "handed.json", &b.handed);
    add(&other, "cocoon.json", &b.operator);
    add(&other, "attestation.json", &w->files[DOCUMENT]);
    other.policy = w->policy, other.now_s = LATER, other.cache = w->cache;
    assert_false(proof_judge(&other));
    for (size_t i = 0; i < 2; i++)
        assert_string_equal(other.items[i]->why, "The file names another call beside it.");
    billed_end(&b);
}

/* Seconds of b's bill, and so many behind it. */
static void set_since(struct billed *b, uint64_t after_s, char text[static 24])
{
    snprintf(text, 24, "%llu", (unsigned long long)(b->bill.t_ms / 1000 + after_s));
    b->since = text;
}

static void a_bill_from_before_its_key_was_made_is_found(void **state)
{
    static const struct {
        const char *since; /* NULL: `after_s` behind the bill */
        uint64_t after_s;
        bool good;
    } cases[] = {{"null", 0, true},    {NULL, 0, true},     {NULL, 60, true}, {NULL, 61, false},
                 {NULL, 86400, false}, {"\"x\"", 0, false}, {"-1", 0, false}};
    const struct world *w = *state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        AUTO(proof_fini) struct proof p = {.count = 0};
        char text[24];
        struct billed b;

        billed_begin(&b, w);
        b.since = cases[i].since;
        if (!b.since)
            set_since(&b, cases[i].after_s, text);
        assert_int_equal(billed_judge(&b, w, &p), cases[i].good);
        if (!cases[i].since && !cases[i].good)
            assert_non_null(strstr(p.items[1]->why, "before its key was made"));
        billed_end(&b);
    }
}

/* The billed set again, with a signature by signer (NULL: none) and --operator-key key. */
static bool signed_judge(const struct billed *b, const struct world *w, struct proof *p,
                         const struct ed25519 *signer, const uint8_t *key)
{
    AUTO(buf_fini) struct buf signature = {0};

    *p = (struct proof){.policy = w->policy, .now_s = LATER, .cache = w->cache};
    if (key)
        p->operator_key = span_of(key, ED25519_KEY_LEN);
    add(p, "handed.json", &b->handed);
    add(p, "cocoon.json", &b->operator);
    add(p, "attestation.json", &w->files[DOCUMENT]);
    assert_int_equal(proof_add(p, "prices.json", span_str(BOOK)), 0);
    if (signer) {
        assert_int_equal(
            detached_sign("cgw/operator/v1", buf_span(&b->operator), signer, &signature), 0);
        add(p, "cocoon.json.sig", &signature);
        assert_string_equal(proof_title(p->items[p->count - 1]), "operator's signature");
    }
    return proof_judge(p);
}

static void where_the_operators_key_is_known_it_must_have_signed_the_bills_keys(void **state)
{
    const struct world *w = *state;
    AUTO(ed25519_free) struct ed25519 *own = NULL, *other = NULL;
    uint8_t key[ED25519_KEY_LEN];
    struct billed b;
    const struct {
        bool told, signs, by_other, good;
    } cases[] = {{false, false, false, true},
                 {false, true, false, true},
                 {true, true, false, true},
                 {true, false, false, false},
                 {true, false, true, false}};

    assert_int_equal(ed25519_generate(&own), 0);
    assert_int_equal(ed25519_generate(&other), 0);
    ed25519_public(own, key);
    billed_begin(&b, w);
    {
        AUTO(proof_fini) struct proof p = {.count = 0};
        assert_true(billed_judge(&b, w, &p));
    }
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        AUTO(proof_fini) struct proof p = {.count = 0};
        const struct ed25519 *signer = cases[i].by_other ? other : cases[i].signs ? own : NULL;
        assert_int_equal(signed_judge(&b, w, &p, signer, cases[i].told ? key : NULL),
                         cases[i].good);
        assert_int_equal(p.items[1]->has_bill, cases[i].good);
    }
    billed_end(&b);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(an_honest_set_is_proven_long_after),
        CASE(parts_of_a_set_prove_what_they_can),
        CASE(a_document_alone_proves_no_answer),
        CASE(what_the_gateway_hands_over_is_taken_apart),
        CASE(a_line_end_behind_a_receipt_is_no_part_of_it),
        CASE(a_keyset_must_be_a_documents),
        CASE(any_flipped_byte_of_records_and_contents_is_found),
        CASE(a_flipped_byte_of_a_document_changes_nothing_that_it_vouches_for),
        CASE(records_are_held_against_the_keyset_that_signed_them),
        CASE(times_are_those_of_the_keys),
        CASE(record_and_receipt_of_a_call_must_agree),
        CASE(a_label_that_the_evidence_does_not_bear_is_found),
        CASE(the_policy_judges_as_of_then_and_may_refuse),
        CASE(another_workers_signature_is_nobodys),
        CASE(contents_that_look_like_evidence_are_judged_as_it),
        CASE(a_bill_is_held_against_record_prices_and_tree),
        CASE(a_bill_that_takes_too_much_is_found),
        CASE(a_bill_by_nobodys_key_is_none),
        CASE(any_flipped_byte_of_what_is_handed_over_is_found),
        CASE(another_call_beside_what_is_signed_is_found),
        CASE(a_bill_from_before_its_key_was_made_is_found),
        CASE(where_the_operators_key_is_known_it_must_have_signed_the_bills_keys),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
