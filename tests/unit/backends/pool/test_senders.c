/* Sender contexts made ahead of need: each taken once, dropped with their key whatever runs. */
#include "rig.h"

struct bench {
    struct loop *loop;
    struct offload *offload;
    struct hpke_private *key;
    struct key_config config;
};

static void bench_new(struct bench *b)
{
    uint8_t public_key[HPKE_KEY_LEN], bytes[KEY_CONFIG_LEN];

    assert_int_equal(loop_new(&b->loop), 0);
    assert_int_equal(offload_new(&b->offload, b->loop, 2), 0);
    assert_int_equal(hpke_private_generate(&b->key), 0);
    hpke_private_public(b->key, public_key);
    key_config_make(bytes, 9, public_key);
    assert_int_equal(key_config_parse(&b->config, SPAN_OF(bytes)), 0);
}

static void bench_free(struct bench *b)
{
    offload_free(b->offload);
    loop_free(b->loop);
    hpke_private_free(b->key);
}

/* Takes one, seals with it, and has the key's owner open that; enc is what makes it another one. */
static void take_and_use(struct bench *b, struct senders *s, uint8_t enc[static HPKE_ENC_LEN])
{
    AUTO(ohttp_client_free) struct ohttp_client *c = NULL;
    AUTO(ohttp_server_free) struct ohttp_server *server = NULL;
    AUTO(buf_fini) struct buf sealed = {0}, plain = {0};
    struct ohttp_hdr hdr;

    assert_int_equal(senders_take(s, &c), 0);
    assert_int_equal(ohttp_client_seal(c, SPAN("hello"), &sealed), 0);
    assert_int_equal(ohttp_hdr_parse(&hdr, buf_span(&sealed)), 0);
    assert_int_equal(ohttp_server_new(&server, &hdr, b->key), 0);
    assert_int_equal(ohttp_server_open(server, buf_span(&sealed), &plain), 0);
    assert_true(span_is(buf_span(&plain), "hello"));
    memcpy(enc, hdr.enc, HPKE_ENC_LEN);
}

static void no_context_is_given_twice(void **state)
{
    enum { TAKES = 200 };
    static uint8_t seen[TAKES][HPKE_ENC_LEN];
    struct bench b;

    (void)state;
    bench_new(&b);
    struct senders *s = senders_new(b.offload, &b.config);
    for (size_t i = 0; i < TAKES; i++) {
        take_and_use(&b, s, seen[i]);
        for (size_t j = 0; j < i; j++)
            assert_memory_not_equal(seen[i], seen[j], HPKE_ENC_LEN);
        if (i % 7 == 0)
            turn_for(b.loop, 2);
    }
    senders_drop(s);
    bench_free(&b);
}

static void a_key_may_go_while_contexts_are_made_for_it(void **state)
{
    struct bench b;

    (void)state;
    bench_new(&b);
    for (int i = 0; i < 50; i++) {
        struct senders *s = senders_new(b.offload, &b.config);
        struct ohttp_client *c = NULL;
        if (i % 2)
            turn_for(b.loop, 1);
        assert_int_equal(senders_take(s, &c), 0);
        ohttp_client_free(c);
        senders_drop(s);
    }
    bench_free(&b);
}

static void a_context_outlives_the_key_that_was_dropped(void **state)
{
    AUTO(buf_fini) struct buf sealed = {0};
    struct ohttp_client *c = NULL;
    struct bench b;

    (void)state;
    bench_new(&b);
    struct senders *s = senders_new(b.offload, &b.config);
    turn_for(b.loop, 50);
    assert_int_equal(senders_take(s, &c), 0);
    senders_drop(s);
    assert_int_equal(ohttp_client_seal(c, SPAN("late"), &sealed), 0);
    ohttp_client_free(c);
    bench_free(&b);
}

static void a_key_that_nothing_can_be_sealed_to_is_refused(void **state)
{
    const uint8_t zero[HPKE_KEY_LEN] = {0};
    uint8_t bytes[KEY_CONFIG_LEN];
    struct bench b;

    (void)state;
    bench_new(&b);
    key_config_make(bytes, 9, zero);
    assert_int_equal(key_config_parse(&b.config, SPAN_OF(bytes)), 0);
    assert_null(senders_new(b.offload, &b.config));
    bench_free(&b);
}

static void nothing_to_drop_is_no_harm(void **state)
{
    (void)state;
    senders_drop(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_context_is_given_twice),
        cmocka_unit_test(a_key_may_go_while_contexts_are_made_for_it),
        cmocka_unit_test(a_context_outlives_the_key_that_was_dropped),
        cmocka_unit_test(a_key_that_nothing_can_be_sealed_to_is_refused),
        cmocka_unit_test(nothing_to_drop_is_no_harm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
