/* The engine model: its times are those of its steps, however many are done at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/error.h"
#include "tests/sim/forecast.h"
#include "tests/sim/model.h"
#include "tests/sim/prefix.h"
#include "tests/sim/rng.h"

/* Steps of 10 ms + 1 ms a call that decodes, and 1 ms for each prompt token: easy to add up. */
static const struct model_spec simple = {.prefill_per_s = 1000,
                                         .step_us = 10000,
                                         .step_each_us = 1000,
                                         .speed = 1,
                                         .chunk = 100,
                                         .kv_tokens = 10000,
                                         .block_tokens = 10,
                                         .max_batch = 4};

struct ask {
    struct model_call call;
    uint64_t first_ns, over_ns;
    int64_t told;
};

static void on_tokens(void *arg, struct model_call *c, int64_t count, uint64_t at_ns)
{
    struct ask *a = CONTAINER(c, struct ask, call);

    (void)arg;
    if (a->first_ns == 0)
        a->first_ns = at_ns;
    a->told += count;
    if (c->state == MODEL_OVER)
        a->over_ns = at_ns;
}

static void run_out(struct model *m)
{
    for (uint64_t next = model_next(m); next != UINT64_MAX; next = model_next(m))
        model_advance(m, next);
}

/* To the microsecond: steps are rounded up by a nanosecond. */
static void assert_ms(uint64_t ns, double ms)
{
    assert_true(ns > (uint64_t)(ms * 1e6) - 1000 && ns < (uint64_t)(ms * 1e6) + 1000);
}

static struct ask ask(int64_t prompt, int64_t output)
{
    return (struct ask){.call = {.prompt = prompt, .output = output}};
}

static void a_lone_call_takes_its_prompts_chunks_and_a_step_a_token(void **state)
{
    struct model *m = model_new(&simple, true, on_tokens, NULL);
    struct ask a = ask(250, 3);

    (void)state;
    model_add(m, &a.call, 1000000);
    run_out(m);
    /* Three steps for the prompt: 110, 110 and 60 ms; the first token comes with the last. */
    assert_ms(a.first_ns, 1 + 280);
    assert_ms(a.over_ns, 1 + 280 + 2 * 11);
    assert_int_equal(a.told, 3);
    assert_int_equal(model_running(m), 0);
    model_free(m);
}

static void a_faster_engine_takes_a_part_of_the_time(void **state)
{
    struct model_spec fast = simple;
    struct ask a = ask(250, 3);

    (void)state;
    fast.speed = 4;
    struct model *m = model_new(&fast, false, on_tokens, NULL);
    model_add(m, &a.call, 0);
    run_out(m);
    assert_ms(a.first_ns, 280 / 4.0);
    assert_ms(a.over_ns, (280 + 22) / 4.0);
    model_free(m);
}

static void calls_that_decode_together_share_their_steps(void **state)
{
    struct model *m = model_new(&simple, true, on_tokens, NULL);
    struct ask a = ask(50, 11), b = ask(50, 11);

    (void)state;
    model_add(m, &a.call, 0);
    model_add(m, &b.call, 0);
    run_out(m);
    /* b came while a's first step ran, so its prompt goes into the second. */
    assert_ms(a.first_ns, 60);
    assert_ms(b.first_ns, 60 + 61);
    assert_ms(a.over_ns, 60 + 61 + 9 * 12);
    assert_ms(b.over_ns, 60 + 61 + 9 * 12 + 11);
    model_free(m);
}

static void what_finds_no_place_in_the_batch_waits(void **state)
{
    struct model *m = model_new(&simple, false, on_tokens, NULL);
    struct ask a[6];

    (void)state;
    for (size_t i = 0; i < 6; i++) {
        a[i] = ask(10, 100);
        model_add(m, &a[i].call, 0);
    }
    model_advance(m, 200 * 1000000);
    assert_int_equal(model_running(m), 4);
    assert_int_equal(model_waiting(m), 2);
    run_out(m);
    assert_true(a[4].first_ns > a[0].over_ns && a[5].first_ns > a[0].over_ns);
    model_free(m);
}

/* The same calls, step by step and many steps at once. */
static void run_crowd(bool each, struct ask *asks, size_t count, const struct model_spec *spec)
{
    struct model *m = model_new(spec, each, on_tokens, NULL);
    struct rng rng = {7};
    uint64_t at_ns = 0;

    for (size_t i = 0; i < count; i++) {
        const int64_t prompt = 1 + (int64_t)rng_below(&rng, 900);
        asks[i] = ask(prompt, 1 + (int64_t)rng_below(&rng, 200));
        at_ns += rng_below(&rng, 2000) * 1000000;
        for (uint64_t next = model_next(m); next <= at_ns; next = model_next(m))
            model_advance(m, next);
        model_add(m, &asks[i].call, at_ns);
    }
    run_out(m);
    assert_int_equal(model_kv(m) * 1000, 0);
    model_free(m);
}

static void many_steps_at_once_are_the_same_steps(void **state)
{
    enum { COUNT = 300 };
    struct model_spec tight = simple;
    struct ask *one = mem_zero(COUNT * sizeof(*one)), *many = mem_zero(COUNT * sizeof(*many));

    (void)state;
    tight.kv_tokens = 2000; /* so that calls are evicted too */
    run_crowd(true, one, COUNT, &tight);
    run_crowd(false, many, COUNT, &tight);
    unsigned evictions = 0;
    for (size_t i = 0; i < COUNT; i++) {
        assert_true(one[i].over_ns > 0);
        assert_int_equal(one[i].first_ns, many[i].first_ns);
        assert_int_equal(one[i].over_ns, many[i].over_ns);
        assert_int_equal(one[i].told, one[i].call.output);
        evictions += one[i].call.evictions;
    }
    assert_true(evictions > 0);
    free(one);
    free(many);
}

