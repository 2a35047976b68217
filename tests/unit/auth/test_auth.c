/* Checking credentials against a Redis that this file plays: caching, single flight, news,
 * failures. */
#include "auth/keys.h"
#include "auth/marker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/encode.h"
#include "base/map.h"

// ---- A Redis of one process ---------------------------------------------------------------------

struct redisReply {
    enum redis_type type;
    struct span text;
    const struct redisReply *items; /* of a list of two */
};

struct question {
    struct list link;
    char key[64], marker[24];
    redis_reply_fn *fn;
    void *arg;
};

struct redis {
    bool up, subscribed, cluster, no_list;
    int error; /* that every command ends with */
    char records[2][1024];
    char lookups[2][64]; /* "key:{…}" */
    const char *marker;
    struct list questions;
    unsigned asked;
    redis_message_fn *message;
    void *message_arg;
};

int redis_command(struct redis *r, struct span slot_key, const struct span *argv, size_t argc,
                  redis_reply_fn *fn, void *arg)
{
    assert_int_equal(argc, 3);
    assert_true(span_is(argv[0], "MGET") && span_eq(argv[1], slot_key));
    assert_int_equal(marker_of(r, argv[1]), marker_of(r, argv[2])); /* one slot */
    if (!r->up)
        return E_UNAVAILABLE;
    struct question *q = mem_zero(sizeof(*q));
    memcpy(q->key, argv[1].data, argv[1].len);
    memcpy(q->marker, argv[2].data, argv[2].len);
    q->fn = fn;
    q->arg = arg;
    list_push(&r->questions, &q->link);
    r->asked++;
    return 0;
}

int redis_subscribe(struct redis *r, const char *channel, redis_message_fn *fn, void *arg)
{
    assert_string_equal(channel, "keys:changed");
    r->message = fn;
    r->message_arg = arg;
    return 0;
}

bool redis_subscribed(const struct redis *r)
{
    return r->subscribed;
}

bool redis_is_cluster(const struct redis *r)
{
    return r->cluster;
}

uint16_t redis_slot(struct span key)
{
    return span_is(key, "keys:epoch:{7}") || span_starts(key, SPAN("key:{")) ? 7 : 0;
}

void redis_slot_tag(const struct redis *r, uint16_t slot, char out[static REDIS_TAG_LEN])
{
    (void)r;
    snprintf(out, REDIS_TAG_LEN, "%u", slot);
}

size_t redis_reply_count(const struct redisReply *reply)
{
    return reply->items ? 2 : 0;
}

const struct redisReply *redis_reply_at(const struct redisReply *reply, size_t i)
{
    return &reply->items[i];
}

enum redis_type redis_reply_type(const struct redisReply *reply)
{
    return reply->type;
}

struct span redis_reply_text(const struct redisReply *reply)
{
    return reply->text;
}

static struct redisReply find(const struct redis *r, const char *key)
{
    const char *marker = r->cluster ? "keys:epoch:{7}" : "keys:epoch";
    const char *text = strcmp(key, marker) == 0 ? r->marker : NULL;

    for (int i = 0; i < 2; i++) {
        if (strcmp(key, r->lookups[i]) == 0 && r->records[i][0])
            text = r->records[i];
    }
    return text ? (struct redisReply){.type = REDIS_BULK, .text = span_str(text)}
                : (struct redisReply){.type = REDIS_NULL};
}

// Replies to what was asked, and to what that made it ask.
static void reply_all(struct redis *r)
{
    struct list *first;

    while ((first = list_pop(&r->questions))) {
        struct question *q = CONTAINER(first, struct question, link);
        const struct redisReply both[] = {find(r, q->key), find(r, q->marker)};
        const struct redisReply reply = {.type = REDIS_LIST, .items = r->no_list ? NULL : both};
        q->fn(q->arg, r->error, r->error < 0 ? NULL : &reply);
        free(q);
    }
}

// ---- The fixture --------------------------------------------------------------------------------

struct told {
    unsigned times;
    enum auth_result result;
    struct key_record *record;
};

