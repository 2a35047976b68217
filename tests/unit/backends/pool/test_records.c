/* Usage records that come late, twice, in another way than by the trailer, or never; and callers
 * that do things from inside their callbacks. */
#include "probe.h"

enum { HOUR_MS = 3600000 };

static struct pool_worker *serve(struct rig *r, const struct fake_script *script)
{
    return rig_join(r, script);
}

/* The worker heard of this attempt once, with this result. */
static void acked_once(struct probe *p, const char *result)
{
    struct fake_worker *f = &p->rig->workers[0];
    char wanted[128], any[64];

    (void)snprintf(any, sizeof(any), "{\"call\":\"%s\",\"attempt\":%u,", p->call, p->attempt);
    (void)snprintf(wanted, sizeof(wanted), "%s\"result\":\"%s\",\"pay\":\"0\"}", any, result);
    TURN_UNTIL(p->rig->loop, strstr(buf_cstr(&f->acked), wanted) != NULL, WAIT_MS);
    turn_for(p->rig->loop, 350); /* more than a batch waits */
    const char *first = strstr(buf_cstr(&f->acked), any);
    assert_null(strstr(first + 1, any));
}

static void begin_stalled(struct probe *p, struct rig *r, struct pool_worker *w)
{
    probe_start(p, r, w);
    TURN_UNTIL(r->loop, p->contents == 1, WAIT_MS);
}

/* ---- Failed attempts ---- */

/* Nothing is owed, and the worker need not keep the record. */
static void a_broken_answers_record_is_acknowledged_as_abandoned(void **state)
{
    static const enum fake_answer answers[] = {FAKE_FLIP, FAKE_FLIP_END, FAKE_NO_FINAL};

    (void)state;
    for (size_t i = 0; i < sizeof(answers) / sizeof(*answers); i++) {
        struct rig *r = rig_new(HOUR_MS);
        struct pool_worker *w = serve(r, &(struct fake_script){.answer = answers[i]});
        struct probe p = {0};
        probe_start(&p, r, w);
        probe_finish(&p);
        assert_true(p.abandoned);
        acked_once(&p, "abandoned");
        assert_int_equal(r->workers[0].record_count, 0);
        rig_free(r);
    }
}

static void an_attempt_given_up_twice_is_given_up_once(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct pool_worker *w = serve(r, &(struct fake_script){.answer = FAKE_STALL_MID});
    struct probe p = {0};

    (void)state;
    begin_stalled(&p, r, w);
    probe_cancel(&p, CANCEL_TIMEOUT);
    probe_cancel(&p, CANCEL_CLIENT_GONE);
    probe_cancel(&p, CANCEL_FAILED);
    probe_finish(&p);
    assert_true(p.abandoned);
    assert_int_equal(w->entry.failures, 1);
    assert_int_equal(r->workers[0].deletes, 1);
    acked_once(&p, "abandoned");
    rig_free(r);
}

/* The worker's GOAWAY crosses our request: it never looked at it. */
static void a_request_that_crosses_a_goaway_is_no_failure(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct fake_worker *f = &r->workers[0];
    struct pool_worker *w =
        pool_worker_ref(serve(r, &(struct fake_script){.answer = FAKE_STALL_MID}));
    struct probe p = {0}, late = {0};

    (void)state;
    begin_stalled(&p, r, w);
    tunnel_goaway(f->tunnel);
    probe_start(&late, r, w);
    TURN_UNTIL(r->loop, late.overs == 1, WAIT_MS);
    assert_int_equal(late.why, DISPATCH_BUSY);
    assert_int_equal(w->entry.failures, 0);
    assert_true(late.abandoned);
    fake_more(fake_running(f), true);
    probe_finish(&p);
    assert_true(p.ends == 1 && p.has_usage);
    pool_worker_unref(w);
    rig_free(r);
}

static enum breaker_state breaker_of(const struct pool_worker *w)
{
    struct chooser_seat_view v;

    chooser_seat_view(chooser_seat_of(&w->entry, SPAN(FAKE_MODEL)), loop_now(w->pool->loop), &v);
    return v.breaker;
}

