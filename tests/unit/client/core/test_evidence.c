/* Receipt and record against what was sent and received: the honest pair passes, and each lie has a
 * finding of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "client/core/evidence.h"

#define CALL   "00112233445566778899aabbccddeeff"
#define DIGEST "sha256:0000000000000000000000000000000000000000000000000000000000000001"
#define CONFIG "0000000000000000000000000000000000000000000000000000000000000002"
#define NOW_MS UINT64_C(1751328000000)

struct world {
    struct ed25519 *key;
    struct keyset keyset;
    struct evidence e;
    struct usage_record c, u; /* what receipt and record will say */
    struct receipt_extra extra;
    struct buf receipt, record;
};

static struct usage_record honest(void)
{
    struct usage_record r = {.in = 9,
                             .out = 2,
                             .model = SPAN("served"),
                             .outcome = USAGE_STOP,
                             .t0_ms = NOW_MS,
                             .t1_ms = NOW_MS + 100,
                             .final = true};

    strcpy(r.call, CALL);
    strcpy(r.price, "3;1000");
    strcpy(r.env, "production");
    memset(r.kfp, 1, sizeof(r.kfp));
    memset(r.keyset, 2, sizeof(r.keyset));
    memset(r.req, 3, sizeof(r.req));
    memset(r.resp, 4, sizeof(r.resp));
    return r;
}

static int setup(void **state)
{
    static struct world w;

    w = (struct world){.c = honest(), .u = honest()};
    assert_int_equal(ed25519_generate(&w.key), 0);
    ed25519_public(w.key, w.keyset.receipt_key);
    w.keyset.model_digest = SPAN(DIGEST);
    w.keyset.config_sha256 = SPAN(CONFIG);
    w.extra = (struct receipt_extra){
        .rid = SPAN("r-1"), .model_digest = SPAN(DIGEST), .config_sha256 = SPAN(CONFIG)};
    w.e = (struct evidence){.keyset = &w.keyset,
                            .env = "production",
                            .kfp = SPAN_OF(w.u.kfp),
                            .model = SPAN("served"),
                            .rid = SPAN("r-1"),
                            .call = SPAN(CALL),
                            .price = SPAN("3;1000"),
                            .sent_ms = NOW_MS,
                            .received_ms = NOW_MS + 200,
                            .has_counts = true,
                            .counts = {.in = 9, .out = 2},
                            .max_tokens = 10};
    memset(w.e.request, 3, SHA256_LEN);
    memset(w.e.response, 4, SHA256_LEN);
    *state = &w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    ed25519_free(w->key);
    buf_fini(&w->receipt);
    buf_fini(&w->record);
    return 0;
}

static const char *judge(struct world *w)
{
    buf_clear(&w->receipt);
    buf_clear(&w->record);
    assert_int_equal(receipt_sign(&w->c, &w->extra, w->key, &w->receipt), 0);
    assert_int_equal(usage_record_sign(&w->u, w->key, &w->record), 0);
    return evidence_judge(&w->e, buf_span(&w->receipt), buf_span(&w->record));
}

static void expect(struct world *w, const char *part)
{
    const char *finding = judge(w);

    assert_non_null(finding);
    assert_non_null(strstr(finding, part));
}

static void an_honest_pair_passes(void **state)
{
    struct world *w = *state;

    assert_null(judge(w));
    w->c.outcome = w->u.outcome = USAGE_LENGTH;
    w->e.price = (struct span){0}; /* the gateway named none */
    w->e.has_counts = false;       /* a stream without a usage event */
    assert_null(judge(w));
}

static void what_is_missing_is_a_finding(void **state)
{
    struct world *w = *state;

    assert_null(judge(w));
    assert_non_null(evidence_judge(&w->e, (struct span){0}, buf_span(&w->record)));
    assert_non_null(evidence_judge(&w->e, buf_span(&w->receipt), SPAN("")));
    assert_non_null(evidence_judge(&w->e, buf_span(&w->record), buf_span(&w->receipt)));
    assert_non_null(evidence_judge(&w->e, SPAN("a.b.c"), buf_span(&w->record)));
}

static void anothers_signature_is_a_finding(void **state)
{
    struct world *w = *state;

    w->keyset.receipt_key[0] ^= 1;
    expect(w, "not signed by the attested worker");
}

static void a_receipt_of_another_exchange_is_a_finding(void **state)
{
    struct world *w = *state;

    w->c.req[0] ^= 1;
    expect(w, "another request");
    w->c = honest();
    w->c.call[0] = 'f';
    expect(w, "another call");
    w->c = honest();
    w->extra.resp_body[0] ^= 1;
    expect(w, "another answer");
}

static void more_tokens_than_were_asked_for_are_a_finding(void **state)
{
    struct world *w = *state;

    w->e.max_tokens = 1;
    expect(w, "more tokens");
}

static void counts_that_differ_anywhere_are_a_finding(void **state)
{
    struct world *w = *state;

    w->e.counts.in = 8;
    expect(w, "other tokens than the answer shows");
    w->e.counts.in = 9;
    w->u.in = 10;
    expect(w, "different tokens");
    w->u = honest();
    w->u.reasoning = 1;
    expect(w, "different tokens");
}

static void clocks_may_be_minutes_off_not_hours(void **state)
{
    struct world *w = *state;

    w->c.t0_ms = w->u.t0_ms = NOW_MS - 240000;
    assert_null(judge(w));
    w->c.t0_ms = w->u.t0_ms = NOW_MS - 3600000;
    expect(w, "times");
    w->c.t0_ms = w->u.t0_ms = NOW_MS;
    w->c.t1_ms = w->u.t1_ms = NOW_MS + 3600000;
    expect(w, "times");
    w->c.t1_ms = w->u.t1_ms = NOW_MS - 1;
    expect(w, "times");
}

static void an_answer_without_its_end_is_a_finding(void **state)
{
    struct world *w = *state;

    w->u.final = false;
    expect(w, "another answer");
    w->u.final = true;
    w->u.resp[0] ^= 1;
    expect(w, "another answer");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        CASE(an_honest_pair_passes),
        CASE(what_is_missing_is_a_finding),
        CASE(anothers_signature_is_a_finding),
        CASE(a_receipt_of_another_exchange_is_a_finding),
        CASE(more_tokens_than_were_asked_for_are_a_finding),
        CASE(counts_that_differ_anywhere_are_a_finding),
        CASE(clocks_may_be_minutes_off_not_hours),
        CASE(an_answer_without_its_end_is_a_finding),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