struct fixture {
    struct redis redis;
    struct loop *loop;
    struct auth *auth;
    struct buf key[2]; /* texts */
    uint8_t hash[2][SHA256_LEN];
    struct told told[4];
};

static const struct auth_options options = {.fresh_ms = 5000,
                                            .stale_ms = 600000,
                                            .negative_ms = 2000,
                                            .failures_per_minute = 3,
                                            .cache_max = 100};

static void start(struct fixture *f, const struct auth_options *o)
{
    auth_free(f->auth);
    assert_int_equal(auth_new(&f->auth, f->loop, &f->redis, o), 0);
    loop_turn(f->loop, 0);
}

static void make_key(struct fixture *f, int i)
{
    struct api_key key;
    char lookup[2 * KEY_LOOKUP_LEN + 1];

    api_key_make(&key, &f->key[i]);
    api_key_lookup(&key, lookup);
    sha256(f->hash[i], SPAN_OF(key.secret));
    snprintf(f->redis.lookups[i], sizeof(f->redis.lookups[i]), "key:{%s}", lookup);
}

static void store(struct fixture *f, int i, unsigned version, const char *state, const char *more)
{
    char hash[2 * SHA256_LEN + 1];

    hex_encode(hash, SPAN_OF(f->hash[i]));
    snprintf(f->redis.records[i], sizeof(f->redis.records[i]),
             "{\"format\":\"cgw/key/v1\",\"id\":\"0a1b2c3d4e5f\",\"account\":\"acme%d\","
             "\"version\":%u,\"state\":\"%s\",\"secret_sha256\":\"%s\"%s}",
             i, version, state, hash, more);
}

static int setup(void **state)
{
    struct fixture *f = mem_zero(sizeof(*f));

    f->redis = (struct redis){.up = true, .subscribed = true, .marker = "e:1"};
    list_init(&f->redis.questions);
    assert_int_equal(loop_new(&f->loop), 0);
    make_key(f, 0);
    make_key(f, 1);
    store(f, 0, 1, "active", "");
    start(f, &options);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    auth_free(f->auth);
    f->redis.error = E_UNAVAILABLE;
    reply_all(&f->redis);
    loop_free(f->loop);
    for (int i = 0; i < 2; i++)
        buf_wipe(&f->key[i]);
    for (int i = 0; i < 4; i++)
        key_record_unref(f->told[i].record);
    free(f);
    return 0;
}

static void done(void *arg, enum auth_result result, struct key_record *record)
{
    struct told *t = arg;

    assert_true((result == AUTH_OK) == (record != NULL));
    key_record_unref(t->record);
    *t = (struct told){t->times + 1, result, record};
}

static struct auth_wait *check(struct fixture *f, int key, int told)
{
    return auth_check(f->auth, buf_span(&f->key[key]), SPAN("10.0.0.1"), done, &f->told[told]);
}

// Checks and lets Redis answer.
static enum auth_result result_of(struct fixture *f, int key)
{
    struct told *t = &f->told[0];
    const unsigned before = t->times;

    check(f, key, 0);
    reply_all(&f->redis);
    assert_int_equal(t->times, before + 1);
    return t->result;
}

static void publish(struct fixture *f, const char *payload)
{
    f->redis.message(f->redis.message_arg, SPAN("keys:changed"), span_str(payload));
}

static void publish_key(struct fixture *f, int i)
{
    char lookup[2 * KEY_LOOKUP_LEN + 1] = "";

    memcpy(lookup, f->redis.lookups[i] + 5, 2 * KEY_LOOKUP_LEN);
    publish(f, lookup);
}

static void wait_ms(struct fixture *f, unsigned ms)
{
    usleep(ms * 1000);
    loop_turn(f->loop, 0);
}

// ---- Cases --------------------------------------------------------------------------------------

static void a_known_key_is_good(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(result_of(f, 0), AUTH_OK);
    assert_string_equal(f->told[0].record->account, "acme0");
}

static void a_fresh_record_is_answered_at_once(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(result_of(f, 0), AUTH_OK);
    f->redis.asked = 0;
    assert_null(check(f, 0, 1));
    assert_int_equal(f->told[1].result, AUTH_OK);
    assert_int_equal(f->redis.asked, 0);
}

