/* What servers say of themselves and each other: INFO, redirects, CLUSTER SLOTS, Sentinel. */
#include "net/redis_parse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "net/redis_reply.h"

#define RUN_ID "0123456789abcdef0123456789abcdef01234567"

static struct redisReply *reply_of(const char *wire)
{
    AUTO(redis_reader_free) struct redis_reader *rd = redis_reader_new();
    struct redisReply *reply = NULL;

    assert_int_equal(redis_reader_feed(rd, span_str(wire)), 0);
    assert_int_equal(redis_reader_next(rd, &reply), 0);
    return reply;
}

static void info_tells_what_a_server_is(void **state)
{
    struct redis_info info;

    (void)state;
    assert_int_equal(
        redis_info_read(&info, SPAN("# Server\r\nredis_mode:standalone\r\nrun_id:" RUN_ID
                                    "\r\nx:1\r\nmaxmemory_policy:noeviction\r\n"
                                    "aof_enabled:1\r\nrole:master\r\nloading:0\r\n"
                                    "cluster_enabled:0\r\n")),
        0);
    assert_string_equal(info.run_id, RUN_ID);
    assert_true(info.noeviction && info.aof);
    assert_false(info.sentinel || info.cluster || info.replica || info.loading);
    assert_int_equal(redis_info_read(&info, SPAN("run_id:" RUN_ID "\nrole:slave\nloading:1\n"
                                                 "maxmemory_policy:allkeys-lru\naof_enabled:0\n"
                                                 "cluster_enabled:1\nredis_mode:sentinel")),
                     0);
    assert_true(info.sentinel && info.cluster && info.replica && info.loading);
    assert_false(info.noeviction || info.aof);
    assert_int_equal(redis_info_read(&info, SPAN("run_id:short\r\n")), E_PROTOCOL);
    assert_int_equal(redis_info_read(&info, SPAN("")), E_PROTOCOL);
}

/* From the Redis Cluster specification, and from CLUSTER KEYSLOT of a real server. */
static void a_slot_follows_from_the_key_or_its_tag(void **state)
{
    (void)state;
    assert_int_equal(redis_slot(SPAN("123456789")), 0x31C3 % REDIS_SLOTS);
    assert_int_equal(redis_slot(SPAN("foo")), 12182);
    assert_int_equal(redis_slot(SPAN("")), 0);
    assert_int_equal(redis_slot(SPAN("{user1000}.following")),
                     redis_slot(SPAN("{user1000}.followers")));
    assert_int_equal(redis_slot(SPAN("foo{{bar}}zap")), redis_slot(SPAN("{bar")));
    assert_int_equal(redis_slot(SPAN("foo{bar}{zap}")), redis_slot(SPAN("bar")));
    assert_int_not_equal(redis_slot(SPAN("foo{}{bar}")), redis_slot(SPAN("bar")));
    assert_int_not_equal(redis_slot(SPAN("foo{bar")), redis_slot(SPAN("bar")));
}

static void a_redirect_names_the_slot_and_the_other_node(void **state)
{
    char place[REDIS_PLACE_LEN];
    uint16_t slot = 0;

    (void)state;
    assert_int_equal(redis_redirect_read(SPAN("MOVED 3999 127.0.0.1:6381"), "h:1", &slot, place),
                     REDIS_MOVED);
    assert_int_equal(slot, 3999);
    assert_string_equal(place, "127.0.0.1:6381");
    assert_int_equal(redis_redirect_read(SPAN("ASK 16383 ::1:7000"), "h:1", &slot, place),
                     REDIS_ASK);
    assert_string_equal(place, "[::1]:7000");
    assert_int_equal(redis_redirect_read(SPAN("MOVED 1 :7000"), "[::2]:1", &slot, place),
                     REDIS_MOVED);
    assert_string_equal(place, "[::2]:7000");
    assert_int_equal(redis_redirect_read(SPAN("MOVED 1 node-2:7000"), "h:1", &slot, place),
                     REDIS_MOVED);
    assert_string_equal(place, "node-2:7000");
}

