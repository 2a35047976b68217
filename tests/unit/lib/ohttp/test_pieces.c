/* Whoever cannot open an answer counts its chunks as whoever sealed it does. */
#include "tests/unit/lib/vectors.h"

#include "ohttp/framer.h"
#include "ohttp/pieces.h"

static uint64_t count(struct span body, size_t step)
{
    struct ohttp_pieces p = {0};

    for (; body.len > 0; body = span_from(body, step))
        ohttp_pieces_feed(&p, span_cut(body, 0, step));
    return ohttp_pieces_count(&p);
}

static void append_zeros(struct buf *out, size_t len)
{
    for (size_t i = 0; i < len; i++)
        buf_byte(out, 0);
}

static void chunk(struct buf *out, size_t plain, bool final)
{
    framer_prefix(out, plain, final);
    append_zeros(out, plain + 16);
}

static void chunks_are_counted_however_they_are_cut(void **state)
{
    static const size_t sizes[] = {1, 47, 48, 300, 16384, 20};
    AUTO(buf_fini) struct buf body = {0};

    (void)state;
    append_zeros(&body, 32);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
        chunk(&body, sizes[i], false);
    assert_int_equal(count(buf_span(&body), 7), 6);
    chunk(&body, 100, true);
    for (size_t step = 1; step < 70; step++)
        assert_int_equal(count(buf_span(&body), step), 6);
    assert_int_equal(count(buf_span(&body), body.len), 6);
    assert_int_equal(count(span_cut(buf_span(&body), 0, 31), 5), 0);
}

static void lengths_that_no_chunk_has_end_it(void **state)
{
    AUTO(buf_fini) struct buf body = {0};

    (void)state;
    append_zeros(&body, 32);
    chunk(&body, 1, false);
    buf_byte(&body, 16); /* a tag alone */
    chunk(&body, 1, false);
    assert_int_equal(count(buf_span(&body), 3), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_are_counted_however_they_are_cut),
        cmocka_unit_test(lengths_that_no_chunk_has_end_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
