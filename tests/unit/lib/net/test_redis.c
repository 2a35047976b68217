/* The Redis client against a real redis-server that the test starts, stops, freezes and kills. */
#include "redis_world.h"

#include <sys/socket.h>

#include "net/redis_conn.h"
#include "net/redis_reply.h"

/* ---- Cases: commands ---- */

static uint64_t sum_of(const uint64_t *numbers, size_t count)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < count; i++)
        sum += numbers[i];
    return sum;
}

static void commands_are_answered_in_the_order_given(void **state)
{
    struct world *w = *state;
    static struct told told[150];
    struct redis_stats stats;
    int before = answers;

    memset(told, 0, sizeof(told));
    for (size_t i = 0; i < 150; i++)
        assert_int_equal(redis_commandf(w->redis, on_reply, &told[i], "ECHO %lld", (long long)i),
                         0);
    assert_int_equal(answers, before);
    WAIT_FOR(w, told[149].calls == 1);
    for (size_t i = 0; i < 150; i++) {
        char text[16];
        snprintf(text, sizeof(text), "%zu", i);
        assert_string_equal(told[i].text, text);
        assert_int_equal(told[i].order, before + (int)i + 1);
    }
    redis_stats(w->redis, &stats);
    assert_true(stats.latency_last_us > 0);
    assert_int_equal(sum_of(stats.latency, REDIS_LATENCY_BUCKETS), 150);
    assert_int_equal(stats.primaries, 1);
}

static void a_format_joins_and_splits_words_and_carries_any_byte(void **state)
{
    struct world *w = *state;
    struct told set = {0}, len = {0}, get = {0}, none = {0};
    struct span value = SPAN("a b\r\n\0%s");

    assert_int_equal(
        redis_commandf(w->redis, on_reply, &set, "SET key:%s:%lld %b", "x y", -7LL, &value), 0);
    assert_int_equal(redis_commandf(w->redis, on_reply, &len, "STRLEN key:%s:-7", "x y"), 0);
    struct span argv[] = {SPAN("GETRANGE"), SPAN("key:x y:-7"), SPAN("0"), SPAN("2")};
    assert_int_equal(redis_command(w->redis, argv[1], argv, 4, on_reply, &get), 0);
    assert_int_equal(redis_commandf(w->redis, on_reply, &none, "GET %s", ""), 0);
    expect_text(w, &set, "OK");
    WAIT_FOR(w, none.calls == 1);
    assert_int_equal(set.type, REDIS_STATUS);
    assert_int_equal(len.number, 8);
    assert_string_equal(get.text, "a b");
    assert_int_equal(none.type, REDIS_NULL);
}

static void an_error_reply_is_a_reply(void **state)
{
    struct world *w = *state;
    struct told t = {0};

    assert_int_equal(redis_commandf(w->redis, on_reply, &t, "NOSUCH"), 0);
    WAIT_FOR(w, t.calls == 1);
    assert_int_equal(t.error, 0);
    assert_int_equal(t.type, REDIS_FAILURE);
}

static void on_list(void *arg, int error, const struct redisReply *reply)
{
    assert_int_equal(error, 0);
    assert_int_equal(redis_reply_type(reply), REDIS_LIST);
    assert_int_equal(redis_reply_count(reply), 3);
    assert_int_equal(redis_reply_number(redis_reply_at(reply, 0)), 1);
    assert_true(span_is(redis_reply_text(redis_reply_at(reply, 1)), "two"));
    assert_int_equal(redis_reply_count(redis_reply_at(reply, 2)), 1);
    *(int *)arg = 1;
}

static void a_script_answers_with_a_list_of_lists(void **state)
{
    struct world *w = *state;
    struct span script = SPAN("return {1, 'two', {3}}");
    int seen = 0;

    assert_int_equal(redis_commandf(w->redis, on_list, &seen, "EVAL %b 0", &script), 0);
    WAIT_FOR(w, seen);
}

static void a_large_value_goes_both_ways(void **state)
{
    struct world *w = *state;
    struct told set = {0}, len = {0}, get = {0};
    struct buf value = {0};

    for (int i = 0; i < 3000000; i++)
        buf_byte(&value, (uint8_t)i);
    struct span span = buf_span(&value);
    assert_int_equal(redis_commandf(w->redis, on_reply, &set, "SET big %b", &span), 0);
    assert_int_equal(redis_commandf(w->redis, on_reply, &get, "GET big"), 0);
    assert_int_equal(redis_commandf(w->redis, on_reply, &len, "STRLEN big"), 0);
    buf_fini(&value);
    WAIT_FOR(w, len.calls == 1);
    assert_int_equal(len.number, 3000000);
    assert_int_equal(get.error, 0);
    assert_int_equal(get.type, REDIS_BULK);
}