static void what_is_no_redirect_is_an_error_like_others(void **state)
{
    static const char *const texts[] = {"",
                                        "ERR x",
                                        "MOVED",
                                        "MOVED 1",
                                        "MOVED 16384 127.0.0.1:1",
                                        "MOVED -1 127.0.0.1:1",
                                        "MOVED 1 127.0.0.1",
                                        "MOVED 1 127.0.0.1:0",
                                        "MOVED 1 a b:1",
                                        "ASK x 127.0.0.1:1",
                                        "MOVEDX 1 127.0.0.1:1"};
    char place[REDIS_PLACE_LEN];
    uint16_t slot;

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_int_equal(redis_redirect_read(span_str(texts[i]), "unix:/s", &slot, place),
                         REDIS_NO_REDIRECT);
}

#define NODE(host, port) "*3\r\n" host ":" port "\r\n$2\r\nid\r\n"

static void ranges_are_read_with_their_primaries(void **state)
{
    AUTO(redis_reply_free)
    struct redisReply *reply =
        reply_of("*4\r\n"
                 "*4\r\n:0\r\n:5460\r\n" NODE("$9\r\n127.0.0.1\r\n", "7000")
                     NODE("$9\r\n127.0.0.1\r\n", "7003") "*3\r\n:5461\r\n:5461\r\n" NODE(
                         "$0\r\n\r\n",
                         "7001") "*3\r\n:5462\r\n:9999\r\n" NODE("$1\r\n?\r\n",
                                                                 "7002") "*3\r\n:10000\r\n:"
                                                                         "16383\r\n" NODE("$-1\r\n",
                                                                                          "7002"));
    struct redis_range range;

    (void)state;
    assert_int_equal(redis_range_read(&range, reply, 0, "h:1"), 0);
    assert_int_equal(range.last, 5460);
    assert_string_equal(range.place, "127.0.0.1:7000");
    assert_int_equal(redis_range_read(&range, reply, 1, "h:1"), 0);
    assert_string_equal(range.place, "h:7001");
    assert_int_equal(redis_range_read(&range, reply, 2, "h:1"), 0);
    assert_string_equal(range.place, "");
    assert_int_equal(redis_range_read(&range, reply, 3, "h:1"), 0);
    assert_string_equal(range.place, "h:7002");
}

static void a_map_that_makes_no_sense_is_refused(void **state)
{
    static const char *const wires[] = {
        "*1\r\n*2\r\n:0\r\n:1\r\n",
        "*1\r\n:1\r\n",
        "*1\r\n*3\r\n:0\r\n:16384\r\n" NODE("$1\r\nh\r\n", "1"),
        "*1\r\n*3\r\n:-1\r\n:1\r\n" NODE("$1\r\nh\r\n", "1"),
        "*1\r\n*3\r\n:2\r\n:1\r\n" NODE("$1\r\nh\r\n", "1"),
        "*1\r\n*3\r\n$1\r\n0\r\n:1\r\n" NODE("$1\r\nh\r\n", "1"),
        "*1\r\n*3\r\n:0\r\n:1\r\n*1\r\n$1\r\nh\r\n",
        "*1\r\n*3\r\n:0\r\n:1\r\n" NODE("$1\r\nh\r\n", "70000"),
        "*1\r\n*3\r\n:0\r\n:1\r\n" NODE("$1\r\nh\r\n", "-1"),
        "*1\r\n*3\r\n:0\r\n:1\r\n" NODE(":1\r\n", "1"),
        "*1\r\n*3\r\n:0\r\n:1\r\n" NODE("$3\r\na b\r\n", "1"),
    };
    struct redis_range range;

    (void)state;
    for (size_t i = 0; i < sizeof(wires) / sizeof(wires[0]); i++) {
        AUTO(redis_reply_free) struct redisReply *reply = reply_of(wires[i]);
        assert_int_equal(redis_range_read(&range, reply, 0, "h:1"), E_PROTOCOL);
    }
}

