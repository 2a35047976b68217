/* What a worker may claim is bounded by what passed through the gateway. */
#include "tests/unit/lib/vectors.h"

#include "billing/plausible.h"

static const struct plausible_bounds WIDE = {.max_input = 1000,
                                             .max_tokens = 500,
                                             .sequences = 1,
                                             .top_speed = 100,
                                             .ran_ms = 9000,
                                             .answer_bytes = 100000};

static void an_honest_claim_stays(void **state)
{
    const struct price_tokens claim = {100, 40, 200, 50};
    struct price_tokens t;

    (void)state;
    assert_false(plausible_bound(&claim, &WIDE, &t));
    assert_memory_equal(&t, &claim, sizeof(t));
}

static void input_is_cut_to_the_bytes_and_output_to_the_cap(void **state)
{
    const struct price_tokens claim = {5000, 4000, 800, 700};
    struct price_tokens t;

    (void)state;
    assert_true(plausible_bound(&claim, &WIDE, &t));
    assert_int_equal(t.in, 1000);
    assert_int_equal(t.cached, 1000);
    assert_int_equal(t.out, 500);
    assert_int_equal(t.reasoning, 500);
}

static void no_machine_is_faster_than_the_fastest(void **state)
{
    const struct price_tokens claim = {10, 0, 400, 0};
    struct plausible_bounds b = WIDE;
    struct price_tokens t;

    (void)state;
    b.ran_ms = 1000; /* and a second of grace */
    assert_true(plausible_bound(&claim, &b, &t));
    assert_int_equal(t.out, 200);
    b.sequences = 2; /* side by side */
    assert_false(plausible_bound(&claim, &b, &t));
    b.sequences = 1;
    b.top_speed = 0; /* not known */
    assert_false(plausible_bound(&claim, &b, &t));
}

static void tokens_that_were_said_are_bytes_of_the_answer(void **state)
{
    const struct price_tokens claim = {10, 0, 300, 100};
    struct plausible_bounds b = WIDE;
    struct price_tokens t;

    (void)state;
    b.answer_bytes = 150;
    assert_true(plausible_bound(&claim, &b, &t));
    assert_int_equal(t.out, 250); /* reasoning need not be said */
    assert_int_equal(t.reasoning, 100);
}

static void what_is_usual_cuts_what_was_said_or_all(void **state)
{
    const struct price_tokens claim = {10, 0, 300, 100};
    struct plausible_bounds b = WIDE;
    struct price_tokens t;

    (void)state;
    b.usual.said = 150;
    assert_true(plausible_bound(&claim, &b, &t));
    assert_int_equal(t.out, 250);
    assert_int_equal(t.reasoning, 100);
    b.usual = (struct usual_bounds){.out = 60};
    assert_true(plausible_bound(&claim, &b, &t));
    assert_int_equal(t.out, 60);
    assert_int_equal(t.reasoning, 60);
    b.usual = (struct usual_bounds){.out = 300, .said = 200};
    assert_false(plausible_bound(&claim, &b, &t));
}

static void what_is_charged_is_never_above_the_claim(void **state)
{
    uint64_t s = 5;

    (void)state;
    for (int i = 0; i < 100000; i++) {
        int64_t n[11];
        for (int k = 0; k < 11; k++) {
            s = s * 6364136223846793005u + 1442695040888963407u;
            n[k] = (int64_t)((s >> 33) % 2000);
        }
        struct price_tokens claim = {n[0], n[1] % (n[0] + 1), n[2], n[3] % (n[2] + 1)}, t;
        const struct plausible_bounds b = {n[4],
                                           n[5],
                                           1 + n[6] % 3,
                                           n[7],
                                           (uint64_t)n[8] * 3,
                                           (uint64_t)n[6],
                                           {.said = n[9], .out = n[10]}};
        bool cut = plausible_bound(&claim, &b, &t);
        assert_true(t.in <= claim.in && t.in <= b.max_input && t.cached <= t.in);
        assert_true(t.out <= claim.out && t.out <= b.max_tokens && t.reasoning <= t.out);
        assert_true(t.cached <= claim.cached && t.reasoning <= claim.reasoning);
        assert_true(b.usual.out == 0 || t.out <= b.usual.out);
        assert_true(b.usual.said == 0 || t.out <= b.usual.said + claim.reasoning);
        assert_int_equal(cut, t.in != claim.in || t.out != claim.out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_honest_claim_stays),
        cmocka_unit_test(input_is_cut_to_the_bytes_and_output_to_the_cap),
        cmocka_unit_test(no_machine_is_faster_than_the_fastest),
        cmocka_unit_test(tokens_that_were_said_are_bytes_of_the_answer),
        cmocka_unit_test(what_is_usual_cuts_what_was_said_or_all),
        cmocka_unit_test(what_is_charged_is_never_above_the_claim),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
