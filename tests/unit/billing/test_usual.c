/* What is usual is learned from many machines: honest ones are not cut, a liar gains little. */
#include "tests/unit/lib/vectors.h"

#include "billing/usual.h"

/* ---- One answer ---- */

enum { MARGIN = 25 };

static const struct span MODEL = {(const uint8_t *)"m", 1};

static struct price_tokens claim(int64_t out, int64_t reasoning)
{
    return (struct price_tokens){10, 0, out, reasoning};
}

static struct usual_seen stream(int64_t pieces, int64_t bytes)
{
    return (struct usual_seen){SAID_PLAIN, (uint64_t)pieces, (uint64_t)bytes, false, 1, 0};
}

static void machine_name(char out[static USUAL_MACHINE_LEN + 1], int machine)
{
    snprintf(out, USUAL_MACHINE_LEN + 1, "%032x", (unsigned)machine);
}

static void learn(struct usual *u, int machine, struct usual_seen seen, int64_t out,
                  int64_t reasoning)
{
    const struct price_tokens c = claim(out, reasoning);
    char name[USUAL_MACHINE_LEN + 1];

    machine_name(name, machine);
    usual_learn(u, MODEL, name, &seen, &c);
}

/* So many calls on each machine of `from` … `to`. */
static void learn_many(struct usual *u, int from, int to, int calls, struct usual_seen seen,
                       int64_t out, int64_t reasoning)
{
    for (int i = 0; i < calls; i++)
        for (int m = from; m <= to; m++)
            learn(u, m, seen, out, reasoning);
}

/* Counts ten times too much. */
enum { LIAR = 1000 };

static struct usual_bounds bound_of(const struct usual *u, int machine, struct usual_seen seen,
                                    int64_t out, int64_t reasoning)
{
    const struct price_tokens c = claim(out, reasoning);
    char name[USUAL_MACHINE_LEN + 1];

    machine_name(name, machine);
    return usual_bound(u, MODEL, name, &seen, &c, MARGIN);
}

/* Of a machine that is known to count more than the others. */
static struct usual_bounds bound(const struct usual *u, struct usual_seen seen, int64_t out,
                                 int64_t reasoning)
{
    return bound_of(u, LIAR, seen, out, reasoning);
}

/* Such answers on three honest machines and on the liar. */
static struct usual *known(struct usual_seen seen, int64_t out)
{
    struct usual *u = usual_new();

    learn_many(u, 1, 3, USUAL_CALLS, seen, out, 0);
    learn_many(u, LIAR, LIAR, USUAL_CALLS, seen, 10 * out, 0);
    return u;
}

static void nothing_is_bounded_before_enough_machines_have_run_enough(void **state)
{
    struct usual *u = usual_new();

    (void)state;
    assert_int_equal(bound(u, stream(100, 400), 200, 0).out, 0);
    learn_many(u, 1, 2, USUAL_CALLS - 1, stream(100, 400), 100, 0);
    learn_many(u, 3, 3, 1000, stream(100, 400), 100, 0);
    learn_many(u, LIAR, LIAR, 1000, stream(100, 400), 1000, 0);
    assert_int_equal(bound(u, stream(100, 400), 200, 0).out, 0);
    learn(u, 1, stream(100, 400), 100, 0);
    assert_int_equal(bound(u, stream(100, 400), 200, 0).out, 125 + USUAL_SLACK);
    assert_int_equal(bound(u, stream(100, 400), 200, 0).said, 0);
    usual_free(u);
}

static void answers_of_another_kind_in_one_piece_or_of_another_model_are_not_known(void **state)
{
    struct usual *u = known(stream(0, 400), 100);
    struct usual_seen seen = stream(100, 400);
    const struct price_tokens c = claim(200, 0);
    char liar[USUAL_MACHINE_LEN + 1];

    (void)state;
    machine_name(liar, LIAR);
    assert_true(bound(u, stream(0, 400), 200, 0).out > 0);
    assert_int_equal(bound(u, stream(100, 400), 200, 0).out, 0);
    seen.pieces = 0;
    seen.kind = SAID_WIDE;
    assert_int_equal(usual_bound(u, MODEL, liar, &seen, &c, MARGIN).out, 0);
    seen.kind = SAID_PLAIN;
    assert_int_equal(usual_bound(u, SPAN("other"), liar, &seen, &c, MARGIN).out, 0);
    seen.bytes = 0; /* made, but not shown */
    assert_int_equal(usual_bound(u, MODEL, liar, &seen, &c, MARGIN).out, 0);
    usual_free(u);
}

