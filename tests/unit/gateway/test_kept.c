/* Answers as Redis keeps them: they open for the same key and the same place, and for nothing else.
 */
#include "gateway/kept.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "attest/verdict.h"

static const struct kept_place PLACE = {.account = "acme",
                                        .name = "00112233445566778899aabbccddeeff",
                                        .body = "b0",
                                        .path = "/v1/chat/completions",
                                        .require = "tee=tdx",
                                        .call = "c0"};
static const uint8_t SECRET[32] = {7, 1, 2};
static const struct kept_answer STREAM = {.stream = true,
                                          .attestation = ATTEST_UNATTESTED,
                                          .cost_nano = INT64_C(9007199254740993),
                                          .bytes = {(const uint8_t *)"data: \xC3\xA4\n\n", 10}};

static void seal(const struct kept_answer *a, struct buf *out)
{
    uint8_t key[KEPT_KEY_LEN];

    kept_key(key, SPAN_OF(SECRET), &PLACE);
    assert_int_equal(kept_seal(key, &PLACE, a, out), 0);
}

static int open_at(struct span secret, const struct kept_place *at, struct span sealed)
{
    AUTO(buf_wipe) struct buf plain = {0};
    uint8_t key[KEPT_KEY_LEN];
    struct kept_answer a;

    kept_key(key, secret, at);
    const int error = kept_open(key, at, sealed, &a, &plain);
    assert_true(error == 0 || plain.len == 0);
    return error;
}

static void an_answer_comes_back_as_it_was(void **state)
{
    const struct kept_answer answers[] = {
        STREAM, {.attestation = -1, .bytes = SPAN("{}")}, {.cost_nano = INT64_MAX}};

    (void)state;
    for (size_t i = 0; i < sizeof(answers) / sizeof(*answers); i++) {
        AUTO(buf_fini) struct buf sealed = {0};
        AUTO(buf_wipe) struct buf plain = {0};
        uint8_t key[KEPT_KEY_LEN];
        struct kept_answer a;

        seal(&answers[i], &sealed);
        kept_key(key, SPAN_OF(SECRET), &PLACE);
        assert_int_equal(kept_open(key, &PLACE, buf_span(&sealed), &a, &plain), 0);
        assert_int_equal(a.stream, answers[i].stream);
        assert_int_equal(a.attestation, answers[i].attestation);
        assert_true(a.cost_nano == answers[i].cost_nano);
        assert_true(span_eq(a.bytes, answers[i].bytes));
    }
}

static void the_same_answer_never_looks_the_same_and_never_shows(void **state)
{
    AUTO(buf_fini) struct buf first = {0}, second = {0};

    (void)state;
    seal(&STREAM, &first);
    seal(&STREAM, &second);
    assert_int_equal(first.len, second.len);
    assert_false(span_eq(buf_span(&first), buf_span(&second)));
    assert_true(span_find(buf_span(&first), SPAN("data:")) < 0);
}

static void it_opens_for_its_key_and_place_alone(void **state)
{
    static const uint8_t other[32] = {7, 1, 3};
    struct kept_place at[] = {PLACE, PLACE, PLACE, PLACE, PLACE, PLACE};
    AUTO(buf_fini) struct buf sealed = {0};

    (void)state;
    at[0].account = at[1].name = at[2].body = at[3].path = at[4].require = "else";
    at[5].call = "else";
    seal(&STREAM, &sealed);
    assert_int_equal(open_at(SPAN_OF(SECRET), &PLACE, buf_span(&sealed)), 0);
    assert_int_equal(open_at(SPAN_OF(other), &PLACE, buf_span(&sealed)), E_AUTH);
    for (size_t i = 0; i < sizeof(at) / sizeof(*at); i++)
        assert_int_equal(open_at(SPAN_OF(SECRET), &at[i], buf_span(&sealed)), E_AUTH);
}

/* Account "ab" with name "c" is not account "a" with name "bc". */
static void neighbours_do_not_run_together(void **state)
{
    const struct kept_place one = {"ab", "c", "b", "p", "", "x"},
                            two = {"a", "bc", "b", "p", "", "x"};
    uint8_t first[KEPT_KEY_LEN], second[KEPT_KEY_LEN];

    (void)state;
    kept_key(first, SPAN_OF(SECRET), &one);
    kept_key(second, SPAN_OF(SECRET), &two);
    assert_memory_not_equal(first, second, sizeof(first));
}

static void any_flipped_bit_and_any_cut_is_found(void **state)
{
    AUTO(buf_fini) struct buf sealed = {0};

    (void)state;
    seal(&STREAM, &sealed);
    for (size_t i = 0; i < 8 * sealed.len; i++) {
        sealed.data[i / 8] ^= (uint8_t)(1 << i % 8);
        assert_int_equal(open_at(SPAN_OF(SECRET), &PLACE, buf_span(&sealed)), E_AUTH);
        sealed.data[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    for (size_t len = 0; len < sealed.len; len++)
        assert_true(open_at(SPAN_OF(SECRET), &PLACE, span_of(sealed.data, len)) < 0);
}

static void what_is_no_answer_inside_is_refused(void **state)
{
    static const uint8_t form[10] = {3, 0}, env[10] = {1, ATTEST_UNATTESTED + 2},
                         cost[10] = {1, 0, 0x80}, good[10] = {2, 0};
    struct kept_answer a;

    (void)state;
    assert_int_equal(kept_read(SPAN_OF(good), &a), 0);
    assert_true(a.stream && a.attestation == -1 && a.bytes.len == 0);
    assert_int_equal(kept_read(span_of(good, 9), &a), E_INVALID);
    assert_int_equal(kept_read(SPAN(""), &a), E_INVALID);
    assert_int_equal(kept_read(SPAN_OF(form), &a), E_INVALID);
    assert_int_equal(kept_read(SPAN_OF(env), &a), E_INVALID);
    assert_int_equal(kept_read(SPAN_OF(cost), &a), E_INVALID);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_comes_back_as_it_was),
        cmocka_unit_test(the_same_answer_never_looks_the_same_and_never_shows),
        cmocka_unit_test(it_opens_for_its_key_and_place_alone),
        cmocka_unit_test(neighbours_do_not_run_together),
        cmocka_unit_test(any_flipped_bit_and_any_cut_is_found),
        cmocka_unit_test(what_is_no_answer_inside_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