static void an_unknown_key_is_refused_and_not_looked_up_again(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(result_of(f, 1), AUTH_INVALID);
    f->redis.asked = 0;
    assert_int_equal(result_of(f, 1), AUTH_INVALID);
    assert_int_equal(f->redis.asked, 0);
}

static void a_key_made_later_is_found_when_the_news_comes(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(result_of(f, 1), AUTH_INVALID);
    store(f, 1, 1, "active", "");
    publish_key(f, 1);
    assert_int_equal(result_of(f, 1), AUTH_OK);
}

static void a_mistyped_key_asks_nobody(void **state)
{
    struct fixture *f = *state;

    f->key[0].data[f->key[0].len - 1] ^= 1;
    f->redis.asked = 0;
    assert_int_equal(result_of(f, 0), AUTH_INVALID);
    assert_int_equal(f->redis.asked, 0);
}

static void revoked_and_expired_keys_are_refused(void **state)
{
    struct fixture *f = *state;

    store(f, 0, 2, "revoked", "");
    assert_int_equal(result_of(f, 0), AUTH_INVALID);
    store(f, 1, 1, "active", ",\"expires\":1000");
    assert_int_equal(result_of(f, 1), AUTH_INVALID);
}

static void a_key_expires_while_it_is_cached(void **state)
{
    struct fixture *f = *state;
    char more[64];

    snprintf(more, sizeof(more), ",\"expires\":%llu",
             (unsigned long long)(clock_wall_ms() / 1000 + 1));
    store(f, 0, 1, "active", more);
    assert_int_equal(result_of(f, 0), AUTH_OK);
    usleep(1100 * 1000);
    assert_false(auth_still_valid(f->auth, f->told[0].record));
    assert_int_equal(result_of(f, 0), AUTH_INVALID);
}

static void a_record_with_another_secret_is_refused(void **state)
{
    struct fixture *f = *state;

    f->hash[0][31] ^= 1;
    store(f, 0, 1, "active", "");
    assert_int_equal(result_of(f, 0), AUTH_INVALID);
}

static void many_checks_of_a_key_ask_once(void **state)
{
    struct fixture *f = *state;

    f->redis.asked = 0;
    for (int i = 0; i < 4; i++)
        assert_non_null(check(f, 0, i));
    assert_int_equal(f->redis.asked, 1); /* the record and the marker at once */
    reply_all(&f->redis);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(f->told[i].times, 1);
        assert_int_equal(f->told[i].result, AUTH_OK);
    }
}

static void a_cancelled_check_is_not_told(void **state)
{
    struct fixture *f = *state;

    struct auth_wait *w = check(f, 0, 0);
    assert_non_null(check(f, 0, 1));
    auth_cancel(w);
    reply_all(&f->redis);
    assert_int_equal(f->told[0].times, 0);
    assert_int_equal(f->told[1].times, 1);
}

static void a_published_revocation_stops_the_key_and_calls_that_hold_it(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(result_of(f, 0), AUTH_OK);
    struct key_record *held = key_record_ref(f->told[0].record);
    assert_true(auth_still_valid(f->auth, held));
    store(f, 0, 2, "revoked", "");
    publish_key(f, 0);
    reply_all(&f->redis);
    assert_false(auth_still_valid(f->auth, held));
    assert_int_equal(result_of(f, 0), AUTH_INVALID);
    key_record_unref(held);
}

static void a_removed_key_stops_calls_that_hold_it(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(result_of(f, 0), AUTH_OK);
    f->redis.records[0][0] = 0;
    publish(f, "*");
    reply_all(&f->redis);
    assert_false(auth_still_valid(f->auth, f->told[0].record));
    assert_int_equal(result_of(f, 0), AUTH_INVALID);
}

static void a_change_that_is_no_revocation_leaves_calls_alone(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(result_of(f, 0), AUTH_OK);
    struct key_record *held = key_record_ref(f->told[0].record);
    store(f, 0, 2, "active", ",\"strict\":true");
    publish_key(f, 0);
    assert_int_equal(result_of(f, 0), AUTH_OK);
    assert_true(f->told[0].record->strict);
    assert_true(auth_still_valid(f->auth, held));
    store(f, 0, 3, "revoked", "");
    publish_key(f, 0);
    reply_all(&f->redis);
    assert_false(auth_still_valid(f->auth, held));
    key_record_unref(held);
}