static void beyond_the_queue_the_client_is_busy(void **state)
{
    struct world *w = *state;
    static struct told told[200];
    struct told extra = {0};

    memset(told, 0, sizeof(told));
    for (size_t i = 0; i < 200; i++)
        assert_int_equal(redis_commandf(w->redis, on_reply, &told[i], "PING"), 0);
    assert_int_equal(redis_commandf(w->redis, on_reply, &extra, "PING"), E_BUSY);
    WAIT_FOR(w, told[199].calls == 1);
    assert_int_equal(extra.calls, 0);
}

/* ---- Cases: coming and going ---- */

static void a_server_that_comes_later_is_found(void **state)
{
    struct world *w = *state;
    struct told t = {0};

    make_client(w, w->url, 2000, 5000);
    run_for(w, 100);
    assert_false(redis_up(w->redis));
    assert_int_equal(redis_commandf(w->redis, on_reply, &t, "PING"), E_UNAVAILABLE);
    start_server(w, "--appendonly", "no");
    WAIT_FOR(w, w->ups == 1);
    assert_int_equal(strlen(w->run_id), 40);
    assert_int_equal(w->downs, 0);
}

static void a_restarted_server_shows_by_its_run_id(void **state)
{
    struct world *w = *state;
    struct told set = {0}, get = {0}, lost = {0};
    char before[64];

    snprintf(before, sizeof(before), "%s", w->run_id);
    assert_int_equal(redis_commandf(w->redis, on_reply, &set, "SET k v"), 0);
    expect_text(w, &set, "OK");
    freeze(w);
    assert_int_equal(redis_commandf(w->redis, on_reply, &lost, "GET k"), 0);
    run_for(w, 10);
    stop_server(w);
    WAIT_FOR(w, w->downs == 1);
    assert_int_equal(lost.calls, 1);
    assert_int_equal(lost.error, E_UNAVAILABLE);
    assert_false(redis_up(w->redis));

    start_server(w, "--appendonly", "no");
    WAIT_FOR(w, w->ups == 2);
    assert_string_not_equal(w->run_id, before);
    assert_int_equal(redis_commandf(w->redis, on_reply, &get, "GET k"), 0);
    WAIT_FOR(w, get.calls == 1);
    assert_int_equal(get.type, REDIS_NULL); /* it came back empty */
}

static void an_emptied_server_keeps_its_run_id(void **state)
{
    struct world *w = *state;
    struct told set = {0}, flush = {0}, get = {0};

    assert_int_equal(redis_commandf(w->redis, on_reply, &set, "SET epoch 1"), 0);
    assert_int_equal(redis_commandf(w->redis, on_reply, &flush, "FLUSHALL"), 0);
    assert_int_equal(redis_commandf(w->redis, on_reply, &get, "GET epoch"), 0);
    WAIT_FOR(w, get.calls == 1);
    assert_int_equal(get.type, REDIS_NULL);
    assert_int_equal(w->ups, 1);
    assert_int_equal(w->downs, 0);
}

static void a_late_reply_is_discarded_and_later_ones_still_match(void **state)
{
    struct world *w = *state;
    struct told late = {0}, next = {0};

    make_client(w, w->url, 50, 5000);
    WAIT_FOR(w, redis_up(w->redis));
    freeze(w);
    uint64_t began = clock_mono_ms();
    assert_int_equal(redis_commandf(w->redis, on_reply, &late, "ECHO late"), 0);
    WAIT_FOR(w, late.calls == 1);
    assert_int_equal(late.error, E_TIMEOUT);
    assert_in_range(clock_mono_ms() - began, 49, 1000);
    assert_true(redis_up(w->redis));

    thaw(w);
    assert_int_equal(redis_commandf(w->redis, on_reply, &next, "ECHO next"), 0);
    expect_text(w, &next, "next");
    assert_int_equal(late.calls, 1);
    assert_int_equal(w->downs, 0);
}

