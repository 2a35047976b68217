/* An answer is opened as it comes; its end goes out only when the worker ended it, and whatever
 * else happens is an error that says what it is. */
#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "client/core/sealed_answer.h"

#define EVENT  "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n"
#define USAGE  "data: {\"choices\":[],\"usage\":{\"total_tokens\":1}}\n\n"
#define DONE   "data: [DONE]\n\n"
#define BROKEN "data: {\"error\":{\"message\":\"x\",\"type\":\"server_error\"}}\n\n"

struct world {
    struct hpke_private *private;
    struct hpke_public *public;
    struct ohttp_server *worker;
    struct sealed_answer answer;
    struct buf wire, given; /* what the worker has sent; what the application got */
};

static void take(void *arg, struct span bytes)
{
    struct world *w = arg;

    buf_append(&w->given, bytes);
}

static int begin(void **state)
{
    struct world *w = mem_zero(sizeof(*w));
    uint8_t public[HPKE_KEY_LEN], bytes[KEY_CONFIG_LEN];
    AUTO(buf_fini) struct buf request = {0}, plain = {0};
    struct key_config config;
    struct ohttp_client *client;
    struct ohttp_hdr hdr;

    assert_int_equal(hpke_private_generate(&w->private), 0);
    hpke_private_public(w->private, public);
    assert_int_equal(hpke_public_from(&w->public, SPAN_OF(public)), 0);
    key_config_make(bytes, 7, public);
    assert_int_equal(key_config_parse(&config, SPAN_OF(bytes)), 0);
    assert_int_equal(ohttp_client_new(&client, &config, w->public, AEAD_AES_256_GCM), 0);
    assert_int_equal(ohttp_client_seal(client, SPAN("question"), &request), 0);
    assert_int_equal(ohttp_hdr_parse(&hdr, buf_span(&request)), 0);
    assert_int_equal(ohttp_server_new(&w->worker, &hdr, w->private), 0);
    assert_int_equal(ohttp_server_open(w->worker, buf_span(&request), &plain), 0);
    sealed_answer_begin(&w->answer, client, "rid-1", true, take, w);
    *state = w;
    return 0;
}

static int end(void **state)
{
    struct world *w = *state;

    sealed_answer_fini(&w->answer);
    ohttp_server_free(w->worker);
    hpke_private_free(w->private);
    hpke_public_free(w->public);
    buf_fini(&w->wire);
    buf_fini(&w->given);
    free(w);
    return 0;
}

/* ---- The worker ---- */

static void seal(struct world *w, const struct buf *plain, bool final)
{
    assert_int_equal(ohttp_server_seal(w->worker, buf_span(plain), final, &w->wire), 0);
}

static void say_head(struct world *w, unsigned status, const char *type, const char *rid)
{
    const struct bhttp_field fields[] = {{SPAN("content-type"), span_str(type)},
                                         {SPAN("cocoon-request-id"), span_str(rid)},
                                         {SPAN("cocoon-ignored"), SPAN("own_a,b")}};
    AUTO(buf_fini) struct buf plain = {0};

    bhttp_response_head(&plain, status, fields, 3);
    seal(w, &plain, false);
}

static void say(struct world *w, const char *content)
{
    AUTO(buf_fini) struct buf plain = {0};

    bhttp_content(&plain, span_str(content));
    seal(w, &plain, false);
}

static void say_end(struct world *w)
{
    const struct bhttp_field receipt = {SPAN("cocoon-receipt"), SPAN("a.b.c")};
    AUTO(buf_fini) struct buf plain = {0};

    bhttp_content_end(&plain);
    bhttp_trailers(&plain, &receipt, 1);
    seal(w, &plain, true);
}

static void say_stream(struct world *w)
{
    say_head(w, 200, "text/event-stream; charset=utf-8", "rid-1");
    say(w, EVENT);
}

/* ---- The client ---- */

