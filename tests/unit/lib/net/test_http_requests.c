/* The HTTP server: requests and whole answers, framing, clients that leave. */
#include "http_rig.h"

/* ---- Requests and whole answers ---- */

static void an_answer_in_head_keeps_the_connection(void **state)
{
    struct rig *r = rig_new();
    struct client c = client_new(r);

    (void)state;
    for (size_t i = 1; i <= 3; i++) {
        client_say(&c, GET("/hello?a=b%20c"));
        PUMP_UNTIL(r, &c, client_count(&c, "hello") == i, WAIT_MS);
        PUMP_UNTIL(r, &c, r->seen[i - 1].dones == 1, WAIT_MS);
        assert_true(r->seen[i - 1].complete);
    }
    assert_false(c.eof);
    assert_true(client_has(&c, "Content-Type: text/plain"));
    assert_true(client_has(&c, "Content-Length: 5"));
    assert_int_equal(http_server_connections(r->server), 1);
    assert_int_equal(http_server_exchanges(r->server), 0);
    client_close(&c);
    rig_free(r);
}

static void an_absolute_target_means_its_path(void **state)
{
    static const struct {
        const char *target, *path, *query;
    } cases[] = {
        {"http://api.example/v1/models?x=1", "/v1/models", "x=1"},
        {"HTTPS://[::1]:443/a%2Fb", "/a%2Fb", ""},
        {"http://api.example", "/", ""},
        {"http://api.example?x=1", "/", "x=1"},
        {"//api.example/v1", "//api.example/v1", ""},
    };
    struct rig *r = rig_new();
    struct client c = client_new(r);

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        char text[128];
        snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", cases[i].target);
        client_say(&c, text);
        PUMP_UNTIL(r, &c, r->count == i + 1, WAIT_MS);
        assert_true(span_is(http_path(r->seen[i].ex), cases[i].path));
        assert_true(span_is(http_query(r->seen[i].ex), cases[i].query));
        reply_text(r->seen[i].ex, 200, "later");
        PUMP_UNTIL(r, &c, r->seen[i].dones == 1, WAIT_MS);
    }
    client_close(&c);
    rig_free(r);
}

static void the_request_can_be_read(void **state)
{
    struct rig *r = rig_new();
    struct client c = client_new(r);
    char peer[64], own[64];
    struct net_addr local = {.len = sizeof(local.sa)};

    (void)state;
    client_say(
        &c, "GET /a%2Fb?x=%41&y HTTP/1.1\r\nHost: x\r\nX-One: 1\r\nx-one:  2 \r\nEmpty:\r\n\r\n");
    PUMP_UNTIL(r, &c, r->count == 1, WAIT_MS);
    struct http_exchange *ex = r->seen[0].ex;
    assert_true(span_is(http_method(ex), "GET"));
    assert_true(span_is(http_path(ex), "/a%2Fb"));
    assert_true(span_is(http_query(ex), "x=%41&y"));
    assert_true(span_is(http_header(ex, "x-ONE"), "1"));
    assert_int_equal(http_header_count(ex, "X-One"), 2);
    assert_non_null(http_header(ex, "empty").data);
    assert_int_equal(http_header(ex, "empty").len, 0);
    assert_null(http_header(ex, "none").data);
    assert_int_equal(http_content_length(ex), -2);
    assert_in_range(http_header_bytes(ex), 60, 90);
    assert_false(http_is_head_request(ex));
    getsockname(c.fd, (struct sockaddr *)&local.sa, &local.len);
    net_addr_text(&local, own, sizeof(own));
    net_addr_text(http_peer(ex), peer, sizeof(peer));
    assert_string_equal(peer, own);
    reply_text(ex, 200, "later");
    PUMP_UNTIL(r, &c, client_has(&c, "later"), WAIT_MS);
    client_close(&c);
    rig_free(r);
}

static void a_head_in_single_bytes_is_read(void **state)
{
    struct rig *r = rig_new();
    struct client c = client_new(r);
    static const char text[] = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc";

    (void)state;
    for (size_t i = 0; i + 1 < sizeof(text); i++) {
        client_send(&c, text + i, 1);
        pump_for(r, &c, 1);
    }
    PUMP_UNTIL(r, &c, client_has(&c, "\r\n\r\nabc"), WAIT_MS);
    client_close(&c);
    rig_free(r);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    struct rig *r = rig_new();
    struct client c = client_new(r);

    (void)state;
    client_say(&c,
               GET("/hello") "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbodyGET "
                             "/park HTTP/1.1\r\nHost: x\r\n\r\n" GET("/hello"));
    PUMP_UNTIL(r, &c, r->count == 3, WAIT_MS);
    pump_for(r, &c, 20);
    assert_int_equal(client_count(&c, "HTTP/1.1 200"), 2);
    reply_text(r->seen[2].ex, 404, "third");
    PUMP_UNTIL(r, &c, client_count(&c, "hello") == 2, WAIT_MS);
    ptrdiff_t body = span_find(buf_span(&c.got), SPAN("body"));
    ptrdiff_t third = span_find(buf_span(&c.got), SPAN("third"));
    assert_true(body > 0 && body < third);
    client_close(&c);
    rig_free(r);
}