static void commands_behind_an_abandoned_one_have_their_own_deadlines(void **state)
{
    struct world *w = *state;
    struct told first = {0}, second = {0};

    make_client(w, w->url, 100, 5000);
    WAIT_FOR(w, redis_up(w->redis));
    freeze(w);
    assert_int_equal(redis_commandf(w->redis, on_reply, &first, "PING"), 0);
    run_for(w, 60);
    assert_int_equal(redis_commandf(w->redis, on_reply, &second, "PING"), 0);
    WAIT_FOR(w, first.calls == 1);
    assert_int_equal(second.calls, 0);
    WAIT_FOR(w, second.calls == 1);
    assert_int_equal(second.error, E_TIMEOUT);
    thaw(w);
}

static void a_server_without_any_reply_is_dropped_and_found_again(void **state)
{
    struct world *w = *state;
    struct told a = {0}, b = {0};

    make_client(w, w->url, 50, 200);
    WAIT_FOR(w, redis_up(w->redis));
    int ups = w->ups;
    freeze(w);
    uint64_t began = clock_mono_ms();
    assert_int_equal(redis_commandf(w->redis, on_reply, &a, "PING"), 0);
    run_for(w, 170);
    assert_int_equal(redis_commandf(w->redis, on_reply, &b, "PING"), 0);
    WAIT_FOR(w, w->downs == 1);
    assert_in_range(clock_mono_ms() - began, 199, 1500);
    assert_int_equal(a.error, E_TIMEOUT);
    assert_int_equal(b.error, E_UNAVAILABLE);
    assert_int_equal(a.calls + b.calls, 2);
    thaw(w);
    WAIT_FOR(w, w->ups == ups + 1);
}

static void an_idle_connection_is_not_dropped(void **state)
{
    struct world *w = *state;
    struct told t = {0};

    make_client(w, w->url, 50, 100);
    WAIT_FOR(w, redis_up(w->redis));
    run_for(w, 300);
    assert_int_equal(redis_commandf(w->redis, on_reply, &t, "ECHO x"), 0);
    expect_text(w, &t, "x");
    assert_int_equal(w->downs, 0);
}

/* Takes 100 ms within one turn; Redis answers meanwhile. */
static void dawdle(void *arg, uint32_t events)
{
    (void)events;
    thaw(arg);
    usleep(100000);
}

static void a_long_turn_of_ours_is_no_fault_of_redis(void **state)
{
    struct world *w = *state;
    struct told t = {0};
    struct loop_fd watch = {0};
    int fds[2];

    make_client(w, w->url, 20, 40);
    WAIT_FOR(w, redis_up(w->redis));
    freeze(w);
    assert_int_equal(redis_commandf(w->redis, on_reply, &t, "ECHO x"), 0);
    usleep(100000);
    loop_turn(w->loop, 0); /* sent only now */
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(loop_fd_add(w->loop, &watch, fds[1], EPOLLOUT, dawdle, w), 0);
    loop_turn(w->loop, 0);
    loop_fd_del(w->loop, &watch);
    close(fds[0]);
    close(fds[1]);
    expect_text(w, &t, "x");
    assert_int_equal(w->downs, 0);
}

static void freeing_answers_what_is_outstanding(void **state)
{
    struct world *w = *state;
    struct told a = {0}, b = {0};

    assert_int_equal(redis_commandf(w->redis, on_reply, &a, "PING"), 0);
    assert_int_equal(redis_commandf(w->redis, on_reply, &b, "PING"), 0);
    redis_free(w->redis);
    w->redis = NULL;
    assert_int_equal(a.error, E_UNAVAILABLE);
    assert_int_equal(a.calls + b.calls, 2);
    assert_int_equal(w->downs, 0);
}

static void the_client_may_be_freed_from_its_callbacks(void **state)
{
    struct world *w = *state;
    struct told in_reply = {.free_in = w}, behind = {0};

    assert_int_equal(redis_commandf(w->redis, on_reply, &in_reply, "PING"), 0);
    assert_int_equal(redis_commandf(w->redis, on_reply, &behind, "PING"), 0);
    WAIT_FOR(w, behind.calls == 1);
    assert_int_equal(in_reply.error, 0);
    assert_int_equal(behind.error, E_UNAVAILABLE);

    /* The same while a lost connection fails its commands, and from the state's callback. */
    for (int i = 0; i < 2; i++) {
        struct told lost[3] = {{.free_in = i == 0 ? w : NULL}, {0}, {0}};
        make_client(w, w->url, 2000, 5000);
        WAIT_FOR(w, redis_up(w->redis));
        w->free_when_down = true;
        freeze(w);
        for (size_t k = 0; k < 3; k++)
            assert_int_equal(redis_commandf(w->redis, on_reply, &lost[k], "PING"), 0);
        run_for(w, 10);
        stop_server(w);
        WAIT_FOR(w, !w->redis);
        for (size_t k = 0; k < 3; k++) {
            assert_int_equal(lost[k].calls, 1);
            assert_int_equal(lost[k].error, E_UNAVAILABLE);
        }
        start_server(w, "--appendonly", "no");
    }
}

