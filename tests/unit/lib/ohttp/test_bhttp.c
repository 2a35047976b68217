/* Binary HTTP: what is written is read back however it is cut, RFC 9292's examples, and every rule
 * of refusal. */
#include "tests/unit/lib/vectors.h"

#include "ohttp/bhttp.h"
#include "ohttp/varint.h"

/* All that a reader told, as text. */
static void note_fields(struct buf *log, const struct bhttp_field *fields, size_t count)
{
    for (size_t i = 0; i < count; i++)
        buf_printf(log, " %.*s=%.*s", SPAN_FMT(fields[i].name), SPAN_FMT(fields[i].value));
    buf_append_str(log, "\n");
}

static void note_head(struct buf *log, const struct bhttp_head *head)
{
    if (head->request)
        buf_printf(log, "%.*s %.*s %.*s %.*s", SPAN_FMT(head->method), SPAN_FMT(head->scheme),
                   SPAN_FMT(head->authority), SPAN_FMT(head->path));
    else
        buf_printf(log, "%u", head->status);
    note_fields(log, head->fields, head->count);
}

/* Calls bhttp_next until it wants more; content goes to its own buffer. */
static int drain(struct bhttp_reader *r, struct buf *log, struct buf *body, bool *ended)
{
    const struct bhttp_field *trailers;
    enum bhttp_event event;
    struct span content;
    size_t count;

    for (;;) {
        TRY(bhttp_next(r, &event, &content));
        switch (event) {
        case BHTTP_NEED_MORE:
            return 0;
        case BHTTP_HEAD:
            note_head(log, bhttp_head_of(r));
            break;
        case BHTTP_CONTENT:
            assert_true(content.len > 0);
            buf_append(body, content);
            break;
        case BHTTP_TRAILERS:
            buf_append_str(log, "trailers");
            trailers = bhttp_trailers_of(r, &count);
            note_fields(log, trailers, count);
            break;
        case BHTTP_END:
            assert_false(*ended);
            *ended = true;
            break;
        }
    }
}

static int read_all(bool request, struct span bytes, size_t step, size_t max, struct buf *log)
{
    AUTO(bhttp_reader_free) struct bhttp_reader *r = bhttp_reader_new(request, max);
    AUTO(buf_fini) struct buf body = {0};
    bool ended = false;

    assert_null(bhttp_head_of(r));
    for (size_t at = 0; at < bytes.len; at += step) {
        bhttp_feed(r, span_cut(bytes, at, step));
        TRY(drain(r, log, &body, &ended));
    }
    assert_false(ended); /* not before the layer below has said so */
    bhttp_finish(r);
    TRY(drain(r, log, &body, &ended));
    assert_true(ended);
    buf_append_str(log, "body ");
    buf_append(log, buf_span(&body));
    return 0;
}

static void reads_as(bool request, struct span bytes, const char *want)
{
    for (size_t step = 1; step <= bytes.len; step++) {
        AUTO(buf_fini) struct buf log = {0};

        assert_int_equal(read_all(request, bytes, step, 1000, &log), 0);
        assert_string_equal(buf_cstr(&log), want);
    }
}

/* The same error however the bytes are cut. */
static void refused_as(bool request, struct span bytes, int error)
{
    for (size_t step = 1; step <= bytes.len; step++) {
        AUTO(buf_fini) struct buf log = {0};

        assert_int_equal(read_all(request, bytes, step, 1000, &log), error);
    }
}

static const struct bhttp_field FIELDS[] = {{SPAN("content-type"), SPAN("application/json")},
                                            {SPAN("date"), SPAN("now")},
                                            {SPAN("empty"), SPAN("")}};

static void a_request_is_read_back(void **state)
{
    AUTO(buf_fini) struct buf bytes = {0};

    (void)state;
    bhttp_request(&bytes, SPAN("POST"), SPAN("https"), SPAN("worker"), SPAN("/v1/chat"), FIELDS, 3,
                  SPAN("{\"model\":\"m\"}"));
    reads_as(true, buf_span(&bytes),
             "POST https worker /v1/chat content-type=application/json date=now empty=\n"
             "trailers\nbody {\"model\":\"m\"}");
}