static void a_change_without_another_version_is_seen(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(result_of(f, 0), AUTH_OK);
    store(f, 0, 1, "active", ",\"max_coefficient\":1500");
    publish_key(f, 0);
    assert_int_equal(result_of(f, 0), AUTH_OK);
    assert_int_equal(f->told[0].record->max_coefficient, 1500);
}

static void news_during_a_question_makes_it_be_asked_again(void **state)
{
    struct fixture *f = *state;

    assert_non_null(check(f, 0, 0));
    publish_key(f, 0);
    f->redis.asked = 0;
    reply_all(&f->redis);
    assert_int_equal(f->redis.asked, 1);
    assert_int_equal(f->told[0].times, 1);
    assert_int_equal(f->told[0].result, AUTH_OK);
}

static void a_changed_key_is_not_served_from_memory_while_redis_is_away(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(result_of(f, 0), AUTH_OK);
    publish_key(f, 0);
    f->redis.up = false;
    reply_all(&f->redis);
    publish_key(f, 0);
    assert_int_equal(result_of(f, 0), AUTH_UNAVAILABLE);
}

static void without_the_marker_nobody_is_refused(void **state)
{
    struct fixture *f = *state;

    f->redis.marker = NULL;
    assert_int_equal(result_of(f, 1), AUTH_UNAVAILABLE);
    assert_int_equal(result_of(f, 0), AUTH_UNAVAILABLE);
    f->redis.marker = "e:1";
    assert_int_equal(result_of(f, 0), AUTH_OK);
    assert_int_equal(result_of(f, 1), AUTH_INVALID);
}

static void an_emptied_redis_leaves_known_keys_going(void **state)
{
    struct auth_options o = options;
    struct fixture *f = *state;

    o.fresh_ms = 0;
    start(f, &o);
    assert_int_equal(result_of(f, 0), AUTH_OK);
    f->redis.marker = NULL;
    f->redis.records[0][0] = 0;
    assert_int_equal(result_of(f, 0), AUTH_OK);
    assert_true(auth_still_valid(f->auth, f->told[0].record));
}

static void while_redis_is_away_known_keys_go_on_and_new_ones_wait_for_it(void **state)
{
    struct auth_options o = options;
    struct fixture *f = *state;

    o.fresh_ms = 0;
    start(f, &o);
    assert_int_equal(result_of(f, 0), AUTH_OK);
    f->redis.up = false;
    assert_int_equal(result_of(f, 0), AUTH_OK);
    assert_int_equal(result_of(f, 1), AUTH_UNAVAILABLE);
}

static void a_known_key_is_good_for_so_long_only(void **state)
{
    struct auth_options o = options;
    struct fixture *f = *state;

    o.fresh_ms = 0;
    o.stale_ms = 30;
    start(f, &o);
    assert_int_equal(result_of(f, 0), AUTH_OK);
    f->redis.up = false;
    wait_ms(f, 40);
    assert_int_equal(result_of(f, 0), AUTH_UNAVAILABLE);
}

static void a_redis_that_does_not_answer_delays_a_known_key_once(void **state)
{
    struct auth_options o = options;
    struct fixture *f = *state;

    o.fresh_ms = 0;
    start(f, &o);
    assert_int_equal(result_of(f, 0), AUTH_OK);
    f->redis.error = E_TIMEOUT;
    assert_int_equal(result_of(f, 0), AUTH_OK);
    f->redis.asked = 0;
    assert_null(check(f, 0, 1));
    assert_int_equal(f->told[1].result, AUTH_OK);
    assert_int_equal(f->redis.asked, 0);
}

static void a_record_that_is_not_one_is_no_reason_to_refuse(void **state)
{
    struct fixture *f = *state;

    strcpy(f->redis.records[1], "{}");
    assert_int_equal(result_of(f, 1), AUTH_UNAVAILABLE);
}

