/* The HTTP server: streams, their chunks, ends and readers. */
#include "http_rig.h"

#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <pthread.h>

/* ---- Streams ---- */

static void each_write_is_a_chunk_and_trailers_come_last(void **state)
{
    struct rig *r = rig_new();
    struct client c = client_new(r);
    const struct http_field trailer = {"Cocoon-Usage", "jws"};

    (void)state;
    client_say(&c, GET("/stream"));
    PUMP_UNTIL(r, &c, client_has(&c, "\r\n\r\n"), WAIT_MS); /* the head does not wait for a chunk */
    assert_true(client_has(&c, "Transfer-Encoding: chunked"));
    write_text(r->seen[0].ex, "data: 1\n\n");
    write_text(r->seen[0].ex, "data: 22\n\n");
    PUMP_UNTIL(r, &c, client_has(&c, "9\r\ndata: 1\n\n\r\nA\r\ndata: 22\n\n\r\n"), WAIT_MS);
    assert_int_equal(http_stream_queued(r->seen[0].ex), 0);
    write_text(r->seen[0].ex, "");
    http_stream_end(r->seen[0].ex, &trailer, 1);
    PUMP_UNTIL(r, &c, r->seen[0].dones == 1, WAIT_MS);
    assert_true(r->seen[0].complete);
    PUMP_UNTIL(r, &c, client_has(&c, "\r\n0\r\nCocoon-Usage: jws\r\n\r\n"), WAIT_MS);
    client_say(&c, GET("/hello"));
    PUMP_UNTIL(r, &c, client_has(&c, "hello"), WAIT_MS);
    client_close(&c);
    rig_free(r);
}

static void a_burst_of_writes_stays_separate_chunks(void **state)
{
    struct rig *r = rig_new();
    struct client c = client_new(r);

    (void)state;
    client_say(&c, GET("/stream"));
    PUMP_UNTIL(r, &c, r->count == 1, WAIT_MS);
    for (int i = 0; i < 50; i++)
        write_text(r->seen[0].ex, "data: t\n\n");
    http_stream_end(r->seen[0].ex, NULL, 0);
    PUMP_UNTIL(r, &c, r->seen[0].dones == 1, WAIT_MS);
    PUMP_UNTIL(r, &c, client_has(&c, "\r\n0\r\n\r\n"), WAIT_MS);
    assert_int_equal(client_count(&c, "9\r\ndata: t\n\n\r\n"), 50);
    client_close(&c);
    rig_free(r);
}

static unsigned packets(const struct client *c)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof(info);

    assert_int_equal(getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &len), 0);
    return info.tcpi_data_segs_in;
}

/* They would be four, and the client would be woken for each. MHD sets its own options with a
 * connection's first answer. */
static void head_first_chunk_and_end_leave_in_one_packet(void **state)
{
    static const struct http_field type = {"content-type", "text/event-stream"};
    struct rig *r = rig_new();
    struct client c = client_new(r);

    (void)state;
    client_say(&c, GET("/stream"));
    PUMP_UNTIL(r, &c, r->count == 1, WAIT_MS);
    write_text(r->seen[0].ex, "data: 1\n\n");
    http_stream_end(r->seen[0].ex, NULL, 0);
    PUMP_UNTIL(r, &c, client_has(&c, "\r\n0\r\n\r\n"), WAIT_MS);
    const unsigned before = packets(&c);
    client_say(&c, GET("/parked"));
    PUMP_UNTIL(r, &c, r->count == 2, WAIT_MS);
    http_stream_begin(r->seen[1].ex, 200, &type, 1);
    write_text(r->seen[1].ex, "data: 22\n\n");
    http_stream_ending(r->seen[1].ex);
    write_text(r->seen[1].ex, "data: [DONE]\n\n");
    http_stream_end(r->seen[1].ex, NULL, 0);
    PUMP_UNTIL(r, &c, client_has(&c, "data: [DONE]\n\n\r\n0\r\n\r\n"), WAIT_MS);
    assert_int_equal(packets(&c) - before, 1);
    client_close(&c);
    rig_free(r);
}

