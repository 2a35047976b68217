/* Both ends of a tunnel in one loop, over real sockets: calls, back-pressure, ends. Hostile peers
 * are in test_tunnel_peers.c. */
#include "operator.h"

#include "net/listener.h"
#include "net/tunnel.h"

enum { WAIT_MS = 5000, MANY = 100 };

/* One side's view of one stream. */
struct side {
    struct tunnel_stream *s;
    struct buf got;
    unsigned heads, ends, drains, closes;
    unsigned status;
    int error;
    char trailer[64];
    bool hold; /* does not consume */
};

struct pair {
    struct loop *loop;
    struct operator_dir dir;
    struct tls_ctx *gateway_tls, *worker_tls;
    struct net_listener *listener;
    struct tunnel_limits gateway_limits, worker_limits;
    struct tunnel *gateway, *worker;
    unsigned opens, goaways;
    unsigned gateway_closes, worker_closes;
    int gateway_error, worker_error;
    struct side requests[MANY]; /* the worker's side, in order of arrival */
    unsigned request_count;
    void (*serve)(struct pair *p, struct side *r); /* called at each request */
};

/* ---- Events ---- */

static void on_head(void *arg, struct tunnel_stream *s)
{
    struct side *x = arg;

    x->heads++;
    x->status = tunnel_stream_status(s);
}

static void on_data(void *arg, struct tunnel_stream *s, struct span b)
{
    struct side *x = arg;

    buf_append(&x->got, b);
    if (!x->hold)
        tunnel_stream_consume(s, b.len);
}

static void on_end(void *arg, struct tunnel_stream *s)
{
    struct side *x = arg;
    struct span t = tunnel_stream_trailer(s, "cocoon-usage");

    assert_true(tunnel_stream_ended(s));
    x->ends++;
    if (t.data)
        snprintf(x->trailer, sizeof(x->trailer), "%.*s", SPAN_FMT(t));
}

static void on_drained(void *arg, struct tunnel_stream *s)
{
    struct side *x = arg;

    assert_true(tunnel_stream_queued(s) < 64 << 10);
    x->drains++;
}

static void on_stream_closed(void *arg, struct tunnel_stream *s, int error)
{
    struct side *x = arg;

    assert_ptr_equal(s, x->s);
    x->s = NULL;
    x->error = error;
    x->closes++;
}

static const struct tunnel_stream_events stream_events = {
    .head = on_head,
    .data = on_data,
    .end = on_end,
    .drained = on_drained,
    .closed = on_stream_closed,
};

static void on_open(void *arg, struct tunnel *t)
{
    (void)t;
    ((struct pair *)arg)->opens++;
}

static void on_goaway(void *arg, struct tunnel *t)
{
    assert_false(tunnel_is_open(t));
    ((struct pair *)arg)->goaways++;
}

static void on_request(void *arg, struct tunnel *t, struct tunnel_stream *s)
{
    struct pair *p = arg;
    struct side *r = &p->requests[p->request_count++ % MANY];

    assert_ptr_equal(tunnel_stream_tunnel(s), t);
    r->s = s;
    tunnel_stream_attach(s, &stream_events, r);
    if (p->serve)
        p->serve(p, r);
}

static void on_closed(void *arg, struct tunnel *t, int error)
{
    struct pair *p = arg;

    assert_int_equal(tunnel_streams(t), 0);
    if (t == p->gateway) {
        p->gateway_closes++;
        p->gateway_error = error;
        p->gateway = NULL;
    } else {
        p->worker_closes++;
        p->worker_error = error;
        p->worker = NULL;
    }
}

static const struct tunnel_events events = {on_open, on_request, on_goaway, on_closed};

static void on_accept(void *arg, int fd, const struct net_addr *peer)
{
    struct pair *p = arg;

    (void)peer;
    assert_int_equal(
        tunnel_accept(&p->gateway, p->loop, p->gateway_tls, fd, &p->gateway_limits, &events, p), 0);
}