static void a_redis_that_was_set_back_does_not_revive_a_key(void **state)
{
    struct fixture *f = *state;

    store(f, 0, 2, "revoked", "");
    assert_int_equal(result_of(f, 0), AUTH_INVALID);
    store(f, 0, 1, "active", "");
    publish_key(f, 0);
    assert_int_equal(result_of(f, 0), AUTH_UNAVAILABLE);
}

static void without_the_subscription_a_record_is_fresh_for_a_second(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(result_of(f, 0), AUTH_OK);
    f->redis.subscribed = false;
    wait_ms(f, 1050);
    store(f, 0, 2, "revoked", "");
    assert_int_equal(result_of(f, 0), AUTH_INVALID);
}

static void what_was_known_before_a_gap_of_the_subscription_is_asked_again(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(result_of(f, 0), AUTH_OK);
    f->redis.subscribed = false;
    wait_ms(f, 1);
    store(f, 0, 2, "revoked", "");
    f->redis.subscribed = true;
    wait_ms(f, 1);
    assert_int_equal(result_of(f, 0), AUTH_INVALID);
}

static void an_address_that_guesses_is_slowed_down_and_a_good_key_is_not(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 3; i++)
        assert_int_equal(result_of(f, 1), AUTH_INVALID);
    assert_int_equal(result_of(f, 1), AUTH_SLOW);
    assert_int_equal(result_of(f, 0), AUTH_OK);
    auth_check(f->auth, buf_span(&f->key[1]), SPAN("10.0.0.2"), done, &f->told[1]);
    assert_int_equal(f->told[1].result, AUTH_INVALID);
}

static void the_cache_is_bounded(void **state)
{
    struct auth_options o = options;
    struct fixture *f = *state;

    o.cache_max = 1;
    start(f, &o);
    store(f, 1, 1, "active", "");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(result_of(f, 0), AUTH_OK);
        key_record_unref(f->told[0].record);
        f->told[0].record = NULL;
        f->redis.asked = 0;
        assert_int_equal(result_of(f, 1), AUTH_OK);
        assert_int_equal(f->redis.asked, 1);
        key_record_unref(f->told[0].record);
        f->told[0].record = NULL;
    }
}

static void unknown_keys_push_no_known_ones_out(void **state)
{
    struct auth_options o = options;
    struct fixture *f = *state;

    o.cache_max = 2;
    o.failures_per_minute = 1000;
    start(f, &o);
    assert_int_equal(result_of(f, 0), AUTH_OK);
    for (int i = 0; i < 20; i++) {
        buf_wipe(&f->key[1]);
        make_key(f, 1);
        assert_int_equal(result_of(f, 1), AUTH_INVALID);
    }
    f->redis.asked = 0;
    assert_int_equal(result_of(f, 0), AUTH_OK);
    assert_int_equal(f->redis.asked, 0);
}

static void a_reply_that_is_none_is_no_verdict(void **state)
{
    struct fixture *f = *state;

    f->redis.no_list = true;
    assert_int_equal(result_of(f, 0), AUTH_UNAVAILABLE);
    f->redis.no_list = false;
    assert_int_equal(result_of(f, 0), AUTH_OK);
}

static void a_redis_of_an_older_state_knows_nothing(void **state)
{
    struct auth_options o = options;
    struct fixture *f = *state;

    o.fresh_ms = o.negative_ms = 0;
    start(f, &o);
    f->redis.marker = "e:7";
    assert_int_equal(result_of(f, 1), AUTH_INVALID);
    f->redis.marker = "e:6"; /* an older dump, or a replica without the last change */
    assert_int_equal(result_of(f, 1), AUTH_UNAVAILABLE);
    f->redis.marker = "e:8";
    assert_int_equal(result_of(f, 1), AUTH_INVALID);
    f->redis.marker = "f:1"; /* a keys file made anew */
    assert_int_equal(result_of(f, 1), AUTH_INVALID);
}

static void in_a_cluster_the_marker_of_the_key_s_slot_counts(void **state)
{
    struct fixture *f = *state;

    f->redis.cluster = true;
    assert_int_equal(result_of(f, 0), AUTH_OK);
    assert_int_equal(result_of(f, 1), AUTH_INVALID);
}

