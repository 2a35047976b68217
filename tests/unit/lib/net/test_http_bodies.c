/* The HTTP server: requests' bodies, too large ones, slow clients. */
#include "http_rig.h"

/* ---- Bodies ---- */

static void echo_check(struct rig *r, struct client *c, const char *head, size_t head_len,
                       size_t len)
{
    struct buf request = {0};

    buf_append(&request, span_of(head, head_len));
    size_t from = request.len;
    uint8_t *at = buf_reserve(&request, len);
    for (size_t i = 0; i < len; i++)
        at[i] = (uint8_t)('a' + i % 23);
    request.len += len;
    client_send(c, request.data, request.len);
    PUMP_UNTIL(r, c, c->got.len > len, WAIT_MS);
    assert_true(span_ends(buf_span(&c->got), span_from(buf_span(&request), from)));
    buf_fini(&request);
}

static void a_body_of_megabytes_arrives_whole(void **state)
{
    struct rig *r = rig_new();
    struct client c = client_new(r);
    static const char head[] = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n\r\n";

    (void)state;
    echo_check(r, &c, head, sizeof(head) - 1, 5000000);
    assert_true(r->seen[0].parts > 1);
    PUMP_UNTIL(r, &c, r->seen[0].dones, WAIT_MS);
    assert_false(c.eof);
    client_close(&c);
    rig_free(r);
}

static void a_chunked_body_arrives_whole_and_keeps_the_connection(void **state)
{
    struct rig *r = rig_new();
    struct client c = client_new(r);
    static const char text[] =
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\n"
        "3\r\nabc\r\n1;x=y\r\nd\r\n0\r\n\r\n";

    (void)state;
    for (size_t i = 1; i <= 2; i++) {
        client_say(&c, text);
        PUMP_UNTIL(r, &c, client_count(&c, "abcd") == i, WAIT_MS);
        assert_int_equal(r->seen[i - 1].body_ends, 1);
    }
    client_close(&c);
    rig_free(r);
}

static void a_body_received_in_a_later_turn_arrives(void **state)
{
    struct rig *r = rig_new();
    struct client c = client_new(r);

    (void)state;
    client_say(&c, "POST /other HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody");
    PUMP_UNTIL(r, &c, r->count == 1, WAIT_MS);
    pump_for(r, &c, 20);
    assert_int_equal(r->seen[0].parts, 0);
    http_receive(r->seen[0].ex);
    PUMP_UNTIL(r, &c, client_has(&c, "\r\n\r\nbody"), WAIT_MS);
    assert_int_equal(r->seen[0].heads, 1);
    assert_int_equal(r->seen[0].body_ends, 1);
    client_close(&c);
    rig_free(r);
}