/* ---- Pairs ---- */

static void pair_listen(struct pair *p)
{
    struct net_addr any;

    *p = (struct pair){.gateway_limits = tunnel_gateway_limits,
                       .worker_limits = tunnel_worker_limits};
    operator_new(&p->dir);
    assert_int_equal(loop_new(&p->loop), 0);
    assert_int_equal(tls_server_new(&p->gateway_tls, p->dir.chain, p->dir.key), 0);
    assert_int_equal(tls_client_new(&p->worker_tls), 0);
    assert_int_equal(net_addr_parse(&any, "127.0.0.1:0"), 0);
    assert_int_equal(net_listen(&p->listener, p->loop, &any, on_accept, p), 0);
}

static void pair_dial(struct pair *p, const uint8_t (*pins)[TLS_SPKI_LEN], size_t count)
{
    struct net_addr at;

    net_listener_addr(p->listener, &at);
    assert_int_equal(tunnel_dial(&p->worker, p->loop, p->worker_tls, &at, pins, count,
                                 &p->worker_limits, &events, p),
                     0);
}

static void pair_open(struct pair *p)
{
    pair_dial(p, &p->dir.op, 1);
    TURN_UNTIL(p->loop, p->opens == 2, WAIT_MS);
}

static void pair_new(struct pair *p)
{
    pair_listen(p);
    pair_open(p);
}

static void pair_free(struct pair *p)
{
    if (p->gateway)
        tunnel_close(p->gateway);
    if (p->worker)
        tunnel_close(p->worker);
    loop_turn(p->loop, 0);
    assert_null(p->gateway);
    assert_null(p->worker);
    for (size_t i = 0; i < MANY; i++) {
        assert_null(p->requests[i].s); /* every stream had its `closed` */
        buf_fini(&p->requests[i].got);
    }
    net_listener_free(p->listener);
    tls_ctx_free(p->gateway_tls);
    tls_ctx_free(p->worker_tls);
    loop_free(p->loop);
    operator_free(&p->dir);
}

static void ask(struct pair *p, struct side *x, const char *method, struct buf *body)
{
    const struct tunnel_field fields[] = {{SPAN("cocoon-call"), SPAN("0123")}};

    assert_int_equal(
        tunnel_request(p->gateway, method, "/ohttp?x=1", fields, 1, body, &stream_events, x, &x->s),
        0);
}

static struct buf filled(size_t len, uint8_t first)
{
    struct buf b = {0};
    uint8_t *at = buf_reserve(&b, len);

    for (size_t i = 0; i < len; i++)
        at[i] = (uint8_t)(first + i * 31 + (i >> 8));
    b.len = len;
    return b;
}

static void reply_hello(struct pair *p, struct side *r)
{
    struct buf body = {0};
    const struct tunnel_field fields[] = {{SPAN("cocoon-load"), SPAN("running=0")}};

    (void)p;
    buf_append_str(&body, "hello");
    tunnel_reply(r->s, 200, fields, 1, &body);
}

/* ---- Calls ---- */

static void a_request_gets_its_answer(void **state)
{
    struct pair p;
    struct side x = {0};

    (void)state;
    pair_new(&p);
    p.serve = reply_hello;
    ask(&p, &x, "GET", NULL);
    assert_int_equal(tunnel_streams(p.gateway), 1);
    TURN_UNTIL(p.loop, x.closes == 1, WAIT_MS);
    assert_int_equal(x.error, 0);
    assert_int_equal(x.status, 200);
    assert_int_equal(x.heads, 1);
    assert_int_equal(x.ends, 1);
    assert_true(span_is(buf_span(&x.got), "hello"));
    TURN_UNTIL(p.loop, p.requests[0].closes == 1, WAIT_MS);
    assert_int_equal(p.requests[0].error, 0);
    assert_int_equal(p.requests[0].ends, 1);
    assert_int_equal(tunnel_streams(p.gateway), 0);
    buf_fini(&x.got);
    pair_free(&p);
}

