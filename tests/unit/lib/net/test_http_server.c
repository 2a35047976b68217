/* The HTTP server against raw sockets in the same loop: framing, refusals, streams, clients that
 * leave, shutdown. */
#include "operator.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>

#include "net/http_server.h"
#include "net/socket.h"

enum { WAIT_MS = 5000, EX_MAX = 300, LIMIT = 1 << 20 };

/* What the handler noted of one exchange. */
struct seen {
    struct http_exchange *ex;
    struct buf body;
    unsigned heads, parts, body_ends, drains, lates, gones, dones;
    bool complete;
};

struct rig {
    struct loop *loop;
    struct http_server *server;
    struct http_server_options o;
    struct net_addr at;
    struct seen seen[EX_MAX];
    unsigned count;
};

/* ---- The handler: what it does hangs on the path ---- */

static void reply_text(struct http_exchange *ex, unsigned status, const char *text)
{
    struct buf body = {0};
    const struct http_field fields[] = {{"Content-Type", "text/plain"}};

    buf_append_str(&body, text);
    http_reply(ex, status, fields, 1, &body, false);
}

static bool path_is(const struct http_exchange *ex, const char *path)
{
    return span_is(http_path(ex), path);
}

static void begin(struct http_exchange *ex)
{
    const struct http_field fields[] = {{"Content-Type", "text/event-stream"},
                                        {"Trailer", "Cocoon-Usage"}};

    http_stream_begin(ex, 200, fields, 2);
}

static void on_head(void *arg, struct http_exchange *ex)
{
    struct rig *r = arg;
    struct seen *x = &r->seen[r->count++ % EX_MAX];

    x->ex = ex;
    x->heads++;
    http_set_user(ex, x);
    if (http_content_length(ex) == -3)
        http_reply(ex, 400, NULL, 0, NULL, true);
    else if (http_content_length(ex) > LIMIT && path_is(ex, "/limit"))
        reply_text(ex, 413, "too large");
    else if (http_header_bytes(ex) > r->o.header_max)
        reply_text(ex, 431, "head too large");
    else if (path_is(ex, "/hello"))
        reply_text(ex, 200, "hello");
    else if (path_is(ex, "/echo") || path_is(ex, "/limit") || path_is(ex, "/late"))
        http_receive(ex);
    else if (path_is(ex, "/stream"))
        begin(ex);
    /* else it is parked, and the test decides */
}

static void on_body(void *arg, struct http_exchange *ex, struct span part)
{
    struct seen *x = http_user(ex);

    (void)arg;
    x->parts++;
    buf_append(&x->body, part);
    if (path_is(ex, "/limit") && x->body.len > LIMIT)
        reply_text(ex, 413, "too large");
}

static void on_body_end(void *arg, struct http_exchange *ex)
{
    struct seen *x = http_user(ex);
    struct buf copy = {0};

    (void)arg;
    x->body_ends++;
    buf_append(&copy, buf_span(&x->body));
    if (path_is(ex, "/park"))
        buf_fini(&copy);
    else
        http_reply(ex, 200, NULL, 0, &copy, false);
}

static void on_drained(void *arg, struct http_exchange *ex)
{
    (void)arg;
    ((struct seen *)http_user(ex))->drains++;
}

static void on_body_late(void *arg, struct http_exchange *ex)
{
    (void)arg;
    ((struct seen *)http_user(ex))->lates++;
    if (path_is(ex, "/late"))
        reply_text(ex, 408, "too slow");
}

static void on_gone(void *arg, struct http_exchange *ex)
{
    struct seen *x = http_user(ex);

    (void)arg;
    assert_int_equal(x->dones, 0);
    x->gones++;
}

static void on_done(void *arg, struct http_exchange *ex, bool complete)
{
    struct seen *x = http_user(ex);

    (void)arg;
    x->dones++;
    x->complete = complete;
    x->ex = NULL;
}

static const struct http_handler handler = {
    .head = on_head,
    .body = on_body,
    .body_end = on_body_end,
    .drained = on_drained,
    .body_late = on_body_late,
    .gone = on_gone,
    .done = on_done,
};

/* ---- The rig ---- */

static void rig_start(struct rig *r, const char *listen_at)
{
    assert_int_equal(loop_new(&r->loop), 0);
    assert_int_equal(http_server_new(&r->server, r->loop, &r->o, &handler, r), 0);
    assert_int_equal(net_addr_parse(&r->at, listen_at), 0);
    assert_int_equal(http_server_listen(r->server, &r->at, -1), 0);
    http_server_addr(r->server, 0, &r->at);
}