/* ---- Cases: signing in ---- */

static void a_password_and_a_database_are_used(void **state)
{
    struct world *w = *state;
    struct told set = {0}, in_three = {0}, in_zero = {0};
    char url[160];

    start_server(w, "--requirepass", "p@ss:/w");
    snprintf(url, sizeof(url), "unix::p@ss:/w@%s?db=3", w->socket);
    make_client(w, url, 2000, 5000);
    WAIT_FOR(w, redis_up(w->redis));
    assert_int_equal(redis_commandf(w->redis, on_reply, &set, "SET here 1"), 0);
    assert_int_equal(redis_commandf(w->redis, NULL, NULL, "SELECT 3"), 0);
    assert_int_equal(redis_commandf(w->redis, on_reply, &in_three, "GET here"), 0);
    assert_int_equal(redis_commandf(w->redis, NULL, NULL, "SELECT 0"), 0);
    assert_int_equal(redis_commandf(w->redis, on_reply, &in_zero, "EXISTS here"), 0);
    WAIT_FOR(w, in_zero.calls == 1);
    assert_string_equal(in_three.text, "1");
    assert_int_equal(in_zero.number, 0);
}

static void a_wrong_password_never_comes_up(void **state)
{
    struct world *w = *state;
    char url[160];

    start_server(w, "--requirepass", "right");
    snprintf(url, sizeof(url), "unix::wrong@%s", w->socket);
    make_client(w, url, 2000, 5000);
    run_for(w, 400);
    assert_int_equal(w->ups + w->downs, 0);
}

static int free_port(void)
{
    struct net_addr at;
    int fd = socket(AF_INET, SOCK_STREAM, 0), port = 0;
    char text[64];

    assert_int_equal(net_addr_parse(&at, "127.0.0.1:0"), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at.sa, at.len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at.sa, &at.len), 0);
    net_addr_text(&at, text, sizeof(text));
    port = atoi(strrchr(text, ':') + 1);
    close(fd);
    return port;
}

static void a_server_is_reached_over_tcp(void **state)
{
    struct world *w = *state;
    struct told t = {0};
    char port[8], url[64];

    snprintf(port, sizeof(port), "%d", free_port());
    snprintf(url, sizeof(url), "redis://127.0.0.1:%s/2", port);
    start_server(w, "--port", port);
    make_client(w, url, 2000, 5000);
    WAIT_FOR(w, redis_up(w->redis));
    assert_int_equal(redis_commandf(w->redis, on_reply, &t, "ECHO tcp"), 0);
    expect_text(w, &t, "tcp");
}

static void expect_refused(struct world *w, struct redis_access at, int error)
{
    struct redis_options o = redis_defaults;

    o.at = at;
    assert_int_equal(redis_new(&w->redis, w->loop, &o, on_state, w), error);
    assert_null(w->redis);
}

static void what_cannot_work_is_refused_at_once(void **state)
{
    struct world *w = *state;
    char file[64];

    snprintf(file, sizeof(file), "%s/password", w->dir);
    close(open(file, O_CREAT | O_WRONLY, 0644));
    expect_refused(w, (struct redis_access){.url = "http://127.0.0.1:6379"}, E_INVALID);
    expect_refused(w, (struct redis_access){.url = "redis://localhost:6379"}, E_INVALID);
    expect_refused(w, (struct redis_access){.url = "redis://127.0.0.1:1", .user = "u"}, E_INVALID);
    expect_refused(w, (struct redis_access){.url = "redis://127.0.0.1:1", .password_file = "/none"},
                   E_IO);
    expect_refused(w, (struct redis_access){.url = "redis://127.0.0.1:1", .password_file = file},
                   E_DENIED);
    expect_refused(w, (struct redis_access){.url = "redis://:p@127.0.0.1:1", .password_file = file},
                   E_INVALID);
    expect_refused(w, (struct redis_access){.url = "rediss://127.0.0.1:1", .ca_file = file},
                   E_INVALID);
    unlink(file);
}

/* ---- Cases: subscriptions ---- */

struct heard {
    struct world *w;
    int count;
    char channel[32], payload[32];
    bool free_client;
};