static void check_request(struct pair *p, struct side *r)
{
    assert_true(span_is(tunnel_stream_method(r->s), "POST"));
    assert_true(span_is(tunnel_stream_path(r->s), "/ohttp?x=1"));
    assert_true(span_is(tunnel_stream_field(r->s, "cocoon-call"), "0123"));
    assert_null(tunnel_stream_field(r->s, "cocoon-none").data);
    reply_hello(p, r);
}

static void head_fields_arrive_on_both_sides(void **state)
{
    struct pair p;
    struct side x = {.hold = true};
    struct buf body = filled(10, 0);

    (void)state;
    pair_new(&p);
    p.serve = check_request;
    ask(&p, &x, "POST", &body);
    TURN_UNTIL(p.loop, x.heads == 1, WAIT_MS);
    assert_int_equal(p.request_count, 1);
    TURN_UNTIL(p.loop, x.closes == 1, WAIT_MS);
    buf_fini(&x.got);
    pair_free(&p);
}

static void each_end_knows_the_other(void **state)
{
    struct pair p;
    uint8_t a[TLS_SPKI_LEN], b[TLS_SPKI_LEN];

    (void)state;
    pair_new(&p);
    tunnel_peer_spki(p.gateway, a);
    tls_client_spki(p.worker_tls, b);
    assert_memory_equal(a, b, TLS_SPKI_LEN);
    tunnel_pin(p.worker, a);
    assert_memory_equal(a, p.dir.op, TLS_SPKI_LEN);
    assert_true(tunnel_peer(p.gateway)->len > 0);
    pair_free(&p);
}

static void bodies_of_megabytes_cross_whole_both_ways(void **state)
{
    struct pair p;
    struct side x = {0};
    struct buf up = filled(3 << 20, 1), down = filled(3 << 20, 2);
    struct buf up_copy = filled(3 << 20, 1), down_copy = filled(3 << 20, 2);

    (void)state;
    pair_new(&p);
    ask(&p, &x, "POST", &up);
    TURN_UNTIL(p.loop, p.requests[0].ends == 1, WAIT_MS);
    assert_true(span_eq(buf_span(&p.requests[0].got), buf_span(&up_copy)));
    tunnel_reply(p.requests[0].s, 200, NULL, 0, &down);
    TURN_UNTIL(p.loop, x.closes == 1, WAIT_MS);
    assert_true(span_eq(buf_span(&x.got), buf_span(&down_copy)));
    assert_int_equal(x.error, 0);
    assert_int_equal(p.requests[0].drains, 1);
    buf_fini(&x.got);
    buf_fini(&up_copy);
    buf_fini(&down_copy);
    pair_free(&p);
}

static void a_stream_ends_with_trailers(void **state)
{
    struct pair p;
    struct side x = {0};
    struct buf token = {0};
    const struct tunnel_field trailer = {SPAN("cocoon-usage"), SPAN("jws")};

    (void)state;
    pair_new(&p);
    ask(&p, &x, "GET", NULL);
    TURN_UNTIL(p.loop, p.request_count == 1, WAIT_MS);
    tunnel_respond(p.requests[0].s, 200, NULL, 0, false);
    TURN_UNTIL(p.loop, x.heads == 1, WAIT_MS); /* the head does not wait for bytes */
    for (int i = 0; i < 3; i++) {
        buf_append_str(&token, "token");
        tunnel_stream_write(p.requests[0].s, &token);
        TURN_UNTIL(p.loop, x.got.len == (size_t)(i + 1) * 5, WAIT_MS);
    }
    assert_int_equal(x.ends, 0);
    buf_append_str(&token, "last");
    tunnel_stream_write(p.requests[0].s, &token);
    tunnel_stream_end(p.requests[0].s, &trailer, 1);
    TURN_UNTIL(p.loop, x.closes == 1, WAIT_MS);
    assert_string_equal(x.trailer, "jws");
    assert_int_equal(x.ends, 1);
    assert_int_equal(x.got.len, 19);
    assert_int_equal(x.error, 0);
    buf_fini(&x.got);
    pair_free(&p);
}