static void a_response_is_read_back(void **state)
{
    AUTO(buf_fini) struct buf bytes = {0};

    (void)state;
    bhttp_response_head(&bytes, 200, FIELDS, 2);
    bhttp_content(&bytes, SPAN("data: 1\n\n"));
    bhttp_content(&bytes, SPAN(""));
    bhttp_content(&bytes, SPAN("data: [DONE]\n\n"));
    bhttp_content_end(&bytes);
    bhttp_trailers(&bytes, FIELDS + 1, 1);
    reads_as(false, buf_span(&bytes),
             "200 content-type=application/json date=now\ntrailers date=now\n"
             "body data: 1\n\ndata: [DONE]\n\n");
}

static void padding_of_zeros_is_skipped_and_no_other(void **state)
{
    AUTO(buf_fini) struct buf bytes = {0};

    (void)state;
    bhttp_request(&bytes, SPAN("GET"), SPAN("https"), SPAN(""), SPAN("/"), NULL, 0, SPAN("x"));
    for (size_t i = 0; i < 20; i++)
        buf_byte(&bytes, 0);
    reads_as(true, buf_span(&bytes), "GET https  /\ntrailers\nbody x");
    bytes.data[bytes.len - 1] = 1;
    refused_as(true, buf_span(&bytes), E_INVALID);
}

/* RFC 9292 §5.1, the request of figure 10 with an indeterminate length; and its known-length twin.
 */
static void both_framings_of_a_request_are_read(void **state)
{
    static const char WANT[] = "GET https  /hello.txt user-agent=curl/7.16.3 host=www.example.com\n"
                               "trailers\nbody ";

    (void)state;
    reads_as(true,
             SPAN("\x02\x03GET\x05https\x00\x0a/hello.txt\x0auser-agent\x0b"
                  "curl/7.16.3\x04host\x0fwww.example.com\x00\x00\x00"),
             WANT);
    reads_as(true,
             SPAN("\x00\x03GET\x05https\x00\x0a/hello.txt\x2c\x0auser-agent\x0b"
                  "curl/7.16.3\x04host\x0fwww.example.com\x00\x00"),
             WANT);
}

static void informational_responses_are_skipped(void **state)
{
    (void)state;
    reads_as(false,
             SPAN("\x03\x40\x66\x07running\x08sleep 15\x00\x40\x67\x04link\x01x\x00\x40\xc8"
                  "\x04"
                  "date\x01t\x00\x02hi\x00\x00"),
             "200 date=t\ntrailers\nbody hi");
    reads_as(false,
             SPAN("\x01\x40\x66\x05\x01"
                  "a\x02zz\x40\xc8\x04\x01"
                  "b\x01y\x02hi\x00"),
             "200 b=y\ntrailers\nbody hi");
}

static void endless_informational_responses_are_refused(void **state)
{
    AUTO(buf_fini) struct buf bytes = {0}, log = {0};

    (void)state;
    buf_byte(&bytes, 3);
    for (size_t i = 0; i < 17; i++)
        buf_append(&bytes, SPAN("\x40\x66\x00"));
    assert_int_equal(read_all(false, buf_span(&bytes), 1, 1000, &log), E_TOO_LARGE);
}

/* RFC 9292 §3.8; RFC 9458's own example leaves out even the header section. */
static void empty_sections_at_the_end_may_be_left_out(void **state)
{
    (void)state;
    reads_as(true,
             SPAN("\x00\x03GET\x05https\x0b"
                  "example.com\x01/"),
             "GET https example.com /\ntrailers\nbody ");
    reads_as(true, SPAN("\x00\x03GET\x05https\x00\x01/\x00"), "GET https  /\ntrailers\nbody ");
    reads_as(true, SPAN("\x00\x03GET\x05https\x00\x01/\x00\x01x"),
             "GET https  /\ntrailers\nbody x");
    reads_as(false, SPAN("\x01\x40\xc8"), "200\ntrailers\nbody ");
    reads_as(false, SPAN("\x03\x40\xc8\x00"), "200\ntrailers\nbody ");
    reads_as(false, SPAN("\x03\x40\xc8\x00\x01x\x00"), "200\ntrailers\nbody x");
}

