/* One attempt on a worker that answers well, badly, late or not at all: each tells once how it
 * ended, and its record counts only when it speaks of this attempt. */
#include "probe.h"

enum { HOUR_MS = 3600000, LARGE = 300 * 1024 };

/* The worker's script changes after it has become ready. */
static struct pool_worker *serve(struct rig *r, const struct fake_script *script)
{
    struct pool_worker *w = rig_join(r, script);

    assert_true(w->entry.in_flight == 0 && w->entry.failures == 0);
    return w;
}

static void wait_for_ack(struct rig *r, const struct probe *p, const char *result)
{
    struct fake_worker *f = &r->workers[0];
    char wanted[128];

    snprintf(wanted, sizeof(wanted), "{\"call\":\"%s\",\"attempt\":%u,\"result\":\"%s\"", p->call,
             p->attempt, result);
    TURN_UNTIL(r->loop, f->acked.len > 0, WAIT_MS);
    assert_non_null(strstr(buf_cstr(&f->acked), wanted));
    assert_int_equal(f->record_count, 0);
}

/* ---- Whole answers ---- */

static void a_good_answer_comes_whole_with_its_record(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct pool_worker *w = serve(r, NULL);
    struct probe p = {.attempt = 3};

    (void)state;
    probe_start(&p, r, w);
    assert_int_equal(w->entry.in_flight, 1);
    assert_int_equal(w->entry.work_in_flight, 70);
    TURN_UNTIL(r->loop, p.overs == 1, WAIT_MS);
    assert_int_equal(p.status, 200);
    assert_int_equal(p.contents, 2);
    assert_true(span_is(buf_span(&p.content), FAKE_EVENT FAKE_EVENT));
    probe_finish(&p);
    assert_int_equal(p.ends, 1);
    assert_true(p.has_usage && !p.abandoned);
    assert_int_equal(p.usage.in, 9);
    assert_int_equal(p.usage.out, 3);
    assert_int_equal(w->entry.served, 1);
    assert_int_equal(w->entry.failures, 0);
    wait_for_ack(r, &p, "settled");
    rig_free(r);
}

static void the_question_arrives_as_it_was_asked(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct probe p = {0};

    (void)state;
    probe_start(&p, r, serve(r, NULL));
    probe_finish(&p);
    assert_true(span_find(buf_span(&r->workers[0].last_plain), SPAN("{\"the\":\"question\"}")) > 0);
    assert_true(span_find(buf_span(&r->workers[0].last_plain), SPAN("/v1/chat/completions")) > 0);
    rig_free(r);
}

static void a_slow_reader_holds_its_own_stream_only(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct pool_worker *w = serve(r, &(struct fake_script){.events = 100, .event_bytes = 4000});
    struct probe slow = {.hold = true}, fast = {0};

    (void)state;
    probe_start(&slow, r, w);
    turn_for(r->loop, 100);
    assert_true(slow.contents > 0 && slow.contents < 20);
    probe_start(&fast, r, w);
    TURN_UNTIL(r->loop, fast.overs == 1, WAIT_MS);
    assert_int_equal(slow.ends, 0);
    slow.hold = false;
    dispatch_consumed(slow.d);
    probe_finish(&slow);
    probe_finish(&fast);
    assert_int_equal(slow.contents, 100);
    rig_free(r);
}

/* ---- Failures ---- */

struct failing {
    struct fake_script script;
    enum dispatch_failure why;
    unsigned marks;
};

static void fails_as(const struct failing *c)
{
    struct rig *r = rig_new(HOUR_MS);
    struct pool_worker *w = serve(r, &c->script);
    struct probe p = {0};

    probe_start(&p, r, w);
    probe_finish(&p);
    assert_int_equal(p.fails, 1);
    assert_int_equal(p.why, c->why);
    assert_true(p.abandoned);
    assert_int_equal(w->entry.failures, c->marks);
    assert_int_equal(w->entry.served, 0);
    rig_free(r);
}

