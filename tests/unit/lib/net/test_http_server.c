/* The HTTP server itself: its sockets, its limits, its end. */
#include "http_rig.h"

#include <netinet/in.h>

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