static void trailers_alone_are_an_answer_too(void **state)
{
    struct pair p;
    struct side x = {0};
    const struct tunnel_field trailer = {SPAN("cocoon-usage"), SPAN("none made")};

    (void)state;
    pair_new(&p);
    ask(&p, &x, "GET", NULL);
    TURN_UNTIL(p.loop, p.request_count == 1, WAIT_MS);
    tunnel_respond(p.requests[0].s, 200, NULL, 0, false);
    tunnel_stream_end(p.requests[0].s, &trailer, 1);
    TURN_UNTIL(p.loop, x.closes == 1, WAIT_MS);
    assert_int_equal(x.status, 200);
    assert_int_equal(x.got.len, 0);
    assert_string_equal(x.trailer, "none made");
    pair_free(&p);
}

static void refuse_busy(struct pair *p, struct side *r)
{
    (void)p;
    tunnel_reply(r->s, 503, NULL, 0, NULL);
}

static void a_refusal_on_the_head_stops_the_body(void **state)
{
    struct pair p;
    struct side x = {0};
    struct buf body = filled(8 << 20, 0);

    (void)state;
    pair_new(&p);
    p.serve = refuse_busy;
    ask(&p, &x, "POST", &body);
    TURN_UNTIL(p.loop, x.closes == 1, WAIT_MS);
    assert_int_equal(x.status, 503);
    assert_int_equal(x.error, 0);
    assert_true(p.requests[0].got.len < 2 << 20);
    TURN_UNTIL(p.loop, p.requests[0].closes == 1, WAIT_MS);
    pair_free(&p);
}

static void many_refusals_of_unsent_bodies_are_no_flood(void **state)
{
    struct pair p;
    static struct side x[MANY];

    (void)state;
    pair_listen(&p);
    p.gateway_limits.resets_per_second = 10;
    pair_open(&p);
    p.serve = refuse_busy;
    for (unsigned round = 0; round < 5; round++) {
        memset(x, 0, sizeof(x));
        for (unsigned i = 0; i < MANY; i++) {
            struct buf body = filled(100000, 0);
            ask(&p, &x[i], "POST", &body);
        }
        for (unsigned i = 0; i < MANY; i++)
            TURN_UNTIL(p.loop, x[i].closes == 1, WAIT_MS);
    }
    assert_int_equal(x[MANY - 1].status, 503);
    assert_true(tunnel_is_open(p.gateway));
    pair_free(&p);
}

/* ---- Back-pressure ---- */

static void flood_answer(struct pair *p, struct side *r)
{
    struct buf body = filled(1 << 20, 0);

    (void)p;
    tunnel_respond(r->s, 200, NULL, 0, false);
    tunnel_stream_write(r->s, &body);
}

static void streams_nobody_reads_do_not_stop_the_others(void **state)
{
    struct pair p;
    static struct side slow[50];
    struct side fast = {0};

    (void)state;
    pair_listen(&p);
    p.gateway_limits.connection_window = 1 << 20; /* less than what 50 slow streams may park */
    pair_open(&p);
    p.serve = flood_answer;
    for (size_t i = 0; i < 50; i++) {
        slow[i] = (struct side){.hold = true};
        ask(&p, &slow[i], "GET", NULL);
    }
    for (size_t i = 0; i < 50; i++)
        TURN_UNTIL(p.loop, slow[i].got.len > 0, WAIT_MS);
    turn_for(p.loop, 300);
    for (size_t i = 0; i < 50; i++)
        assert_in_range(slow[i].got.len, 1, 64 << 10); /* the window bounds what is parked */
    p.serve = reply_hello;
    ask(&p, &fast, "GET", NULL);
    TURN_UNTIL(p.loop, fast.closes == 1, WAIT_MS);
    assert_true(span_is(buf_span(&fast.got), "hello"));

    /* The slow ones go on as soon as they are read. */
    size_t parked = slow[0].got.len;
    slow[0].hold = false;
    tunnel_stream_consume(slow[0].s, parked);
    TURN_UNTIL(p.loop, slow[0].got.len == 1 << 20, WAIT_MS);
    for (size_t i = 0; i < 50; i++)
        buf_fini(&slow[i].got);
    buf_fini(&fast.got);
    pair_free(&p);
    for (size_t i = 0; i < 50; i++)
        assert_int_equal(slow[i].closes, 1);
}

