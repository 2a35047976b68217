/* The HTTP client against a server that the test itself plays, step by step, over real sockets. */
#include "net/http_client.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <setjmp.h>
#include <cmocka.h>

#include "base/clock.h"
#include "net/http_whole.h"
#include "net/listener.h"

enum { MAX_SERVED = 8, CONNECT_MS = 2000 };

struct world {
    struct loop *loop;
    struct http_client *client;
    struct net_listener *listener;
    int served[MAX_SERVED]; /* the server's ends, in the order of their connects */
    size_t served_len;
    char url[96];
    char dir[32], unix_path[64];
    struct buf request;
};

/* What one transfer was told. */
struct answer {
    struct world *w;
    struct http_transfer *t;
    unsigned status;
    char type[64];
    struct buf body;
    int heads, dones, error;
    const char *field, *trailer; /* to look for when done */
    char field_value[64], trailer_value[64];
    bool was_out; /* when done */
    bool cancel_in_head, cancel_in_data, pause_in_data, free_client_in_data, chain_in_done;
    struct answer *next;
};

static void count_accept(void *arg, int fd, const struct net_addr *peer)
{
    struct world *w = arg;

    (void)peer;
    assert_true(w->served_len < MAX_SERVED);
    w->served[w->served_len++] = fd;
}

static void listen_at(struct world *w, const char *text)
{
    struct net_addr at;

    net_listener_free(w->listener);
    assert_int_equal(net_addr_parse(&at, text), 0);
    assert_int_equal(net_listen(&w->listener, w->loop, &at, count_accept, w), 0);
}

