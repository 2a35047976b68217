/* Canaries: what counts as right, whom it marks, and that a recorded file is read again as it was.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "tools/canary_marks.h"

/* ---- Judging ---- */

static struct canary_answer answers[] = {{"Paris.", 3}, {"It is Paris, of course", 6}};

static struct canary canary_make(void)
{
    return (struct canary){.model = "m",
                           .system = "",
                           .prompt = "?",
                           .max_tokens = 8,
                           .prompt_tokens = 12,
                           .answers = {answers, 2}};
}

static enum canary_finding judge(const struct canary *c, const char *text, int64_t in, int64_t out)
{
    return canary_judge(c, span_str(text), &(struct usage){.in = in, .out = out});
}

static void any_known_answer_with_its_own_count_is_right(void **state)
{
    const struct canary c = canary_make();

    (void)state;
    assert_int_equal(judge(&c, "Paris.", 12, 3), CANARY_RIGHT);
    assert_int_equal(judge(&c, " \n Paris.\r\n", 12, 3), CANARY_RIGHT);
    assert_int_equal(judge(&c, "It is Paris, of course", 12, 6), CANARY_RIGHT);
    assert_int_equal(judge(&c, "Paris.", 12, 6), CANARY_OTHER_COUNT);
    assert_int_equal(judge(&c, "It is Paris, of course", 12, 3), CANARY_OTHER_COUNT);
}

static void another_text_is_wrong_whatever_it_counts(void **state)
{
    const struct canary c = canary_make();

    (void)state;
    assert_int_equal(judge(&c, "paris.", 12, 3), CANARY_OTHER_TEXT);
    assert_int_equal(judge(&c, "Paris", 12, 3), CANARY_OTHER_TEXT);
    assert_int_equal(judge(&c, "Paris. ", 24, 3), CANARY_OTHER_PROMPT);
    assert_int_equal(judge(&c, "Rome.", 24, 9), CANARY_OTHER_TEXT);
    assert_int_equal(judge(&c, "", 12, 3), CANARY_OTHER_TEXT);
}

static void counts_are_exact_but_for_the_tolerance(void **state)
{
    struct canary c = canary_make();

    (void)state;
    assert_int_equal(judge(&c, "Paris.", 13, 3), CANARY_OTHER_PROMPT);
    assert_int_equal(judge(&c, "Paris.", 11, 3), CANARY_OTHER_PROMPT);
    assert_int_equal(judge(&c, "Paris.", 12, 4), CANARY_OTHER_COUNT);
    c.tolerance = 1;
    assert_int_equal(judge(&c, "Paris.", 12, 4), CANARY_RIGHT);
    assert_int_equal(judge(&c, "Paris.", 12, 2), CANARY_RIGHT);
    assert_int_equal(judge(&c, "Paris.", 12, 5), CANARY_OTHER_COUNT);
    assert_int_equal(judge(&c, "Paris.", 13, 3), CANARY_OTHER_PROMPT);
    c.prompt_tokens = 0;
    assert_int_equal(judge(&c, "Paris.", 99, 3), CANARY_RIGHT);
}

static void a_prefix_is_counted_in_characters(void **state)
{
    static struct canary_answer long_answer[] = {{"Grüße aus Köln", 9}};
    struct canary c = canary_make();

    (void)state;
    c.answers = (struct config_list){long_answer, 1};
    c.prefix = 4; /* "Grüß": six bytes */
    assert_int_equal(judge(&c, "Grüße nach Bonn", 12, 9), CANARY_RIGHT);
    assert_int_equal(judge(&c, "  Grüß", 12, 9), CANARY_RIGHT);
    assert_int_equal(judge(&c, "Grüsse aus Köln", 12, 9), CANARY_OTHER_TEXT);
    assert_int_equal(judge(&c, "Grü", 12, 9), CANARY_OTHER_TEXT);
    assert_int_equal(judge(&c, "Grüße nach Bonn", 12, 18), CANARY_OTHER_COUNT);
    c.prefix = 100;
    assert_int_equal(judge(&c, "Grüße aus Köln", 12, 9), CANARY_RIGHT);
    assert_int_equal(judge(&c, "Grüße aus Köln!", 12, 9), CANARY_OTHER_TEXT);
}