/* Else it would answer fastest, and get the most. */
static void a_worker_that_knows_no_key_is_the_last_choice_until_its_new_proof(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct fake_worker *f = &r->workers[0];
    struct pool_worker *w = serve(r, NULL);
    struct probe p = {0}, again = {0};

    (void)state;
    fake_rotate(f);
    probe_start(&p, r, w);
    TURN_UNTIL(r->loop, p.fails == 1, WAIT_MS);
    assert_int_equal(p.why, DISPATCH_KEY);
    assert_int_equal(breaker_of(w), BREAKER_OPEN);
    TURN_UNTIL(r->loop, memcmp(w->key.kfp, f->kfp, KFP_LEN) == 0, WAIT_MS);
    assert_int_equal(breaker_of(w), BREAKER_CLOSED);
    probe_start(&again, r, w);
    probe_finish(&again);
    assert_int_equal(again.ends, 1);
    probe_fini(&p);
    rig_free(r);
}

/* A worker that knows no key of its own, whatever is proven, costs a proof a second at most. */
static void unknown_keys_without_end_are_no_flood_of_proofs(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct pool_worker *w =
        serve(r, &(struct fake_script){.answer = FAKE_PROBLEM, .status = 400, .code = "ohttp_key"});
    unsigned before = r->workers[0].attestations;

    (void)state;
    for (int i = 0; i < 20; i++) {
        struct probe p = {0};
        probe_start(&p, r, w);
        probe_finish(&p);
    }
    assert_true(r->workers[0].attestations - before <= 3);
    rig_free(r);
}

/* ---- Records that do not match ---- */