static void a_broken_answer_fails_and_marks_the_worker(void **state)
{
    static const enum fake_answer broken[] = {FAKE_FLIP,      FAKE_FLIP_END, FAKE_NO_FINAL,
                                              FAKE_BAD_INNER, FAKE_NO_HEAD,  FAKE_WRONG_TYPE};

    (void)state;
    for (size_t i = 0; i < sizeof(broken) / sizeof(*broken); i++)
        fails_as(&(struct failing){{.answer = broken[i]}, DISPATCH_BROKEN, 1});
    fails_as(&(struct failing){{.answer = FAKE_HUGE_HEAD}, DISPATCH_GONE, 1});
}

/* The answer is whole, and says that its engine failed in the middle. */
static void an_engine_that_fails_marks_its_worker(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct pool_worker *w = serve(r, &(struct fake_script){.engine_fails = true});
    struct probe p = {0};

    (void)state;
    probe_start(&p, r, w);
    probe_finish(&p);
    assert_int_equal(p.ends, 1);
    assert_true(p.has_usage && !p.abandoned);
    assert_int_equal(w->entry.failures, 1);
    assert_int_equal(w->entry.served, 0);
    rig_free(r);
}

static void a_refusal_is_known_by_its_status_and_code(void **state)
{
    static const struct failing cases[] = {
        {{.answer = FAKE_PROBLEM, .status = 503, .code = "busy"}, DISPATCH_BUSY, 0},
        {{.answer = FAKE_PROBLEM, .status = 503, .code = "draining"}, DISPATCH_BUSY, 0},
        {{.answer = FAKE_PROBLEM, .status = 503, .code = "price"}, DISPATCH_PRICE, 0},
        {{.answer = FAKE_PROBLEM, .status = 400, .code = "bad_message"}, DISPATCH_REFUSED, 1},
        {{.answer = FAKE_PROBLEM, .status = 409, .code = "replay"}, DISPATCH_REFUSED, 0},
        {{.answer = FAKE_PROBLEM, .status = 413, .code = "too_large"}, DISPATCH_REFUSED, 0},
        {{.answer = FAKE_PROBLEM, .status = 500, .code = "x"}, DISPATCH_BROKEN, 1},
        {{.answer = FAKE_PROBLEM, .status = 302, .code = "x"}, DISPATCH_BROKEN, 1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        fails_as(&cases[i]);
}

/* Also one that says busy without end and tells nothing of its load. */
static void a_busy_worker_is_left_alone_until_its_next_report(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct pool_worker *w = serve(
        r, &(struct fake_script){.answer = FAKE_PROBLEM, .status = 503, .code = "busy", .max = -1});
    struct pool_query q = rig_query();
    struct probe p = {0};

    (void)state;
    probe_start(&p, r, w);
    TURN_UNTIL(r->loop, p.fails == 1, WAIT_MS);
    assert_int_equal(rig_excluded(r, &q).by.full, 1);
    probe_finish(&p);
    unsigned capacity = r->capacity;
    TURN_UNTIL(r->loop, rig_choose(r) == w, WAIT_MS);
    assert_true(r->capacity > capacity);
    rig_free(r);
}

/* It may have raised its ask since it was last asked, so it is asked before that much is offered
 * again; what it says then is believed. */
static void a_price_refused_is_asked_for_before_it_is_offered_again(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct pool_worker *w =
        serve(r, &(struct fake_script){.answer = FAKE_PROBLEM, .status = 503, .code = "price"});
    struct pool_query q = rig_query();
    struct probe p = {0};

    (void)state;
    unsigned asked = r->workers[0].descriptions;
    probe_start(&p, r, w);
    TURN_UNTIL(r->loop, p.fails == 1, WAIT_MS);
    assert_int_equal(p.why, DISPATCH_PRICE);
    assert_int_equal(rig_excluded(r, &q).by.price, 1);
    uint64_t from = clock_mono_ms();
    probe_finish(&p);
    TURN_UNTIL(r->loop, rig_choose(r) == w, WAIT_MS);
    assert_true(r->workers[0].descriptions > asked);
    assert_true(clock_mono_ms() - from < 900); /* not only with the next look */
    rig_free(r);
}

/* Sealing of a long message takes a while, in the pool. */
static void a_worker_that_leaves_while_a_call_is_sealed_gets_no_mark(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct pool_worker *w = pool_worker_ref(serve(r, NULL));
    struct fake_worker *f = &r->workers[0];
    struct buf body = {0};
    struct probe p = {0};

    (void)state;
    for (int i = 0; i < LARGE; i++)
        buf_byte(&body, 'x');
    assert_int_equal(probe_try(&p, r, w, buf_span(&body)), 0);
    w->leaving = true; /* as its GOAWAY says */
    tunnel_goaway(w->tunnel);
    probe_finish(&p);
    assert_int_equal(p.why, DISPATCH_BUSY);
    assert_true(p.abandoned);
    assert_int_equal(w->entry.failures, 0);
    assert_int_equal(f->posts, 0);
    buf_fini(&body);
    pool_worker_unref(w);
    rig_free(r);
}

static void a_forgotten_key_asks_for_a_new_proof(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct fake_worker *f = &r->workers[0];
    struct pool_worker *w = serve(r, NULL);
    struct probe p = {0}, again = {.attempt = 1};

    (void)state;
    fake_rotate(f);
    probe_start(&p, r, w);
    probe_finish(&p);
    assert_int_equal(p.why, DISPATCH_KEY);
    TURN_UNTIL(r->loop, f->attestations == 2 && !w->attesting, WAIT_MS);
    probe_start(&again, r, w);
    probe_finish(&again);
    assert_true(again.ends == 1 && again.has_usage);
    rig_free(r);
}

static void a_stream_or_tunnel_lost_midway_fails_once(void **state)
{
    (void)state;
    for (int tunnel = 0; tunnel < 2; tunnel++) {
        struct rig *r = rig_new(HOUR_MS);
        struct fake_worker *f = &r->workers[0];
        struct pool_worker *w =
            pool_worker_ref(serve(r, &(struct fake_script){.answer = FAKE_STALL_MID}));
        struct probe p = {0};

        probe_start(&p, r, w);
        TURN_UNTIL(r->loop, p.contents == 1, WAIT_MS);
        if (tunnel)
            tunnel_close(f->tunnel);
        else
            tunnel_stream_reset(fake_running(f)->s);
        probe_finish(&p);
        assert_int_equal(p.why, DISPATCH_GONE);
        assert_true(p.abandoned);
        assert_int_equal(p.has_usage, !tunnel); /* fetched, while there is a tunnel */
        assert_int_equal(w->entry.failures, 1);
        pool_worker_unref(w);
        rig_free(r);
    }
}

static void a_worker_that_leaves_ends_what_it_runs(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct fake_worker *f = &r->workers[0];
    struct pool_worker *w =
        pool_worker_ref(serve(r, &(struct fake_script){.answer = FAKE_STALL_MID}));
    struct probe p = {0}, late = {0};

    (void)state;
    probe_start(&p, r, w);
    TURN_UNTIL(r->loop, p.contents == 1, WAIT_MS);
    tunnel_goaway(f->tunnel);
    turn_for(r->loop, 20);
    assert_true(probe_try(&late, r, w, SPAN("{}")) < 0);
    fake_more(fake_running(f), true);
    probe_finish(&p);
    assert_true(p.ends == 1 && p.has_usage && !p.abandoned);
    assert_int_equal(late.overs, 0);
    pool_worker_unref(w);
    rig_free(r);
}

static void nothing_is_sent_to_a_refused_worker(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct pool_worker *w = serve(r, NULL);
    struct probe p = {0};

    (void)state;
    w->state = POOL_REFUSED;
    assert_int_equal(probe_try(&p, r, w, SPAN("{}")), E_CLOSED);
    turn_for(r->loop, 20);
    assert_int_equal(p.overs, 0);
    assert_int_equal(w->entry.in_flight, 0);
    assert_int_equal(r->workers[0].posts, 0);
    rig_free(r);
}

/* ---- Records ---- */

static void a_record_that_is_not_of_this_attempt_counts_nothing(void **state)
{
    (void)state;
    for (enum fake_forgery forged = RECORD_NONE; forged <= RECORD_NOT_FINAL; forged++) {
        struct rig *r = rig_new(HOUR_MS);
        struct pool_worker *w = serve(r, &(struct fake_script){.record = forged});
        struct probe p = {0};

        probe_start(&p, r, w);
        probe_finish(&p);
        if (p.ends != 1 || p.has_usage || p.abandoned)
            fail_msg("forgery %d: ends %u usage %d", forged, p.ends, p.has_usage);
        assert_int_equal(w->entry.served, 0);
        rig_free(r);
    }
}

static void a_record_made_while_the_keyset_changed_counts(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct fake_worker *f = &r->workers[0];
    struct pool_worker *w = serve(r, &(struct fake_script){.answer = FAKE_STALL_MID});
    struct probe p = {0};

    (void)state;
    probe_start(&p, r, w);
    TURN_UNTIL(r->loop, p.contents == 1, WAIT_MS);
    fake_keyset(f);
    link_attest(w);
    TURN_UNTIL(r->loop, f->attestations == 2 && !w->attesting, WAIT_MS);
    fake_more(fake_running(f), true);
    probe_finish(&p);
    assert_true(p.ends == 1 && p.has_usage);
    rig_free(r);
}

/* ---- Cancels ---- */

static void cancel_of(enum fake_answer answer, enum dispatch_cancel how)
{
    struct rig *r = rig_new(HOUR_MS);
    struct fake_worker *f = &r->workers[0];
    struct pool_worker *w = serve(r, &(struct fake_script){.answer = answer});
    struct probe p = {0};

    probe_start(&p, r, w);
    TURN_UNTIL(r->loop, f->running == 1 && (answer == FAKE_STALL || p.contents == 1), WAIT_MS);
    probe_cancel(&p, how);
    probe_finish(&p);
    assert_int_equal(f->deletes, 1);
    assert_true(p.has_usage && !p.usage.final);
    assert_int_equal(p.usage.outcome, USAGE_CLIENT_ABORT);
    assert_int_equal(p.abandoned, how != CANCEL_CLIENT_GONE);
    assert_int_equal(w->entry.failures, how != CANCEL_CLIENT_GONE);
    wait_for_ack(r, &p, how == CANCEL_CLIENT_GONE ? "settled" : "abandoned");
    rig_free(r);
}

static void a_cancel_brings_the_record_of_what_was_made(void **state)
{
    (void)state;
    cancel_of(FAKE_STALL, CANCEL_CLIENT_GONE);
    cancel_of(FAKE_STALL_MID, CANCEL_CLIENT_GONE);
    cancel_of(FAKE_STALL_MID, CANCEL_TIMEOUT);
    cancel_of(FAKE_STALL, CANCEL_FAILED);
}

static void a_cancel_works_from_inside_every_event(void **state)
{
    (void)state;
    for (enum probe_at at = AT_HEAD; at <= AT_END; at++) {
        struct rig *r = rig_new(HOUR_MS);
        struct pool_worker *w = serve(r, NULL);
        struct probe p = {.cancel_at = at, .how = CANCEL_FAILED};

        probe_start(&p, r, w);
        probe_finish(&p);
        assert_true(p.abandoned && p.has_usage);
        assert_int_equal(w->entry.failures, 1);
        assert_int_equal(w->entry.served, 0);
        wait_for_ack(r, &p, "abandoned");
        rig_free(r);
    }
}

/* The client left just when the answer was whole: what was made is owed. */
static void a_cancel_that_comes_too_late_still_counts(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct pool_worker *w =
        serve(r, &(struct fake_script){.answer = FAKE_STALL_MID, .cancel_late = true});
    struct probe p = {0};

    (void)state;
    probe_start(&p, r, w);
    TURN_UNTIL(r->loop, p.contents == 1, WAIT_MS);
    probe_cancel(&p, CANCEL_CLIENT_GONE);
    probe_finish(&p);
    assert_true(p.has_usage && p.usage.final && !p.abandoned);
    assert_int_equal(p.usage.outcome, USAGE_STOP);
    rig_free(r);
}

static void a_late_record_of_other_bytes_counts_nothing(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct pool_worker *w =
        serve(r, &(struct fake_script){
                     .answer = FAKE_STALL_MID, .cancel_late = true, .record = RECORD_OTHER_ANSWER});
    struct probe p = {0};

    (void)state;
    probe_start(&p, r, w);
    TURN_UNTIL(r->loop, p.contents == 1, WAIT_MS);
    probe_cancel(&p, CANCEL_CLIENT_GONE);
    probe_finish(&p);
    assert_false(p.has_usage);
    rig_free(r);
}

static void a_cancel_reaches_the_record_behind_a_shut_window(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct pool_worker *w = serve(r, &(struct fake_script){.answer = FAKE_STALL_MID});
    struct probe p = {.hold = true};

    (void)state;
    probe_start(&p, r, w);
    TURN_UNTIL(r->loop, p.contents == 1, WAIT_MS);
    r->workers[0].script.event_bytes = 8000;
    for (int i = 0; i < 30; i++)
        fake_more(fake_running(&r->workers[0]), false);
    turn_for(r->loop, 50);
    assert_true(p.contents < 20);
    probe_cancel(&p, CANCEL_CLIENT_GONE);
    probe_finish(&p);
    assert_true(p.has_usage);
    assert_int_equal(p.usage.outcome, USAGE_CLIENT_ABORT);
    rig_free(r);
}

static void a_worker_deaf_to_cancels_is_reset_and_its_record_fetched(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct pool_worker *w = serve(r, &(struct fake_script){.answer = FAKE_STALL_MID, .deaf = true});
    struct probe p[4] = {0};

    (void)state;
    for (size_t i = 0; i < 4; i++)
        probe_start(&p[i], r, w);
    TURN_UNTIL(r->loop, r->workers[0].running == 4, WAIT_MS);
    for (size_t i = 0; i < 4; i++)
        probe_cancel(&p[i], CANCEL_CLIENT_GONE);
    uint64_t begin = clock_mono_ms();
    TURN_UNTIL(r->loop, w->entry.in_flight == 0, WAIT_MS);
    assert_true(clock_mono_ms() - begin >= 1900);
    for (size_t i = 0; i < 4; i++) {
        probe_finish(&p[i]);
        assert_true(p[i].has_usage && !p[i].abandoned);
        assert_int_equal(p[i].usage.outcome, USAGE_CLIENT_ABORT);
    }
    assert_int_equal(w->state, POOL_READY);
    rig_free(r);
}

static void a_cancelled_streams_record_that_did_not_come_is_fetched(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct pool_worker *w =
        serve(r, &(struct fake_script){.answer = FAKE_STALL, .no_record = true});
    struct probe p = {0};

    (void)state;
    probe_start(&p, r, w);
    TURN_UNTIL(r->loop, r->workers[0].running == 1, WAIT_MS);
    probe_cancel(&p, CANCEL_CLIENT_GONE);
    probe_finish(&p);
    assert_true(p.has_usage && !p.abandoned);
    wait_for_ack(r, &p, "settled");
    rig_free(r);
}

/* ---- Large bodies are sealed elsewhere ---- */

static void large_start(struct probe *p, struct rig *r, struct pool_worker *w)
{
    AUTO(buf_fini) struct buf body = {0};

    memset(buf_reserve(&body, LARGE), 'q', LARGE);
    body.len = LARGE;
    assert_int_equal(probe_try(p, r, w, buf_span(&body)), 0);
}

static void a_large_body_arrives_whole(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct probe p = {0};

    (void)state;
    large_start(&p, r, serve(r, NULL));
    probe_finish(&p);
    assert_true(p.ends == 1 && p.has_usage);
    assert_true(r->workers[0].last_plain.len > LARGE);
    rig_free(r);
}

static void a_cancel_while_sealing_sends_nothing(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct pool_worker *w = serve(r, NULL);
    struct probe p = {0};

    (void)state;
    large_start(&p, r, w);
    probe_cancel(&p, CANCEL_CLIENT_GONE);
    probe_finish(&p);
    assert_true(p.abandoned && !p.has_usage); /* it never ran */
    assert_int_equal(r->workers[0].posts + r->workers[0].deletes, 0);
    rig_free(r);
}

static void a_worker_lost_or_refused_while_sealing_gets_nothing(void **state)
{
    (void)state;
    for (int lost = 0; lost < 2; lost++) {
        struct rig *r = rig_new(HOUR_MS);
        struct pool_worker *w = pool_worker_ref(serve(r, NULL));
        struct probe p = {0};

        large_start(&p, r, w);
        if (lost)
            tunnel_close(w->tunnel);
        else
            w->state = POOL_REFUSED;
        probe_finish(&p);
        assert_int_equal(p.why, DISPATCH_GONE);
        assert_int_equal(r->workers[0].posts, 0);
        pool_worker_unref(w);
        rig_free(r);
    }
}

/* ---- Streams, acknowledgements, the end of the pool ---- */

static void a_full_tunnel_is_busy_and_small_requests_wait(void **state)
{
    enum { STREAMS = 4 };
    struct rig *r = rig_new(HOUR_MS);
    struct fake_worker *f = &r->workers[0];
    struct pool_worker *w = serve(r, &(struct fake_script){.streams = STREAMS});
    struct probe p[STREAMS] = {0}, more = {0}, large = {0};

    (void)state;
    f->script.answer = FAKE_STALL_MID;
    TURN_UNTIL(r->loop, tunnel_streams(w->tunnel) == 0, WAIT_MS);
    large_start(&large, r, w); /* by the time it is sealed there is no room */
    for (size_t i = 0; i < STREAMS; i++)
        probe_start(&p[i], r, w);
    assert_int_equal(probe_try(&more, r, w, SPAN("{}")), E_BUSY);
    TURN_UNTIL(r->loop, large.overs == 1, WAIT_MS);
    assert_int_equal(large.why, DISPATCH_BUSY);
    TURN_UNTIL(r->loop, f->running == STREAMS, WAIT_MS);
    /* The choice knows. */
    struct pool_query q = rig_query();
    assert_int_equal(rig_excluded(r, &q).by.full, 1);
    unsigned asked = f->usage_asked;
    records_fetch(w);
    turn_for(r->loop, 100);
    assert_int_equal(f->usage_asked, asked);
    fake_more(fake_running(f), true);
    TURN_UNTIL(r->loop, f->usage_asked == asked + 1, WAIT_MS);
    while (fake_running(f))
        fake_more(fake_running(f), true);
    for (size_t i = 0; i < STREAMS; i++)
        TURN_UNTIL(r->loop, p[i].overs == 1, WAIT_MS);
    for (size_t i = 0; i < STREAMS; i++)
        probe_finish(&p[i]);
    assert_int_equal(w->entry.failures, 0);
    assert_int_equal(more.overs, 0);
    rig_free(r);
}

/* Whoever waits for the last stream hears when it was only a small request that held it. */
static void a_small_request_that_ends_makes_room(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct pool_worker *w = serve(r, &(struct fake_script){.streams = 1});

    (void)state;
    records_fetch(w);
    assert_null(rig_choose(r));
    unsigned capacity = r->capacity;
    TURN_UNTIL(r->loop, rig_choose(r) == w, WAIT_MS);
    assert_true(r->capacity > capacity);
    rig_free(r);
}

static void acknowledgements_go_in_batches(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct pool_worker *w = serve(r, NULL);
    struct fake_worker *f = &r->workers[0];
    char call[33];

    (void)state;
    for (unsigned i = 0; i < 600; i++) {
        snprintf(call, sizeof(call), "%032x", i);
        acks_add(w, span_str(call), 0, i % 2 ? "settled" : "abandoned", 0);
    }
    TURN_UNTIL(r->loop, f->acks == 1, WAIT_MS);
    TURN_UNTIL(r->loop, f->acks == 2, WAIT_MS);
    turn_for(r->loop, 300);
    assert_int_equal(f->acks, 2);
    assert_non_null(strstr(buf_cstr(&f->acked), "00000257\",\"attempt\":0,\"result\":\"settled\""));
    rig_free(r);
}

static void records_left_from_before_are_acknowledged_after_connecting(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct fake_worker *f = &r->workers[0];
    struct pool_worker *w =
        serve(r, &(struct fake_script){.answer = FAKE_STALL, .no_record = true, .more = true});
    struct probe p[3] = {0};

    (void)state;
    for (size_t i = 0; i < 3; i++)
        probe_start(&p[i], r, w);
    TURN_UNTIL(r->loop, f->running == 3, WAIT_MS);
    for (size_t i = 0; i < 3; i++)
        probe_cancel(&p[i], CANCEL_CLIENT_GONE);
    for (size_t i = 0; i < 3; i++)
        TURN_UNTIL(r->loop, p[i].overs == 1, WAIT_MS);
    for (size_t i = 0; i < 3; i++)
        probe_finish(&p[i]);
    assert_int_equal(f->record_count, 3);
    tunnel_close(f->tunnel);
    TURN_UNTIL(r->loop, !f->tunnel && list_empty(&r->pool->workers), WAIT_MS);
    fake_dial(f, &r->addr, r->dir.op);
    TURN_UNTIL(r->loop, f->record_count == 0, WAIT_MS);
    rig_free(r);
}

static void a_pool_closes_with_everything_in_flight(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct fake_worker *f = &r->workers[0];
    struct pool_worker *w = serve(r, &(struct fake_script){.answer = FAKE_STALL_MID});
    struct probe p[5] = {0};

    (void)state;
    for (size_t i = 0; i < 3; i++)
        probe_start(&p[i], r, w);
    TURN_UNTIL(r->loop, f->running == 3, WAIT_MS);
    probe_cancel(&p[0], CANCEL_CLIENT_GONE);
    fake_more(fake_running(f), true);
    large_start(&p[3], r, w);
    probe_start(&p[4], r, w);
    acks_add(w, SPAN("00000000000000000000000000000000"), 0, "settled", 0);
    records_fetch(w);
    link_attest(w);
    rig_free(r);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(p[i].overs, 1);
        probe_fini(&p[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_answer_comes_whole_with_its_record),
        cmocka_unit_test(the_question_arrives_as_it_was_asked),
        cmocka_unit_test(a_slow_reader_holds_its_own_stream_only),
        cmocka_unit_test(a_broken_answer_fails_and_marks_the_worker),
        cmocka_unit_test(an_engine_that_fails_marks_its_worker),
        cmocka_unit_test(a_refusal_is_known_by_its_status_and_code),
        cmocka_unit_test(a_busy_worker_is_left_alone_until_its_next_report),
        cmocka_unit_test(a_price_refused_is_asked_for_before_it_is_offered_again),
        cmocka_unit_test(a_worker_that_leaves_while_a_call_is_sealed_gets_no_mark),
        cmocka_unit_test(a_forgotten_key_asks_for_a_new_proof),
        cmocka_unit_test(a_stream_or_tunnel_lost_midway_fails_once),
        cmocka_unit_test(a_worker_that_leaves_ends_what_it_runs),
        cmocka_unit_test(nothing_is_sent_to_a_refused_worker),
        cmocka_unit_test(a_record_that_is_not_of_this_attempt_counts_nothing),
        cmocka_unit_test(a_record_made_while_the_keyset_changed_counts),
        cmocka_unit_test(a_cancel_brings_the_record_of_what_was_made),
        cmocka_unit_test(a_cancel_works_from_inside_every_event),
        cmocka_unit_test(a_cancel_that_comes_too_late_still_counts),
        cmocka_unit_test(a_late_record_of_other_bytes_counts_nothing),
        cmocka_unit_test(a_cancel_reaches_the_record_behind_a_shut_window),
        cmocka_unit_test(a_worker_deaf_to_cancels_is_reset_and_its_record_fetched),
        cmocka_unit_test(a_cancelled_streams_record_that_did_not_come_is_fetched),
        cmocka_unit_test(a_large_body_arrives_whole),
        cmocka_unit_test(a_cancel_while_sealing_sends_nothing),
        cmocka_unit_test(a_worker_lost_or_refused_while_sealing_gets_nothing),
        cmocka_unit_test(a_full_tunnel_is_busy_and_small_requests_wait),
        cmocka_unit_test(a_small_request_that_ends_makes_room),
        cmocka_unit_test(acknowledgements_go_in_batches),
        cmocka_unit_test(records_left_from_before_are_acknowledged_after_connecting),
        cmocka_unit_test(a_pool_closes_with_everything_in_flight),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
