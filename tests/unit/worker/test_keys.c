/* Keys, their rotation, and the requests that they have seen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/clock.h"
#include "worker/keys.h"

static void hash_of(uint32_t n, uint8_t out[static REPLAY_LEN])
{
    uint8_t digest[SHA256_LEN];

    sha256(digest, span_of(&n, sizeof(n)));
    memcpy(out, digest, REPLAY_LEN);
}

static void a_hash_goes_in_once_however_much_the_set_grows(void **state)
{
    struct replay_set s = {0};
    uint8_t hash[REPLAY_LEN];

    (void)state;
    for (uint32_t n = 0; n < 20000; n++) {
        hash_of(n, hash);
        assert_false(replay_has(&s, hash));
        assert_int_equal(replay_insert(&s, hash), 0);
    }
    for (uint32_t n = 0; n < 20000; n++) {
        hash_of(n, hash);
        assert_true(replay_has(&s, hash));
        assert_int_equal(replay_insert(&s, hash), E_EXISTS);
    }
    assert_int_equal(s.len, 20000);
    replay_fini(&s);
}

/* ---- Keys ---- */

static void describe(void *arg, struct keyset *k)
{
    const char *engine = *(const char **)arg;

    snprintf(k->worker_id, sizeof(k->worker_id), "w");
    snprintf(k->payout, sizeof(k->payout), "0:%064d", 0);
    k->models[k->model_count++] = SPAN("m");
    k->model_digest =
        SPAN("sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    k->config_sha256 = SPAN("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    k->engine = span_str(engine);
}

struct world {
    struct loop *loop;
    struct keys *keys;
    const char *engine;
};

static int make_world(void **state)
{
    static struct world w;
    const uint8_t spki[SHA256_LEN] = {7};

    w.engine = "generic";
    assert_int_equal(loop_new(&w.loop), 0);
    assert_int_equal(keys_new(&w.keys, w.loop, spki, 3600, describe, &w.engine), 0);
    *state = &w;
    return 0;
}

static int end_world(void **state)
{
    struct world *w = *state;

    keys_free(w->keys);
    loop_free(w->loop);
    return 0;
}

static void the_keyset_is_one_that_a_gateway_accepts(void **state)
{
    struct world *w = *state;
    struct keyset k;
    struct key_config config;

    assert_int_equal(keyset_parse(&k, keys_keyset(w->keys)), 0);
    assert_int_equal(keyset_valid_at(&k, clock_wall_ms() / 1000), 0);
    assert_int_equal(k.not_after - k.not_before, 3600);
    assert_int_equal(k.hpke_count, 1);
    assert_int_equal(key_config_parse(&config, k.hpke[0]), 0);
    assert_memory_equal(config.kfp, keys_current(w->keys)->config.kfp, KFP_LEN);
    assert_memory_equal(k.digest, keys_digest(w->keys), SHA256_LEN);
    keyset_fini(&k);
}

static void a_keyset_changes_only_when_it_says_something_new(void **state)
{
    struct world *w = *state;
    uint8_t before[SHA256_LEN];

    memcpy(before, keys_digest(w->keys), SHA256_LEN);
    keys_publish(w->keys);
    assert_memory_equal(before, keys_digest(w->keys), SHA256_LEN);
    w->engine = "vllm";
    keys_publish(w->keys);
    assert_memory_not_equal(before, keys_digest(w->keys), SHA256_LEN);
    assert_memory_equal(keys_current(w->keys)->keyset, keys_digest(w->keys), SHA256_LEN);
}

static void neither_a_message_nor_a_call_is_taken_twice(void **state)
{
    struct world *w = *state;
    uint8_t first[REPLAY_LEN], second[REPLAY_LEN], call[REPLAY_LEN], other[REPLAY_LEN];
    struct worker_key *key = keys_find(w->keys, keys_current(w->keys)->config.key_id);

    hash_of(1, first);
    hash_of(2, second);
    hash_of(3, call);
    hash_of(4, other);
    assert_non_null(key);
    assert_int_equal(keys_note(w->keys, key, first, call), 0);
    assert_int_equal(keys_note(w->keys, key, first, other), E_EXISTS);
    assert_int_equal(keys_note(w->keys, key, second, call), E_EXISTS);
    assert_int_equal(keys_note(w->keys, key, second, other), 0);
}

static void an_unknown_key_id_finds_nothing(void **state)
{
    struct world *w = *state;

    assert_null(keys_find(w->keys, (uint8_t)(keys_current(w->keys)->config.key_id + 1)));
}

/* A lifetime of six seconds: the next key comes a second before its end, and the old one has no
 * grace. */
static void keys_rotate_before_they_end_and_the_old_one_is_taken_until_then(void **state)
{
    struct world *w = *state;
    const uint8_t spki[SHA256_LEN] = {7};
    uint8_t first_digest[SHA256_LEN], call[REPLAY_LEN], enc[REPLAY_LEN], again[REPLAY_LEN];

    keys_free(w->keys);
    assert_int_equal(keys_new(&w->keys, w->loop, spki, 6, describe, &w->engine), 0);
    const uint8_t first = keys_current(w->keys)->config.key_id;
    const uint64_t began = clock_mono_ms();
    memcpy(first_digest, keys_digest(w->keys), SHA256_LEN);
    hash_of(1, enc);
    hash_of(2, call);
    hash_of(3, again);
    assert_int_equal(keys_note(w->keys, keys_find(w->keys, first), enc, call), 0);
    while (keys_current(w->keys)->config.key_id == first && clock_mono_ms() - began < 8000)
        loop_turn(w->loop, 50);
    const uint8_t second = keys_current(w->keys)->config.key_id;
    assert_int_not_equal(first, second);
    assert_memory_not_equal(first_digest, keys_digest(w->keys), SHA256_LEN);
    assert_non_null(keys_find(w->keys, first));
    assert_memory_equal(keys_find(w->keys, first)->keyset, first_digest, SHA256_LEN);
    /* A call that the old key has seen is not taken with the new one. */
    assert_int_equal(keys_note(w->keys, keys_find(w->keys, second), again, call), E_EXISTS);
    while (keys_find(w->keys, first) && clock_mono_ms() - began < 12000)
        loop_turn(w->loop, 50);
    assert_null(keys_find(w->keys, first));
    assert_non_null(keys_find(w->keys, second));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hash_goes_in_once_however_much_the_set_grows),
        cmocka_unit_test_setup_teardown(the_keyset_is_one_that_a_gateway_accepts, make_world,
                                        end_world),
        cmocka_unit_test_setup_teardown(a_keyset_changes_only_when_it_says_something_new,
                                        make_world, end_world),
        cmocka_unit_test_setup_teardown(neither_a_message_nor_a_call_is_taken_twice, make_world,
                                        end_world),
        cmocka_unit_test_setup_teardown(an_unknown_key_id_finds_nothing, make_world, end_world),
        cmocka_unit_test_setup_teardown(
            keys_rotate_before_they_end_and_the_old_one_is_taken_until_then, make_world, end_world),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
