/* What the operator decides and what other gateways know, applied to workers: drains, bans, lists
 * of gateways, hints, standing. */
#include "rig.h"

#include "backends/pool/decisions.h"
#include "backends/pool/gateways.h"
#include "backends/pool/standing.h"

enum { HOUR_MS = 3600000 };

static void decide(struct rig *r, const char *drained, const char *banned)
{
    const struct span d = span_str(drained ? drained : ""), b = span_str(banned ? banned : "");
    const struct pool_decisions told = {&d, drained ? 1 : 0, &b, banned ? 1 : 0};

    pool_set_decisions(r->pool, &told);
}

static void a_drained_worker_gets_nothing_new_until_it_is_enabled(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct pool_worker *w = rig_join(r, NULL);
    const struct pool_query q = rig_query();

    (void)state;
    decide(r, pool_worker_iid(w), NULL);
    assert_null(rig_choose(r));
    assert_int_equal(rig_excluded(r, &q).by.draining, 1);
    assert_false(pool_any_ready(r->pool));
    const unsigned before = r->capacity;
    decide(r, "00000000000000000000000000000000", NULL);
    assert_ptr_equal(rig_choose(r), w);
    assert_true(r->capacity > before);
    rig_free(r);
}

static void a_worker_that_comes_back_is_still_drained(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct fake_worker *f = rig_dial(r, NULL);
    char iid[IID_LEN + 1];

    (void)state;
    snprintf(iid, sizeof(iid), "%s", pool_worker_iid(rig_ready(r, f)));
    decide(r, iid, NULL);
    tunnel_close(f->tunnel);
    TURN_UNTIL(r->loop, list_empty(&r->pool->workers), WAIT_MS);
    fake_dial(f, &r->addr, r->dir.op);
    (void)rig_ready(r, f);
    assert_null(rig_choose(r));
    rig_free(r);
}

static void a_banned_worker_is_told_and_cut_off_with_all_that_runs(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct fake_worker *f = rig_dial(r, NULL);
    struct pool_worker *w = rig_ready(r, f);
    char subject[64];

    (void)state;
    snprintf(subject, sizeof(subject), "wid:%s", w->wid);
    w->entry.in_flight = 1; /* a refused worker would finish it */
    decide(r, NULL, subject);
    w->entry.in_flight = 0;
    TURN_UNTIL(r->loop, f->closed == 1, WAIT_MS);
    assert_non_null(strstr(f->refused, "\"code\":\"banned\""));
    assert_true(list_empty(&r->pool->workers));
    fake_dial(f, &r->addr, r->dir.op); /* and when it comes again */
    TURN_UNTIL(r->loop, f->closed == 2, WAIT_MS);
    assert_int_equal(f->refusals, 2);
    decide(r, NULL, NULL);
    fake_dial(f, &r->addr, r->dir.op);
    assert_ptr_equal(rig_choose(r), rig_ready(r, f));
    rig_free(r);
}

static void a_banned_worker_that_does_not_listen_is_not_waited_for(void **state)
{
    const struct fake_script silent = {.refused_hangs = true};
    struct rig *r = rig_new(HOUR_MS);
    struct fake_worker *f = rig_dial(r, &silent);
    char subject[64];

    (void)state;
    snprintf(subject, sizeof(subject), "wid:%s", rig_ready(r, f)->wid);
    const uint64_t began = clock_mono_ms();
    decide(r, NULL, subject);
    TURN_UNTIL(r->loop, f->closed == 1, WAIT_MS);
    assert_true(clock_mono_ms() - began < 1000);
    rig_free(r);
}

static void who_has_no_machine_is_banned_by_no_machine(void **state)
{
    static const char *const subjects[] = {
        "measurement:", "ppid:374708fff7719dd5979ec875d56cd2286f6d3cf7ec317a3b25632aab28ec37bb",
        "wid:",         "later:thing",
        "epoch",        ""};
    struct rig *r = rig_new(HOUR_MS);
    struct pool_worker *w = rig_join(r, NULL); /* unattested: its PPID is sixteen zeros */

    (void)state;
    for (size_t i = 0; i < sizeof(subjects) / sizeof(*subjects); i++) {
        decide(r, NULL, subjects[i]);
        assert_ptr_equal(rig_choose(r), w);
    }
    rig_free(r);
}

static void workers_are_told_of_gateways_when_the_list_changes(void **state)
{
    const char *both[] = {"a.test:1", "b.test:2"};
    struct rig *r = rig_new(HOUR_MS);
    struct fake_worker *f = rig_dial(r, NULL);

    (void)state;
    (void)rig_ready(r, f);
    pool_set_gateways(r->pool, both, 2);
    TURN_UNTIL(r->loop, strcmp(f->gateways, "{\"gateways\":[\"a.test:1\",\"b.test:2\"]}") == 0,
               WAIT_MS);
    assert_true(span_is(pool_gateways(r->pool), f->gateways));
    f->gateways[0] = 0;
    pool_set_gateways(r->pool, both, 2); /* the same */
    for (int i = 0; i < 20; i++)
        loop_turn(r->loop, 5);
    assert_string_equal(f->gateways, "");
    pool_dial_again(r->pool);
    TURN_UNTIL(r->loop,
               strcmp(f->gateways, "{\"gateways\":[\"a.test:1\",\"b.test:2\"],\"again\":true}") ==
                   0,
               WAIT_MS);
    pool_set_gateways(r->pool, NULL, 0);
    TURN_UNTIL(r->loop, strcmp(f->gateways, "{\"gateways\":[]}") == 0, WAIT_MS);
    rig_free(r);
}