static struct rig *rig_prepare(void)
{
    struct rig *r = mem_zero(sizeof(*r));

    r->o = http_server_defaults;
    r->o.daemons = 4;
    r->o.drain_ms = 1000;
    return r;
}

static struct rig *rig_new(void)
{
    struct rig *r = rig_prepare();

    rig_start(r, "127.0.0.1:0");
    return r;
}

static void rig_free(struct rig *r)
{
    http_server_free(r->server);
    loop_free(r->loop);
    for (unsigned i = 0; i < EX_MAX; i++) {
        assert_null(r->seen[i].ex);
        assert_int_equal(r->seen[i].dones, r->seen[i].heads);
        buf_fini(&r->seen[i].body);
    }
    free(r);
}

/* ---- Clients ---- */

struct client {
    int fd;
    struct buf got;
    const uint8_t *out; /* what is still to be sent */
    size_t out_len;
    bool eof, broken; /* …, a send or a read failed */
    bool no_read;
};

static struct client client_new(const struct rig *r)
{
    struct client c = {0};

    assert_int_equal(net_connect(&r->at, &c.fd), 0);
    return c;
}

static void client_send(struct client *c, const void *bytes, size_t len)
{
    assert_int_equal(c->out_len, 0);
    c->out = bytes;
    c->out_len = len;
}

static void client_say(struct client *c, const char *text)
{
    client_send(c, text, strlen(text));
}

static void client_pump(struct client *c)
{
    uint8_t in[16 << 10];
    ssize_t n;

    while (c->out_len > 0 && (n = send(c->fd, c->out, c->out_len, MSG_NOSIGNAL)) != 0) {
        if (n < 0) {
            if (errno != EAGAIN && errno != ENOTCONN) {
                c->broken = true;
                c->out_len = 0;
            }
            break;
        }
        c->out += n;
        c->out_len -= (size_t)n;
    }
    while (!c->eof && !c->no_read && (n = recv(c->fd, in, sizeof(in), MSG_DONTWAIT)) != -1) {
        if (n == 0)
            c->eof = true;
        else
            buf_append(&c->got, span_of(in, (size_t)n));
    }
    if (!c->eof && !c->no_read && errno == ECONNRESET)
        c->eof = c->broken = true;
}

static bool client_has(struct client *c, const char *text)
{
    return span_find(buf_span(&c->got), span_str(text)) >= 0;
}

static size_t client_count(struct client *c, const char *text)
{
    struct span rest = buf_span(&c->got);
    size_t count = 0;

    for (ptrdiff_t at; (at = span_find(rest, span_str(text))) >= 0; count++)
        rest = span_from(rest, (size_t)at + strlen(text));
    return count;
}

static void client_close(struct client *c)
{
    close(c->fd);
    c->fd = -1;
    buf_fini(&c->got);
}

/* Turns loop and client until cond holds. */
#define PUMP_UNTIL(r, c, cond, ms)                                                                 \
    do {                                                                                           \
        uint64_t end_ = clock_mono_ms() + (ms);                                                    \
        for (;;) {                                                                                 \
            client_pump(c);                                                                        \
            if ((cond) || clock_mono_ms() >= end_)                                                 \
                break;                                                                             \
            loop_turn((r)->loop, 1);                                                               \
        }                                                                                          \
        assert_true(cond);                                                                         \
    } while (0)

static void pump_for(struct rig *r, struct client *c, uint64_t ms)
{
    uint64_t end = clock_mono_ms() + ms;

    while (clock_mono_ms() < end) {
        client_pump(c);
        loop_turn(r->loop, 1);
    }
}

