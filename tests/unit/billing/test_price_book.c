/* A price book is read whole or not at all. */
#include "tests/unit/lib/vectors.h"

#include "billing/price_book.h"

#define MODEL                                                                                      \
    "{\"cached\":\"50000\",\"completion\":\"400000\",\"minimum\":\"10\",\"per_request\":\"5\","    \
    "\"prompt\":\"100000\",\"reasoning\":\"300000\"}"
#define BOOK(models)                                                                               \
    "{\"commission_bps\":500,\"currency\":\"TON\",\"format\":\"cgw/prices/"                        \
    "v1\",\"models\":{" models "},\"version\":12}"

static void a_book_says_its_prices_and_its_hash(void **state)
{
    static const char text[] = BOOK("\"m/1\":" MODEL);
    AUTO(price_book_unref) struct price_book *b = NULL;
    uint8_t hash[SHA256_LEN];

    (void)state;
    assert_int_equal(price_book_parse(&b, span_str(text)), 0);
    assert_int_equal(b->version, 12);
    assert_int_equal(b->commission_bps, 500);
    assert_int_equal(b->valid_from_s, 0);
    sha256(hash, span_str(text));
    assert_memory_equal(b->sha256, hash, SHA256_LEN);
    assert_true(span_is(buf_span(&b->json), text));
    const struct price *p = price_book_find(b, SPAN("m/1"));
    assert_non_null(p);
    assert_int_equal(p->prompt, 100000);
    assert_int_equal(p->cached, 50000);
    assert_int_equal(p->completion, 400000);
    assert_int_equal(p->reasoning, 300000);
    assert_int_equal(p->per_request, 5);
    assert_int_equal(p->minimum, 10);
    assert_null(price_book_find(b, SPAN("m/2")));
}

static void what_is_no_book_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "{}",
        "[]",
        BOOK("\"m\":{}"),
        BOOK("\"m\":null"),
        BOOK("\"\":" MODEL),
        BOOK("\"m\":{\"cached\":50000,\"completion\":\"4\",\"minimum\":\"1\",\"per_request\":\"5\","
             "\"prompt\":\"1\",\"reasoning\":\"3\"}"),
        BOOK("\"m\":{\"cached\":\"-1\",\"completion\":\"4\",\"minimum\":\"1\",\"per_request\":"
             "\"5\",\"prompt\":\"1\",\"reasoning\":\"3\"}"),
        BOOK("\"m\":{\"cached\":\"1\",\"completion\":\"4\",\"minimum\":\"1\",\"per_request\":\"5\","
             "\"prompt\":\"1\",\"reasoning\":\"3\",\"discount\":\"1\"}"),
        "{\"commission_bps\":10001,\"currency\":\"TON\",\"format\":\"cgw/prices/"
        "v1\",\"models\":{},\"version\":1}",
        "{\"commission_bps\":1,\"currency\":\"TON\",\"format\":\"cgw/prices/"
        "v2\",\"models\":{},\"version\":1}",
        "{\"commission_bps\":1,\"currency\":\"TON\",\"format\":\"cgw/prices/"
        "v1\",\"models\":{},\"version\":0}",
        "{\"commission_bps\":1,\"currency\":\"TON\",\"format\":\"cgw/prices/"
        "v1\",\"models\":{},\"version\":1,\"more\":1}",
        "{\"commission_bps\":1.0,\"currency\":\"TON\",\"format\":\"cgw/prices/"
        "v1\",\"models\":{},\"version\":1}",
    };
    struct price_book *b;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        assert_int_equal(price_book_parse(&b, span_str(bad[i])), E_INVALID);
        assert_null(b);
    }
}

static void a_book_may_begin_later(void **state)
{
    AUTO(price_book_unref) struct price_book *b = NULL;

    (void)state;
    assert_int_equal(price_book_parse(&b, SPAN("{\"commission_bps\":0,\"currency\":\"TON\","
                                               "\"format\":\"cgw/prices/v1\",\"models\":{},"
                                               "\"valid_from\":1800000000,\"version\":3}")),
                     0);
    assert_int_equal(b->valid_from_s, 1800000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_book_says_its_prices_and_its_hash),
        cmocka_unit_test(what_is_no_book_is_refused),
        cmocka_unit_test(a_book_may_begin_later),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