static void make_client(struct world *w, unsigned max_connections)
{
    struct http_client_options o = {.max_connections = max_connections, .connect_ms = CONNECT_MS};

    http_client_free(w->client);
    assert_int_equal(http_client_new(&w->client, w->loop, &o), 0);
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    struct net_addr at;
    char text[64];

    assert_int_equal(loop_new(&w->loop), 0);
    make_client(w, 8);
    listen_at(w, "127.0.0.1:0");
    net_listener_addr(w->listener, &at);
    net_addr_text(&at, text, sizeof(text));
    snprintf(w->url, sizeof(w->url), "http://%s/v1/x", text);
    snprintf(w->dir, sizeof(w->dir), "/tmp/client-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    snprintf(w->unix_path, sizeof(w->unix_path), "%s/s", w->dir);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    http_client_free(w->client);
    net_listener_free(w->listener);
    for (size_t i = 0; i < w->served_len; i++)
        if (w->served[i] >= 0)
            close(w->served[i]);
    buf_fini(&w->request);
    loop_free(w->loop);
    rmdir(w->dir);
    free(w);
    return 0;
}

/* ---- The client's side ---- */

static void start(struct world *w, struct answer *a);

static void on_head(void *arg, struct http_transfer *t, unsigned status, struct span type)
{
    struct answer *a = arg;

    assert_ptr_equal(t, a->t);
    a->heads++;
    a->status = status;
    snprintf(a->type, sizeof(a->type), "%.*s", SPAN_FMT(type));
    if (a->cancel_in_head)
        http_transfer_cancel(t);
}

static void on_data(void *arg, struct http_transfer *t, struct span bytes)
{
    struct answer *a = arg;

    assert_int_equal(a->heads, 1);
    assert_int_equal(a->dones, 0);
    buf_append(&a->body, bytes);
    if (a->cancel_in_data)
        http_transfer_cancel(t);
    if (a->pause_in_data)
        http_transfer_pause(t, true);
    if (a->free_client_in_data) {
        http_client_free(a->w->client);
        a->w->client = NULL;
    }
}

static void on_done(void *arg, struct http_transfer *t, int error)
{
    struct answer *a = arg;

    a->dones++;
    a->error = error;
    a->was_out = http_transfer_is_out(t);
    if (a->field)
        snprintf(a->field_value, sizeof(a->field_value), "%.*s",
                 SPAN_FMT(http_transfer_field(t, a->field)));
    if (a->trailer)
        snprintf(a->trailer_value, sizeof(a->trailer_value), "%.*s",
                 SPAN_FMT(http_transfer_trailer(t, a->trailer)));
    http_transfer_cancel(t); /* harmless here */
    if (a->chain_in_done)
        start(a->w, a->next);
}

static const struct http_transfer_events events = {on_head, on_data, on_done};

static void start_with(struct world *w, struct answer *a, struct http_fetch f)
{
    a->w = w;
    f.url = f.url ? f.url : w->url;
    f.method = f.method ? f.method : "GET";
    assert_int_equal(http_client_start(w->client, &f, &events, a, &a->t), 0);
    assert_int_equal(a->heads + a->dones, 0);
}

static void start(struct world *w, struct answer *a)
{
    start_with(w, a, (struct http_fetch){0});
}

static void run_for(struct world *w, uint64_t ms)
{
    for (uint64_t end = clock_mono_ms() + ms; clock_mono_ms() < end;)
        loop_turn(w->loop, 5);
}

static void wait_done(struct answer *a, int error)
{
    for (int i = 0; i < 1000 && a->dones == 0; i++)
        loop_turn(a->w->loop, 10);
    assert_int_equal(a->dones, 1);
    assert_int_equal(a->error, error);
}

static void wait_body(struct answer *a, size_t len)
{
    for (int i = 0; i < 1000 && a->body.len < len; i++)
        loop_turn(a->w->loop, 10);
    assert_true(a->body.len >= len);
}

/* ---- The server's side ---- */

static int serve(struct world *w, size_t connection)
{
    for (int i = 0; i < 500 && w->served_len <= connection; i++)
        loop_turn(w->loop, 10);
    assert_true(w->served_len > connection);
    return w->served[connection];
}

/* Reads until `end` stands in w->request. */
static void read_request(struct world *w, size_t connection, const char *end)
{
    int fd = serve(w, connection);
    char part[65536];

    buf_clear(&w->request);
    for (int i = 0; i < 1000 && span_find(buf_span(&w->request), span_str(end)) < 0; i++) {
        ssize_t n = read(fd, part, sizeof(part));
        if (n > 0)
            buf_append(&w->request, span_of(part, (size_t)n));
        else
            loop_turn(w->loop, 10);
    }
    assert_true(span_find(buf_span(&w->request), span_str(end)) >= 0);
}

static void say(struct world *w, size_t connection, const char *text)
{
    assert_int_equal(write(w->served[connection], text, strlen(text)), strlen(text));
}

static void hang_up(struct world *w, size_t connection)
{
    close(w->served[connection]);
    w->served[connection] = -1;
}

/* Without a turn of the loop: what is closed must be closed already. */
static bool peer_has_closed(struct world *w, size_t connection, int within_ms)
{
    struct pollfd p = {.fd = w->served[connection], .events = POLLRDHUP};

    return poll(&p, 1, within_ms) == 1 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

static void serve_ok(struct world *w, size_t connection)
{
    read_request(w, connection, "\r\n\r\n");
    say(w, connection,
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nok");
}

static void expect_ok(struct answer *a)
{
    wait_done(a, 0);
    assert_int_equal(a->status, 200);
    assert_string_equal(buf_cstr(&a->body), "ok");
    buf_fini(&a->body);
}

static bool request_has(struct world *w, const char *text)
{
    return span_find(buf_span(&w->request), span_str(text)) >= 0;
}

/* ---- Cases ---- */

static void a_whole_answer_comes_with_status_type_and_body(void **state)
{
    struct world *w = *state;
    struct answer a = {0};

    start(w, &a);
    serve_ok(w, 0);
    wait_done(&a, 0);
    assert_int_equal(a.heads, 1);
    assert_string_equal(a.type, "text/plain");
    expect_ok(&a);
}

static void a_large_post_goes_out_at_once_with_only_the_callers_fields(void **state)
{
    struct world *w = *state;
    struct answer a = {0};
    struct buf body = {0};
    static const char *const headers[] = {"Content-Type: application/json",
                                          "Accept: text/event-stream"};

    for (int i = 0; i < 2000000; i++)
        buf_byte(&body, 'x');
    buf_append_str(&body, "END");
    start_with(w, &a,
               (struct http_fetch){
                   .method = "POST", .headers = headers, .header_count = 2, .take_body = &body});
    assert_int_equal(body.len, 0);
    read_request(w, 0, "END");
    assert_true(span_starts(buf_span(&w->request), SPAN("POST /v1/x HTTP/1.1\r\n")));
    assert_true(request_has(w, "Content-Length: 2000003\r\n"));
    assert_true(request_has(w, "Content-Type: application/json\r\n"));
    assert_true(request_has(w, "Accept: text/event-stream\r\n"));
    assert_false(request_has(w, "Expect:"));
    assert_false(request_has(w, "urlencoded"));
    assert_false(request_has(w, "*/*"));
    assert_false(request_has(w, "User-Agent"));
    say(w, 0, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    expect_ok(&a);
}

static void a_connection_is_kept_and_used_again(void **state)
{
    struct world *w = *state;

    for (int i = 0; i < 3; i++) {
        struct answer a = {0};
        start(w, &a);
        serve_ok(w, 0);
        expect_ok(&a);
    }
    assert_int_equal(w->served_len, 1);
}

static void without_kept_connections_each_transfer_has_its_own(void **state)
{
    struct world *w = *state;

    make_client(w, 0);
    for (size_t i = 0; i < 2; i++) {
        struct answer a = {0};
        start(w, &a);
        serve_ok(w, i);
        expect_ok(&a);
        assert_true(peer_has_closed(w, i, 100));
    }
}

static void a_stream_is_delivered_piece_by_piece_and_ends_properly(void **state)
{
    struct world *w = *state;
    struct answer a = {0};

    start(w, &a);
    read_request(w, 0, "\r\n\r\n");
    say(w, 0, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    wait_body(&a, 5);
    assert_int_equal(a.dones, 0);
    say(w, 0, "6\r\n world\r\n0\r\nX-Trailer: 1\r\n\r\n");
    wait_done(&a, 0);
    assert_string_equal(buf_cstr(&a.body), "hello world");
    buf_fini(&a.body);
}

static void expect_lines(struct world *w, const char *answer, const char *field,
                         const char *trailer)
{
    struct answer a = {.field = "x-two", .trailer = "x-usage"};

    start(w, &a);
    read_request(w, w->served_len, "\r\n\r\n");
    say(w, w->served_len - 1, answer);
    wait_done(&a, 0);
    assert_string_equal(a.field_value, field);
    assert_string_equal(a.trailer_value, trailer);
    buf_fini(&a.body);
}

static void fields_and_trailers_are_told_apart(void **state)
{
    struct world *w = *state;

    make_client(w, 0);
    expect_lines(w,
                 "HTTP/1.1 200 OK\r\nX-One: 1\r\nx-TWO:  a: b \r\nX-Two: second\r\n"
                 "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Usage: signed\r\n\r\n",
                 "a: b", "signed");
    expect_lines(w,
                 "HTTP/1.1 200 OK\r\nX-Usage: head\r\nTransfer-Encoding: chunked\r\n\r\n"
                 "2\r\nok\r\n0\r\nX-Two: trailer\r\n\r\n",
                 "", "");
    expect_lines(w,
                 "HTTP/1.1 103 Early\r\nX-Two: interim\r\n\r\nHTTP/1.1 200 OK\r\n"
                 "Content-Length: 2\r\n\r\nok",
                 "", "");
}

static void an_interim_answer_is_passed_over(void **state)
{
    struct world *w = *state;
    struct answer a = {0};

    start(w, &a);
    read_request(w, 0, "\r\n\r\n");
    say(w, 0, "HTTP/1.1 103 Early Hints\r\nContent-Type: text/wrong\r\n\r\n");
    run_for(w, 20);
    assert_int_equal(a.heads, 0);
    say(w, 0, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    wait_done(&a, 0);
    assert_string_equal(a.type, "");
    expect_ok(&a);
}

static void a_redirect_is_delivered_not_followed(void **state)
{
    struct world *w = *state;
    struct answer a = {0};

    start(w, &a);
    read_request(w, 0, "\r\n\r\n");
    say(w, 0, "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n");
    wait_done(&a, 0);
    assert_int_equal(a.status, 302);
}

static void an_answer_cut_short_is_closed(void **state)
{
    static const char *const cut[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nContent-Le",
        "",
    };
    struct world *w = *state;

    for (size_t i = 0; i < sizeof(cut) / sizeof(cut[0]); i++) {
        struct answer a = {0};
        start(w, &a);
        read_request(w, i, "\r\n\r\n");
        say(w, i, cut[i]);
        hang_up(w, i);
        wait_done(&a, E_CLOSED);
        assert_true(a.was_out);
        buf_fini(&a.body);
    }
}

static void what_is_not_http_is_a_protocol_error(void **state)
{
    struct world *w = *state;
    struct answer a = {0};

    start(w, &a);
    read_request(w, 0, "\r\n\r\n");
    say(w, 0, "SSH-2.0-OpenSSH_9.2\r\n");
    wait_done(&a, E_PROTOCOL);
    assert_int_equal(a.heads, 0);
}

static void a_header_block_without_end_is_cut_off(void **state)
{
    struct world *w = *state;
    struct answer a = {0};
    char line[1024];

    start(w, &a);
    read_request(w, 0, "\r\n\r\n");
    say(w, 0, "HTTP/1.1 200 OK\r\n");
    memset(line, 'x', sizeof(line));
    memcpy(line, "X: ", 3);
    memcpy(line + sizeof(line) - 3, "\r\n", 3);
    for (int i = 0; i < 100 && a.dones == 0; i++) {
        if (write(w->served[0], line, strlen(line)) < 0)
            break;
        loop_turn(w->loop, 5);
    }
    wait_done(&a, E_PROTOCOL);
}

static void nobody_listening_is_unavailable(void **state)
{
    struct world *w = *state;
    struct answer a = {0};

    net_listener_free(w->listener);
    w->listener = NULL;
    start(w, &a);
    wait_done(&a, E_UNAVAILABLE);
    assert_false(a.was_out);
}

static void a_unix_socket_is_reached_by_its_path(void **state)
{
    struct world *w = *state;
    struct answer a = {0};
    char at[80];

    snprintf(at, sizeof(at), "unix:%s", w->unix_path);
    listen_at(w, at);
    start_with(w, &a,
               (struct http_fetch){.url = "http://engine/v1/x", .unix_socket = w->unix_path});
    serve_ok(w, 0);
    assert_true(request_has(w, "Host: engine\r\n"));
    expect_ok(&a);
}

static void proxies_of_the_environment_are_ignored(void **state)
{
    struct world *w = *state;
    struct answer a = {0};

    setenv("http_proxy", "http://127.0.0.1:1/", 1);
    setenv("ALL_PROXY", "http://127.0.0.1:1/", 1);
    start(w, &a);
    serve_ok(w, 0);
    expect_ok(&a);
    unsetenv("http_proxy");
    unsetenv("ALL_PROXY");
}

static void requests_that_could_smuggle_are_refused(void **state)
{
    struct world *w = *state;
    static const char *const split[] = {"X: a\r\nY: b"}, *const no_colon[] = {"X"};
    struct http_fetch bad[] = {
        {.url = w->url, .method = "GET", .headers = split, .header_count = 1},
        {.url = w->url, .method = "GET", .headers = no_colon, .header_count = 1},
        {.url = w->url, .method = "GET / HTTP/1.1\r\n"},
        {.url = w->url, .method = ""},
        {.url = "ftp://127.0.0.1/", .method = "GET"},
        {.url = "file:///etc/hostname", .method = "GET"},
        {.url = "http://127.0.0.1/\r\nX: y", .method = "GET"},
        {.url = "", .method = "GET"},
    };
    struct http_transfer *t = NULL;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(http_client_start(w->client, &bad[i], &events, NULL, &t), E_INVALID);
}

/* -- cancel -- */

static void a_cancel_closes_the_connection_before_it_returns(void **state)
{
    struct world *w = *state;
    struct answer a = {0};

    start(w, &a);
    read_request(w, 0, "\r\n\r\n");
    say(w, 0, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    wait_body(&a, 5);
    http_transfer_cancel(a.t);
    assert_true(peer_has_closed(w, 0, 100));
    run_for(w, 20);
    assert_int_equal(a.dones, 0);
    buf_fini(&a.body);
}

static void a_cancel_before_the_answer_closes_as_well(void **state)
{
    struct world *w = *state;
    struct answer a = {0};

    start(w, &a);
    read_request(w, 0, "\r\n\r\n");
    http_transfer_cancel(a.t);
    assert_true(peer_has_closed(w, 0, 100));
    run_for(w, 20);
    assert_int_equal(a.dones, 0);
}

static void a_paused_transfer_can_be_cancelled(void **state)
{
    struct world *w = *state;
    struct answer a = {.pause_in_data = true};

    start(w, &a);
    read_request(w, 0, "\r\n\r\n");
    say(w, 0, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    wait_body(&a, 5);
    say(w, 0, "5\r\nhello\r\n");
    run_for(w, 20);
    http_transfer_cancel(a.t);
    assert_true(peer_has_closed(w, 0, 100));
    buf_fini(&a.body);
}

static void a_cancel_in_a_callback_ends_the_callbacks(void **state)
{
    struct world *w = *state;
    struct answer in_head = {.cancel_in_head = true}, in_data = {.cancel_in_data = true};

    start(w, &in_head);
    serve_ok(w, 0);
    run_for(w, 30);
    assert_int_equal(in_head.heads, 1);
    assert_int_equal(in_head.body.len + (size_t)in_head.dones, 0);

    start(w, &in_data);
    read_request(w, w->served_len - 1, "\r\n\r\n");
    say(w, w->served_len - 1, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    run_for(w, 30);
    assert_int_equal(in_data.body.len, 2);
    assert_int_equal(in_data.dones, 0);
    buf_fini(&in_data.body);
}

static void a_cancel_at_once_is_harmless(void **state)
{
    struct world *w = *state;
    struct answer a = {0};

    start(w, &a);
    http_transfer_cancel(a.t);
    run_for(w, 20);
    assert_int_equal(a.dones, 0);
}

static void the_client_may_be_freed_from_a_callback(void **state)
{
    struct world *w = *state;
    struct answer a = {.free_client_in_data = true}, b = {0};

    start(w, &a);
    serve_ok(w, 0);
    start(w, &b);
    run_for(w, 30);
    assert_int_equal(a.body.len, 2);
    assert_int_equal(a.dones + b.dones, 0);
    buf_fini(&a.body);
}

static void done_may_start_the_next_transfer(void **state)
{
    struct world *w = *state;
    struct answer second = {0}, first = {.chain_in_done = true, .next = &second};

    start(w, &first);
    serve_ok(w, 0);
    expect_ok(&first);
    serve_ok(w, 0);
    expect_ok(&second);
    assert_int_equal(w->served_len, 1);
}

/* -- kept connections that died -- */

static void fill_pool(struct world *w, struct answer *answers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        answers[i] = (struct answer){0};
        start(w, &answers[i]);
        read_request(w, i, "\r\n\r\n");
    }
    for (size_t i = 0; i < count; i++)
        say(w, i, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    for (size_t i = 0; i < count; i++)
        expect_ok(&answers[i]);
}

/* The server reads the request on a kept connection and hangs up: the close raced with the request.
 */
static void a_request_on_a_dying_kept_connection_is_sent_again_on_a_fresh_one(void **state)
{
    struct world *w = *state;
    struct answer pool[3], a = {0};
    struct buf body = {0};
    size_t used = MAX_SERVED;

    fill_pool(w, pool, 3);
    buf_append_str(&body, "BODY");
    start_with(w, &a, (struct http_fetch){.method = "POST", .take_body = &body});
    while (used == MAX_SERVED) {
        loop_turn(w->loop, 10);
        for (size_t i = 0; i < 3; i++) {
            struct pollfd p = {.fd = w->served[i], .events = POLLIN};
            if (poll(&p, 1, 0) == 1)
                used = i;
        }
    }
    read_request(w, used, "BODY");
    hang_up(w, used);
    read_request(w, 3, "BODY"); /* the fourth connection is the fresh one */
    say(w, 3, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    expect_ok(&a);
}

static void the_second_failure_is_final(void **state)
{
    struct world *w = *state;
    struct answer first[1], a = {0};

    fill_pool(w, first, 1);
    start(w, &a);
    read_request(w, 0, "\r\n\r\n");
    hang_up(w, 0);
    read_request(w, 1, "\r\n\r\n");
    hang_up(w, 1);
    wait_done(&a, E_CLOSED);
    run_for(w, 20);
    assert_int_equal(w->served_len, 2);
}

static void a_fresh_connection_that_dies_is_not_tried_again(void **state)
{
    struct world *w = *state;
    struct answer a = {0};

    start(w, &a);
    read_request(w, 0, "\r\n\r\n");
    hang_up(w, 0);
    wait_done(&a, E_CLOSED);
    assert_int_equal(w->served_len, 1);
}

static void a_kept_connection_that_answered_a_byte_is_not_tried_again(void **state)
{
    struct world *w = *state;
    struct answer first[1], a = {0};

    fill_pool(w, first, 1);
    start(w, &a);
    read_request(w, 0, "\r\n\r\n");
    say(w, 0, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    run_for(w, 20);
    hang_up(w, 0);
    wait_done(&a, E_CLOSED);
    assert_int_equal(w->served_len, 1);
}

static void kept_connections_closed_while_idle_are_not_used(void **state)
{
    struct world *w = *state;
    struct answer pool[3], a = {0};

    fill_pool(w, pool, 3);
    for (size_t i = 0; i < 3; i++)
        hang_up(w, i);
    start(w, &a);
    serve_ok(w, 3);
    expect_ok(&a);
}

/* -- deadlines and back-pressure -- */

static void a_silent_peer_ends_with_a_timeout_and_a_slow_one_does_not(void **state)
{
    struct world *w = *state;
    struct answer a = {0};
    uint64_t began = clock_mono_ms();

    start_with(w, &a, (struct http_fetch){.silent_ms = 100});
    read_request(w, 0, "\r\n\r\n");
    say(w, 0, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 6; i++) {
        run_for(w, 50);
        say(w, 0, "1\r\nx\r\n");
    }
    assert_int_equal(a.dones, 0);
    wait_done(&a, E_TIMEOUT);
    assert_in_range(clock_mono_ms() - began, 400, 3000);
    assert_int_equal(a.body.len, 6);
    assert_true(peer_has_closed(w, 0, 100));
    buf_fini(&a.body);
}

static void a_peer_that_says_nothing_at_all_is_silent_too(void **state)
{
    struct world *w = *state;
    struct answer a = {0};

    start_with(w, &a, (struct http_fetch){.silent_ms = 50});
    read_request(w, 0, "\r\n\r\n");
    wait_done(&a, E_TIMEOUT);
    assert_int_equal(a.heads, 0);
    assert_true(peer_has_closed(w, 0, 100));
}

static void the_total_deadline_ends_a_talkative_stream_and_a_paused_one(void **state)
{
    struct world *w = *state;
    struct answer a = {0}, b = {.pause_in_data = true};

    start_with(w, &a, (struct http_fetch){.total_ms = 100, .silent_ms = 80});
    read_request(w, 0, "\r\n\r\n");
    start_with(w, &b, (struct http_fetch){.total_ms = 100});
    read_request(w, 1, "\r\n\r\n");
    for (size_t i = 0; i < 2; i++)
        say(w, i, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n");
    while (a.dones == 0) {
        run_for(w, 10);
        if (a.dones == 0)
            say(w, 0, "1\r\nx\r\n");
    }
    wait_done(&a, E_TIMEOUT);
    wait_done(&b, E_TIMEOUT);
    buf_fini(&a.body);
    buf_fini(&b.body);
}

/* The peer takes 24 MiB slowly and says nothing meanwhile. */
static void a_slow_upload_is_not_silence(void **state)
{
    struct world *w = *state;
    struct answer a = {0};
    struct buf body = {0};
    static uint8_t part[1 << 20];

    memset(buf_reserve(&body, 24 << 20), 'x', 24 << 20);
    body.len = 24 << 20;
    start_with(w, &a, (struct http_fetch){.method = "POST", .take_body = &body, .silent_ms = 300});
    int fd = serve(w, 0);
    for (size_t got = 0; got < 24 << 20;) {
        run_for(w, 20);
        ssize_t n = read(fd, part, sizeof(part));
        got += n > 0 ? (size_t)n : 0;
        assert_int_equal(a.dones, 0);
    }
    wait_done(&a, E_TIMEOUT); /* now it is */
}

/* 8 MiB towards a paused transfer: the sender gets stuck, memory stays bounded, nothing is lost or
 * doubled. */
static void a_paused_transfer_holds_its_sender_back_and_loses_nothing(void **state)
{
    enum { TOTAL = 8 << 20 };
    struct world *w = *state;
    struct answer a = {.pause_in_data = true};
    struct buf all = {0};
    char head[128];
    size_t sent = 0;

    start(w, &a);
    read_request(w, 0, "\r\n\r\n");
    snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", TOTAL);
    say(w, 0, head);
    for (uint32_t i = 0; i < TOTAL / 4; i++)
        buf_u32be(&all, i);
    for (int idle = 0; idle < 20;) {
        ssize_t n = write(w->served[0], all.data + sent, all.len - sent);
        sent += n > 0 ? (size_t)n : 0;
        idle = n > 0 ? 0 : idle + 1;
        loop_turn(w->loop, 2);
    }
    assert_true(sent < TOTAL);
    assert_true(a.body.len > 0 && a.body.len <= 1 << 20);

    for (int i = 0; i < 100000 && a.dones == 0; i++) {
        if (sent < TOTAL) {
            ssize_t n = write(w->served[0], all.data + sent, all.len - sent);
            sent += n > 0 ? (size_t)n : 0;
        }
        http_transfer_pause(a.t, false);
        loop_turn(w->loop, 0);
    }
    wait_done(&a, 0);
    assert_true(span_eq(buf_span(&a.body), buf_span(&all)));
    buf_fini(&all);
    buf_fini(&a.body);
}

static void done_waits_until_a_paused_transfer_goes_on(void **state)
{
    struct world *w = *state;
    struct answer a = {.pause_in_data = true};

    start(w, &a);
    serve_ok(w, 0);
    run_for(w, 30);
    assert_int_equal(a.body.len, 2);
    assert_int_equal(a.dones, 0);
    http_transfer_pause(a.t, false);
    expect_ok(&a);
}

/* ---- Whole answers ---- */

struct whole {
    struct http_whole w;
    int dones, error;
};

static void whole_done(void *arg, struct http_transfer *t, int error)
{
    struct whole *o = arg;

    assert_non_null(t);
    assert_null(o->w.transfer);
    o->dones++;
    o->error = error;
}

static void start_whole(struct world *w, struct whole *o, size_t max)
{
    const struct http_fetch f = {.url = w->url, .method = "GET"};

    o->w.max = max;
    o->w.done = whole_done;
    o->w.arg = o;
    assert_int_equal(http_whole_start(&o->w, w->client, &f), 0);
}

static void wait_whole(struct world *w, struct whole *o, int error)
{
    for (int i = 0; i < 200 && o->dones == 0; i++)
        loop_turn(w->loop, 10);
    assert_int_equal(o->dones, 1);
    assert_int_equal(o->error, error);
    o->dones = 0;
}

static void an_answer_is_kept_whole_up_to_its_bound(void **state)
{
    struct world *w = *state;
    struct whole o = {.dones = 0};

    for (int i = 0; i < 2; i++) { /* the second one finds nothing of the first */
        start_whole(w, &o, 5);
        read_request(w, 0, "\r\n\r\n");
        say(w, 0, "HTTP/1.1 404 No\r\nContent-Length: 5\r\n\r\nwhole");
        wait_whole(w, &o, 0);
        assert_int_equal(o.w.status, 404);
        assert_true(span_is(buf_span(&o.w.body), "whole"));
    }
    buf_fini(&o.w.body);
}

static void an_answer_beyond_its_bound_is_cut_off_at_once(void **state)
{
    struct world *w = *state;
    struct whole o = {.dones = 0};

    start_whole(w, &o, 5);
    read_request(w, 0, "\r\n\r\n");
    say(w, 0, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nlonger");
    wait_whole(w, &o, E_TOO_LARGE);
    assert_int_equal(o.w.body.len, 0);
    assert_true(peer_has_closed(w, 0, 1000));
}

static void a_whole_answer_that_is_cancelled_is_not_told(void **state)
{
    struct world *w = *state;
    struct whole o = {.dones = 0};

    start_whole(w, &o, 100);
    read_request(w, 0, "\r\n\r\n");
    say(w, 0, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    for (int i = 0; i < 200 && o.w.body.len < 4; i++)
        loop_turn(w->loop, 10);
    http_whole_cancel(&o.w);
    http_whole_cancel(&o.w);
    assert_true(peer_has_closed(w, 0, 1000));
    assert_int_equal(o.dones, 0);
    assert_null(o.w.body.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        CASE(a_whole_answer_comes_with_status_type_and_body),
        CASE(a_large_post_goes_out_at_once_with_only_the_callers_fields),
        CASE(a_connection_is_kept_and_used_again),
        CASE(without_kept_connections_each_transfer_has_its_own),
        CASE(a_stream_is_delivered_piece_by_piece_and_ends_properly),
        CASE(fields_and_trailers_are_told_apart),
        CASE(an_interim_answer_is_passed_over),
        CASE(a_redirect_is_delivered_not_followed),
        CASE(an_answer_cut_short_is_closed),
        CASE(what_is_not_http_is_a_protocol_error),
        CASE(a_header_block_without_end_is_cut_off),
        CASE(nobody_listening_is_unavailable),
        CASE(a_unix_socket_is_reached_by_its_path),
        CASE(proxies_of_the_environment_are_ignored),
        CASE(requests_that_could_smuggle_are_refused),
        CASE(a_cancel_closes_the_connection_before_it_returns),
        CASE(a_cancel_before_the_answer_closes_as_well),
        CASE(a_paused_transfer_can_be_cancelled),
        CASE(a_cancel_in_a_callback_ends_the_callbacks),
        CASE(a_cancel_at_once_is_harmless),
        CASE(the_client_may_be_freed_from_a_callback),
        CASE(done_may_start_the_next_transfer),
        CASE(a_request_on_a_dying_kept_connection_is_sent_again_on_a_fresh_one),
        CASE(the_second_failure_is_final),
        CASE(a_fresh_connection_that_dies_is_not_tried_again),
        CASE(a_kept_connection_that_answered_a_byte_is_not_tried_again),
        CASE(kept_connections_closed_while_idle_are_not_used),
        CASE(a_silent_peer_ends_with_a_timeout_and_a_slow_one_does_not),
        CASE(a_peer_that_says_nothing_at_all_is_silent_too),
        CASE(a_slow_upload_is_not_silence),
        CASE(the_total_deadline_ends_a_talkative_stream_and_a_paused_one),
        CASE(a_paused_transfer_holds_its_sender_back_and_loses_nothing),
        CASE(done_waits_until_a_paused_transfer_goes_on),
        CASE(an_answer_is_kept_whole_up_to_its_bound),
        CASE(an_answer_beyond_its_bound_is_cut_off_at_once),
        CASE(a_whole_answer_that_is_cancelled_is_not_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