static void what_was_queued_can_be_dropped_before_the_end(void **state)
{
    struct pair p;
    struct side x = {.hold = true};
    const struct tunnel_field trailer = {SPAN("cocoon-usage"), SPAN("aborted")};

    (void)state;
    pair_new(&p);
    p.serve = flood_answer;
    ask(&p, &x, "GET", NULL);
    turn_for(p.loop, 100);
    assert_true(tunnel_stream_queued(p.requests[0].s) > 900 << 10);
    tunnel_stream_drop_queued(p.requests[0].s);
    assert_int_equal(tunnel_stream_queued(p.requests[0].s), 0);
    tunnel_stream_end(p.requests[0].s, &trailer, 1);
    turn_for(p.loop, 50);
    assert_int_equal(x.ends, 0); /* the window is shut: no trailers yet (wire.md §11) */
    x.hold = false;
    tunnel_stream_consume(x.s, x.got.len);
    TURN_UNTIL(p.loop, x.closes == 1, WAIT_MS);
    assert_string_equal(x.trailer, "aborted");
    assert_true(x.got.len < 200 << 10);
    buf_fini(&x.got);
    pair_free(&p);
}

/* ---- Ends ---- */

static void a_reset_ends_both_sides(void **state)
{
    struct pair p;
    struct side x = {0}, y = {0};

    (void)state;
    pair_new(&p);
    ask(&p, &x, "GET", NULL);
    TURN_UNTIL(p.loop, p.request_count == 1, WAIT_MS);
    tunnel_stream_reset(x.s);
    TURN_UNTIL(p.loop, x.closes == 1 && p.requests[0].closes == 1, WAIT_MS);
    assert_int_equal(x.error, E_CLOSED);
    assert_int_equal(p.requests[0].error, E_CLOSED);
    assert_int_equal(x.heads, 0);
    p.serve = reply_hello; /* and the tunnel is as good as before */
    ask(&p, &y, "GET", NULL);
    TURN_UNTIL(p.loop, y.closes == 1, WAIT_MS);
    assert_int_equal(y.error, 0);
    buf_fini(&y.got);
    pair_free(&p);
}

static void a_request_reset_before_it_went_out_is_closed(void **state)
{
    struct pair p;
    struct side x = {0};

    (void)state;
    pair_new(&p);
    ask(&p, &x, "GET", NULL);
    tunnel_stream_reset(x.s);
    TURN_UNTIL(p.loop, x.closes == 1, WAIT_MS);
    assert_true(x.error < 0);
    assert_true(tunnel_is_open(p.gateway));
    pair_free(&p);
}

static void the_limit_of_streams_is_busy(void **state)
{
    struct pair p;
    struct side x[4] = {0};
    struct tunnel_stream *s;

    (void)state;
    pair_listen(&p);
    p.worker_limits.streams = 3;
    pair_open(&p);
    turn_for(p.loop, 20); /* the worker's SETTINGS have arrived */
    for (int i = 0; i < 3; i++)
        ask(&p, &x[i], "GET", NULL);
    assert_int_equal(
        tunnel_request(p.gateway, "GET", "/", NULL, 0, NULL, &stream_events, &x[3], &s), E_BUSY);
    TURN_UNTIL(p.loop, p.request_count == 3, WAIT_MS);
    reply_hello(&p, &p.requests[0]);
    TURN_UNTIL(p.loop, x[0].closes == 1, WAIT_MS);
    ask(&p, &x[3], "GET", NULL);
    TURN_UNTIL(p.loop, p.request_count == 4, WAIT_MS);
    buf_fini(&x[0].got);
    pair_free(&p);
}