/* A stream that goes on does not wait for more. */
static void the_end_mark_and_the_end_leave_in_one_packet_behind_the_events(void **state)
{
    struct rig *r = rig_new();
    struct client c = client_new(r);

    (void)state;
    client_say(&c, GET("/stream"));
    PUMP_UNTIL(r, &c, r->count == 1, WAIT_MS);
    write_text(r->seen[0].ex, "data: 1\n\n");
    PUMP_UNTIL(r, &c, client_has(&c, "data: 1\n\n"), WAIT_MS);
    const unsigned before = packets(&c);
    write_text(r->seen[0].ex, "data: 22\n\n");
    PUMP_UNTIL(r, &c, client_has(&c, "data: 22\n\n"), 100);
    assert_int_equal(packets(&c) - before, 1);
    http_stream_ending(r->seen[0].ex);
    write_text(r->seen[0].ex, "data: [DONE]\n\n");
    http_stream_end(r->seen[0].ex, NULL, 0);
    PUMP_UNTIL(r, &c, client_has(&c, "\r\n0\r\n\r\n"), WAIT_MS);
    assert_int_equal(packets(&c) - before, 2);
    client_close(&c);
    rig_free(r);
}

static void a_large_head_leaves_room_for_a_stream_with_trailers(void **state)
{
    struct rig *r = rig_new();
    struct client c = client_new(r);
    struct buf request = {0}, token = {0};
    static char jws[4096];
    const struct http_field trailer = {"Cocoon-Usage", jws};

    (void)state;
    memset(jws, 'j', sizeof(jws) - 1);
    buf_append_str(&request, "GET /stream HTTP/1.1\r\nHost: x\r\n");
    for (int i = 0; request.len < 31500; i++)
        buf_printf(&request, "X-%d: %0*d\r\n", i, 100, 7);
    buf_append_str(&request, "\r\n");
    client_send(&c, request.data, request.len);
    PUMP_UNTIL(r, &c, r->count == 1, WAIT_MS);
    memset(buf_reserve(&token, 100000), 't', 100000);
    token.len = 100000;
    http_stream_write(r->seen[0].ex, buf_span(&token));
    buf_fini(&token);
    http_stream_end(r->seen[0].ex, &trailer, 1);
    PUMP_UNTIL(r, &c, r->seen[0].dones == 1, WAIT_MS);
    assert_true(r->seen[0].complete);
    PUMP_UNTIL(r, &c, client_has(&c, jws), WAIT_MS);
    buf_fini(&request);
    client_close(&c);
    rig_free(r);
}

static void http_10_gets_its_stream_without_chunks(void **state)
{
    struct rig *r = rig_new();
    struct client c = client_new(r);

    (void)state;
    client_say(&c, "GET /stream HTTP/1.0\r\n\r\n");
    PUMP_UNTIL(r, &c, r->count == 1, WAIT_MS);
    write_text(r->seen[0].ex, "data: 1\n\n");
    http_stream_end(r->seen[0].ex, NULL, 0);
    PUMP_UNTIL(r, &c, c.eof, WAIT_MS);
    assert_true(span_ends(buf_span(&c.got), SPAN("\r\n\r\ndata: 1\n\n")));
    assert_true(r->seen[0].complete);
    client_close(&c);
    rig_free(r);
}

static void an_aborted_stream_has_no_last_chunk(void **state)
{
    struct rig *r = rig_new();
    struct client c = client_new(r);

    (void)state;
    client_say(&c, GET("/stream"));
    PUMP_UNTIL(r, &c, r->count == 1, WAIT_MS);
    write_text(r->seen[0].ex, "data: 1\n\n");
    http_stream_abort(r->seen[0].ex);
    PUMP_UNTIL(r, &c, c.eof, WAIT_MS);
    assert_true(client_has(&c, "data: 1"));
    assert_false(client_has(&c, "0\r\n\r\n"));
    assert_int_equal(r->seen[0].dones, 1);
    assert_false(r->seen[0].complete);
    assert_int_equal(r->seen[0].gones, 0);
    client_close(&c);
    rig_free(r);
}

static void what_was_said_in_one_turn_goes_out_before_the_break(void **state)
{
    struct rig *r = rig_new();
    struct client c = client_new(r);

    (void)state;
    client_say(&c, GET("/park"));
    PUMP_UNTIL(r, &c, r->count == 1, WAIT_MS);
    begin(r->seen[0].ex);
    write_text(r->seen[0].ex, "data: 1\n\n");
    write_text(r->seen[0].ex, "data: 2\n\n");
    http_stream_abort(r->seen[0].ex);
    PUMP_UNTIL(r, &c, c.eof, WAIT_MS);
    assert_true(client_has(&c, "HTTP/1.1 200"));
    assert_true(client_has(&c, "data: 2"));
    assert_false(client_has(&c, "0\r\n\r\n"));
    client_close(&c);
    rig_free(r);
}