static void only_a_machine_whose_own_figures_are_above_is_cut_to_what_is_usual(void **state)
{
    struct usual *u = known(stream(100, 400), 100);
    const int64_t far = 4 * 125 + USUAL_SLACK;

    (void)state;
    assert_int_equal(bound_of(u, LIAR, stream(100, 400), 200, 0).out, 125 + USUAL_SLACK);
    assert_true(bound_of(u, LIAR, stream(100, 400), 200, 0).told);
    /* An honest one, and one that is new here: an odd text is believed, and marks nobody. */
    assert_int_equal(bound_of(u, 1, stream(100, 400), 200, 0).out, far);
    assert_false(bound_of(u, 1, stream(100, 400), 200, 0).told);
    assert_int_equal(bound_of(u, 77, stream(100, 400), 200, 0).out, far);
    assert_false(bound_of(u, 77, stream(100, 400), 200, 0).told);
    /* Within the margin nobody is above. */
    learn_many(u, 4, 4, 1000, stream(100, 400), 125, 0);
    assert_int_equal(bound_of(u, 4, stream(100, 400), 200, 0).out, far);
    /* A lie in more than one of a hundred calls is one's own figure; in fewer it is not. */
    for (int i = 0; i < 5000; i++)
        for (int m = 5; m <= 6; m++)
            learn(u, m, stream(100, 400), i % (m == 5 ? 40 : 400) == 39 ? 200 : 100, 0);
    assert_int_equal(bound_of(u, 5, stream(100, 400), 200, 0).out, 125 + USUAL_SLACK);
    assert_int_equal(bound_of(u, 6, stream(100, 400), 200, 0).out, far);
    usual_free(u);
}

/* One caller's texts have half the bytes a token, and all come to one machine. */
static void a_machine_that_gets_other_texts_is_not_cut(void **state)
{
    struct usual *u = known(stream(0, 400), 88);

    (void)state;
    learn_many(u, 4, 4, 1000, stream(0, 400), 198, 0); /* whole */
    assert_true(bound_of(u, 4, stream(0, 400), 198, 0).out >= 198);
    assert_false(bound_of(u, 4, stream(0, 400), 198, 0).told);
    assert_true(bound(u, stream(0, 400), 880, 0).out < 2 * 125); /* a lie is known by its size */
    learn_many(u, 1, 3, USUAL_CALLS, stream(88, 400), 88, 0);    /* streamed: a token an event */
    learn_many(u, 4, 4, 1000, stream(198, 400), 198, 0);
    learn_many(u, LIAR, LIAR, USUAL_CALLS, stream(88, 400), 198, 0);
    assert_true(bound_of(u, 4, stream(198, 400), 198, 0).out >= 198);
    assert_false(bound_of(u, 4, stream(198, 400), 198, 0).told);
    /* Its streams tell of who lies in all that is whole, too. */
    assert_int_equal(bound(u, stream(0, 400), 198, 0).out, 110 + USUAL_SLACK);
    assert_true(bound(u, stream(0, 400), 198, 0).told);
    usual_free(u);
}

/* Its events have more tokens than the others', its text has as many. */
static void a_machine_whose_engine_guesses_ahead_is_not_cut(void **state)
{
    struct usual *u = known(stream(100, 400), 100);

    (void)state;
    learn_many(u, 4, 4, 1000, stream(25, 400), 100, 0);
    assert_false(bound_of(u, 4, stream(25, 400), 100, 0).told);
    assert_true(bound_of(u, 4, stream(25, 800), 400, 0).out >= 400);
    usual_free(u);
}

static void events_tell_nothing_where_too_few_have_streamed(void **state)
{
    struct usual *u = known(stream(0, 400), 100);

    (void)state;
    learn_many(u, 4, 4, USUAL_CALLS, stream(50, 400), 200, 0);
    assert_int_equal(bound_of(u, 4, stream(0, 400), 400, 0).out, 250 + USUAL_SLACK);
    assert_false(bound_of(u, 4, stream(0, 400), 400, 0).told);
    usual_free(u);
}

static void pieces_or_bytes_allow_whichever_is_more(void **state)
{
    struct usual *u = known(stream(100, 400), 100);

    (void)state;
    /* Three tokens a piece: the bytes say so. */
    assert_int_equal(bound(u, stream(100, 1200), 300, 0).out, 375 + USUAL_SLACK);
    /* Two bytes a token: the pieces say so. */
    assert_int_equal(bound(u, stream(100, 200), 100, 0).out, 125 + USUAL_SLACK);
    /* A byte a piece: what came is cut small. */
    assert_int_equal(bound(u, stream(400, 400), 400, 0).out, 250 + USUAL_SLACK);
    usual_free(u);
}

