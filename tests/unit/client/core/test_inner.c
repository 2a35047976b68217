/* What is sealed: the fields of the allowlist and nothing else, padded; bounds and tags. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "client/core/inner.h"
#include "ohttp/bhttp.h"

#define BODY                                                                                       \
    "{\"model\":\"public\",\"user\":\"alice\",\"n\":3,\"messages\":[{\"role\":\"user\","           \
    "\"content\":\"hi\"}]}"

static void parse(struct request *rq, enum endpoint e, const char *body)
{
    const struct request_rules rules = {.max_n = 128};
    struct api_fault fault = {0};

    assert_int_equal(request_parse(rq, e, span_str(body), &rules, &fault), 0);
}

static void bounds_multiply_the_cap_and_stay_readable(void **state)
{
    AUTO(request_fini) struct request rq = {0};

    (void)state;
    parse(&rq, EP_CHAT, BODY);
    struct inner_bounds b = inner_bounds_of(&rq, 100, 4096, 1024);
    assert_int_equal(b.max_tokens, 3 * 4096);
    assert_int_equal(b.max_input, 1124);
    rq.cap = 7;
    assert_int_equal(inner_bounds_of(&rq, 1, 4096, 0).max_tokens, 21);
    rq.cap = INT64_MAX;
    rq.sequences = INT64_MAX;
    assert_int_equal(inner_bounds_of(&rq, 1, 4096, 0).max_tokens, 1 << 30);
    rq.endpoint = EP_EMBEDDINGS;
    assert_int_equal(inner_bounds_of(&rq, 1, 4096, 0).max_tokens, 0);
}

static void tags_differ_by_use_key_and_conversation(void **state)
{
    static const uint8_t one[CLIENT_KEY_LEN] = {1}, two[CLIENT_KEY_LEN] = {2};
    char a[TAG_LEN + 1], b[TAG_LEN + 1];

    (void)state;
    inner_tag(a, SPAN_OF(one), "salt", SPAN("x"));
    inner_tag(b, SPAN_OF(one), "salt", SPAN("x"));
    assert_string_equal(a, b);
    inner_tag(b, SPAN_OF(one), "route", SPAN("x"));
    assert_string_not_equal(a, b);
    inner_tag(b, SPAN_OF(two), "salt", SPAN("x"));
    assert_string_not_equal(a, b);
    inner_tag(b, SPAN_OF(one), "salt", SPAN("y"));
    assert_string_not_equal(a, b);
}

static void read_all(struct bhttp_reader *r, struct span message, struct buf *body)
{
    enum bhttp_event event = BHTTP_NEED_MORE;
    struct span content;

    bhttp_feed(r, message);
    bhttp_finish(r);
    do {
        assert_int_equal(bhttp_next(r, &event, &content), 0);
        if (event == BHTTP_CONTENT)
            buf_append(body, content);
    } while (event != BHTTP_END && event != BHTTP_NEED_MORE);
}

static void the_message_is_the_allowlist_and_padded(void **state)
{
    static const uint8_t key[CLIENT_KEY_LEN] = {1};
    AUTO(request_fini) struct request rq = {0};
    AUTO(buf_fini) struct buf out = {0};
    AUTO(buf_fini) struct buf body = {0};
    AUTO(bhttp_reader_free) struct bhttp_reader *r = bhttp_reader_new(true, 1 << 20);
    struct span value;

    (void)state;
    parse(&rq, EP_CHAT, BODY);
    const struct inner_ask ask = {
        .rq = &rq,
        .served_model = SPAN("served"),
        .body = SPAN("{\"model\":\"served\"}"),
        .rid = SPAN("r-1"),
        .bounds = {10, 20},
        .padding = "64",
        .ping_ms = 15000,
        .client_key = SPAN_OF(key),
        .date = 784111777,
    };
    inner_write(&ask, &out);
    assert_int_equal(out.len % INNER_PADDED_TO, 0);
    assert_true(span_find(buf_span(&out), SPAN("alice")) < 0);
    read_all(r, buf_span(&out), &body);
    assert_true(span_is(buf_span(&body), "{\"model\":\"served\"}"));
    const struct bhttp_head *h = bhttp_head_of(r);
    assert_true(span_is(h->path, "/v1/chat/completions"));
    assert_int_equal(h->count, 11);
    assert_int_equal(bhttp_field_get(h->fields, h->count, "cocoon-public-model", &value), 0);
    assert_true(span_is(value, "public"));
    assert_int_equal(bhttp_field_get(h->fields, h->count, "cocoon-model", &value), 0);
    assert_true(span_is(value, "served"));
    assert_int_equal(bhttp_field_get(h->fields, h->count, "date", &value), 0);
    assert_true(span_is(value, "Sun, 06 Nov 1994 08:49:37 GMT"));
}

static void a_worker_is_told_to_drop_nothing_either(void **state)
{
    static const uint8_t key[CLIENT_KEY_LEN] = {1};
    const struct request_rules rules = {.strict = true, .max_n = 128};
    AUTO(request_fini) struct request rq = {0};
    AUTO(buf_fini) struct buf out = {0}, body = {0};
    AUTO(bhttp_reader_free) struct bhttp_reader *r = bhttp_reader_new(true, 1 << 20);
    struct api_fault fault = {0};
    struct span value;

    (void)state;
    assert_int_equal(request_parse(&rq, EP_CHAT, SPAN(BODY), &rules, &fault), 0);
    inner_write(&(struct inner_ask){.rq = &rq,
                                    .served_model = SPAN("served"),
                                    .body = SPAN("{}"),
                                    .rid = SPAN("r-1"),
                                    .padding = "64",
                                    .client_key = SPAN_OF(key)},
                &out);
    read_all(r, buf_span(&out), &body);
    const struct bhttp_head *h = bhttp_head_of(r);
    assert_int_equal(h->count, 12);
    assert_int_equal(bhttp_field_get(h->fields, h->count, "cocoon-strict", &value), 0);
    assert_true(span_is(value, "?1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bounds_multiply_the_cap_and_stay_readable),
        cmocka_unit_test(tags_differ_by_use_key_and_conversation),
        cmocka_unit_test(the_message_is_the_allowlist_and_padded),
        cmocka_unit_test(a_worker_is_told_to_drop_nothing_either),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