static void what_memory_has_no_room_for_is_evicted_and_computed_again(void **state)
{
    struct model_spec tight = simple;
    struct ask a = ask(50, 40), b = ask(50, 40);

    (void)state;
    tight.kv_tokens = 120;
    struct model *m = model_new(&tight, true, on_tokens, NULL);
    model_add(m, &a.call, 0);
    model_add(m, &b.call, 0);
    run_out(m);
    assert_int_equal(a.call.evictions, 0);
    assert_true(b.call.evictions > 0);
    assert_int_equal(b.told, 40);
    assert_true(b.over_ns > a.over_ns);
    assert_true(model_figures(m)->wasted >= 50);
    model_free(m);
}

static void a_prompt_whose_beginning_was_there_before_is_taken_in_faster(void **state)
{
    struct model *m = model_new(&simple, false, on_tokens, NULL);
    const uint64_t blocks[] = {11, 12, 13, 14, 15, 16, 17, 18, 19, 20};
    struct ask a = ask(100, 1), b = ask(105, 1);

    (void)state;
    a.call.blocks = b.call.blocks = blocks;
    a.call.block_count = b.call.block_count = 10;
    model_add(m, &a.call, 0);
    run_out(m);
    model_add(m, &b.call, 1000000000);
    run_out(m);
    assert_int_equal(a.call.cached, 0);
    assert_int_equal(b.call.cached, 100);
    assert_ms(b.over_ns - 1000000000, 10 + 5);
    assert_int_equal(model_figures(m)->cached, 100);
    model_free(m);
}

static void a_cancelled_call_makes_room_at_once(void **state)
{
    struct model_spec one = simple;
    struct ask a = ask(10, 1000), b = ask(10, 1);

    (void)state;
    one.max_batch = 1;
    struct model *m = model_new(&one, true, on_tokens, NULL);
    model_add(m, &a.call, 0);
    model_add(m, &b.call, 0);
    model_advance(m, 100 * 1000000);
    model_cancel(m, &a.call, 100 * 1000000);
    assert_int_equal(a.call.state, MODEL_OVER);
    run_out(m);
    assert_true(b.over_ns > 0 && b.over_ns < 150 * 1000000);
    assert_int_equal(a.over_ns, 0);
    assert_true(model_figures(m)->wasted > 0);
    model_free(m);
}

static void a_frozen_engine_goes_on_where_it_was(void **state)
{
    struct model *m = model_new(&simple, true, on_tokens, NULL);
    struct ask a = ask(10, 3);

    (void)state;
    model_add(m, &a.call, 0);
    model_advance(m, 21 * 1000000);
    model_freeze(m, 5000 * 1000000ull);
    model_advance(m, 4999 * 1000000ull);
    assert_int_equal(a.told, 1);
    run_out(m);
    assert_ms(a.over_ns, 5000 + 11);
    model_free(m);
}

static void a_forecast_is_what_comes_when_nothing_else_does(void **state)
{
    struct model *m = model_new(&simple, false, on_tokens, NULL);
    struct ask a[7];

    (void)state;
    for (size_t i = 0; i < 7; i++)
        a[i] = ask(150 + 40 * (int64_t)i, 20 + 10 * (int64_t)i);
    for (size_t i = 0; i < 6; i++)
        model_add(m, &a[i].call, 0);
    const struct forecast f = forecast_call(m, &a[6].call);
    model_add(m, &a[6].call, 0);
    run_out(m);
    assert_true(f.first_s > (double)a[6].first_ns / 1e9 * 0.9);
    assert_true(f.first_s < (double)a[6].first_ns / 1e9 * 1.1);
    assert_true(f.over_s > (double)a[6].over_ns / 1e9 * 0.9);
    assert_true(f.over_s < (double)a[6].over_ns / 1e9 * 1.1);
    model_free(m);
}

static void the_block_that_was_not_used_for_longest_goes_first(void **state)
{
    struct prefix_cache *c = prefix_new(3);
    const uint64_t a[] = {1, 2}, b[] = {3}, d[] = {4};

    (void)state;
    prefix_put(c, a, 2);
    prefix_put(c, b, 1);
    assert_int_equal(prefix_match(c, a, 1), 1);
    prefix_put(c, d, 1);
    assert_int_equal(prefix_peek(c, a, 2), 1);
    assert_int_equal(prefix_peek(c, b, 1), 1);
    prefix_limit(c, 1);
    assert_int_equal(prefix_peek(c, d, 1), 1);
    assert_int_equal(prefix_peek(c, a, 1) + prefix_peek(c, b, 1), 0);
    prefix_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lone_call_takes_its_prompts_chunks_and_a_step_a_token),
        cmocka_unit_test(a_faster_engine_takes_a_part_of_the_time),
        cmocka_unit_test(calls_that_decode_together_share_their_steps),
        cmocka_unit_test(what_finds_no_place_in_the_batch_waits),
        cmocka_unit_test(many_steps_at_once_are_the_same_steps),
        cmocka_unit_test(what_memory_has_no_room_for_is_evicted_and_computed_again),
        cmocka_unit_test(a_prompt_whose_beginning_was_there_before_is_taken_in_faster),
        cmocka_unit_test(a_cancelled_call_makes_room_at_once),
        cmocka_unit_test(a_frozen_engine_goes_on_where_it_was),
        cmocka_unit_test(a_forecast_is_what_comes_when_nothing_else_does),
        cmocka_unit_test(the_block_that_was_not_used_for_longest_goes_first),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