static void on_message(void *arg, struct span channel, struct span payload)
{
    struct heard *h = arg;

    h->count++;
    snprintf(h->channel, sizeof(h->channel), "%.*s", SPAN_FMT(channel));
    snprintf(h->payload, sizeof(h->payload), "%.*s", SPAN_FMT(payload));
    if (h->free_client) {
        redis_free(h->w->redis);
        h->w->redis = NULL;
    }
}

static void publish(struct world *w, const char *channel, const char *payload)
{
    struct told t = {0};

    assert_int_equal(redis_commandf(w->redis, on_reply, &t, "PUBLISH %s %s", channel, payload), 0);
    WAIT_FOR(w, t.calls == 1);
    assert_int_equal(t.error, 0);
}

static void messages_arrive_at_the_subscriber_of_their_channel(void **state)
{
    struct world *w = *state;
    struct heard ban = {0}, drain = {0};

    assert_int_equal(redis_subscribe(w->redis, "ban", on_message, &ban), 0);
    assert_int_equal(redis_subscribe(w->redis, "drain", on_message, &drain), 0);
    assert_false(redis_subscribed(w->redis));
    WAIT_FOR(w, redis_subscribed(w->redis));
    publish(w, "ban", "a");
    publish(w, "drain", "b");
    publish(w, "other", "c");
    WAIT_FOR(w, ban.count + drain.count == 2);
    assert_string_equal(ban.payload, "a");
    assert_string_equal(drain.payload, "b");
    assert_string_equal(drain.channel, "drain");
}

static void a_subscription_comes_back_after_a_restart(void **state)
{
    struct world *w = *state;
    struct heard h = {0};

    assert_int_equal(redis_subscribe(w->redis, "ban", on_message, &h), 0);
    WAIT_FOR(w, redis_subscribed(w->redis));
    stop_server(w);
    WAIT_FOR(w, !redis_subscribed(w->redis));
    start_server(w, "--appendonly", "no");
    WAIT_FOR(w, redis_subscribed(w->redis) && redis_up(w->redis));
    publish(w, "ban", "again");
    WAIT_FOR(w, h.count == 1);
}

static void a_subscription_rests_between_its_tries(void **state)
{
    struct world *w = *state;
    struct heard h = {0};

    assert_int_equal(redis_subscribe(w->redis, "ban", on_message, &h), 0);
    WAIT_FOR(w, redis_subscribed(w->redis));
    stop_server(w);
    WAIT_FOR(w, !redis_subscribed(w->redis));
    unsigned turns = 0; /* each waits for what happens first */
    for (uint64_t end = clock_mono_ms() + 800; clock_mono_ms() < end; turns++)
        loop_turn(w->loop, 100);
    assert_in_range(turns, 1, 100);
}

static void a_frozen_subscription_is_noticed_without_any_command(void **state)
{
    struct world *w = *state;
    struct heard h = {0};

    make_client(w, w->url, 50, 100);
    assert_int_equal(redis_subscribe(w->redis, "ban", on_message, &h), 0);
    WAIT_FOR(w, redis_subscribed(w->redis));
    for (int i = 0; i < 70; i++) { /* its own pings keep it */
        run_for(w, 5);
        assert_true(redis_subscribed(w->redis));
    }
    freeze(w);
    WAIT_FOR(w, !redis_subscribed(w->redis));
    thaw(w);
    WAIT_FOR(w, redis_subscribed(w->redis));
}

static void a_subscription_signs_in_too(void **state)
{
    struct world *w = *state;
    struct heard h = {0};
    char url[160];

    start_server(w, "--requirepass", "pw");
    snprintf(url, sizeof(url), "unix::pw@%s", w->socket);
    make_client(w, url, 2000, 5000);
    assert_int_equal(redis_subscribe(w->redis, "ban", on_message, &h), 0);
    WAIT_FOR(w, redis_subscribed(w->redis) && redis_up(w->redis));
    publish(w, "ban", "x");
    WAIT_FOR(w, h.count == 1);
}

static void the_client_may_be_freed_by_a_message(void **state)
{
    struct world *w = *state;
    struct heard first = {.w = w, .free_client = true}, second = {0};

    assert_int_equal(redis_subscribe(w->redis, "ban", on_message, &first), 0);
    assert_int_equal(redis_subscribe(w->redis, "ban", on_message, &second), 0);
    assert_int_equal(redis_subscribe(w->redis, "", on_message, &second), E_INVALID);
    WAIT_FOR(w, redis_subscribed(w->redis));
    struct told t = {0};
    assert_int_equal(redis_commandf(w->redis, on_reply, &t, "PUBLISH ban x"), 0);
    WAIT_FOR(w, !w->redis);
    run_for(w, 20);
    assert_int_equal(first.count, 1);
    assert_int_equal(second.count, 0);
}