static void a_head_request_gets_no_body(void **state)
{
    struct rig *r = rig_new();
    struct client c = client_new(r);

    (void)state;
    client_say(&c, "HEAD /hello HTTP/1.1\r\nHost: x\r\n\r\n" GET("/park"));
    PUMP_UNTIL(r, &c, r->count == 2, WAIT_MS);
    assert_true(client_has(&c, "Content-Length: 5"));
    assert_false(client_has(&c, "hello"));
    assert_true(r->seen[0].complete);
    reply_text(r->seen[1].ex, 200, "x");
    PUMP_UNTIL(r, &c, r->seen[1].dones, WAIT_MS);
    client_close(&c);
    rig_free(r);
}

static void an_answer_in_a_later_turn_keeps_the_connection(void **state)
{
    struct rig *r = rig_new();
    struct client c = client_new(r);

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        client_say(&c, GET("/park"));
        PUMP_UNTIL(r, &c, r->count == i + 1, WAIT_MS);
        pump_for(r, &c, 10);
        reply_text(r->seen[i].ex, 200, "now");
        PUMP_UNTIL(r, &c, client_count(&c, "now") == i + 1, WAIT_MS);
    }
    assert_false(c.eof);
    client_close(&c);
    rig_free(r);
}

static void close_closes(void **state)
{
    struct rig *r = rig_new();
    struct client c = client_new(r);

    (void)state;
    client_say(&c, GET("/park"));
    PUMP_UNTIL(r, &c, r->count == 1, WAIT_MS);
    http_reply(r->seen[0].ex, 200, NULL, 0, NULL, true);
    PUMP_UNTIL(r, &c, c.eof, WAIT_MS);
    assert_true(client_has(&c, "Connection: close"));
    assert_true(r->seen[0].complete);
    assert_int_equal(r->seen[0].gones, 0);
    client_close(&c);
    rig_free(r);
}

/* What the test does after a request that is not answered in its head. */
enum ending { ANSWERED, REPLY_CLOSE, STREAM_END, STREAM_BREAK };

static void end_with(struct rig *r, struct client *c, enum ending how)
{
    struct http_exchange *ex = r->seen[0].ex;

    if (how == ANSWERED)
        return;
    if (how == REPLY_CLOSE) {
        http_reply(ex, 200, NULL, 0, NULL, true);
        return;
    }
    http_receive(ex);
    PUMP_UNTIL(r, c, r->seen[0].body_ends == 1, WAIT_MS);
    begin(ex);
    PUMP_UNTIL(r, c, client_has(c, "\r\n\r\n"), WAIT_MS);
    write_text(ex, "data: 1\n\n");
    if (how == STREAM_END)
        http_stream_end(ex, NULL, 0);
    else
        http_stream_abort(ex);
}

#define PARK(version) "POST /park HTTP/" version "\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"

/* Without another event for its daemon. */
static void a_connection_that_is_over_is_put_away_at_once(void **state)
{
    static const struct {
        enum ending how;
        const char *request;
    } cases[] = {
        {ANSWERED, "GET /hello HTTP/1.0\r\n\r\n"},
        {ANSWERED, "GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"},
        {ANSWERED, "GET /hello HTTP/1.1\r\nHost: x\r\nConnection: TE, close\r\n\r\n"},
        {ANSWERED, "POST /echo HTTP/1.1\r\nHost: x\r\nX : 1\r\nContent-Length: 4\r\n\r\nbody"},
        {REPLY_CLOSE, PARK("1.1")},
        {STREAM_END, PARK("1.0")},
        {STREAM_BREAK, PARK("1.0")},
        {STREAM_BREAK, PARK("1.1")},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct rig *r = rig_new();
        struct client c = client_new(r);

        client_say(&c, cases[i].request);
        PUMP_UNTIL(r, &c, r->count == 1, WAIT_MS);
        end_with(r, &c, cases[i].how);
        PUMP_UNTIL(r, &c, c.eof, WAIT_MS);
        pump_for(r, &c, 50);
        if (http_server_connections(r->server) != 0)
            fail_msg("case %zu", i);
        client_close(&c);
        rig_free(r);
    }
}

/* ---- Framing that two readers may understand differently ---- */

