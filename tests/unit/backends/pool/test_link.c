/* A worker's journey to ready, its refusals, and what changes while it serves. */
#include "rig.h"

#include "net/socket.h"

enum { HOUR_MS = 3600000 };

static void refused_by(struct rig *r, const struct fake_script *script, const char *code)
{
    struct fake_worker *f = rig_dial(r, script);
    char member[64];

    TURN_UNTIL(r->loop, f->closed == 1, WAIT_MS);
    snprintf(member, sizeof(member), "\"code\":\"%s\"", code);
    assert_int_equal(f->refusals, 1);
    assert_non_null(strstr(f->refused, member));
    assert_true(list_empty(&r->pool->workers));
    rig_free(r);
}

static void refused_with(const struct fake_script *script, const char *code)
{
    refused_by(rig_new(HOUR_MS), script, code);
}

static void a_good_worker_becomes_ready(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct fake_worker *f = rig_dial(r, NULL);
    struct pool_worker *w = rig_ready(r, f);
    struct pool_model_view m;

    (void)state;
    assert_int_equal(f->attestations, 1);
    assert_string_equal(f->gateways, "{\"gateways\":[\"gateway.test:7443\"]}");
    assert_int_equal(strlen(pool_worker_iid(w)), IID_LEN);
    assert_int_equal(pool_worker_env(w), ATTEST_UNATTESTED);
    assert_ptr_equal(rig_choose(r), w);
    assert_true(pool_model(r->pool, SPAN(FAKE_MODEL), &m));
    assert_int_equal(m.workers, 1);
    assert_int_equal(m.ready, 1);
    assert_int_equal(m.lowest_ask, 1000);
    assert_true(pool_model_known(r->pool, SPAN(FAKE_MODEL)));
    assert_false(pool_model_known(r->pool, SPAN("no-model")));
    assert_true(r->capacity > 0);
    rig_free(r);
}

static void a_model_is_known_after_its_last_worker_left(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct pool_model_view m;

    (void)state;
    rig_join(r, NULL);
    tunnel_close(r->workers[0].tunnel);
    TURN_UNTIL(r->loop, list_empty(&r->pool->workers), WAIT_MS);
    assert_false(pool_model(r->pool, SPAN(FAKE_MODEL), &m));
    assert_true(pool_model_known(r->pool, SPAN(FAKE_MODEL)));
    rig_free(r);
}

static void a_refused_worker_is_told_why(void **state)
{
    (void)state;
    refused_with(&(struct fake_script){.wrong_nonce = true}, "NONCE_MISMATCH");
    refused_with(&(struct fake_script){.wrong_tls_key = true}, "TLS_KEY_MISMATCH");
    refused_with(&(struct fake_script){.tee = "sgx"}, "TEE_UNSUPPORTED");
    refused_with(&(struct fake_script){.attestation_status = 500}, "no_attestation");
    refused_with(&(struct fake_script){.low_order_key = true}, "bad_keyset");
    refused_with(&(struct fake_script){.description = "{}"}, "bad_description");
}

static void a_worker_without_evidence_is_refused_where_that_is_not_set(void **state)
{
    (void)state;
    refused_by(rig_with(HOUR_MS, false), NULL, "UNATTESTED_REFUSED");
}

/* The answer to the refusal is in the worker's hands: it must not win back its place with it. */
static void a_refused_worker_that_stays_silent_does_not_serve_again(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct pool_worker *w = rig_join(r, NULL);
    struct fake_worker *f = &r->workers[0];

    (void)state;
    f->script.refused_hangs = true;
    f->script.wrong_nonce = true;
    link_attest(w);
    TURN_UNTIL(r->loop, w->state == POOL_REFUSED, WAIT_MS);
    uint64_t end = clock_mono_ms() + 2500;
    while (clock_mono_ms() < end) {
        loop_turn(r->loop, 5);
        assert_int_equal(rig_state(r, f), POOL_REFUSED);
        assert_null(rig_choose(r));
    }
    rig_free(r);
}

static void a_changed_keyset_is_attested_before_its_key_is_used(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct pool_worker *w = rig_join(r, NULL);
    struct fake_worker *f = &r->workers[0];
    uint8_t before[KFP_LEN];

    (void)state;
    memcpy(before, w->key.kfp, KFP_LEN);
    turn_for(r->loop, 1100);
    fake_rotate(f);
    TURN_UNTIL(r->loop, memcmp(w->key.kfp, before, KFP_LEN) != 0, WAIT_MS);
    assert_int_equal(f->attestations, 2);
    assert_memory_equal(w->key.kfp, f->kfp, KFP_LEN);
    assert_memory_equal(w->keyset.digest, f->digest, SHA256_LEN);
    assert_int_equal(w->state, POOL_READY);
    rig_free(r);
}

/* A header that never agrees with the proof costs an attestation a second, not one an answer. */
static void a_keyset_header_that_never_agrees_is_no_flood(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct pool_worker *w = rig_join(r, &(struct fake_script){.keyset_stale = true});
    struct fake_worker *f = &r->workers[0];

    (void)state;
    for (int i = 0; i < 100; i++) {
        records_fetch(w);
        turn_for(r->loop, 10);
    }
    assert_true(f->attestations <= 4);
    rig_free(r);
}