static void a_redis_that_is_late_delays_a_known_key_for_five_ms_only(void **state)
{
    struct auth_options o = options;
    struct fixture *f = *state;

    o.fresh_ms = 0;
    start(f, &o);
    assert_int_equal(result_of(f, 0), AUTH_OK);
    assert_int_equal(f->told[0].times, 1);
    assert_non_null(check(f, 0, 0));
    assert_non_null(check(f, 1, 1));
    const uint64_t began = clock_mono_ms();
    while (f->told[0].times < 2)
        loop_turn(f->loop, 1);
    assert_in_range(clock_mono_ms() - began, 2, 200);
    assert_int_equal(f->told[0].result, AUTH_OK);
    assert_int_equal(f->told[1].times, 0); /* of this one nothing is known */
    reply_all(&f->redis);
    assert_int_equal(f->told[0].times, 2);
    assert_int_equal(f->told[1].result, AUTH_INVALID);
}

static void a_key_that_news_named_waits_for_its_news(void **state)
{
    struct auth_options o = options;
    struct fixture *f = *state;

    o.fresh_ms = 0;
    start(f, &o);
    assert_int_equal(result_of(f, 0), AUTH_OK);
    publish_key(f, 0);
    assert_non_null(check(f, 0, 0));
    wait_ms(f, 20);
    assert_int_equal(f->told[0].times, 1);
    store(f, 0, 2, "revoked", "");
    reply_all(&f->redis);
    assert_int_equal(f->told[0].result, AUTH_INVALID);
}

static void freeing_with_questions_under_way_is_harmless(void **state)
{
    struct fixture *f = *state;

    assert_non_null(check(f, 0, 0));
    auth_free(f->auth);
    f->auth = NULL;
    reply_all(&f->redis);
    assert_int_equal(f->told[0].times, 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_known_key_is_good),
        CASE(a_fresh_record_is_answered_at_once),
        CASE(an_unknown_key_is_refused_and_not_looked_up_again),
        CASE(a_key_made_later_is_found_when_the_news_comes),
        CASE(a_mistyped_key_asks_nobody),
        CASE(revoked_and_expired_keys_are_refused),
        CASE(a_key_expires_while_it_is_cached),
        CASE(a_record_with_another_secret_is_refused),
        CASE(many_checks_of_a_key_ask_once),
        CASE(a_cancelled_check_is_not_told),
        CASE(a_published_revocation_stops_the_key_and_calls_that_hold_it),
        CASE(a_removed_key_stops_calls_that_hold_it),
        CASE(a_change_that_is_no_revocation_leaves_calls_alone),
        CASE(a_change_without_another_version_is_seen),
        CASE(news_during_a_question_makes_it_be_asked_again),
        CASE(a_changed_key_is_not_served_from_memory_while_redis_is_away),
        CASE(without_the_marker_nobody_is_refused),
        CASE(an_emptied_redis_leaves_known_keys_going),
        CASE(while_redis_is_away_known_keys_go_on_and_new_ones_wait_for_it),
        CASE(a_known_key_is_good_for_so_long_only),
        CASE(a_redis_that_does_not_answer_delays_a_known_key_once),
        CASE(a_record_that_is_not_one_is_no_reason_to_refuse),
        CASE(a_redis_that_was_set_back_does_not_revive_a_key),
        CASE(without_the_subscription_a_record_is_fresh_for_a_second),
        CASE(what_was_known_before_a_gap_of_the_subscription_is_asked_again),
        CASE(an_address_that_guesses_is_slowed_down_and_a_good_key_is_not),
        CASE(the_cache_is_bounded),
        CASE(unknown_keys_push_no_known_ones_out),
        CASE(a_reply_that_is_none_is_no_verdict),
        CASE(a_redis_of_an_older_state_knows_nothing),
        CASE(in_a_cluster_the_marker_of_the_key_s_slot_counts),
        CASE(a_redis_that_is_late_delays_a_known_key_for_five_ms_only),
        CASE(a_key_that_news_named_waits_for_its_news),
        CASE(freeing_with_questions_under_way_is_harmless),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
