/* Server-sent events: WHATWG HTML §9.2.6, every split, bounds. */
#include "net/sse.h"

#include <stdarg.h>
#include <stdio.h>

#include <setjmp.h>
#include <cmocka.h>

/* Events as text: "name=data;" each. */
static int note_event(void *arg, struct span name, struct span data)
{
    struct buf *out = arg;

    buf_append(out, name);
    buf_byte(out, '=');
    buf_append(out, data);
    buf_byte(out, ';');
    return 0;
}

static int feed_in_parts(struct span stream, size_t step, size_t max_event, struct buf *out)
{
    struct sse_parser p = {.max_event = max_event};
    int error = 0;

    for (size_t at = 0; at < stream.len && error == 0; at += step) {
        /* A copy of its own size, so that a sanitizer sees any read beyond the part. */
        AUTO(buf_fini) struct buf part = {0};
        buf_append(&part, span_cut(stream, at, step));
        error = sse_feed(&p, buf_span(&part), note_event, out);
    }
    sse_fini(&p);
    return error;
}

static void expect(struct span stream, const char *events)
{
    for (size_t step = 1; step <= stream.len; step++) {
        AUTO(buf_fini) struct buf out = {0};
        assert_int_equal(feed_in_parts(stream, step, 1000, &out), 0);
        assert_string_equal(buf_cstr(&out), events);
    }
}

static void events_are_the_same_however_the_bytes_are_split(void **state)
{
    (void)state;
    expect(SPAN("data: a\n\nevent: x\ndata: b\ndata: c\n\n: ping\n\ndata:[DONE]\n\n"),
           "=a;x=b\nc;=[DONE];");
}

static void every_kind_of_line_end_counts(void **state)
{
    (void)state;
    expect(SPAN("data: a\r\rdata: b\r\n\r\ndata: c\n\r\ndata: d\r\n\n"), "=a;=b;=c;=d;");
}

static void the_examples_of_the_standard_read_as_it_says(void **state)
{
    (void)state;
    /* §9.2.6: "data" alone and with nothing behind is an empty line of data */
    expect(SPAN("data\n\ndata\ndata\n\ndata:"), "=;=\n;");
    expect(SPAN("data:test\n\ndata: test\n\n"), "=test;=test;");
    expect(SPAN(": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  "
                "third event\n\n"),
           "=first event;=second event;= third event;");
}

static void a_block_without_data_is_no_event_and_forgets_its_name(void **state)
{
    (void)state;
    expect(SPAN("event: a\n\ndata: b\n\n"), "=b;");
}

static void an_event_without_its_blank_line_is_not_delivered(void **state)
{
    (void)state;
    expect(SPAN("data: a\n\ndata: b\n"), "=a;");
}

static void a_byte_order_mark_is_passed_over_only_at_the_start(void **state)
{
    (void)state;
    expect(SPAN("\xEF\xBB\xBF"
                "data: a\n\n\xEF\xBB\xBF"
                "data: b\n\n"),
           "=a;");
}

static void unknown_fields_are_passed_over(void **state)
{
    (void)state;
    expect(SPAN("id: 7\nretry: 5\ndatax: no\n data: no\nDATA: no\ndata: yes\n\n"), "=yes;");
}

static void data_up_to_the_bound_passes_and_one_byte_more_does_not(void **state)
{
    struct span fits = SPAN("data: 12345\ndata: 6789\n\n"),
                over = SPAN("data: 12345\ndata: 67890\n\n");

    (void)state;
    for (size_t step = 1; step < 30; step++) {
        AUTO(buf_fini) struct buf out = {0};
        assert_int_equal(feed_in_parts(fits, step, 10, &out), 0);
        assert_string_equal(buf_cstr(&out), "=12345\n6789;");
        assert_int_equal(feed_in_parts(over, step, 10, &out), E_TOO_LARGE);
    }
}

static void a_line_without_end_is_cut_off_also_as_a_comment(void **state)
{
    AUTO(buf_fini) struct buf stream = {0};

    (void)state;
    buf_byte(&stream, ':');
    for (int i = 0; i < 200; i++)
        buf_byte(&stream, 'x');
    for (size_t step = 1; step < 202; step += 40) {
        AUTO(buf_fini) struct buf out = {0};
        assert_int_equal(feed_in_parts(buf_span(&stream), step, 100, &out), E_TOO_LARGE);
    }
}

static int stop_at_second(void *arg, struct span name, struct span data)
{
    (void)name;
    (void)data;
    return ++*(int *)arg == 2 ? E_PROTOCOL : 0;
}

static void a_callback_can_stop_the_stream(void **state)
{
    struct sse_parser p = {.max_event = 100};
    int events = 0;

    (void)state;
    assert_int_equal(sse_feed(&p, SPAN("data:1\n\ndata:2\n\ndata:3\n\n"), stop_at_second, &events),
                     E_PROTOCOL);
    assert_int_equal(events, 2);
    sse_fini(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_are_the_same_however_the_bytes_are_split),
        cmocka_unit_test(every_kind_of_line_end_counts),
        cmocka_unit_test(the_examples_of_the_standard_read_as_it_says),
        cmocka_unit_test(a_block_without_data_is_no_event_and_forgets_its_name),
        cmocka_unit_test(an_event_without_its_blank_line_is_not_delivered),
        cmocka_unit_test(a_byte_order_mark_is_passed_over_only_at_the_start),
        cmocka_unit_test(unknown_fields_are_passed_over),
        cmocka_unit_test(data_up_to_the_bound_passes_and_one_byte_more_does_not),
        cmocka_unit_test(a_line_without_end_is_cut_off_also_as_a_comment),
        cmocka_unit_test(a_callback_can_stop_the_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