static void choices_and_tools_have_tokens_that_nobody_sees(void **state)
{
    struct usual_seen seen = stream(100, 400);
    struct usual *u = known(seen, 100);

    (void)state;
    seen.choices = 3;
    seen.tools = 2;
    assert_int_equal(bound(u, seen, 400, 0).out, 125 + 3 * USUAL_SLACK + 2 * USUAL_TOOL);
    usual_free(u);
}

static void one_liar_moves_nothing_and_most_do(void **state)
{
    struct usual *u = usual_new();

    (void)state;
    learn_many(u, 1, 2, USUAL_CALLS, stream(100, 400), 100, 0);
    learn_many(u, 3, 3, 1000, stream(100, 400), 390, 0);
    assert_int_equal(bound_of(u, 3, stream(100, 400), 390, 0).out, 125 + USUAL_SLACK);
    learn_many(u, 4, 4, 1000, stream(100, 400), 390, 0);
    assert_int_equal(bound_of(u, 3, stream(100, 400), 390, 0).out, 125 + USUAL_SLACK);
    /* Machines that count too little cut nobody who counts a token a piece. */
    learn_many(u, 5, 9, USUAL_CALLS, stream(100, 400), 40, 0);
    assert_true(bound_of(u, 1, stream(100, 400), 100, 0).out >= 100);
    assert_false(bound_of(u, 1, stream(100, 400), 100, 0).told);
    learn_many(u, 10, 30, USUAL_CALLS, stream(100, 400), 390, 0);
    assert_true(bound_of(u, 3, stream(100, 400), 390, 0).out > 390);
    usual_free(u);
}

static void a_change_that_most_machines_make_is_followed_soon(void **state)
{
    struct usual *u = usual_new();

    (void)state;
    learn_many(u, LIAR, LIAR, USUAL_CALLS, stream(100, 400), 1000, 0);
    learn_many(u, 1, 5, 2000, stream(100, 400), 100, 0);
    assert_int_equal(bound(u, stream(100, 400), 200, 0).out, 125 + USUAL_SLACK);
    learn_many(u, 1, 5, 20, stream(100, 400), 200, 0);
    assert_int_equal(bound(u, stream(100, 400), 200, 0).out, 250 + USUAL_SLACK);
    /* One odd text moves it by a step, and not by all of it. */
    learn_many(u, 1, 5, 1, stream(100, 400), 400, 0);
    assert_true(bound(u, stream(100, 400), 400, 0).out < 280);
    usual_free(u);
}

static void reasoning_that_is_shown_or_that_the_model_does_not_hide_is_bounded_too(void **state)
{
    struct usual_seen seen = stream(100, 400);
    struct usual *u = known(seen, 100);

    (void)state;
    assert_int_equal(bound(u, seen, 300, 200).out, 125 + USUAL_SLACK); /* nobody hides any */
    seen.thought = true;
    assert_int_equal(bound(u, seen, 300, 200).out, 125 + USUAL_SLACK);
    seen.thought = false;
    /* Who counts right what is shown: is cut as soon as it often has what is not. */
    learn(u, 1, seen, 300, 200);
    assert_int_equal(bound_of(u, 1, seen, 900, 800).out, 4 * 125 + USUAL_SLACK);
    learn_many(u, 1, 1, 100, seen, 300, 200);
    assert_int_equal(bound_of(u, 1, seen, 300, 200).out, 125 + USUAL_SLACK);
    assert_false(bound_of(u, 1, seen, 300, 200).told);
    learn_many(u, 2, 3, 1, seen, 300, 200);
    assert_int_equal(bound(u, seen, 300, 200).out, 0);
    assert_int_equal(bound(u, seen, 300, 200).said, 125 + USUAL_SLACK);
    usual_free(u);
}

static void sealed_reasoning_is_bounded_where_the_model_hides_none(void **state)
{
    struct usual_seen seen = {SAID_SEALED, 100, 40000, false, 1, 0};
    struct usual *u = known(seen, 100);

    (void)state;
    assert_int_equal(bound(u, seen, 300, 0).out, 125 + USUAL_SLACK);
    assert_int_equal(bound(u, seen, 300, 200).out, 0);
    assert_int_equal(bound(u, seen, 300, 200).said, 0);
    learn_many(u, 1, 3, USUAL_CALLS, stream(100, 400), 100, 0); /* seen in clear */
    assert_int_equal(bound(u, seen, 300, 200).out, 125 + USUAL_SLACK);
    usual_free(u);
}