static void write_text(struct http_exchange *ex, const char *text)
{
    http_stream_write(ex, span_str(text));
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"

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

/* ---- The server ---- */

static void a_unix_socket_serves_too(void **state)
{
    struct rig *r = rig_prepare();
    char at[64];

    (void)state;
    snprintf(at, sizeof(at), "unix:/tmp/cocoon-test-%d.sock", (int)getpid());
    rig_start(r, at);
    struct client c = client_new(r);
    client_say(&c, GET("/hello"));
    PUMP_UNTIL(r, &c, client_has(&c, "hello"), WAIT_MS);
    client_say(&c, GET("/park"));
    PUMP_UNTIL(r, &c, r->count == 2, WAIT_MS);
    client_close(&c);
    TURN_UNTIL(r->loop, r->seen[1].gones == 1, 100);
    rig_free(r);
    assert_int_equal(access(at + strlen("unix:"), F_OK), -1);
}

static void connections_above_the_limit_are_closed(void **state)
{
    struct rig *r = rig_prepare();

    (void)state;
    r->o.connection_limit = 2;
    rig_start(r, "127.0.0.1:0");
    struct client a = client_new(r), b = client_new(r), c = client_new(r);
    client_say(&a, GET("/hello"));
    client_say(&b, GET("/hello"));
    PUMP_UNTIL(r, &a, client_has(&a, "hello"), WAIT_MS);
    PUMP_UNTIL(r, &b, client_has(&b, "hello"), WAIT_MS);
    PUMP_UNTIL(r, &c, c.eof, WAIT_MS);
    client_close(&a);
    TURN_UNTIL(r->loop, http_server_connections(r->server) == 1, WAIT_MS);
    struct client d = client_new(r);
    client_say(&d, GET("/hello"));
    PUMP_UNTIL(r, &d, client_has(&d, "hello"), WAIT_MS);
    client_close(&b);
    client_close(&c);
    client_close(&d);
    rig_free(r);
}

/* What they have said, a long body too, is read before the socket closes: no reset eats the answer.
 */
static void connections_above_the_limit_get_the_answer_for_them(void **state)
{
    static const char full[] = "HTTP/1.1 503 Full\r\nContent-Length: 2\r\n\r\nno";
    static const char body[100000];
    struct rig *r = rig_prepare();

    (void)state;
    r->o.connection_limit = 1;
    r->o.full_answer = span_str(full);
    rig_start(r, "127.0.0.1:0");
    struct client a = client_new(r), b = client_new(r), silent = client_new(r);
    client_say(&a, GET("/hello"));
    PUMP_UNTIL(r, &a, client_has(&a, "hello"), WAIT_MS);
    turn_for(r->loop, 50);
    assert_int_equal(b.got.len, 0); /* not before it has asked */
    client_say(&b, "POST /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n");
    PUMP_UNTIL(r, &b, client_has(&b, full), WAIT_MS);
    client_send(&b, body, sizeof(body));
    PUMP_UNTIL(r, &b, b.out_len == 0, WAIT_MS);
    assert_false(b.broken);
    PUMP_UNTIL(r, &b, b.eof, WAIT_MS);
    PUMP_UNTIL(r, &silent, silent.eof && client_has(&silent, full), WAIT_MS);
    assert_int_equal(http_server_refused(r->server), 2);
    client_close(&a);
    client_close(&b);
    client_close(&silent);
    rig_free(r);
}

static void a_flood_above_the_limit_is_answered_too(void **state)
{
    enum { FLOOD = 300 };
    static const char full[] = "HTTP/1.1 503 Full\r\nContent-Length: 2\r\n\r\nno";
    struct client flood[FLOOD];
    struct rig *r = rig_prepare();
    unsigned answered = 0;

    (void)state;
    r->o.connection_limit = 1;
    r->o.full_answer = span_str(full);
    rig_start(r, "127.0.0.1:0");
    struct client a = client_new(r);
    client_say(&a, GET("/hello"));
    PUMP_UNTIL(r, &a, client_has(&a, "hello"), WAIT_MS);
    for (int i = 0; i < FLOOD; i++)
        flood[i] = client_new(r);
    for (int i = 0; i < FLOOD; i++) {
        PUMP_UNTIL(r, &flood[i], flood[i].eof, WAIT_MS);
        answered += client_has(&flood[i], full) ? 1 : 0;
        client_close(&flood[i]);
    }
    assert_int_equal(answered, FLOOD);
    client_say(&a, GET("/hello"));
    client_close(&a);
    rig_free(r);
}

static void a_held_server_lets_connections_wait(void **state)
{
    struct rig *r = rig_new();

    (void)state;
    http_server_hold(r->server, true);
    struct client c = client_new(r);
    client_say(&c, GET("/hello"));
    turn_for(r->loop, 50);
    assert_int_equal(http_server_connections(r->server), 0);
    assert_false(c.eof);
    http_server_hold(r->server, false);
    PUMP_UNTIL(r, &c, client_has(&c, "hello"), WAIT_MS);
    client_close(&c);
    rig_free(r);
}

static void freeing_lets_answers_finish_and_cuts_the_rest(void **state)
{
    struct rig *r = rig_new();
    struct client ending = client_new(r), open = client_new(r), parked = client_new(r),
                  idle = client_new(r), half = client_new(r);

    (void)state;
    client_say(&ending, GET("/stream"));
    PUMP_UNTIL(r, &ending, r->count == 1, WAIT_MS);
    client_say(&open, GET("/stream"));
    PUMP_UNTIL(r, &open, r->count == 2, WAIT_MS);
    client_say(&parked, GET("/park"));
    PUMP_UNTIL(r, &parked, r->count == 3, WAIT_MS);
    client_say(&idle, GET("/hello"));
    PUMP_UNTIL(r, &idle, client_has(&idle, "hello"), WAIT_MS);
    client_say(&half, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx");
    PUMP_UNTIL(r, &half, r->seen[4].parts == 1, WAIT_MS);
    write_text(r->seen[0].ex, "last words");
    http_stream_end(r->seen[0].ex, NULL, 0);
    write_text(r->seen[1].ex, "cut");
    http_server_free(r->server);
    r->server = NULL;
    client_pump(&ending);
    client_pump(&open);
    client_pump(&parked);
    client_pump(&idle);
    client_pump(&half);
    assert_true(client_has(&ending, "last words\r\n0\r\n\r\n"));
    assert_false(client_has(&open, "\r\n0\r\n\r\n"));
    assert_true(ending.eof && open.eof && parked.eof && idle.eof && half.eof);
    assert_true(r->seen[0].complete);
    assert_int_equal(r->seen[1].gones, 1);
    assert_int_equal(r->seen[2].gones, 1);
    client_close(&ending);
    client_close(&open);
    client_close(&parked);
    client_close(&idle);
    client_close(&half);
    rig_free(r);
}

static void garbage_is_closed_without_reaching_the_handler(void **state)
{
    struct rig *r = rig_new();
    static const char *const texts[] = {
        "\x16\x03\x01\x02\x01garbage\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n", /* no Host */
        "GET /hello HTTP/1.1\r\nHost: x\r\nnonsense\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct client c = client_new(r);
        client_say(&c, texts[i]);
        PUMP_UNTIL(r, &c, c.eof, WAIT_MS);
        client_close(&c);
    }
    assert_int_equal(r->count, 0);
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
        cmocka_unit_test(a_body_of_megabytes_arrives_whole),
        cmocka_unit_test(a_chunked_body_arrives_whole_and_keeps_the_connection),
        cmocka_unit_test(a_body_received_in_a_later_turn_arrives),
        cmocka_unit_test(no_body_ends_at_once),
        cmocka_unit_test(expect_is_answered_with_continue_only_when_the_body_is_wanted),
        cmocka_unit_test(a_client_that_announces_too_much_sees_the_refusal),
        cmocka_unit_test(a_client_whose_chunks_grow_too_large_sees_the_refusal),
        cmocka_unit_test(an_answer_that_overtakes_the_body_arrives),
        cmocka_unit_test(doubtful_framing_is_refused_and_closes),
        cmocka_unit_test(a_header_block_above_the_limit_reaches_the_handler),
        cmocka_unit_test(half_a_header_block_is_cut_at_the_deadline),
        cmocka_unit_test(a_dribbled_body_is_late),
        cmocka_unit_test(a_large_body_gets_more_time),
        cmocka_unit_test(a_client_that_leaves_while_parked_is_noticed),
        cmocka_unit_test(a_client_that_leaves_during_its_body_is_noticed),
        cmocka_unit_test(what_is_said_to_a_client_that_left_is_forgotten),
        cmocka_unit_test(each_write_is_a_chunk_and_trailers_come_last),
        cmocka_unit_test(a_burst_of_writes_stays_separate_chunks),
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
        cmocka_unit_test(a_unix_socket_serves_too),
        cmocka_unit_test(connections_above_the_limit_are_closed),
        cmocka_unit_test(connections_above_the_limit_get_the_answer_for_them),
        cmocka_unit_test(a_flood_above_the_limit_is_answered_too),
        cmocka_unit_test(a_held_server_lets_connections_wait),
        cmocka_unit_test(freeing_lets_answers_finish_and_cuts_the_rest),
        cmocka_unit_test(garbage_is_closed_without_reaching_the_handler),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