static void goaway_lets_what_runs_end_and_takes_nothing_new(void **state)
{
    struct pair p;
    struct side x = {0};
    struct tunnel_stream *s;

    (void)state;
    pair_new(&p);
    ask(&p, &x, "GET", NULL);
    TURN_UNTIL(p.loop, p.request_count == 1, WAIT_MS);
    tunnel_goaway(p.worker);
    assert_false(tunnel_is_open(p.worker));
    TURN_UNTIL(p.loop, p.goaways == 1, WAIT_MS);
    assert_int_equal(tunnel_request(p.gateway, "GET", "/", NULL, 0, NULL, &stream_events, &x, &s),
                     E_CLOSED);
    turn_for(p.loop, 50);
    assert_non_null(p.gateway); /* open as long as a call runs */
    reply_hello(&p, &p.requests[0]);
    TURN_UNTIL(p.loop, x.closes == 1, WAIT_MS);
    assert_int_equal(x.error, 0);
    TURN_UNTIL(p.loop, p.gateway_closes == 1 && p.worker_closes == 1, WAIT_MS);
    assert_int_equal(p.gateway_error, E_CLOSED);
    assert_int_equal(p.worker_error, E_CLOSED);
    buf_fini(&x.got);
    pair_free(&p);
}

static void a_request_that_crosses_a_goaway_may_be_sent_elsewhere(void **state)
{
    struct pair p;
    struct side x = {0}, y = {0};

    (void)state;
    pair_new(&p);
    ask(&p, &x, "GET", NULL);
    TURN_UNTIL(p.loop, p.request_count == 1, WAIT_MS);
    tunnel_goaway(p.worker);
    ask(&p, &y, "GET", NULL);
    TURN_UNTIL(p.loop, y.closes == 1, WAIT_MS);
    assert_int_equal(y.error, E_BUSY);
    assert_int_equal(p.request_count, 1);
    pair_free(&p);
}

static void closing_ends_every_stream_then_the_tunnel(void **state)
{
    struct pair p;
    struct side x = {0};

    (void)state;
    pair_new(&p);
    ask(&p, &x, "GET", NULL);
    TURN_UNTIL(p.loop, p.request_count == 1, WAIT_MS);
    tunnel_close(p.gateway);
    tunnel_close(p.gateway); /* twice is harmless */
    assert_int_equal(p.gateway_closes, 0);
    loop_turn(p.loop, 0);
    assert_int_equal(x.error, E_CLOSED);
    assert_int_equal(p.gateway_closes, 1);
    TURN_UNTIL(p.loop, p.worker_closes == 1, WAIT_MS);
    assert_int_equal(p.requests[0].error, E_CLOSED);
    assert_int_equal(p.worker_error, E_CLOSED);
    pair_free(&p);
}

static void close_at_once(struct pair *p, struct side *r)
{
    (void)r;
    tunnel_close(p->worker);
}

static void closing_inside_a_callback_is_fine(void **state)
{
    struct pair p;
    struct side x[3] = {0};

    (void)state;
    pair_new(&p);
    p.serve = close_at_once;
    for (int i = 0; i < 3; i++)
        ask(&p, &x[i], "GET", NULL);
    TURN_UNTIL(p.loop, p.worker_closes == 1 && p.gateway_closes == 1, WAIT_MS);
    assert_int_equal(p.request_count, 1);
    for (int i = 0; i < 3; i++)
        assert_int_equal(x[i].closes, 1);
    pair_free(&p);
}