/* What a caller asked to hide is not seen there: it cuts nobody else, and marks nobody. */
static void sealed_answers_are_bounded_for_who_counts_more_alone(void **state)
{
    const struct usual_seen seen = {SAID_SEALED, 100, 40000, false, 1, 0};
    struct usual *u = known(seen, 100);

    (void)state;
    assert_int_equal(bound_of(u, 1, seen, 1600, 0).out, 0);
    assert_int_equal(bound_of(u, 77, seen, 1600, 0).out, 0);
    assert_int_equal(bound(u, seen, 1600, 0).out, 125 + USUAL_SLACK);
    assert_false(bound(u, seen, 1600, 0).told);
    usual_free(u);
}

/* Most answers are short, so their frame is most of them; one machine's are long. */
static void sealed_whole_answers_are_compared_with_those_of_their_size(void **state)
{
    struct usual *u = usual_new();
    struct usual_seen s = {.kind = SAID_SEALED_WHOLE, .choices = 1};

    (void)state;
    for (int i = 0; i < 20000; i++) {
        const int machine = i % 5;
        const bool is_long = i % 1000 == machine || (machine == 4 && i % 3 == 0);
        const int64_t tokens = is_long ? 1000 + i % 997 : 35 + i % 41;
        s.bytes = 1500 + (uint64_t)tokens * 9 / 2;
        const int64_t most = bound_of(u, machine, s, tokens, 0).out;
        assert_true(most == 0 || most >= tokens);
        learn(u, machine, s, tokens, 0);
    }
    learn_many(u, LIAR, LIAR, USUAL_CALLS, s, 100000, 0);
    assert_in_range(bound(u, s, 100000, 0).out, 1, 6000); /* what they compare is known */
    usual_free(u);
}

static void memory_is_bounded_and_what_is_in_use_stays(void **state)
{
    struct usual *u = usual_new();
    const struct usual_seen seen = stream(100, 400);
    const struct price_tokens c = claim(100, 0);
    char model[20];

    (void)state;
    learn_many(u, 1, 3, USUAL_CALLS, seen, 100, 0);
    for (int i = 0; i < 3 * USUAL_MODELS; i++) {
        snprintf(model, sizeof(model), "other-%d", i);
        usual_learn(u, span_str(model), "w", &seen, &c);
        assert_true(usual_models(u) <= USUAL_MODELS);
        learn(u, 1, seen, 100, 0);
    }
    for (int m = 100; m < 100 + 3 * USUAL_MACHINES; m++) {
        learn(u, m, seen, 100, 0);
        learn_many(u, 1, 3, 1, seen, 100, 0);
    }
    learn_many(u, LIAR, LIAR, USUAL_CALLS, seen, 200, 0);
    assert_int_equal(bound(u, seen, 200, 0).out, 125 + USUAL_SLACK);
    usual_learn(u, SPAN("none"), "", &seen, &c); /* a machine that is not known yet */
    usual_free(u);
}

/* ---- Many honest answers ---- */

static uint64_t seed = 7;

static double chance(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(seed >> 11) / 9007199254740992.0;
}

/* Of mean 0 and deviation 1, nearly normal. */
static double bell(void)
{
    double sum = -6;

    for (int i = 0; i < 12; i++)
        sum += chance();
    return sum;
}

/* Bytes a token: the mean of an answer differs from one to the next by `differs` (a share), and its
 * tokens by as much as they have. The means are what tokenizers of 100,000 to 200,000 tokens do. */
static const struct language {
    const char *name;
    enum said_kind kind;
    double bytes, differs;
} languages[] = {
    {"English", SAID_PLAIN, 4.5, 0.08},
    {"Russian", SAID_TWO, 5.5, 0.09},
    {"Chinese", SAID_WIDE, 3.6, 0.10},
    {"code", SAID_SYMBOLS, 3.3, 0.14},
};
enum { LANGUAGES = 4, MACHINES = 9, CALLS = 200000, SETTLED = 20000 };

struct answer {
    struct usual_seen seen;
    int64_t tokens;
};

/* most_step: tokens that a piece has at most, as a draft model's guesses come true; 0: no stream.
 */
static struct answer answer_of(const struct language *l, int most_step)
{
    const double mean = l->bytes * (1 + l->differs * bell());
    struct answer a = {.seen = {.kind = l->kind, .choices = 1}};
    double bytes = 0;

    a.tokens = 5 + (int64_t)(chance() * chance() * 800);
    for (int64_t made = 0; most_step > 0 && made < a.tokens; a.seen.pieces++)
        made += 1 + (int64_t)(chance() * most_step);
    for (int64_t i = 0; i < a.tokens; i++)
        bytes += mean * (0.2 + 1.6 * chance());
    a.seen.bytes = bytes < 1 ? 1 : (uint64_t)bytes;
    a.tokens += 1; /* its end */
    return a;
}