static void without_a_known_answer_nothing_is_right(void **state)
{
    struct canary c = canary_make();

    (void)state;
    c.answers.count = 0;
    assert_int_equal(judge(&c, "", 12, 3), CANARY_OTHER_TEXT);
}

/* ---- Answers ---- */

static void expect_text(const char *body, int error, const char *text)
{
    AUTO(buf_fini) struct buf out = {0};

    assert_int_equal(canary_text(span_str(body), &out), error);
    if (!span_is(buf_span(&out), text))
        fail_msg("%s gives \"%s\"", body, buf_cstr(&out));
}

static void the_text_is_the_first_choices(void **state)
{
    (void)state;
    expect_text("{\"choices\":[{\"message\":{\"content\":\" a\\nb \"}},{\"message\":{\"content\":"
                "\"c\"}}]}",
                0, "a\nb");
    expect_text("{\"choices\":[{\"message\":{\"content\":null}}]}", 0, "");
    expect_text("{\"choices\":[{\"message\":{\"content\":7}}]}", E_INVALID, "");
    expect_text("{\"choices\":[{\"message\":7}]}", E_INVALID, "");
    expect_text("{\"choices\":[]}", E_INVALID, "");
    expect_text("{\"choices\":{}}", E_INVALID, "");
    expect_text("{}", E_INVALID, "");
    expect_text("[]", E_INVALID, "");
    expect_text("", E_INVALID, "");
}

/* ---- Names ---- */

static void a_tag_is_another_when_anything_of_it_is(void **state)
{
    char first[CANARY_TAG_LEN + 1], tag[CANARY_TAG_LEN + 1];
    static struct canary_answer other[] = {{"Paris.", 4}, {"It is Paris, of course", 6}};
    struct canary variants[8];

    (void)state;
    const struct canary c = canary_make();
    for (size_t i = 0; i < 8; i++)
        variants[i] = c;
    variants[0].model = "n";
    variants[1].system = "s";
    variants[2].prompt = "??";
    variants[3].max_tokens = 9;
    variants[4].prompt_tokens = 13;
    variants[5].prefix = 1;
    variants[6].answers.count = 1;
    variants[7].answers.items = other;
    canary_tag(first, SPAN("key"), &c, SPAN("sha256:0"));
    for (size_t i = 0; i < 8; i++) {
        canary_tag(tag, SPAN("key"), &variants[i], SPAN("sha256:0"));
        assert_string_not_equal(tag, first);
    }
    canary_tag(tag, SPAN("key"), &c, SPAN("sha256:1"));
    assert_string_not_equal(tag, first);
    canary_tag(tag, SPAN("yek"), &c, SPAN("sha256:0"));
    assert_string_not_equal(tag, first);
    canary_tag(tag, SPAN("key"), &c, SPAN("sha256:0"));
    assert_string_equal(tag, first);
}

/* ---- Marks ---- */

static struct canary_row row(const char *machine, const char *model, enum canary_finding f,
                             bool proven)
{
    struct canary_row r = {.model = model, .judged = true, .finding = f, .proven = proven};

    snprintf(r.machine, sizeof(r.machine), "%s", machine);
    return r;
}

static struct canary_row asked(const char *machine, const char *tag, enum canary_finding f)
{
    struct canary_row r = row(machine, "m", f, true);

    snprintf(r.tag, sizeof(r.tag), "%s", tag);
    return r;
}

static void a_wrong_answer_is_marked_where_others_know_it(void **state)
{
    struct canary_row rows[] = {
        row("a", "m", CANARY_OTHER_TEXT, true), row("b", "m", CANARY_RIGHT, true),
        row("c", "m", CANARY_OTHER_COUNT, true), row("d", "m", CANARY_OTHER_PROMPT, true)};

    (void)state;
    canary_marks_set(rows, 4, true);
    assert_int_equal(rows[0].mark, MARK_BAD);
    assert_int_equal(rows[1].mark, MARK_GOOD);
    assert_int_equal(rows[2].mark, MARK_BAD);
    assert_int_equal(rows[3].mark, MARK_BAD);
}