static void pings_measure_the_round_trip_and_keep_the_tunnel(void **state)
{
    struct pair p;

    (void)state;
    pair_listen(&p);
    p.gateway_limits.ping_ms = p.worker_limits.ping_ms = 20;
    p.gateway_limits.dead_ms = p.worker_limits.dead_ms = 100;
    pair_open(&p);
    assert_int_equal(tunnel_rtt_ms(p.gateway), 0);
    turn_for(p.loop, 300);
    assert_true(tunnel_is_open(p.gateway) && tunnel_is_open(p.worker));
    assert_true(tunnel_rtt_ms(p.gateway) > 0);
    pair_free(&p);
}

/* ---- Rapid resets ---- */

static void a_gateway_that_resets_too_fast_is_cut_off(void **state)
{
    struct pair p;
    struct side x;

    (void)state;
    pair_listen(&p);
    p.worker_limits.resets_per_second = 20;
    pair_open(&p);
    for (int i = 0; i < 60 && p.gateway && tunnel_is_open(p.gateway); i++) {
        x = (struct side){0};
        ask(&p, &x, "GET", NULL);
        turn_for(p.loop, 1); /* the request must be out, or nothing of it is sent */
        if (x.s)
            tunnel_stream_reset(x.s);
        TURN_UNTIL(p.loop, x.closes == 1, WAIT_MS);
    }
    TURN_UNTIL(p.loop, p.worker_closes == 1 && p.gateway_closes == 1, WAIT_MS);
    assert_int_equal(p.worker_error, E_PROTOCOL);
    assert_in_range(p.request_count, 20, 30);
    pair_free(&p);
}

static void reset_at_once(struct pair *p, struct side *r)
{
    (void)p;
    tunnel_stream_reset(r->s);
}

static void a_worker_that_resets_too_fast_is_cut_off(void **state)
{
    struct pair p;
    static struct side x[MANY];

    (void)state;
    pair_listen(&p);
    p.gateway_limits.resets_per_second = 20;
    pair_open(&p);
    p.serve = reset_at_once;
    memset(x, 0, sizeof(x));
    for (unsigned i = 0; i < MANY; i++)
        ask(&p, &x[i], "GET", NULL);
    TURN_UNTIL(p.loop, p.worker_closes == 1 && p.gateway_closes == 1, WAIT_MS);
    assert_int_equal(p.gateway_error, E_PROTOCOL);
    for (unsigned i = 0; i < MANY; i++)
        assert_int_equal(x[i].closes, 1);
    pair_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_gets_its_answer),
        cmocka_unit_test(head_fields_arrive_on_both_sides),
        cmocka_unit_test(each_end_knows_the_other),
        cmocka_unit_test(bodies_of_megabytes_cross_whole_both_ways),
        cmocka_unit_test(a_stream_ends_with_trailers),
        cmocka_unit_test(trailers_alone_are_an_answer_too),
        cmocka_unit_test(a_refusal_on_the_head_stops_the_body),
        cmocka_unit_test(many_refusals_of_unsent_bodies_are_no_flood),
        cmocka_unit_test(streams_nobody_reads_do_not_stop_the_others),
        cmocka_unit_test(what_was_queued_can_be_dropped_before_the_end),
        cmocka_unit_test(a_reset_ends_both_sides),
        cmocka_unit_test(a_request_reset_before_it_went_out_is_closed),
        cmocka_unit_test(the_limit_of_streams_is_busy),
        cmocka_unit_test(goaway_lets_what_runs_end_and_takes_nothing_new),
        cmocka_unit_test(a_request_that_crosses_a_goaway_may_be_sent_elsewhere),
        cmocka_unit_test(closing_ends_every_stream_then_the_tunnel),
        cmocka_unit_test(closing_inside_a_callback_is_fine),
        cmocka_unit_test(a_gateway_that_resets_too_fast_is_cut_off),
        cmocka_unit_test(a_worker_that_resets_too_fast_is_cut_off),
        cmocka_unit_test(pings_measure_the_round_trip_and_keep_the_tunnel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