static int hear(struct world *w)
{
    const int error = sealed_answer_feed(&w->answer, buf_span(&w->wire));

    buf_clear(&w->wire);
    return error;
}

static void hear_all(struct world *w)
{
    assert_int_equal(hear(w), 0);
    assert_int_equal(sealed_answer_end(&w->answer), 0);
    assert_null(w->answer.fault.error);
}

static void refuse_end(struct world *w, const struct api_error *e)
{
    assert_int_equal(hear(w), 0);
    assert_int_equal(sealed_answer_end(&w->answer), E_INVALID);
    assert_ptr_equal(w->answer.fault.error, e);
    assert_null(strstr(buf_cstr(&w->given), "[DONE]"));
}

static void refuse_now(struct world *w, const struct api_error *e)
{
    assert_int_equal(hear(w), E_INVALID);
    assert_ptr_equal(w->answer.fault.error, e);
}

static void a_stream_is_handed_out_but_for_its_closing_events(void **state)
{
    struct world *w = *state;
    uint8_t digest[SHA256_LEN];

    say_stream(w);
    assert_int_equal(hear(w), 0);
    assert_true(span_is(buf_span(&w->given), EVENT));
    assert_int_equal(w->answer.chunks, 2);
    assert_string_equal(buf_cstr(&w->answer.ignored), "own_a,b");
    say(w, USAGE);
    say(w, DONE);
    say_end(w);
    hear_all(w);
    assert_true(span_is(buf_span(&w->given), EVENT));
    assert_true(span_is(buf_span(&w->answer.kept), USAGE DONE));
    assert_true(span_is(buf_span(&w->answer.usage), USAGE));
    assert_true(span_is(buf_span(&w->answer.receipt), "a.b.c"));
    sha256(digest, SPAN(EVENT USAGE DONE));
    assert_memory_equal(w->answer.opened, digest, SHA256_LEN);
}

static void the_answer_is_hashed_as_it_came(void **state)
{
    struct world *w = *state;
    uint8_t digest[SHA256_LEN];

    say_stream(w);
    say(w, DONE);
    say_end(w);
    sha256(digest, buf_span(&w->wire));
    for (size_t i = 0; i < w->wire.len; i++)
        assert_int_equal(sealed_answer_feed(&w->answer, span_cut(buf_span(&w->wire), i, 1)), 0);
    assert_int_equal(sealed_answer_end(&w->answer), 0);
    assert_memory_equal(w->answer.sealed, digest, SHA256_LEN);
}

static void an_answer_in_one_piece_is_kept(void **state)
{
    struct world *w = *state;

    w->answer.stream = false;
    say_head(w, 200, "application/json", "rid-1");
    say(w, "{\"half\":");
    say(w, "1}");
    say_end(w);
    hear_all(w);
    assert_true(w->answer.whole);
    assert_true(span_is(buf_span(&w->answer.kept), "{\"half\":1}"));
    assert_int_equal(w->given.len, 0);
}

static void a_stream_without_its_final_chunk_is_cut(void **state)
{
    struct world *w = *state;

    say_stream(w);
    say(w, DONE);
    refuse_end(w, &ERR_VERIFICATION_FAILED);
    assert_non_null(strstr(w->answer.fault.message, "cut short"));
}

static void a_changed_byte_ends_it_at_once(void **state)
{
    struct world *w = *state;

    say_stream(w);
    w->wire.data[w->wire.len - 1] ^= 1;
    refuse_now(w, &ERR_VERIFICATION_FAILED);
    assert_int_equal(w->given.len, 0);
}

static void a_stream_without_an_end_mark_is_broken(void **state)
{
    struct world *w = *state;

    say_stream(w);
    say(w, USAGE);
    say_end(w);
    refuse_end(w, &ERR_STREAM_BROKEN);
    assert_false(w->answer.told);
}