static void an_answer_that_nobody_ever_gave_marks_nobody(void **state)
{
    struct canary_row rows[] = {row("a", "m", CANARY_OTHER_TEXT, false),
                                row("b", "m", CANARY_RIGHT, true)};

    (void)state;
    canary_marks_set(rows, 2, true);
    assert_int_equal(rows[0].mark, MARK_UNPROVEN);
    assert_int_equal(rows[1].mark, MARK_GOOD);
}

static void when_every_machine_is_wrong_the_canary_is_in_doubt(void **state)
{
    struct canary_row rows[] = {row("a", "m", CANARY_OTHER_TEXT, true),
                                row("b", "m", CANARY_OTHER_TEXT, true),
                                row("c", "n", CANARY_RIGHT, true)};

    (void)state;
    canary_marks_set(rows, 3, true);
    assert_int_equal(rows[0].mark, MARK_DOUBTED);
    assert_int_equal(rows[1].mark, MARK_DOUBTED);
}

static void one_machine_alone_is_believed_to_be_wrong(void **state)
{
    struct canary_row rows[] = {row("a", "m", CANARY_OTHER_TEXT, true),
                                row("a", "m", CANARY_OTHER_TEXT, true),
                                row("b", "m", CANARY_OTHER_TEXT, true)};

    (void)state;
    rows[2].judged = false;
    canary_marks_set(rows, 3, true);
    assert_int_equal(rows[0].mark, MARK_BAD);
    assert_int_equal(rows[1].mark, MARK_BAD);
    assert_int_equal(rows[2].mark, MARK_NONE);
}

static void another_canary_s_right_answer_says_nothing_of_this_one(void **state)
{
    struct canary_row rows[] = {asked("a", "A", CANARY_OTHER_TEXT),
                                asked("b", "A", CANARY_OTHER_TEXT), asked("c", "B", CANARY_RIGHT)};

    (void)state;
    canary_marks_set(rows, 3, true);
    assert_int_equal(rows[0].mark, MARK_DOUBTED);
    assert_int_equal(rows[1].mark, MARK_DOUBTED);
    assert_int_equal(rows[2].mark, MARK_GOOD);
}

/* As where the other machine that was sent it did not answer. */
static void who_was_sent_a_canary_alone_is_in_doubt_where_others_are(void **state)
{
    struct canary_row rows[] = {asked("a", "A", CANARY_OTHER_TEXT), asked("b", "B", CANARY_RIGHT)};

    (void)state;
    canary_marks_set(rows, 2, true);
    assert_int_equal(rows[0].mark, MARK_DOUBTED);
    assert_int_equal(rows[1].mark, MARK_GOOD);
}

static void a_round_that_was_ended_early_marks_only_what_it_has_shown(void **state)
{
    struct canary_row rows[] = {asked("a", "A", CANARY_OTHER_TEXT),
                                asked("b", "B", CANARY_OTHER_TEXT), asked("c", "B", CANARY_RIGHT)};

    (void)state;
    canary_marks_set(rows, 1, false);
    assert_int_equal(rows[0].mark, MARK_DOUBTED);
    canary_marks_set(rows, 3, false);
    assert_int_equal(rows[0].mark, MARK_DOUBTED);
    assert_int_equal(rows[1].mark, MARK_BAD);
    assert_int_equal(rows[2].mark, MARK_GOOD);
}

/* ---- Who is sent which ---- */

/* How many of the rows were dealt it. */
static size_t dealt(const struct canary_row *rows, size_t count, const struct canary *c)
{
    size_t n = 0;

    for (size_t i = 0; i < count; i++)
        n += rows[i].canary == c;
    return n;
}