static void a_client_that_does_not_read_is_cut_also_after_the_end(void **state)
{
    for (int ended = 0; ended < 2; ended++) {
        struct rig *r = rig_new();
        struct client c = client_new(r);
        struct buf big = {0};

        (void)state;
        c.no_read = true;
        client_say(&c, GET("/stream"));
        PUMP_UNTIL(r, &c, r->count == 1, WAIT_MS);
        memset(buf_reserve(&big, 32 << 20), 'z', 32 << 20);
        big.len = 32 << 20;
        http_stream_write(r->seen[0].ex, buf_span(&big));
        buf_fini(&big);
        if (ended)
            http_stream_end(r->seen[0].ex, NULL, 0);
        turn_for(r->loop, 50);
        assert_in_range(http_stream_queued(r->seen[0].ex), 1, (32 << 20) - 1);
        http_cut(r->seen[0].ex);
        assert_int_equal(r->seen[0].gones, 1);
        TURN_UNTIL(r->loop, r->seen[0].dones == 1, WAIT_MS);
        assert_false(r->seen[0].complete);
        assert_int_equal(r->seen[0].gones, 1);
        assert_int_equal(http_server_connections(r->server), 0);
        client_close(&c);
        rig_free(r);
    }
}

static void a_chunk_of_megabytes_goes_out_whole_before_the_next(void **state)
{
    struct rig *r = rig_new();
    struct client c = client_new(r);
    struct buf big = {0};

    (void)state;
    client_say(&c, GET("/stream"));
    PUMP_UNTIL(r, &c, client_has(&c, "\r\n\r\n"), WAIT_MS);
    memset(buf_reserve(&big, 16 << 20), 'z', 16 << 20);
    big.len = 16 << 20;
    http_stream_write(r->seen[0].ex, buf_span(&big));
    buf_fini(&big);
    assert_true(http_stream_queued(r->seen[0].ex) > 0);
    write_text(r->seen[0].ex, "next");
    http_stream_end(r->seen[0].ex, NULL, 0);
    PUMP_UNTIL(r, &c, r->seen[0].dones == 1, WAIT_MS);
    PUMP_UNTIL(r, &c, client_has(&c, "\r\n0\r\n\r\n"), WAIT_MS);
    assert_true(r->seen[0].drains > 1);
    size_t count = 0;
    for (size_t i = 0; i < c.got.len; i++)
        count += c.got.data[i] == 'z';
    assert_int_equal(count, 16 << 20);
    assert_true(client_has(&c, "\r\n1000000\r\nzzz"));
    assert_true(client_has(&c, "zzz\r\n4\r\nnext\r\n0\r\n\r\n"));
    client_close(&c);
    rig_free(r);
}

static void *count_received(void *arg)
{
    const struct client *c = arg;
    static char waste[1 << 20];
    uintptr_t got = 0;

    (void)fcntl(c->fd, F_SETFL, 0);
    for (ssize_t n; (n = recv(c->fd, waste, sizeof(waste), 0)) > 0;)
        got += (uintptr_t)n;
    return (void *)got;
}

/* The loop turns no more: what the socket had no room for still goes out. */
static void freeing_lets_the_rest_of_a_chunk_go(void **state)
{
    struct rig *r = rig_new();
    struct client c = client_new(r);
    struct buf big = {0};
    pthread_t reader;
    void *got;

    (void)state;
    client_say(&c, GET("/stream"));
    PUMP_UNTIL(r, &c, client_has(&c, "\r\n\r\n"), WAIT_MS);
    memset(buf_reserve(&big, 16 << 20), 'z', 16 << 20);
    big.len = 16 << 20;
    http_stream_write(r->seen[0].ex, buf_span(&big));
    buf_fini(&big);
    assert_true(http_stream_queued(r->seen[0].ex) > 0);
    http_stream_end(r->seen[0].ex, NULL, 0);
    assert_int_equal(pthread_create(&reader, NULL, count_received, &c), 0);
    http_server_free(r->server);
    r->server = NULL;
    assert_int_equal(pthread_join(reader, &got), 0);
    assert_int_equal((uintptr_t)got, strlen("1000000\r\n\r\n0\r\n\r\n") + (16 << 20));
    assert_true(r->seen[0].complete);
    client_close(&c);
    rig_free(r);
}