static void an_error_event_breaks_it_and_was_told(void **state)
{
    struct world *w = *state;

    say_stream(w);
    say(w, BROKEN);
    say_end(w);
    refuse_end(w, &ERR_STREAM_BROKEN);
    assert_true(w->answer.told);
}

/* It is kept with what closes, so the application still has to be told. */
static void an_error_event_among_the_closing_ones_breaks_it_too(void **state)
{
    struct world *w = *state;

    say_stream(w);
    say(w, USAGE);
    say(w, BROKEN DONE);
    say_end(w);
    refuse_end(w, &ERR_STREAM_BROKEN);
    assert_false(w->answer.told);
}

static void an_answer_to_another_request_is_refused(void **state)
{
    struct world *w = *state;

    say_head(w, 200, "text/event-stream", "rid-2");
    say(w, EVENT);
    refuse_now(w, &ERR_VERIFICATION_FAILED);
    assert_int_equal(w->given.len, 0);
}

static void a_stream_was_asked_for(void **state)
{
    struct world *w = *state;

    say_head(w, 200, "application/json", "rid-1");
    refuse_now(w, &ERR_VERIFICATION_FAILED);
}

static void an_empty_answer_is_none(void **state)
{
    struct world *w = *state;
    struct buf nothing = {0};

    seal(w, &nothing, true);
    assert_int_equal(hear(w), 0);
    assert_int_equal(sealed_answer_end(&w->answer), E_INVALID);
    assert_ptr_equal(w->answer.fault.error, &ERR_VERIFICATION_FAILED);
}

static void what_is_no_answer_is_refused(void **state)
{
    struct world *w = *state;
    AUTO(buf_fini) struct buf plain = {0};

    buf_append_str(&plain, "\x01 no response");
    seal(w, &plain, false);
    refuse_now(w, &ERR_VERIFICATION_FAILED);
}

static void a_refusal_of_the_worker_is_handed_on(void **state)
{
    struct world *w = *state;

    say_head(w, 400, "application/json", "");
    say(w, "{\"error\":{\"message\":\"too long\",\"type\":\"invalid_request_error\","
           "\"param\":null,\"code\":\"context_length_exceeded\"}}");
    say_end(w);
    refuse_end(w, &ERR_CONTEXT_LENGTH);
    assert_string_equal(w->answer.fault.message, "too long");
    assert_int_equal(w->given.len, 0);
}

static void a_refusal_is_bounded(void **state)
{
    struct world *w = *state;
    char text[10001];

    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    say_head(w, 400, "application/json", "");
    for (int i = 0; i < 7; i++)
        say(w, text);
    refuse_now(w, &ERR_WORKER_ERROR);
}

static void a_worker_that_was_told_something_else_outside_says_so(void **state)
{
    struct world *w = *state;

    say_head(w, 400, "application/json", "");
    say(w, "{\"error\":{\"message\":\"no\",\"type\":\"invalid_request_error\",\"param\":null,"
           "\"code\":\"invalid_header\"}}");
    say_end(w);
    refuse_end(w, &ERR_VERIFICATION_FAILED);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_stream_is_handed_out_but_for_its_closing_events),
        CASE(the_answer_is_hashed_as_it_came),
        CASE(an_answer_in_one_piece_is_kept),
        CASE(a_stream_without_its_final_chunk_is_cut),
        CASE(a_changed_byte_ends_it_at_once),
        CASE(a_stream_without_an_end_mark_is_broken),
        CASE(an_error_event_breaks_it_and_was_told),
        CASE(an_error_event_among_the_closing_ones_breaks_it_too),
        CASE(an_answer_to_another_request_is_refused),
        CASE(a_stream_was_asked_for),
        CASE(an_empty_answer_is_none),
        CASE(what_is_no_answer_is_refused),
        CASE(a_refusal_of_the_worker_is_handed_on),
        CASE(a_refusal_is_bounded),
        CASE(a_worker_that_was_told_something_else_outside_says_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