static void no_body_ends_at_once(void **state)
{
    struct rig *r = rig_new();
    struct client c = client_new(r);

    (void)state;
    client_say(&c, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    PUMP_UNTIL(r, &c, client_has(&c, "Content-Length: 0"), WAIT_MS);
    assert_int_equal(r->seen[0].body_ends, 1);
    client_say(&c, GET("/other"));
    PUMP_UNTIL(r, &c, r->count == 2, WAIT_MS);
    http_receive(r->seen[1].ex);
    PUMP_UNTIL(r, &c, r->seen[1].dones, WAIT_MS);
    assert_int_equal(r->seen[1].body_ends, 1);
    client_close(&c);
    rig_free(r);
}

static void expect_is_answered_with_continue_only_when_the_body_is_wanted(void **state)
{
    struct rig *r = rig_new();
    struct client c = client_new(r), d = client_new(r);
    static const char head[] =
        " HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";
    char text[256];

    (void)state;
    snprintf(text, sizeof(text), "POST /other%s", head);
    client_say(&c, text);
    PUMP_UNTIL(r, &c, r->count == 1, WAIT_MS);
    pump_for(r, &c, 20);
    assert_int_equal(c.got.len, 0);
    http_receive(r->seen[0].ex);
    PUMP_UNTIL(r, &c, client_has(&c, "100 Continue"), WAIT_MS);
    client_say(&c, "body");
    PUMP_UNTIL(r, &c, client_has(&c, "\r\n\r\nbody"), WAIT_MS);

    snprintf(text, sizeof(text), "POST /hello%s", head);
    client_say(&d, text);
    PUMP_UNTIL(r, &d, d.eof, WAIT_MS);
    assert_false(client_has(&d, "100 Continue"));
    assert_true(client_has(&d, "HTTP/1.1 200"));
    assert_true(client_has(&d, "Connection: close"));
    assert_true(r->seen[1].complete);
    client_close(&c);
    client_close(&d);
    rig_free(r);
}

/* ---- Bodies that are too large ---- */

enum { HUGE = 40 << 20 };

/* Sends everything before it reads anything, as the simplest clients do. */
static void upload_blindly(struct rig *r, struct client *c, const struct buf *request)
{
    c->no_read = true;
    client_send(c, request->data, request->len);
    PUMP_UNTIL(r, c, c->out_len == 0, WAIT_MS);
    c->no_read = false;
    PUMP_UNTIL(r, c, c->eof, WAIT_MS);
}

static void a_client_that_announces_too_much_sees_the_refusal(void **state)
{
    struct rig *r = rig_new();
    struct client c = client_new(r);
    struct buf request = {0};

    (void)state;
    buf_printf(&request, "POST /limit HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", HUGE);
    memset(buf_reserve(&request, HUGE), 'x', HUGE);
    request.len += HUGE;
    upload_blindly(r, &c, &request);
    assert_true(client_has(&c, "HTTP/1.1 413"));
    assert_true(client_has(&c, "too large"));
    assert_false(c.broken);
    assert_int_equal(r->seen[0].parts, 0);
    assert_true(r->seen[0].complete);
    assert_int_equal(r->seen[0].gones, 0);
    buf_fini(&request);
    client_close(&c);
    rig_free(r);
}

static void a_client_whose_chunks_grow_too_large_sees_the_refusal(void **state)
{
    struct rig *r = rig_new();
    struct client c = client_new(r);
    struct buf request = {0};

    (void)state;
    buf_append_str(&request,
                   "POST /limit HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (size_t i = 0; i < HUGE / 4096; i++) {
        buf_append_str(&request, "1000\r\n");
        memset(buf_reserve(&request, 4096), 'x', 4096);
        request.len += 4096;
        buf_append_str(&request, "\r\n");
    }
    upload_blindly(r, &c, &request);
    assert_true(client_has(&c, "HTTP/1.1 413"));
    assert_true(client_has(&c, "Content-Type: text/plain"));
    assert_true(client_has(&c, "Connection: close"));
    assert_true(client_has(&c, "\r\n\r\ntoo large"));
    assert_false(c.broken);
    assert_true(r->seen[0].body.len < LIMIT + (128 << 10));
    assert_int_equal(r->seen[0].body_ends, 0);
    assert_true(r->seen[0].complete);
    assert_int_equal(r->seen[0].gones, 0);
    buf_fini(&request);
    client_close(&c);
    rig_free(r);
}

static void an_answer_that_overtakes_the_body_arrives(void **state)
{
    struct rig *r = rig_new();
    struct client c = client_new(r);

    (void)state;
    client_say(&c, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nsome");
    PUMP_UNTIL(r, &c, r->seen[0].parts == 1, WAIT_MS);
    reply_text(r->seen[0].ex, 503, "no more");
    PUMP_UNTIL(r, &c, c.eof, WAIT_MS);
    assert_true(client_has(&c, "HTTP/1.1 503"));
    assert_true(client_has(&c, "no more"));
    PUMP_UNTIL(r, &c, r->seen[0].dones == 1, WAIT_MS);
    assert_true(r->seen[0].complete);
    assert_int_equal(r->seen[0].gones, 0);
    client_close(&c);
    rig_free(r);
}

/* ---- Slow clients ---- */

static void half_a_header_block_is_cut_at_the_deadline(void **state)
{
    struct rig *r = rig_prepare();
    uint64_t from = clock_mono_ms();

    (void)state;
    r->o.header_ms = 150;
    rig_start(r, "127.0.0.1:0");
    struct client silent = client_new(r), c = client_new(r);
    client_say(&c, "GET /hello HTTP/1.1\r\nHost:");
    PUMP_UNTIL(r, &c, c.eof, WAIT_MS);
    assert_in_range(clock_mono_ms() - from, 140, 400);
    PUMP_UNTIL(r, &silent, silent.eof, WAIT_MS);
    assert_int_equal(r->count, 0);
    TURN_UNTIL(r->loop, http_server_connections(r->server) == 0, WAIT_MS);

    /* On a kept connection the first byte starts the clock, and silence does not. */
    struct client kept = client_new(r);
    client_say(&kept, GET("/hello"));
    PUMP_UNTIL(r, &kept, client_has(&kept, "hello"), WAIT_MS);
    pump_for(r, &kept, 250);
    assert_false(kept.eof);
    for (int i = 0; i < 10 && !kept.eof; i++) {
        client_say(&kept, "X");
        pump_for(r, &kept, 30);
    }
    PUMP_UNTIL(r, &kept, kept.eof, WAIT_MS);
    client_close(&silent);
    client_close(&kept);
    client_close(&c);
    rig_free(r);
}

static void a_dribbled_body_is_late(void **state)
{
    static const char *const paths[] = {"/late", "/echo"};

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct rig *r = rig_prepare();
        char text[128];

        r->o.body_ms = 150;
        rig_start(r, "127.0.0.1:0");
        struct client c = client_new(r);
        snprintf(text, sizeof(text), "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n",
                 paths[i]);
        client_say(&c, text);
        uint64_t from = clock_mono_ms();
        while (!c.eof && clock_mono_ms() - from < WAIT_MS) {
            pump_for(r, &c, 10);
            if (!c.eof)
                client_say(&c, "x");
        }
        assert_in_range(clock_mono_ms() - from, 140, 500);
        assert_int_equal(r->seen[0].lates, 1);
        assert_int_equal(r->seen[0].dones, 1);
        assert_int_equal(client_has(&c, "HTTP/1.1 408"), i == 0);
        assert_int_equal(r->seen[0].complete, i == 0);
        assert_int_equal(r->seen[0].gones, i == 1);
        client_close(&c);
        rig_free(r);
    }
}

static void a_large_body_gets_more_time(void **state)
{
    struct rig *r = rig_prepare();
    static uint8_t block[64 << 10];

    (void)state;
    r->o.body_ms = 100;
    r->o.body_ms_per_64k = 1000;
    rig_start(r, "127.0.0.1:0");
    struct client c = client_new(r);
    client_say(&c, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 131072\r\n\r\n");
    PUMP_UNTIL(r, &c, c.out_len == 0, WAIT_MS);
    client_send(&c, block, sizeof(block));
    pump_for(r, &c, 300);
    assert_int_equal(r->seen[0].lates, 0);
    client_send(&c, block, sizeof(block));
    PUMP_UNTIL(r, &c, r->seen[0].dones == 1, WAIT_MS);
    assert_true(r->seen[0].complete);
    client_close(&c);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_of_megabytes_arrives_whole),
        cmocka_unit_test(a_chunked_body_arrives_whole_and_keeps_the_connection),
        cmocka_unit_test(a_body_received_in_a_later_turn_arrives),
        cmocka_unit_test(no_body_ends_at_once),
        cmocka_unit_test(expect_is_answered_with_continue_only_when_the_body_is_wanted),
        cmocka_unit_test(a_client_that_announces_too_much_sees_the_refusal),
        cmocka_unit_test(a_client_whose_chunks_grow_too_large_sees_the_refusal),
        cmocka_unit_test(an_answer_that_overtakes_the_body_arrives),
        cmocka_unit_test(half_a_header_block_is_cut_at_the_deadline),
        cmocka_unit_test(a_dribbled_body_is_late),
        cmocka_unit_test(a_large_body_gets_more_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
