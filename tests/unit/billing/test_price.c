/* The price formula against Python's integers, and its edges. */
#include "tests/unit/lib/vectors.h"

#include <inttypes.h>
#include <stdio.h>

#include "billing/price.h"

static const struct price SIMPLE = {.prompt = 100000,
                                    .cached = 50000,
                                    .completion = 400000,
                                    .reasoning = 300000,
                                    .per_request = 0,
                                    .minimum = 0};

static void one_token_costs_its_millionth_rounded_up_once(void **state)
{
    const struct price p = {.prompt = 1, .completion = 1};
    const struct price_tokens one = {.in = 1}, both = {.in = 1, .out = 1};
    int64_t nano;

    (void)state;
    assert_int_equal(price_amount(&p, &one, 1000, &nano), 0);
    assert_int_equal(nano, 1);
    assert_int_equal(price_amount(&p, &both, 1000, &nano), 0);
    assert_int_equal(nano, 1); /* rounded once, not for each class */
}

static void nothing_used_costs_the_minimum_or_the_request(void **state)
{
    struct price p = SIMPLE;
    const struct price_tokens none = {0};
    int64_t nano;

    (void)state;
    assert_int_equal(price_amount(&p, &none, 1000, &nano), 0);
    assert_int_equal(nano, 0);
    p.per_request = 7;
    assert_int_equal(price_amount(&p, &none, 1000, &nano), 0);
    assert_int_equal(nano, 7);
    p.minimum = 70;
    assert_int_equal(price_amount(&p, &none, 1000, &nano), 0);
    assert_int_equal(nano, 70);
}

static void classes_are_disjoint(void **state)
{
    const struct price_tokens t = {.in = 10, .cached = 4, .out = 5, .reasoning = 2};
    int64_t nano;

    (void)state;
    assert_int_equal(price_amount(&SIMPLE, &t, 1500, &nano), 0);
    /* (6·0.1 + 4·0.05 + 3·0.4 + 2·0.3) · 1.5 = 3.9, up */
    assert_int_equal(nano, 4);
}

static void a_part_above_its_whole_is_refused(void **state)
{
    const struct price_tokens bad[] = {
        {.in = 1, .cached = 2},  {.out = 1, .reasoning = 2},  {.in = -1}, {.out = -1},
        {.in = 1, .cached = -1}, {.in = PRICE_TOKENS_MAX + 1}};
    int64_t nano = 5;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_int_equal(price_amount(&SIMPLE, &bad[i], 1000, &nano), E_INVALID);
    assert_int_equal(price_amount(&SIMPLE, &(struct price_tokens){0}, -1, &nano), E_INVALID);
    assert_int_equal(
        price_amount(&SIMPLE, &(struct price_tokens){0}, PRICE_COEFFICIENT_MAX + 1, &nano),
        E_INVALID);
    assert_int_equal(nano, 5);
}

static void the_largest_numbers_do_not_wrap(void **state)
{
    const struct price most = {NANO_MAX, NANO_MAX, NANO_MAX, NANO_MAX, NANO_MAX, NANO_MAX, 0};
    const struct price_tokens t = {PRICE_TOKENS_MAX, PRICE_TOKENS_MAX / 2, PRICE_TOKENS_MAX,
                                   PRICE_TOKENS_MAX / 2};
    int64_t nano;

    (void)state;
    assert_int_equal(price_amount(&most, &t, PRICE_COEFFICIENT_MAX, &nano), E_TOO_LARGE);
}

static bool read_case(FILE *in, int64_t n[static 17])
{
    for (int i = 0; i < 17; i++)
        if (fscanf(in, "%" SCNd64, &n[i]) != 1)
            return false;
    return true;
}

static void every_case_equals_the_formula_in_big_integers(void **state)
{
    FILE *in = popen("python3 tests/unit/billing/price_model.py 20000 20261129", "r");
    int64_t n[17], amount, worker, fee;
    size_t cases = 0, refused = 0;

    (void)state;
    assert_non_null(in);
    for (; read_case(in, n); cases++) {
        const struct price p = {n[0], n[1], n[2], n[3], n[4], n[5], 0};
        const struct price_tokens t = {n[6], n[7], n[8], n[9]};
        int64_t hold = n[12];
        if (n[13] < 0) {
            assert_int_equal(price_amount(&p, &t, n[10], &amount), E_TOO_LARGE);
            refused++;
            continue;
        }
        assert_int_equal(price_amount(&p, &t, n[10], &amount), 0);
        assert_int_equal(amount, n[13]);
        int64_t charged = amount < hold ? amount : hold;
        assert_int_equal(charged, n[14]);
        price_split(charged, n[11], &worker, &fee);
        assert_int_equal(worker, n[15]);
        assert_int_equal(fee, n[16]);
        assert_int_equal(worker + fee, charged);
    }
    assert_int_equal(pclose(in), 0);
    assert_int_equal(cases, 20000);
    assert_true(refused > 100 && refused < 15000);
}

/* A small generator: the same cases in every run. */
static uint64_t next(uint64_t *s, uint64_t below)
{
    *s = *s * 6364136223846793005u + 1442695040888963407u;
    return (*s >> 20) % below;
}

static void no_record_within_the_ceilings_costs_more_than_the_ceiling(void **state)
{
    uint64_t s = 7;

    (void)state;
    for (int i = 0; i < 100000; i++) {
        const struct price p = {(int64_t)next(&s, 1000000000),
                                (int64_t)next(&s, 1000000000),
                                (int64_t)next(&s, 1000000000),
                                (int64_t)next(&s, 1000000000),
                                (int64_t)next(&s, 1000),
                                (int64_t)next(&s, 100000),
                                0};
        int64_t max_in = (int64_t)next(&s, 100000), max_out = (int64_t)next(&s, 100000);
        int64_t bid = (int64_t)next(&s, 10000), ceiling, amount;
        struct price_tokens t = {.in = (int64_t)next(&s, (uint64_t)max_in + 1),
                                 .out = (int64_t)next(&s, (uint64_t)max_out + 1)};
        t.cached = (int64_t)next(&s, (uint64_t)t.in + 1);
        t.reasoning = (int64_t)next(&s, (uint64_t)t.out + 1);
        int64_t ask = (int64_t)next(&s, (uint64_t)bid + 1);
        assert_int_equal(price_ceiling(&p, max_in, max_out, bid, &ceiling), 0);
        assert_int_equal(price_amount(&p, &t, ask, &amount), 0);
        assert_true(amount <= ceiling);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_token_costs_its_millionth_rounded_up_once),
        cmocka_unit_test(nothing_used_costs_the_minimum_or_the_request),
        cmocka_unit_test(classes_are_disjoint),
        cmocka_unit_test(a_part_above_its_whole_is_refused),
        cmocka_unit_test(the_largest_numbers_do_not_wrap),
        cmocka_unit_test(every_case_equals_the_formula_in_big_integers),
        cmocka_unit_test(no_record_within_the_ceilings_costs_more_than_the_ceiling),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