static int master_of(const char *wire, char *place)
{
    AUTO(redis_reply_free) struct redisReply *reply = reply_of(wire);

    return redis_master_read(place, reply);
}

static void a_sentinel_names_the_primary_or_does_not_know_it(void **state)
{
    char place[REDIS_PLACE_LEN];

    (void)state;
    assert_int_equal(master_of("*2\r\n$9\r\n127.0.0.1\r\n$4\r\n6379\r\n", place), 0);
    assert_string_equal(place, "127.0.0.1:6379");
    assert_int_equal(master_of("*2\r\n$3\r\n::1\r\n$4\r\n6379\r\n", place), 0);
    assert_string_equal(place, "[::1]:6379");
    assert_int_equal(master_of("*2\r\n$9\r\nredis-1.x\r\n$1\r\n1\r\n", place), 0);
    assert_int_equal(master_of("*-1\r\n", place), E_NOT_FOUND);
    assert_int_equal(master_of("$-1\r\n", place), E_NOT_FOUND);
    assert_int_equal(master_of("*1\r\n$1\r\nx\r\n", place), E_PROTOCOL);
    assert_int_equal(master_of("*2\r\n$0\r\n\r\n$1\r\n1\r\n", place), E_PROTOCOL);
    assert_int_equal(master_of("*2\r\n$1\r\nh\r\n$1\r\n0\r\n", place), E_PROTOCOL);
    assert_int_equal(master_of("-ERR x\r\n", place), E_PROTOCOL);
}

static int replica_of(const char *wire, char *place)
{
    AUTO(redis_reply_free) struct redisReply *reply = reply_of(wire);

    return redis_replica_read(place, reply);
}

static void a_replica_is_found_among_its_names_and_values(void **state)
{
    char place[REDIS_PLACE_LEN];

    (void)state;
    assert_int_equal(replica_of("*6\r\n$4\r\nname\r\n$1\r\nx\r\n$2\r\nip\r\n$9\r\n127.0.0.1\r\n"
                                "$4\r\nport\r\n$4\r\n6380\r\n",
                                place),
                     0);
    assert_string_equal(place, "127.0.0.1:6380");
    assert_int_equal(replica_of("*3\r\n$2\r\nip\r\n$1\r\nh\r\n$4\r\nport\r\n", place), E_PROTOCOL);
    assert_int_equal(replica_of("*2\r\n$4\r\nport\r\n$1\r\n1\r\n", place), E_PROTOCOL);
    assert_int_equal(replica_of("*2\r\n:1\r\n:2\r\n", place), E_PROTOCOL);
    assert_int_equal(replica_of(":1\r\n", place), E_PROTOCOL);
}

/* What XREAD would never answer ends nobody's process. */
static void an_entry_has_an_id_or_is_none(void **state)
{
    static const char *const none[] = {"*0\r\n", "*1\r\n$3\r\n1-1\r\n", ":1\r\n", "$-1\r\n",
                                       "*2\r\n:1\r\n*0\r\n"};

    (void)state;
    AUTO(redis_reply_free) struct redisReply *entry = reply_of("*2\r\n$3\r\n1-1\r\n*0\r\n");
    assert_true(span_is(redis_entry_id(entry), "1-1"));
    for (size_t i = 0; i < sizeof(none) / sizeof(*none); i++) {
        AUTO(redis_reply_free) struct redisReply *other = reply_of(none[i]);
        assert_null(redis_entry_id(other).data);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(info_tells_what_a_server_is),
        cmocka_unit_test(a_slot_follows_from_the_key_or_its_tag),
        cmocka_unit_test(a_redirect_names_the_slot_and_the_other_node),
        cmocka_unit_test(what_is_no_redirect_is_an_error_like_others),
        cmocka_unit_test(ranges_are_read_with_their_primaries),
        cmocka_unit_test(a_map_that_makes_no_sense_is_refused),
        cmocka_unit_test(a_sentinel_names_the_primary_or_does_not_know_it),
        cmocka_unit_test(an_entry_has_an_id_or_is_none),
        cmocka_unit_test(a_replica_is_found_among_its_names_and_values),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