static void a_record_that_does_not_match_is_refused_and_marks_its_worker(void **state)
{
    static const struct {
        enum fake_forgery record;
        bool ours; /* by the worker's key, of this call and attempt: it can be acknowledged */
    } cases[] = {
        {RECORD_NONE, false},          {RECORD_GARBAGE, false},    {RECORD_OTHER_CALL, false},
        {RECORD_OTHER_ATTEMPT, false}, {RECORD_OTHER_KEY, false},  {RECORD_OTHER_REQUEST, true},
        {RECORD_OTHER_ANSWER, true},   {RECORD_OTHER_KFP, true},   {RECORD_OTHER_KEYSET, true},
        {RECORD_OTHER_OPERATOR, true}, {RECORD_OTHER_MODEL, true}, {RECORD_OTHER_PRICE, true},
        {RECORD_NOT_FINAL, true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct rig *r = rig_new(HOUR_MS);
        struct pool_worker *w = serve(r, &(struct fake_script){.record = cases[i].record});
        struct probe p = {0};
        probe_start(&p, r, w);
        probe_finish(&p);
        if (p.ends != 1 || p.has_usage || p.abandoned || w->entry.failures != 1)
            fail_msg("record %d: usage %d, %u marks", cases[i].record, p.has_usage,
                     (unsigned)w->entry.failures);
        if (cases[i].ours)
            acked_once(&p, "refused");
        rig_free(r);
    }
}

static void a_late_record_of_other_bytes_is_refused(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct pool_worker *w =
        serve(r, &(struct fake_script){
                     .answer = FAKE_STALL_MID, .cancel_late = true, .record = RECORD_OTHER_ANSWER});
    struct probe p = {0};

    (void)state;
    begin_stalled(&p, r, w);
    probe_cancel(&p, CANCEL_CLIENT_GONE);
    probe_finish(&p);
    assert_false(p.has_usage);
    acked_once(&p, "refused");
    rig_free(r);
}

/* The proof of the new keyset may come after the answer that already names it. */
static void a_record_may_name_the_keyset_that_its_answer_announced(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct fake_worker *f = &r->workers[0];
    struct pool_worker *w = serve(r, NULL);
    struct probe p = {0};

    (void)state;
    f->script.attestation_hangs = true;
    fake_keyset(f); /* the same keys in another keyset */
    probe_start(&p, r, w);
    probe_finish(&p);
    assert_memory_not_equal(w->keyset.digest, f->digest, SHA256_LEN);
    assert_true(p.has_usage);
    rig_free(r);
}

/* ---- Records that are fetched ---- */

/* Its own stream brings the record: that it can be fetched too must not settle it before the answer
 * was judged, or twice. */
static void a_fetched_record_of_a_running_attempt_waits_for_its_stream(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct fake_worker *f = &r->workers[0];
    struct pool_worker *w = serve(r, &(struct fake_script){.events = 20, .event_bytes = 16000});
    struct probe p = {.hold = true};

    (void)state;
    probe_start(&p, r, w);
    TURN_UNTIL(r->loop, f->record_count == 1, WAIT_MS);
    unsigned asked = f->usage_asked;
    records_fetch(w);
    TURN_UNTIL(r->loop, f->usage_asked > asked && !w->fetching, WAIT_MS);
    turn_for(r->loop, 350);
    assert_null(strstr(buf_cstr(&f->acked), p.call));
    p.hold = false;
    dispatch_consumed(p.d);
    TURN_UNTIL(r->loop, p.overs == 1, WAIT_MS);
    assert_true(p.has_usage);
    records_fetch(w); /* the acknowledgement has not gone yet */
    acked_once(&p, "settled");
    probe_finish(&p);
    rig_free(r);
}

static void leave_record(struct fake_worker *f, char letter)
{
    struct usage_record u = {.attempt = 7, .model = SPAN(FAKE_MODEL)};
    AUTO(buf_fini) struct buf jws = {0};

    memset(u.call, letter, 32);
    (void)snprintf(u.env, sizeof(u.env), "production");
    (void)snprintf(u.price, sizeof(u.price), "1;1000");
    assert_int_equal(usage_record_sign(&u, f->receipt, &jws), 0);
    fake_keep(f, &u, buf_span(&jws));
}

/* An abandoned attempt stays abandoned when its record comes with the next tunnel, page by page; a
 * call that nobody here knows is settled. */
static void what_was_left_over_is_acknowledged_as_it_ended(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct fake_worker *f = &r->workers[0];
    struct pool_worker *w =
        pool_worker_ref(serve(r, &(struct fake_script){.answer = FAKE_STALL_MID, .more = true}));
    struct probe p[3] = {0};

    (void)state;
    for (size_t i = 0; i < 3; i++)
        begin_stalled(&p[i], r, w);
    tunnel_close(f->tunnel); /* each stream leaves its record behind */
    for (size_t i = 0; i < 3; i++)
        TURN_UNTIL(r->loop, p[i].overs == 1, WAIT_MS);
    TURN_UNTIL(r->loop, f->tunnel == NULL && f->record_count == 3, WAIT_MS);
    leave_record(f, 'c');
    fake_dial(f, &r->addr, r->dir.op);
    TURN_UNTIL(r->loop, f->record_count == 0, WAIT_MS);
    for (size_t i = 0; i < 3; i++) {
        acked_once(&p[i], "abandoned");
        probe_finish(&p[i]);
    }
    assert_non_null(strstr(buf_cstr(&f->acked),
                           "cccccccc\",\"attempt\":7,\"result\":\"settled\",\"pay\":\"0\"}"));
    assert_true(f->usage_asked >= 5);
    pool_worker_unref(w);
    rig_free(r);
}

/* ---- Signers of before ---- */

/* Where keysets are kept while gateway and worker are started again. */
struct archive {
    struct rig *rig;
    struct buf keyset;
    uint8_t asked[SHA256_LEN];
    unsigned looks;
    struct loop_timer timer;
    pool_kept_fn *fn;
    void *arg;
};

static void archive_answer(void *arg)
{
    struct archive *a = arg;

    a->fn(a->arg, buf_span(&a->keyset));
}

static int archive_look(void *look_arg, const uint8_t sha256[static SHA256_LEN], pool_kept_fn *fn,
                        void *arg)
{
    struct archive *a = look_arg;

    a->looks++;
    memcpy(a->asked, sha256, SHA256_LEN);
    a->fn = fn;
    a->arg = arg;
    loop_timer_set(a->rig->loop, &a->timer, 5, archive_answer, a);
    return 0;
}

static void leave_old_record(struct fake_worker *f, char letter)
{
    struct usage_record u = {.attempt = 7, .model = SPAN(FAKE_MODEL)};
    AUTO(buf_fini) struct buf jws = {0};

    memset(u.call, letter, 32);
    (void)snprintf(u.env, sizeof(u.env), "production");
    (void)snprintf(u.price, sizeof(u.price), "1;1000");
    memcpy(u.keyset, f->digest, SHA256_LEN);
    assert_int_equal(usage_record_sign(&u, f->stranger, &jws), 0);
    fake_keep(f, &u, buf_span(&jws));
}

/* Two records of a boot whose keys nobody here has seen; spoil: what is kept is not what they
 * name. */
static void join_after_restart(struct rig *r, struct archive *a, const char *payout, bool spoil)
{
    struct fake_worker *f = &r->workers[r->worker_count++];
    struct ed25519 *own;

    fake_init(f, r->loop);
    own = f->receipt;
    f->receipt = f->stranger;
    fake_keyset(f);
    f->receipt = own;
    const struct span place = SPAN("\"payout\":\"0:");
    const ptrdiff_t at = span_find(buf_span(&f->keyset), place);
    assert_true(at > 0);
    memcpy(f->keyset.data + at + place.len, payout, strlen(payout));
    sha256(f->digest, buf_span(&f->keyset));
    buf_append(&a->keyset, buf_span(&f->keyset));
    leave_old_record(f, 'd');
    leave_old_record(f, 'e');
    a->keyset.data[a->keyset.len - 2] ^= spoil;
    fake_keyset(f);
    a->rig = r;
    pool_on_missing(r->pool, archive_look, a);
    fake_dial(f, &r->addr, r->dir.op);
    TURN_UNTIL(r->loop, rig_worker(r, f) && rig_worker(r, f)->state == POOL_READY, WAIT_MS);
}

static void a_record_of_before_is_verified_by_the_keyset_that_was_kept(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct archive a = {.looks = 0};

    (void)state;
    join_after_restart(r, &a, "", false);
    TURN_UNTIL(r->loop, r->workers[0].record_count == 0, WAIT_MS);
    assert_int_equal(a.looks, 1); /* one key */
    assert_non_null(strstr(buf_cstr(&r->workers[0].acked), "dddddddd\",\"attempt\":7"));
    assert_non_null(strstr(buf_cstr(&r->workers[0].acked), "eeeeeeee\",\"attempt\":7"));
    buf_fini(&a.keyset);
    rig_free(r);
}

static void a_record_of_another_owner_or_of_other_bytes_is_nobodys(void **state)
{
    (void)state;
    for (int spoil = 0; spoil <= 1; spoil++) {
        struct rig *r = rig_new(HOUR_MS);
        struct archive a = {.looks = 0};

        join_after_restart(r, &a, spoil ? "" : "5", spoil);
        TURN_UNTIL(r->loop, a.looks == 1, WAIT_MS);
        turn_for(r->loop, 400);
        assert_int_equal(r->workers[0].record_count, 2);
        assert_int_equal(r->workers[0].acks, 0);
        buf_fini(&a.keyset);
        rig_free(r);
    }
}

static void an_archive_that_is_away_costs_nothing_but_the_record(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct archive a = {.looks = 0};
    struct probe p = {0};

    (void)state;
    join_after_restart(r, &a, "", false);
    TURN_UNTIL(r->loop, a.looks == 1, WAIT_MS);
    loop_timer_cancel(r->loop, &a.timer);
    a.fn(a.arg, SPAN(""));
    TURN_UNTIL(r->loop, !rig_worker(r, &r->workers[0])->fetching, WAIT_MS);
    assert_int_equal(r->workers[0].record_count, 2);
    probe_start(&p, r, rig_worker(r, &r->workers[0]));
    probe_finish(&p);
    assert_true(p.has_usage);
    buf_fini(&a.keyset);
    rig_free(r);
}

/* The page of one worker must not decide on an attempt that another one runs. */
static void another_workers_record_decides_nothing(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct pool_worker *w =
        pool_worker_ref(serve(r, &(struct fake_script){.answer = FAKE_STALL_MID}));
    struct pool_worker *other = serve(r, NULL);
    struct fake_worker *f = &r->workers[0], *liar = &r->workers[1];
    struct probe p = {0};
    struct usage_record u = {.model = SPAN(FAKE_MODEL), .outcome = USAGE_CLIENT_ABORT};
    AUTO(buf_fini) struct buf jws = {0};

    (void)state;
    begin_stalled(&p, r, w);
    f->script.usage_hangs = true;
    tunnel_stream_reset(fake_running(f)->s);
    TURN_UNTIL(r->loop, p.fails == 1 && w->fetching, WAIT_MS);
    memcpy(u.call, p.call, sizeof(u.call));
    (void)snprintf(u.env, sizeof(u.env), "production");
    (void)snprintf(u.price, sizeof(u.price), "0;1000");
    assert_int_equal(usage_record_sign(&u, liar->receipt, &jws), 0);
    fake_keep(liar, &u, buf_span(&jws));
    records_fetch(other);
    TURN_UNTIL(r->loop, !other->fetching, WAIT_MS);
    turn_for(r->loop, 350);
    assert_int_equal(p.overs, 0);
    assert_null(strstr(buf_cstr(&liar->acked), p.call));
    tunnel_close(f->tunnel);
    probe_finish(&p);
    pool_worker_unref(w);
    rig_free(r);
}

static void a_cancel_on_a_leaving_tunnel_resets_at_once(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct fake_worker *f = &r->workers[0];
    struct pool_worker *w =
        pool_worker_ref(serve(r, &(struct fake_script){.answer = FAKE_STALL_MID}));
    struct probe p = {0};

    (void)state;
    begin_stalled(&p, r, w);
    tunnel_goaway(f->tunnel);
    TURN_UNTIL(r->loop, !tunnel_is_open(w->tunnel), WAIT_MS);
    uint64_t begun = clock_mono_ms();
    probe_cancel(&p, CANCEL_CLIENT_GONE);
    probe_finish(&p);
    assert_true(clock_mono_ms() - begun < 1000);
    pool_worker_unref(w);
    rig_free(r);
}

static void a_pool_closes_while_records_are_awaited(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct fake_worker *f = &r->workers[0];
    struct pool_worker *w = serve(r, &(struct fake_script){.answer = FAKE_STALL_MID});
    struct probe p[4] = {0};

    (void)state;
    for (size_t i = 0; i < 4; i++)
        begin_stalled(&p[i], r, w);
    f->script.usage_hangs = true;
    tunnel_stream_reset(fake_running(f)->s);
    TURN_UNTIL(r->loop, w->fetching, WAIT_MS);
    tunnel_stream_reset(fake_running(f)->s); /* waits behind the question under way */
    turn_for(r->loop, 50);
    rig_free(r);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(p[i].overs, 1);
        probe_fini(&p[i]);
    }
}