static void a_new_proof_is_due_now_and_then(void **state)
{
    struct rig *r = rig_new(50);
    struct pool_worker *w = rig_join(r, NULL);

    (void)state;
    TURN_UNTIL(r->loop, r->workers[0].attestations > 3, WAIT_MS);
    assert_int_equal(w->state, POOL_READY);
    rig_free(r);
}

static void a_worker_whose_new_proof_fails_is_refused(void **state)
{
    struct rig *r = rig_new(50);
    struct fake_worker *f = &r->workers[0];

    (void)state;
    rig_join(r, NULL);
    f->script.wrong_nonce = true;
    TURN_UNTIL(r->loop, f->closed == 1, WAIT_MS);
    assert_non_null(strstr(f->refused, "NONCE_MISMATCH"));
    rig_free(r);
}

static void a_wrong_clock_keeps_a_worker_out_until_it_agrees(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct pool_worker *w = rig_join(r, &(struct fake_script){.clock_off_s = -90});
    struct pool_query q = rig_query();

    (void)state;
    assert_true(w->skewed);
    assert_int_equal(rig_excluded(r, &q).by.not_ready, 1);
    r->workers[0].script.not_modified = true;
    r->workers[0].script.clock_off_s = 5;
    TURN_UNTIL(r->loop, !w->skewed, WAIT_MS);
    unsigned capacity = r->capacity;
    assert_ptr_equal(pool_choose(r->pool, &q), w);

    /* Whoever waits hears of it also when nothing else has changed. */
    r->workers[0].script.clock_off_s = 90;
    TURN_UNTIL(r->loop, w->skewed, WAIT_MS);
    turn_for(r->loop, 20);
    capacity = r->capacity;
    r->workers[0].script.clock_off_s = 0;
    TURN_UNTIL(r->loop, !w->skewed, WAIT_MS);
    assert_true(r->capacity > capacity);
    rig_free(r);
}

static void a_date_that_is_none_is_passed_over(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct pool_worker *w = rig_join(r, &(struct fake_script){.date = "yesterday"});

    (void)state;
    assert_false(w->skewed);
    assert_ptr_equal(rig_choose(r), w);
    rig_free(r);
}

static void a_leaving_worker_gets_nothing_new_and_may_finish(void **state)
{
    struct rig *r = rig_new(100);
    struct pool_worker *w = rig_join(r, NULL);
    struct fake_worker *f = &r->workers[0];

    (void)state;
    f->script.usage_hangs = true; /* a stream that keeps the tunnel open */
    records_fetch(w);
    turn_for(r->loop, 30);
    tunnel_goaway(f->tunnel);
    TURN_UNTIL(r->loop, !tunnel_is_open(w->tunnel), WAIT_MS);
    assert_null(rig_choose(r));
    /* A proof falls due meanwhile and cannot be asked for: no reason to break what runs. */
    turn_for(r->loop, 500);
    assert_int_equal(f->closed, 0);
    assert_int_not_equal(w->state, POOL_REFUSED);
    rig_free(r);
}

static void a_worker_that_dies_is_forgotten(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct pool_worker *w = pool_worker_ref(rig_join(r, NULL)), *holder = NULL;

    (void)state;
    assert_int_equal(pool_key_find(r->pool, w->key.kfp, &holder), POOL_KEY_HELD);
    assert_ptr_equal(holder, w);
    tunnel_close(r->workers[0].tunnel);
    TURN_UNTIL(r->loop, list_empty(&r->pool->workers), WAIT_MS);
    assert_int_equal(w->state, POOL_GONE);
    assert_null(w->tunnel);
    assert_null(rig_choose(r));
    assert_int_equal(pool_key_find(r->pool, w->key.kfp, &holder), POOL_KEY_AWAY);
    /* Whoever still names it may do so, and ask it in vain. */
    records_fetch(w);
    link_attest(w);
    acks_add(w, SPAN("00000000000000000000000000000000"), 0, "settled", 0);
    turn_for(r->loop, 20);
    pool_worker_unref(w);
    assert_true(pool_idle(r->pool));
    rig_free(r);
}

/* Who waits is told of a worker that served, and of nobody else: anybody may come and go. */
static void only_who_served_is_missed(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    const unsigned before = r->capacity;
    int fd = -1;

    (void)state;
    assert_int_equal(net_connect(&r->addr, &fd), 0);
    TURN_UNTIL(r->loop, r->pool->live == 1, WAIT_MS);
    close(fd);
    TURN_UNTIL(r->loop, r->pool->live == 0, WAIT_MS);
    assert_int_equal(r->capacity, before);
    rig_join(r, NULL);
    const unsigned served = r->capacity;
    tunnel_close(r->workers[0].tunnel);
    TURN_UNTIL(r->loop, list_empty(&r->pool->workers), WAIT_MS);
    assert_int_not_equal(r->capacity, served);
    rig_free(r);
}