static void any_other_truncation_is_refused(void **state)
{
    AUTO(buf_fini) struct buf log = {0};

    (void)state;
    refused_as(false, SPAN("\x03\x40\xc8\x00\x01x"), E_INVALID); /* a chunk, then no terminator */
    refused_as(false, SPAN("\x03\x40\xc8\x00\x02x"), E_INVALID);
    refused_as(false,
               SPAN("\x03\x40\xc8\x01"
                    "a\x01y"),
               E_INVALID);
    refused_as(false,
               SPAN("\x03\x40\xc8\x00\x00\x01"
                    "a\x01y"),
               E_INVALID);
    refused_as(false, SPAN("\x03\x40\x66"), E_INVALID);
    refused_as(false, SPAN("\x01\x40\x66\x00"), E_INVALID);
    refused_as(false,
               SPAN("\x01\x40\xc8\x04\x01"
                    "a\x01"),
               E_INVALID);
    refused_as(true, SPAN("\x00\x03GET\x05https\x00\x01/\x00\x02x"), E_INVALID);
    refused_as(true, SPAN("\x00\x03GET\x05https"), E_INVALID);
    refused_as(true, SPAN("\x00"), E_INVALID);
    assert_int_equal(read_all(true, SPAN(""), 1, 1000, &log), E_INVALID);
}

static void kinds_and_statuses_out_of_range_are_refused(void **state)
{
    (void)state;
    refused_as(true, SPAN("\x01\x40\xc8"), E_INVALID);
    refused_as(true, SPAN("\x03\x40\xc8"), E_INVALID);
    refused_as(false, SPAN("\x00\x03GET\x05https\x00\x01/"), E_INVALID);
    refused_as(false, SPAN("\x04\x40\xc8"), E_INVALID);
    refused_as(false, SPAN("\x01\x40\x63"), E_INVALID); /* 99 */
    refused_as(false, SPAN("\x01\x42\x58"), E_INVALID); /* 600 */
    refused_as(false, SPAN("\x01\x00"), E_INVALID);
}

static void malformed_fields_are_refused(void **state)
{
    (void)state;
    refused_as(false,
               SPAN("\x03\x40\xc8\x01"
                    "A\x01y\x00"),
               E_INVALID);
    refused_as(false, SPAN("\x03\x40\xc8\x02:a\x01y\x00"), E_INVALID);
    refused_as(false,
               SPAN("\x03\x40\xc8\x02"
                    "a \x01y\x00"),
               E_INVALID);
    refused_as(false,
               SPAN("\x03\x40\xc8\x02"
                    "a\xff\x01y\x00"),
               E_INVALID);
    refused_as(false,
               SPAN("\x03\x40\xc8\x02"
                    "a\x00\x01y\x00"),
               E_INVALID);
    refused_as(false,
               SPAN("\x03\x40\xc8\x01"
                    "a\x03y\rz\x00"),
               E_INVALID);
    refused_as(false,
               SPAN("\x03\x40\xc8\x01"
                    "a\x03y\nz\x00"),
               E_INVALID);
    refused_as(false,
               SPAN("\x03\x40\xc8\x01"
                    "a\x03y\x00z\x00"),
               E_INVALID);
    refused_as(false,
               SPAN("\x03\x40\xc8\x01"
                    "a\x02 y\x00"),
               E_INVALID);
    refused_as(false,
               SPAN("\x03\x40\xc8\x01"
                    "a\x02y\t\x00"),
               E_INVALID);
    refused_as(false, SPAN("\x01\x40\xc8\x03\x00\x01y"), E_INVALID); /* empty name, known length */
    refused_as(false,
               SPAN("\x01\x40\xc8\x03\x01"
                    "a\x02yz\x00\x00"),
               E_INVALID); /* out of the section */
    refused_as(false,
               SPAN("\x01\x40\xc8\x02\x01"
                    "a\x01y\x00\x00"),
               E_INVALID);
    refused_as(true, SPAN("\x00\x03G T\x05https\x00\x01/"), E_INVALID);
    refused_as(true, SPAN("\x00\x00\x05https\x00\x01/"), E_INVALID);
    refused_as(true, SPAN("\x00\x03GET\x05https\x00\x03/ x"), E_INVALID);
    refused_as(true, SPAN("\x00\x03GET\x05https\x01\n\x01/"), E_INVALID);
}

