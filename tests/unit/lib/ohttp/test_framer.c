/* Varints and chunk framing: every encoding, every bound, every cut. */
#include "tests/unit/lib/vectors.h"

#include "ohttp/framer.h"

/* RFC 9000 appendix A.1. */
static void varints_are_those_of_rfc_9000(void **state)
{
    static const struct {
        const char *hex;
        uint64_t value;
    } CASES[] = {
        {"c2197c5eff14e88c", UINT64_C(151288809941952652)},
        {"9d7f3e7d", 494878333},
        {"7bbd", 15293},
        {"25", 37},
        {"4025", 37}, /* not the shortest form, and legal */
        {"ffffffffffffffff", VARINT_MAX},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        AUTO(buf_fini) struct buf in = bytes_of_hex(CASES[i].hex), out = {0};
        uint64_t value = 0;

        assert_int_equal(varint_read(buf_span(&in), &value), in.len);
        assert_int_equal(value, CASES[i].value);
        for (size_t len = 0; len < in.len; len++)
            assert_int_equal(varint_read(span_of(in.data, len), &value), 0);
        varint_append(&out, CASES[i].value);
        if (strcmp(CASES[i].hex, "4025") != 0)
            assert_span(buf_span(&out), buf_span(&in));
    }
}

static void varints_take_their_shortest_form(void **state)
{
    static const struct {
        uint64_t value;
        size_t len;
    } CASES[] = {{0, 1},     {63, 1},         {64, 2},         {16383, 2},
                 {16384, 4}, {1073741823, 4}, {1073741824, 8}, {VARINT_MAX, 8}};

    (void)state;
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        AUTO(buf_fini) struct buf out = {0};
        uint64_t value = 1;

        varint_append(&out, CASES[i].value);
        assert_int_equal(out.len, CASES[i].len);
        assert_int_equal(varint_read(buf_span(&out), &value), out.len);
        assert_int_equal(value, CASES[i].value);
    }
}

enum { CAP = 40 };

/* Feeds the body step by step; the chunks' bytes go to `out`, each with a '|' behind it. */
static int framed(struct span body, size_t step, struct buf *out)
{
    AUTO(framer_fini) struct framer f = {.chunk_max = CAP};
    struct span in, sealed;
    int error;

    for (size_t at = 0; at < body.len; at += step) {
        in = span_cut(body, at, step);
        while ((error = framer_next(&f, &in, &sealed)) == 0) {
            buf_append(out, sealed);
            buf_byte(out, '|');
        }
        if (error != E_AGAIN)
            return error;
        assert_int_equal(in.len, 0);
    }
    TRY(framer_end(&f, &sealed));
    buf_append(out, sealed);
    return 0;
}

static int framed_hex(const char *hex, size_t step)
{
    AUTO(buf_fini) struct buf body = bytes_of_hex(hex), out = {0};

    return framed(buf_span(&body), step, &out);
}

#define TAG "00112233445566778899aabbccddeeff"

static void any_cut_gives_the_same_chunks(void **state)
{
    AUTO(buf_fini) struct buf body = {0}, whole = {0};

    (void)state;
    buf_append(&body, SPAN("\x11"
                           "seventeen bytes!!"
                           "\x40\x12"
                           "eighteen bytes it "
                           "\x80\x00\x00\x11"
                           "seventeen again!!"
                           "\xc0\x00\x00\x00\x00\x00\x00\x38"
                           "fifty-six bytes are the most that this cap lets through."
                           "\x00"
                           "the final chunk and its tag"));
    assert_int_equal(framed(buf_span(&body), body.len, &whole), 0);
    assert_span(buf_span(&whole), SPAN("seventeen bytes!!|eighteen bytes it |seventeen again!!|"
                                       "fifty-six bytes are the most that this cap lets through.|"
                                       "the final chunk and its tag"));
    for (size_t step = 1; step < body.len; step++) {
        AUTO(buf_fini) struct buf out = {0};

        assert_int_equal(framed(buf_span(&body), step, &out), 0);
        assert_span(buf_span(&out), buf_span(&whole));
    }
}

static void lengths_have_their_bounds(void **state)
{
    (void)state;
    for (size_t step = 1; step < 3; step++) {
        assert_int_equal(framed_hex("10" TAG "00" TAG, step), E_INVALID); /* no plaintext */
        assert_int_equal(framed_hex("0100"
                                    "00" TAG,
                                    step),
                         E_INVALID);
        assert_int_equal(framed_hex("11" TAG "00"
                                    "00" TAG,
                                    step),
                         0);
        assert_int_equal(framed_hex("39", step),
                         E_INVALID); /* 57: refused before it is collected */
        assert_int_equal(framed_hex("7fff", step), E_INVALID);
        assert_int_equal(framed_hex("ffffffffffffffff", step), E_INVALID);
        assert_int_equal(framed_hex("00" TAG, step), 0);
        assert_int_equal(framed_hex("4000" TAG, step), 0); /* 0 in two bytes is a final chunk too */
        assert_int_equal(framed_hex("00" TAG TAG TAG "0011223344556677", step), 0);
        assert_int_equal(framed_hex("00" TAG TAG TAG "001122334455667788", step), E_INVALID);
    }
}

static void a_body_cut_short_has_no_end(void **state)
{
    (void)state;
    assert_int_equal(framed_hex("", 1), E_INVALID);
    assert_int_equal(framed_hex("40", 1), E_INVALID);
    assert_int_equal(framed_hex("11" TAG, 1), E_INVALID);
    assert_int_equal(framed_hex("11" TAG "00", 1), E_INVALID);
    assert_int_equal(framed_hex("11" TAG "0000", 1), E_INVALID);
    assert_int_equal(framed_hex("00", 1), E_INVALID);
    assert_int_equal(framed_hex("0000112233445566778899aabbccddee", 1), E_INVALID);
}

static void nothing_comes_after_an_end_or_an_error(void **state)
{
    AUTO(framer_fini) struct framer f = {.chunk_max = CAP};
    struct span in = SPAN("\x00"
                          "0123456789abcdef"),
                sealed;

    (void)state;
    assert_int_equal(framer_next(&f, &in, &sealed), E_AGAIN);
    assert_int_equal(framer_end(&f, &sealed), 0);
    assert_span(sealed, SPAN("0123456789abcdef"));
    in = SPAN("\x11");
    assert_int_equal(framer_next(&f, &in, &sealed), E_INVALID);
    assert_int_equal(framer_end(&f, &sealed), E_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(varints_are_those_of_rfc_9000),
        cmocka_unit_test(varints_take_their_shortest_form),
        cmocka_unit_test(any_cut_gives_the_same_chunks),
        cmocka_unit_test(lengths_have_their_bounds),
        cmocka_unit_test(a_body_cut_short_has_no_end),
        cmocka_unit_test(nothing_comes_after_an_end_or_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
