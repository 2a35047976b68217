/* The operator's word for a bill key. */
#include "tests/unit/lib/vectors.h"

#include "billing/bill_claim.h"

struct world {
    struct ed25519 *key;
    uint8_t public_key[ED25519_KEY_LEN];
    struct span by;
    struct bill_claim claim;
    struct buf text;
};

static void begin(struct world *w)
{
    *w = (struct world){.claim = {.key = {7, 8, 9}, .since_s = 1796000000, .instance = "gw-1"}};
    assert_int_equal(ed25519_generate(&w->key), 0);
    ed25519_public(w->key, w->public_key);
    w->by = SPAN_OF(w->public_key);
    assert_int_equal(bill_claim_sign(&w->claim, w->key, &w->text), 0);
}

static void end(struct world *w)
{
    ed25519_free(w->key);
    buf_fini(&w->text);
}

static void what_was_signed_is_read_back(void **state)
{
    struct bill_claim out;
    struct world w;

    (void)state;
    begin(&w);
    assert_int_equal(bill_claim_read(&out, buf_span(&w.text), &w.by, 1), 0);
    assert_memory_equal(out.key, w.claim.key, ED25519_KEY_LEN);
    assert_true(out.since_s == w.claim.since_s);
    assert_string_equal(out.instance, "gw-1");
    end(&w);
}

static void another_operators_word_and_nobodys_count_for_nothing(void **state)
{
    const uint8_t other[ED25519_KEY_LEN] = {1};
    const struct span others[] = {SPAN_OF(other)};
    struct bill_claim out;
    struct world w;

    (void)state;
    begin(&w);
    assert_int_equal(bill_claim_read(&out, buf_span(&w.text), others, 1), E_AUTH);
    assert_int_equal(bill_claim_read(&out, buf_span(&w.text), NULL, 0), E_AUTH);
    const struct span both[] = {others[0], w.by};
    assert_int_equal(bill_claim_read(&out, buf_span(&w.text), both, 2), 0);
    end(&w);
}

static void no_changed_or_missing_byte_passes(void **state)
{
    struct bill_claim out;
    struct world w;

    (void)state;
    begin(&w);
    for (size_t i = 0; i + 1 < w.text.len; i++) { /* the last one is the line's end */
        w.text.data[i] ^= 1;
        assert_true(bill_claim_read(&out, buf_span(&w.text), &w.by, 1) < 0);
        w.text.data[i] ^= 1;
        assert_true(bill_claim_read(&out, span_cut(buf_span(&w.text), 0, i), &w.by, 1) < 0);
    }
    end(&w);
}

/* Each line costs a verification, and whoever writes Redis writes lines. */
static void a_text_longer_than_any_claim_is_refused_unverified(void **state)
{
    struct bill_claim out;
    struct world w;

    (void)state;
    begin(&w);
    while (w.text.len < BILL_CLAIM_MAX)
        buf_byte(&w.text, '\n');
    assert_int_equal(bill_claim_read(&out, buf_span(&w.text), &w.by, 1), 0);
    buf_byte(&w.text, '\n');
    assert_int_equal(bill_claim_read(&out, buf_span(&w.text), &w.by, 1), E_INVALID);
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_signed_is_read_back),
        cmocka_unit_test(another_operators_word_and_nobodys_count_for_nothing),
        cmocka_unit_test(no_changed_or_missing_byte_passes),
        cmocka_unit_test(a_text_longer_than_any_claim_is_refused_unverified),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