static void a_head_request_for_a_stream_is_done_with_its_head(void **state)
{
    struct rig *r = rig_new();
    struct client c = client_new(r);

    (void)state;
    client_say(&c, "HEAD /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    PUMP_UNTIL(r, &c, r->seen[0].dones == 1, WAIT_MS);
    assert_true(r->seen[0].complete);
    client_close(&c);
    rig_free(r);
}

static void slow_readers_do_not_disturb_the_others(void **state)
{
    struct rig *r = rig_new();
    static struct client slow[100];

    (void)state;
    for (unsigned i = 0; i < 100; i++) {
        slow[i] = client_new(r);
        slow[i].no_read = true;
        client_say(&slow[i], GET("/stream"));
        PUMP_UNTIL(r, &slow[i], r->count == i + 1, WAIT_MS);
        for (int k = 0; k < 8; k++) {
            struct buf big = {0};
            memset(buf_reserve(&big, 1 << 20), 'z', 1 << 20);
            big.len = 1 << 20;
            http_stream_write(r->seen[i].ex, buf_span(&big));
            buf_fini(&big);
        }
    }
    turn_for(r->loop, 200);
    assert_true(http_stream_queued(r->seen[0].ex) > 1 << 20);
    struct client fast = client_new(r);
    uint64_t from = clock_mono_ms();
    for (size_t i = 1; i <= 20; i++) {
        client_say(&fast, GET("/hello"));
        PUMP_UNTIL(r, &fast, client_count(&fast, "hello") == i, WAIT_MS);
    }
    assert_in_range(clock_mono_ms() - from, 0, 500);
    /* One that wakes up gets everything. */
    slow[0].no_read = false;
    http_stream_end(r->seen[0].ex, NULL, 0);
    PUMP_UNTIL(r, &slow[0], r->seen[0].dones == 1, WAIT_MS);
    assert_true(r->seen[0].complete);
    for (unsigned i = 0; i < 100; i++)
        client_close(&slow[i]);
    client_close(&fast);
    TURN_UNTIL(r->loop, http_server_exchanges(r->server) == 0, WAIT_MS);
    rig_free(r);
}

static void two_hundred_parked_streams_go_on_when_written_to(void **state)
{
    struct rig *r = rig_new();
    static struct client c[200];

    (void)state;
    for (unsigned i = 0; i < 200; i++) {
        c[i] = client_new(r);
        client_say(&c[i], GET("/stream"));
        PUMP_UNTIL(r, &c[i], r->count == i + 1, WAIT_MS);
    }
    assert_int_equal(http_server_exchanges(r->server), 200);
    for (int round = 0; round < 5; round++) {
        for (unsigned i = 0; i < 200; i++)
            write_text(r->seen[i].ex, "data: token\n\n");
        loop_turn(r->loop, 0);
        loop_turn(r->loop, 0);
    }
    for (unsigned i = 0; i < 200; i++)
        http_stream_end(r->seen[i].ex, NULL, 0);
    for (unsigned i = 0; i < 200; i++) {
        PUMP_UNTIL(r, &c[i], client_has(&c[i], "\r\n0\r\n\r\n"), WAIT_MS);
        assert_int_equal(client_count(&c[i], "data: token"), 5);
        client_close(&c[i]);
    }
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_write_is_a_chunk_and_trailers_come_last),
        cmocka_unit_test(a_burst_of_writes_stays_separate_chunks),
        cmocka_unit_test(head_first_chunk_and_end_leave_in_one_packet),
        cmocka_unit_test(the_end_mark_and_the_end_leave_in_one_packet_behind_the_events),
        cmocka_unit_test(a_large_head_leaves_room_for_a_stream_with_trailers),
        cmocka_unit_test(http_10_gets_its_stream_without_chunks),
        cmocka_unit_test(an_aborted_stream_has_no_last_chunk),
        cmocka_unit_test(a_client_that_does_not_read_is_cut_also_after_the_end),
        cmocka_unit_test(what_was_said_in_one_turn_goes_out_before_the_break),
        cmocka_unit_test(a_chunk_of_megabytes_goes_out_whole_before_the_next),
        cmocka_unit_test(freeing_lets_the_rest_of_a_chunk_go),
        cmocka_unit_test(a_head_request_for_a_stream_is_done_with_its_head),
        cmocka_unit_test(slow_readers_do_not_disturb_the_others),
        cmocka_unit_test(two_hundred_parked_streams_go_on_when_written_to),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