static void lengths_are_bounded_before_they_are_believed(void **state)
{
    (void)state;
    /* Content of 1001 with a bound of 1000; 2^62−1. */
    refused_as(true, SPAN("\x00\x03GET\x05https\x00\x01/\x00\x43\xe9"), E_TOO_LARGE);
    refused_as(false, SPAN("\x03\x40\xc8\x00\xff\xff\xff\xff\xff\xff\xff\xff"), E_TOO_LARGE);
    /* Chunks together. */
    refused_as(false, SPAN("\x03\x40\xc8\x00\x01x\x43\xe8"), E_TOO_LARGE);
    /* Sections, fields, control data. */
    refused_as(false, SPAN("\x01\x40\xc8\x80\x01\x00\x01"), E_TOO_LARGE);
    refused_as(false, SPAN("\x03\x40\xc8\x80\x01\x00\x00"), E_TOO_LARGE);
    refused_as(false, SPAN("\x03\x40\xc8\xc0\x00\x00\x01\x00\x00\x00\x00"), E_TOO_LARGE);
    refused_as(true, SPAN("\x00\xff\xff\xff\xff\xff\xff\xff\xff"), E_TOO_LARGE);
}

static void append_fields(struct buf *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        buf_append(bytes, SPAN("\x01"
                               "a\x01y"));
    buf_byte(bytes, 0);
}

static void a_hundred_fields_are_read_and_one_more_is_not(void **state)
{
    (void)state;
    for (size_t more = 0; more < 2; more++) {
        AUTO(buf_fini) struct buf bytes = {0}, log = {0};

        buf_append(&bytes, SPAN("\x03\x40\xc8"));
        append_fields(&bytes, BHTTP_MAX_FIELDS);
        buf_byte(&bytes, 0);
        append_fields(&bytes, BHTTP_MAX_FIELDS + more); /* trailers have a bound of their own */
        assert_int_equal(read_all(false, buf_span(&bytes), 11, 1000, &log), more ? E_TOO_LARGE : 0);
    }
}

static void a_section_of_64_kib_is_the_longest(void **state)
{
    (void)state;
    for (size_t more = 0; more < 2; more++) {
        AUTO(buf_fini) struct buf bytes = {0}, log = {0};
        size_t len = BHTTP_MAX_FIELD_BYTES + more, value = len - 2 - 4;

        buf_append(&bytes, SPAN("\x01\x40\xc8"));
        varint_append(&bytes, len);
        buf_append(&bytes, SPAN("\x01"
                                "a"));
        varint_append(&bytes, value);
        memset(buf_reserve(&bytes, value), 'v', value);
        bytes.len += value;
        assert_int_equal(read_all(false, buf_span(&bytes), 5000, 1000, &log),
                         more ? E_TOO_LARGE : 0);
    }
}

static void an_error_stays(void **state)
{
    AUTO(bhttp_reader_free) struct bhttp_reader *r = bhttp_reader_new(false, 10);
    enum bhttp_event event;
    struct span content;

    (void)state;
    bhttp_feed(r, SPAN("\x09"));
    assert_int_equal(bhttp_next(r, &event, &content), E_INVALID);
    bhttp_feed(r, SPAN("\x03\x40\xc8\x00"));
    assert_int_equal(bhttp_next(r, &event, &content), E_INVALID);
    bhttp_finish(r);
    assert_int_equal(bhttp_next(r, &event, &content), E_INVALID);
}

