/* What must not be forgotten: sequence and floor survive, go up alone, and a file that cannot be
 * read is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/file.h"
#include "crypto/detached.h"
#include "devtee/issuer.h"
#include "trust/state.h"

struct place {
    char folder[32], file[64];
    char why[TRUST_STATE_WHY_LEN];
};

static int setup(void **state)
{
    struct place *p = mem_zero(sizeof(*p));

    strcpy(p->folder, "/tmp/cocoon-state-XXXXXX");
    assert_non_null(mkdtemp(p->folder));
    snprintf(p->file, sizeof(p->file), "%s/state", p->folder);
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct place *p = *state;

    (void)unlink(p->file);
    assert_int_equal(rmdir(p->folder), 0);
    free(p);
    return 0;
}

static struct attest_policy *policy_of(uint64_t sequence)
{
    static const uint8_t seed[DEVTEE_SEED_LEN] = {7};
    const struct devtee_policy dev = {
        .root = "root.pem", .sequence = sequence, .expires = 1900000000};
    AUTO(devtee_issuer_free) struct devtee_issuer *issuer = devtee_issuer_new(seed, "test");
    AUTO(buf_fini) struct buf text = {0}, sig = {0};
    struct attest_policy *policy = NULL;
    uint8_t key[ED25519_KEY_LEN];
    char why[200];

    devtee_policy_write(issuer, &dev, &text);
    ed25519_public(devtee_release_key(issuer), key);
    assert_int_equal(
        detached_sign("cgw/policy/v1", buf_span(&text), devtee_release_key(issuer), &sig), 0);
    assert_int_equal(
        attest_policy_read(&policy, buf_span(&text), buf_span(&sig), &SPAN_OF(key), 1, why), 0);
    return policy;
}

static int take(struct trust_state *s, uint64_t sequence, struct place *p)
{
    AUTO(attest_policy_unref) struct attest_policy *policy = policy_of(sequence);

    return trust_state_take(s, policy, p->why);
}

static void write_text(const struct place *p, const char *text)
{
    assert_int_equal(file_replace(p->file, span_str(text), 0600), 0);
}

static void a_first_start_knows_nothing_and_remembers(void **state)
{
    AUTO(trust_state_fini) struct trust_state s = {0}, again = {0};
    struct attest_floor floor = {.qe = 18, .count = 1};
    struct place *p = *state;

    assert_int_equal(trust_state_open(&s, p->file, p->why), 0);
    assert_int_equal(s.sequence, 0);
    assert_int_equal(take(&s, 3, p), 0);
    floor.tcb[0].fmspc[0] = 9;
    floor.tcb[0].evaluation = 17;
    assert_int_equal(trust_state_raise(&s, &floor, p->why), 0);
    assert_int_equal(trust_state_open(&again, p->file, p->why), 0);
    assert_int_equal(again.sequence, 3);
    assert_int_equal(again.floor.qe, 18);
    assert_int_equal(attest_floor_tcb(&again.floor, floor.tcb[0].fmspc), 17);
}

static void an_older_policy_is_refused_also_after_a_restart(void **state)
{
    AUTO(trust_state_fini) struct trust_state s = {0}, again = {0};
    struct place *p = *state;

    assert_int_equal(trust_state_open(&s, p->file, p->why), 0);
    assert_int_equal(take(&s, 5, p), 0);
    assert_int_equal(take(&s, 5, p), 0);
    assert_int_equal(take(&s, 4, p), E_EXPIRED);
    assert_non_null(strstr(p->why, "older policy"));
    assert_int_equal(trust_state_open(&again, p->file, p->why), 0);
    assert_int_equal(take(&again, 4, p), E_EXPIRED);
    assert_int_equal(take(&again, 6, p), 0);
}

static void what_cannot_be_read_is_no_first_start(void **state)
{
    static const char *const bad[] = {
        "",
        "12\n",
        "{}",
        "{\"sequence\":1}",
        "{\"sequence\":1,\"floor\":{}}",
        "{\"sequence\":-1,\"floor\":{\"tcb\":{},\"qe\":0}}",
        "{\"sequence\":1.0,\"floor\":{\"tcb\":{},\"qe\":0}}",
        "{\"sequence\":1,\"floor\":{\"tcb\":{\"00\":1},\"qe\":0}}",
        "{\"sequence\":1,\"sequence\":2,\"floor\":{\"tcb\":{},\"qe\":0}}",
    };
    struct place *p = *state;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        AUTO(trust_state_fini) struct trust_state s = {0};
        write_text(p, bad[i]);
        assert_int_equal(trust_state_open(&s, p->file, p->why), E_INVALID);
        assert_true(!s.file && s.sequence == 0);
    }
}

static void a_sequence_that_cannot_be_kept_is_not_taken(void **state)
{
    AUTO(trust_state_fini) struct trust_state s = {0};
    struct attest_floor floor = {.qe = 2};
    struct place *p = *state;
    char file[80];

    snprintf(file, sizeof(file), "%s/none/state", p->folder);
    assert_int_equal(trust_state_open(&s, file, p->why), 0);
    assert_int_equal(take(&s, 5, p), E_IO);
    assert_int_equal(s.sequence, 0);
    assert_int_equal(trust_state_raise(&s, &floor, p->why), E_IO);
    assert_int_equal(s.floor.qe, 2); /* known while it runs */
}

static void the_file_is_that_of_the_first_time(void **state)
{
    AUTO(trust_state_fini) struct trust_state s = {0};
    struct place *p = *state;

    assert_int_equal(trust_state_open(&s, p->file, p->why), 0);
    assert_int_equal(take(&s, 2, p), 0);
    assert_int_equal(trust_state_open(&s, "/nowhere/else", p->why), 0);
    assert_string_equal(s.file, p->file);
    assert_int_equal(s.sequence, 2);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_first_start_knows_nothing_and_remembers),
        CASE(an_older_policy_is_refused_also_after_a_restart),
        CASE(what_cannot_be_read_is_no_first_start),
        CASE(a_sequence_that_cannot_be_kept_is_not_taken),
        CASE(the_file_is_that_of_the_first_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