/* ---- From inside callbacks ---- */

static void another_attempt_may_be_started_from_inside_every_event(void **state)
{
    (void)state;
    for (enum probe_at at = AT_HEAD; at <= AT_OVER; at++) {
        struct rig *r = rig_new(HOUR_MS);
        struct pool_worker *w =
            serve(r, &(struct fake_script){.answer = at == AT_FAILED ? FAKE_FLIP : FAKE_GOOD});
        struct probe next = {0};
        struct probe p = {.next = &next,
                          .next_at = at,
                          .cancel_at = at == AT_OVER ? NOWHERE : at,
                          .how = CANCEL_FAILED};
        probe_start(&p, r, w);
        TURN_UNTIL(r->loop, p.overs == 1 && next.overs == 1, WAIT_MS);
        assert_int_equal(next.ends + next.fails, 1);
        probe_finish(&p);
        probe_finish(&next);
        rig_free(r);
    }
}

static struct probe *woken;

static void start_woken(struct rig *r)
{
    struct pool_worker *w = rig_choose(r);

    if (!woken || !w || w->entry.in_flight > 0)
        return;
    struct probe *p = woken;
    woken = NULL;
    probe_start(p, r, w);
}

/* Room is told while another attempt's stream is closing. */
static void a_freed_slot_may_be_taken_at_once(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct pool_worker *w = serve(r, NULL);
    struct probe p = {0}, next = {0};

    (void)state;
    probe_start(&p, r, w);
    woken = &next;
    r->on_capacity = start_woken;
    TURN_UNTIL(r->loop, p.overs == 1 && next.overs == 1, WAIT_MS);
    assert_int_equal(next.ends, 1);
    probe_finish(&p);
    probe_finish(&next);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_broken_answers_record_is_acknowledged_as_abandoned),
        cmocka_unit_test(an_attempt_given_up_twice_is_given_up_once),
        cmocka_unit_test(a_request_that_crosses_a_goaway_is_no_failure),
        cmocka_unit_test(a_worker_that_knows_no_key_is_the_last_choice_until_its_new_proof),
        cmocka_unit_test(unknown_keys_without_end_are_no_flood_of_proofs),
        cmocka_unit_test(a_record_that_does_not_match_is_refused_and_marks_its_worker),
        cmocka_unit_test(a_late_record_of_other_bytes_is_refused),
        cmocka_unit_test(a_record_may_name_the_keyset_that_its_answer_announced),
        cmocka_unit_test(a_fetched_record_of_a_running_attempt_waits_for_its_stream),
        cmocka_unit_test(what_was_left_over_is_acknowledged_as_it_ended),
        cmocka_unit_test(a_record_of_before_is_verified_by_the_keyset_that_was_kept),
        cmocka_unit_test(a_record_of_another_owner_or_of_other_bytes_is_nobodys),
        cmocka_unit_test(an_archive_that_is_away_costs_nothing_but_the_record),
        cmocka_unit_test(another_workers_record_decides_nothing),
        cmocka_unit_test(a_cancel_on_a_leaving_tunnel_resets_at_once),
        cmocka_unit_test(a_pool_closes_while_records_are_awaited),
        cmocka_unit_test(another_attempt_may_be_started_from_inside_every_event),
        cmocka_unit_test(a_freed_slot_may_be_taken_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