/* That is no verdict on the worker. */
static void a_tunnel_lost_while_attesting_is_no_refusal(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct fake_worker *f = rig_dial(r, &(struct fake_script){.attestation_hangs = true});

    (void)state;
    TURN_UNTIL(r->loop, f->attestations == 1, WAIT_MS);
    struct pool_worker *w = pool_worker_ref(rig_worker(r, f));
    tunnel_close(f->tunnel);
    TURN_UNTIL(r->loop, w->state == POOL_GONE, WAIT_MS);
    assert_null(w->verdict.reason);
    pool_worker_unref(w);
    rig_free(r);
}

static void a_pool_closes_with_questions_in_flight(void **state)
{
    struct rig *r = rig_new(HOUR_MS);

    (void)state;
    struct pool_worker *w = rig_join(r, NULL);
    rig_dial(r, &(struct fake_script){.attestation_hangs = true});
    rig_dial(r, NULL);
    TURN_UNTIL(r->loop, r->workers[1].attestations == 1 && r->workers[2].attestations == 1,
               WAIT_MS);
    for (int i = 0; i < 20; i++)
        records_fetch(w);
    link_attest(w);
    rig_free(r);
}

static void a_drain_is_told_to_every_ready_worker(void **state)
{
    struct rig *r = rig_new(HOUR_MS);

    (void)state;
    rig_join(r, NULL);
    rig_join(r, NULL);
    pool_drain(r->pool);
    TURN_UNTIL(r->loop, r->workers[0].drains == 1 && r->workers[1].drains == 1, WAIT_MS);
    rig_free(r);
}

static void count_view(void *arg, const struct pool_view *v)
{
    assert_string_equal(v->worker_id, "w-test");
    assert_int_equal(v->state, POOL_READY);
    assert_int_equal(v->max, 8);
    ++*(unsigned *)arg;
}

static void count_model(void *arg, const struct pool_model_view *v)
{
    assert_string_equal(v->model.name, FAKE_MODEL);
    assert_int_equal(v->workers, 2);
    ++*(unsigned *)arg;
}

static void views_show_workers_and_models(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    unsigned workers = 0, models = 0;

    (void)state;
    rig_join(r, NULL);
    rig_join(r, NULL);
    pool_each(r->pool, count_view, &workers);
    pool_models_each(r->pool, count_model, &models);
    assert_int_equal(workers, 2);
    assert_int_equal(models, 1);
    rig_free(r);
}

/* A description with 64 names nobody has heard of, each time other ones. */
static const char *new_names(struct buf *b, unsigned round)
{
    buf_clear(b);
    buf_append_str(b, "{\"format\":\"cgw/worker/v1\",\"worker_id\":\"w\",\"version\":\"1\",");
    buf_append_str(b, "\"max_requests\":8,\"ask\":1,\"accepting\":true,\"models\":[");
    for (unsigned i = 0; i < POOL_MAX_MODELS; i++)
        buf_printf(b, "%s{\"name\":\"n-%u-%u\",\"context\":1,\"max_output\":1}", i ? "," : "",
                   round, i);
    buf_append_str(b, "]}");
    return buf_cstr(b);
}

static void names_without_end_are_not_remembered_without_end(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct pool_worker *w = rig_join(r, NULL);
    AUTO(buf_fini) struct buf b = {0};

    (void)state;
    for (unsigned i = 0; i < 40; i++) {
        r->workers[0].script.description = new_names(&b, i);
        unsigned seen = r->workers[0].descriptions;
        loop_timer_set(r->loop, &w->poll_timer, 0, w->poll_timer.fn, w);
        TURN_UNTIL(r->loop, r->workers[0].descriptions > seen && !w->polling, WAIT_MS);
    }
    assert_true(r->pool->known.len <= 1024);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_worker_becomes_ready),
        cmocka_unit_test(a_model_is_known_after_its_last_worker_left),
        cmocka_unit_test(a_refused_worker_is_told_why),
        cmocka_unit_test(a_worker_without_evidence_is_refused_where_that_is_not_set),
        cmocka_unit_test(a_refused_worker_that_stays_silent_does_not_serve_again),
        cmocka_unit_test(a_changed_keyset_is_attested_before_its_key_is_used),
        cmocka_unit_test(a_keyset_header_that_never_agrees_is_no_flood),
        cmocka_unit_test(a_new_proof_is_due_now_and_then),
        cmocka_unit_test(a_worker_whose_new_proof_fails_is_refused),
        cmocka_unit_test(a_wrong_clock_keeps_a_worker_out_until_it_agrees),
        cmocka_unit_test(a_date_that_is_none_is_passed_over),
        cmocka_unit_test(a_leaving_worker_gets_nothing_new_and_may_finish),
        cmocka_unit_test(a_worker_that_dies_is_forgotten),
        cmocka_unit_test(only_who_served_is_missed),
        cmocka_unit_test(a_tunnel_lost_while_attesting_is_no_refusal),
        cmocka_unit_test(a_pool_closes_with_questions_in_flight),
        cmocka_unit_test(a_drain_is_told_to_every_ready_worker),
        cmocka_unit_test(views_show_workers_and_models),
        cmocka_unit_test(names_without_end_are_not_remembered_without_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