static void nothing_is_fed_after_the_end(void **state)
{
    AUTO(bhttp_reader_free) struct bhttp_reader *r = bhttp_reader_new(false, 10);
    AUTO(buf_fini) struct buf log = {0}, body = {0};
    enum bhttp_event event;
    struct span content;
    bool ended = false;

    (void)state;
    bhttp_feed(r, SPAN("\x01\x40\xc8"));
    bhttp_finish(r);
    assert_int_equal(drain(r, &log, &body, &ended), 0);
    assert_true(ended);
    assert_int_equal(bhttp_next(r, &event, &content), 0);
    assert_int_equal(event, BHTTP_NEED_MORE);
    bhttp_feed(r, SPAN("\x00"));
    assert_int_equal(bhttp_next(r, &event, &content), E_INVALID);
}

static void a_field_is_found_once(void **state)
{
    const struct bhttp_field fields[] = {
        {SPAN("a"), SPAN("1")}, {SPAN("b"), SPAN("2")}, {SPAN("b"), SPAN("3")}};
    struct span value;

    (void)state;
    assert_int_equal(bhttp_field_get(fields, 3, "a", &value), 0);
    assert_span(value, SPAN("1"));
    assert_int_equal(bhttp_field_get(fields, 3, "b", &value), E_INVALID);
    assert_int_equal(bhttp_field_get(fields, 3, "c", &value), E_NOT_FOUND);
    assert_int_equal(bhttp_field_get(NULL, 0, "a", &value), E_NOT_FOUND);
}

static void the_profiles_messages_are_read(void **state)
{
    json_t *doc = vectors_load("proposed/profile_s.json");
    const json_t *v;
    size_t i;

    (void)state;
    json_array_foreach(json_object_get(doc, "vectors"), i, v) {
        AUTO(buf_fini) struct buf request = vector_hex(v, "bhttp_request"), log = {0};
        AUTO(buf_fini) struct buf response = vector_hex(v, "bhttp_response");

        assert_int_equal(read_all(true, buf_span(&request), 17, 1000, &log), 0);
        assert_true(span_starts(buf_span(&log), SPAN("POST https worker /v1/chat/completions "
                                                     "content-type=application/json ")));
        buf_clear(&log);
        assert_int_equal(read_all(false, buf_span(&response), 17, 1000, &log), 0);
        assert_true(span_starts(buf_span(&log), SPAN("200 content-type=text/event-stream ")));
        assert_true(span_ends(buf_span(&log), SPAN("data: [DONE]\n\n")));
    }
    assert_int_equal(i, 3);
    json_decref(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_read_back),
        cmocka_unit_test(a_response_is_read_back),
        cmocka_unit_test(padding_of_zeros_is_skipped_and_no_other),
        cmocka_unit_test(both_framings_of_a_request_are_read),
        cmocka_unit_test(informational_responses_are_skipped),
        cmocka_unit_test(endless_informational_responses_are_refused),
        cmocka_unit_test(empty_sections_at_the_end_may_be_left_out),
        cmocka_unit_test(any_other_truncation_is_refused),
        cmocka_unit_test(kinds_and_statuses_out_of_range_are_refused),
        cmocka_unit_test(malformed_fields_are_refused),
        cmocka_unit_test(lengths_are_bounded_before_they_are_believed),
        cmocka_unit_test(a_hundred_fields_are_read_and_one_more_is_not),
        cmocka_unit_test(a_section_of_64_kib_is_the_longest),
        cmocka_unit_test(an_error_stays),
        cmocka_unit_test(nothing_is_fed_after_the_end),
        cmocka_unit_test(a_field_is_found_once),
        cmocka_unit_test(the_profiles_messages_are_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