static void note_ready(void *arg, const char *iid, const char *wid)
{
    assert_int_equal(strlen(wid), 32);
    snprintf(arg, IID_LEN + 1, "%s", iid);
}

static double speed_of(struct rig *r, const struct pool_worker *w)
{
    struct chooser_seat_view v;

    chooser_seat_view(w->entry.seats[0], loop_now(r->loop), &v);
    return v.tokens_per_s;
}

static void bad_standing_is_what_failed_beside_what_went_well(void **state)
{
    uint64_t total[STANDING_EVENTS] = {0};

    (void)state;
    assert_true(standing_value(total) > 0.999);
    total[STANDING_REFUSED] = 1000; /* busy: nothing bad */
    assert_true(standing_value(total) > 0.999);
    total[STANDING_FAILED] = 3;
    assert_true(standing_value(total) > 0.9);
    total[STANDING_COMPLETED] = 1000;
    assert_true(standing_value(total) > 0.99);
    total[STANDING_USAGE_MISMATCH] = 200;
    const double mismatches = standing_value(total);
    assert_true(mismatches < 0.6);
    total[STANDING_CANARY_BAD] = 100;
    assert_true(standing_value(total) < mismatches / 1.5);
}

static void the_choice_goes_by_an_owners_standing(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct pool_worker *w = rig_join(r, NULL);

    (void)state;
    assert_true(w->entry.standing > 0.999);
    pool_set_standing(r->pool, "somebody else's", 0.1);
    assert_true(w->entry.standing > 0.999);
    pool_set_standing(r->pool, w->wid, 0.5);
    assert_true(w->entry.standing > 0.499 && w->entry.standing < 0.501);
    rig_free(r);
}

static void what_others_have_measured_is_the_first_guess_and_no_more(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    char iid[IID_LEN + 1] = "";

    (void)state;
    pool_on_ready(r->pool, note_ready, iid);
    struct pool_worker *w = rig_join(r, NULL);
    assert_string_equal(iid, pool_worker_iid(w));
    pool_hint(r->pool, "somebody else", 1, 1);
    pool_hint(r->pool, iid, -1, -1);
    assert_true(speed_of(r, w) <= 0);
    pool_hint(r->pool, iid, 120, 33);
    assert_true(speed_of(r, w) > 32.9 && speed_of(r, w) < 33.1);
    pool_hint(r->pool, iid, 120, 99);
    assert_true(speed_of(r, w) < 33.1);
    rig_free(r);
}

struct sum {
    size_t rows;
    uint64_t add[STANDING_EVENTS];
};

static void sum_up(void *arg, struct span wid, const uint64_t add[STANDING_EVENTS])
{
    struct sum *s = arg;

    assert_int_equal(wid.len, 32);
    s->rows++;
    for (unsigned e = 0; e < STANDING_EVENTS; e++)
        s->add[e] += add[e];
}

static void standing_is_handed_over_once(void **state)
{
    struct rig *r = rig_new(HOUR_MS);
    struct pool_worker *w = rig_join(r, NULL);
    struct pool_worker nobody = {.pool = r->pool};
    struct sum s = {0};

    (void)state;
    standing_note(w, STANDING_COMPLETED);
    standing_note(w, STANDING_COMPLETED);
    standing_note(w, STANDING_CANARY_BAD);
    standing_note(&nobody, STANDING_FAILED); /* not known yet */
    pool_standing_take(r->pool, sum_up, &s);
    assert_int_equal(s.rows, 1);
    assert_int_equal(s.add[STANDING_COMPLETED], 2);
    assert_int_equal(s.add[STANDING_CANARY_BAD], 1);
    assert_int_equal(s.add[STANDING_FAILED], 0);
    pool_standing_take(r->pool, sum_up, &s);
    assert_int_equal(s.rows, 1);
    assert_string_equal(standing_name(STANDING_CANARY_BAD), "canary_bad");
    standing_note(w, STANDING_REFUSED); /* goes with the pool */
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_drained_worker_gets_nothing_new_until_it_is_enabled),
        cmocka_unit_test(a_worker_that_comes_back_is_still_drained),
        cmocka_unit_test(a_banned_worker_is_told_and_cut_off_with_all_that_runs),
        cmocka_unit_test(a_banned_worker_that_does_not_listen_is_not_waited_for),
        cmocka_unit_test(who_has_no_machine_is_banned_by_no_machine),
        cmocka_unit_test(workers_are_told_of_gateways_when_the_list_changes),
        cmocka_unit_test(bad_standing_is_what_failed_beside_what_went_well),
        cmocka_unit_test(the_choice_goes_by_an_owners_standing),
        cmocka_unit_test(what_others_have_measured_is_the_first_guess_and_no_more),
        cmocka_unit_test(standing_is_handed_over_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