static void each_canary_of_a_round_goes_to_two_machines_where_there_are_two(void **state)
{
    static struct canary_answer known[] = {{"known", 1}};
    static struct canary all[9];
    struct canary_row rows[8];
    struct canaries_config f = {.canaries = {all, sizeof(all) / sizeof(*all)}};

    (void)state;
    for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
        all[i] = (struct canary){.model = i < 8 ? "m" : "n", .answers = {known, 1}};
    all[7].answers.count = 0;
    for (size_t count = 1; count <= sizeof(rows) / sizeof(*rows); count++) {
        for (size_t i = 0; i < count; i++)
            rows[i] = row("a", i == 1 ? "n" : "m", CANARY_RIGHT, true);
        canary_deal(rows, count, &f);
        for (size_t i = 0; i < count; i++) {
            assert_non_null(rows[i].canary);
            assert_string_equal(rows[i].canary->model, rows[i].model);
            assert_true(i == 1 || count < 3 || dealt(rows, count, rows[i].canary) >= 2);
        }
        assert_int_equal(dealt(rows, count, &all[7]), 0);
    }
    all[8].answers.count = 0;
    canary_deal(rows, sizeof(rows) / sizeof(*rows), &f);
    assert_null(rows[1].canary);
}

/* ---- Files ---- */

static const char head[] = "gateway: https://gateway.example.com\n"
                           "policy: policy.json\n"
                           "release_keys: [\""
                           "00112233445566778899aabbccddeeff"
                           "00112233445566778899aabbccddeeff"
                           "\"]\n"
                           "key_file: secret\n"
                           "api_key_file: key\n"
                           "canaries:\n";

static void what_is_written_is_read_again(void **state)
{
    static struct canary_answer odd[] = {
        {"\"q\" \\ \n\t\x01 \x7f é 🌍", 1},
        {"\xc2\x85\u00a0\xc2\x9f\u2028\u2029\ufeff\uffff: # - {", 2}};
    AUTO(buf_fini) struct buf text = {0}, why = {0};
    char path[] = "/tmp/canary-XXXXXX";
    struct config_snapshot *s;

    (void)state;
    struct canary c = canary_make();
    c.system = " s\xc2\x85 ";
    c.tolerance = 3;
    c.answers.items = odd;
    buf_append_str(&text, head);
    canary_write(&c, &text);
    c.answers.count = 0;
    canary_write(&c, &text);
    close(mkstemp(path));
    assert_int_equal(file_replace(path, buf_span(&text), 0600), 0);
    const int error = canary_file_load(&s, path, &why);
    unlink(path);
    if (error < 0)
        fail_msg("%s\n%s", buf_cstr(&why), buf_cstr(&text));
    const struct canaries_config *f = s->values;
    assert_int_equal(f->canaries.count, 2);
    const struct canary *again = canary_at(f, 0);
    assert_string_equal(again->model, "m");
    assert_string_equal(again->system, c.system);
    assert_string_equal(again->prompt, "?");
    assert_int_equal(again->max_tokens, 8);
    assert_int_equal(again->prompt_tokens, 12);
    assert_int_equal(again->prefix, 0);
    assert_int_equal(again->tolerance, 3);
    assert_int_equal(again->answers.count, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_string_equal(canary_answer_at(again, i)->text, odd[i].text);
        assert_int_equal(canary_answer_at(again, i)->tokens, odd[i].tokens);
    }
    assert_int_equal(canary_at(f, 1)->answers.count, 0);
    config_unref(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_known_answer_with_its_own_count_is_right),
        cmocka_unit_test(another_text_is_wrong_whatever_it_counts),
        cmocka_unit_test(counts_are_exact_but_for_the_tolerance),
        cmocka_unit_test(a_prefix_is_counted_in_characters),
        cmocka_unit_test(without_a_known_answer_nothing_is_right),
        cmocka_unit_test(the_text_is_the_first_choices),
        cmocka_unit_test(a_tag_is_another_when_anything_of_it_is),
        cmocka_unit_test(a_wrong_answer_is_marked_where_others_know_it),
        cmocka_unit_test(an_answer_that_nobody_ever_gave_marks_nobody),
        cmocka_unit_test(another_canary_s_right_answer_says_nothing_of_this_one),
        cmocka_unit_test(who_was_sent_a_canary_alone_is_in_doubt_where_others_are),
        cmocka_unit_test(a_round_that_was_ended_early_marks_only_what_it_has_shown),
        cmocka_unit_test(each_canary_of_a_round_goes_to_two_machines_where_there_are_two),
        cmocka_unit_test(when_every_machine_is_wrong_the_canary_is_in_doubt),
        cmocka_unit_test(one_machine_alone_is_believed_to_be_wrong),
        cmocka_unit_test(what_is_written_is_read_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