/* A third of the machines guess ahead, by up to four tokens; a third of the answers come whole. */
static struct answer answer_on(int machine)
{
    const struct language *l = &languages[(int)(chance() * LANGUAGES)];

    return answer_of(l, chance() < 0.33 ? 0 : machine % 3 == 0 ? 4 : 1);
}

static void honest_machines_are_not_cut(void **state)
{
    struct usual *u = usual_new();
    uint64_t calls = 0, cut = 0;
    int64_t all = 0, lost = 0;

    (void)state;
    for (int i = 0; i < CALLS; i++) {
        const int machine = i % MACHINES;
        const struct answer a = answer_on(machine);
        const int64_t most = bound_of(u, machine, a.seen, a.tokens, 0).out;
        calls += i >= SETTLED;
        all += a.tokens;
        if (i >= SETTLED && most > 0 && most < a.tokens) {
            cut++;
            lost += a.tokens - most;
        }
        learn(u, machine, a.seen, a.tokens, 0);
    }
    print_message("honest: %llu of %llu calls cut, %lld of %lld tokens\n", (unsigned long long)cut,
                  (unsigned long long)calls, (long long)lost, (long long)all);
    assert_true(cut * 1000 <= calls);
    assert_true(lost * 10000 <= all);
    usual_free(u);
}

/* What a machine that counts so much, in percent, in one of so many of its calls is paid of what is
 * true, in percent. */
static int64_t paid(int percent, int one_of)
{
    struct usual *u = usual_new();
    int64_t true_tokens = 0, charged = 0;

    seed = 11;
    for (int i = 0; i < CALLS; i++) {
        const int machine = i % MACHINES;
        const struct answer a = answer_on(machine);
        const bool lies = machine == 1 && i / MACHINES % one_of == 0;
        const int64_t said = lies ? a.tokens * percent / 100 : a.tokens;
        const int64_t most = bound_of(u, machine, a.seen, said, 0).out;
        if (i >= SETTLED && machine == 1) {
            true_tokens += a.tokens;
            charged += most > 0 && most < said ? most : said;
        }
        learn(u, machine, a.seen, said, 0);
    }
    usual_free(u);
    return charged * 100 / true_tokens;
}

static void a_liar_gains_little(void **state)
{
    static const int lies[] = {110, 150, 200, 1000};

    (void)state;
    for (size_t i = 0; i < sizeof(lies) / sizeof(*lies); i++) {
        const int64_t got = paid(lies[i], 1);
        print_message("counts %d %%: is paid %lld %%\n", lies[i], (long long)got);
        assert_true(got <= (lies[i] < 175 ? lies[i] : 175));
    }
    assert_int_equal(paid(100, 1), 100);
}

/* Below the one of a hundred that its own figure leaves out. */
static void who_lies_seldom_gains_less(void **state)
{
    const int64_t got = paid(100000, 125);

    (void)state;
    print_message("counts a thousandfold in 1 of 125 calls: is paid %lld %%\n", (long long)got);
    assert_in_range(got, 101, 106);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_bounded_before_enough_machines_have_run_enough),
        cmocka_unit_test(answers_of_another_kind_in_one_piece_or_of_another_model_are_not_known),
        cmocka_unit_test(only_a_machine_whose_own_figures_are_above_is_cut_to_what_is_usual),
        cmocka_unit_test(a_machine_that_gets_other_texts_is_not_cut),
        cmocka_unit_test(a_machine_whose_engine_guesses_ahead_is_not_cut),
        cmocka_unit_test(events_tell_nothing_where_too_few_have_streamed),
        cmocka_unit_test(pieces_or_bytes_allow_whichever_is_more),
        cmocka_unit_test(choices_and_tools_have_tokens_that_nobody_sees),
        cmocka_unit_test(one_liar_moves_nothing_and_most_do),
        cmocka_unit_test(a_change_that_most_machines_make_is_followed_soon),
        cmocka_unit_test(reasoning_that_is_shown_or_that_the_model_does_not_hide_is_bounded_too),
        cmocka_unit_test(sealed_reasoning_is_bounded_where_the_model_hides_none),
        cmocka_unit_test(sealed_answers_are_bounded_for_who_counts_more_alone),
        cmocka_unit_test(sealed_whole_answers_are_compared_with_those_of_their_size),
        cmocka_unit_test(memory_is_bounded_and_what_is_in_use_stays),
        cmocka_unit_test(honest_machines_are_not_cut),
        cmocka_unit_test(a_liar_gains_little),
        cmocka_unit_test(who_lies_seldom_gains_less),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