/* ---- Cases: foreign bytes ---- */

static int read_replies(struct span bytes)
{
    AUTO(redis_reader_free) struct redis_reader *rd = redis_reader_new();
    int error = redis_reader_feed(rd, bytes);

    while (error == 0) {
        AUTO(redis_reply_free) struct redisReply *reply = NULL;
        error = redis_reader_next(rd, &reply);
    }
    return error;
}

static void replies_that_lie_about_their_size_are_refused(void **state)
{
    (void)state;
    assert_int_equal(read_replies(SPAN("*2147483647\r\n")), E_PROTOCOL);
    assert_int_equal(read_replies(SPAN("*1048577\r\n")), E_PROTOCOL);
    assert_int_equal(read_replies(SPAN("*1048576\r\n")), E_AGAIN);
    assert_int_equal(read_replies(SPAN("*-2\r\n")), E_PROTOCOL);
    assert_int_equal(read_replies(SPAN("$-2\r\n")), E_PROTOCOL);
    assert_int_equal(read_replies(SPAN("$99999999999999999999\r\n")), E_PROTOCOL);
    assert_int_equal(read_replies(SPAN("!nonsense\r\n")), E_PROTOCOL);
    assert_int_equal(
        read_replies(SPAN("*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n")),
        E_PROTOCOL);
    assert_int_equal(read_replies(SPAN("+OK\r\n:1\r\n$2\r\nab\r\n*1\r\n+x\r\n-ERR\r\n$-1\r\n")),
                     E_AGAIN);
}

static void a_reply_grows_to_sixty_four_mebibytes_and_no_further(void **state)
{
    AUTO(redis_reader_free) struct redis_reader *rd = redis_reader_new();
    static uint8_t mebibyte[1 << 20];
    int error = redis_reader_feed(rd, SPAN("$500000000\r\n"));
    int fed = 0;

    (void)state;
    for (; error == 0; fed++) {
        AUTO(redis_reply_free) struct redisReply *reply = NULL;
        assert_int_equal(redis_reader_next(rd, &reply), E_AGAIN);
        error = redis_reader_feed(rd, SPAN_OF(mebibyte));
    }
    assert_int_equal(error, E_TOO_LARGE);
    assert_int_equal(fed, 64);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f)  cmocka_unit_test_setup_teardown(f, setup_up, teardown)
#define ALONE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        CASE(commands_are_answered_in_the_order_given),
        CASE(a_format_joins_and_splits_words_and_carries_any_byte),
        CASE(an_error_reply_is_a_reply),
        CASE(a_script_answers_with_a_list_of_lists),
        CASE(a_large_value_goes_both_ways),
        CASE(beyond_the_queue_the_client_is_busy),
        ALONE(a_server_that_comes_later_is_found),
        CASE(a_restarted_server_shows_by_its_run_id),
        CASE(an_emptied_server_keeps_its_run_id),
        CASE(a_late_reply_is_discarded_and_later_ones_still_match),
        CASE(commands_behind_an_abandoned_one_have_their_own_deadlines),
        CASE(a_server_without_any_reply_is_dropped_and_found_again),
        CASE(an_idle_connection_is_not_dropped),
        CASE(a_long_turn_of_ours_is_no_fault_of_redis),
        CASE(freeing_answers_what_is_outstanding),
        CASE(the_client_may_be_freed_from_its_callbacks),
        ALONE(a_password_and_a_database_are_used),
        ALONE(a_wrong_password_never_comes_up),
        ALONE(a_server_is_reached_over_tcp),
        ALONE(what_cannot_work_is_refused_at_once),
        CASE(messages_arrive_at_the_subscriber_of_their_channel),
        CASE(a_subscription_comes_back_after_a_restart),
        CASE(a_subscription_rests_between_its_tries),
        CASE(a_frozen_subscription_is_noticed_without_any_command),
        ALONE(a_subscription_signs_in_too),
        CASE(the_client_may_be_freed_by_a_message),
        ALONE(replies_that_lie_about_their_size_are_refused),
        ALONE(a_reply_grows_to_sixty_four_mebibytes_and_no_further),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