static void doubtful_framing_is_refused_and_closes(void **state)
{
    static const char *const heads[] = {
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 0\r\nContent-Length: 40\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Content-Length : 5\r\n",
        "Content-Length: 05\r\n",
    };
    struct rig *r = rig_new();
    char text[256];

    (void)state;
    for (unsigned i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
        struct client c = client_new(r);
        snprintf(text, sizeof(text),
                 "POST /echo HTTP/1.1\r\nHost: x\r\n%s\r\n0\r\n\r\n" GET("/hello"), heads[i]);
        client_say(&c, text);
        PUMP_UNTIL(r, &c, c.eof, WAIT_MS);
        assert_true(client_has(&c, "HTTP/1.1 400"));
        assert_int_equal(client_count(&c, "HTTP/1.1"),
                         1); /* nothing behind it was taken for a request */
        client_close(&c);
    }
    rig_free(r);
}

static void a_header_block_above_the_limit_reaches_the_handler(void **state)
{
    struct rig *r = rig_new();
    struct client c = client_new(r);
    struct buf request = {0};

    (void)state;
    buf_append_str(&request, "GET /hello HTTP/1.1\r\nHost: x\r\n");
    for (int i = 0; request.len < 34000; i++)
        buf_printf(&request, "X-%d: %0*d\r\n", i, 1000, 7);
    buf_append_str(&request, "\r\n");
    client_send(&c, request.data, request.len);
    PUMP_UNTIL(r, &c, client_has(&c, "HTTP/1.1 431"), WAIT_MS);
    buf_fini(&request);
    client_close(&c);
    rig_free(r);
}

/* ---- Clients that leave ---- */

static void a_client_that_leaves_while_parked_is_noticed(void **state)
{
    struct rig *r = rig_new();

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        struct client c = client_new(r);
        client_say(&c, i == 2 ? "POST /other HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"
                              : GET("/park"));
        PUMP_UNTIL(r, &c, r->count == i + 1, WAIT_MS);
        pump_for(r, &c, 10);
        assert_int_equal(r->seen[i].gones, 0);
        if (i == 1) /* half-closing counts as leaving */
            shutdown(c.fd, SHUT_WR);
        else
            close(c.fd);
        TURN_UNTIL(r->loop, r->seen[i].gones == 1, 100);
        TURN_UNTIL(r->loop, r->seen[i].dones == 1, WAIT_MS);
        assert_false(r->seen[i].complete);
        if (i == 1)
            close(c.fd);
        buf_fini(&c.got);
    }
    TURN_UNTIL(r->loop, http_server_connections(r->server) == 0, WAIT_MS);
    rig_free(r);
}

static void a_client_that_leaves_during_its_body_is_noticed(void **state)
{
    struct rig *r = rig_new();
    struct client c = client_new(r);

    (void)state;
    client_say(&c, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\npart");
    PUMP_UNTIL(r, &c, r->seen[0].parts == 1, WAIT_MS);
    client_close(&c);
    TURN_UNTIL(r->loop, r->seen[0].dones == 1, WAIT_MS);
    assert_int_equal(r->seen[0].gones, 1);
    assert_int_equal(r->seen[0].body_ends, 0);
    rig_free(r);
}

static void what_is_said_to_a_client_that_left_is_forgotten(void **state)
{
    struct rig *r = rig_new();
    struct client c = client_new(r), d = client_new(r);

    (void)state;
    client_say(&c, GET("/park"));
    PUMP_UNTIL(r, &c, r->count == 1, WAIT_MS);
    client_say(&d, GET("/stream"));
    PUMP_UNTIL(r, &d, client_has(&d, "200"), WAIT_MS);
    client_close(&c);
    client_close(&d);
    /* The events are there, and the handler speaks in the same turn in which it hears of them. */
    loop_turn(r->loop, 100);
    if (r->seen[0].ex)
        reply_text(r->seen[0].ex, 200, "lost");
    if (r->seen[1].ex) {
        write_text(r->seen[1].ex, "lost");
        http_stream_end(r->seen[1].ex, NULL, 0);
    }
    TURN_UNTIL(r->loop, r->seen[0].dones && r->seen[1].dones, WAIT_MS);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_in_head_keeps_the_connection),
        cmocka_unit_test(the_request_can_be_read),
        cmocka_unit_test(an_absolute_target_means_its_path),
        cmocka_unit_test(a_head_in_single_bytes_is_read),
        cmocka_unit_test(pipelined_requests_are_answered_in_order),
        cmocka_unit_test(a_head_request_gets_no_body),
        cmocka_unit_test(an_answer_in_a_later_turn_keeps_the_connection),
        cmocka_unit_test(close_closes),
        cmocka_unit_test(a_connection_that_is_over_is_put_away_at_once),
        cmocka_unit_test(doubtful_framing_is_refused_and_closes),
        cmocka_unit_test(a_header_block_above_the_limit_reaches_the_handler),
        cmocka_unit_test(a_client_that_leaves_while_parked_is_noticed),
        cmocka_unit_test(a_client_that_leaves_during_its_body_is_noticed),
        cmocka_unit_test(what_is_said_to_a_client_that_left_is_forgotten),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
