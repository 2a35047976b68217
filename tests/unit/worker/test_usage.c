/* Records that wait for an acknowledgement: whose they are, and that a crash does not lose them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/json.h"
#include "worker/usage.h"

static const uint8_t pins_a[2][SHA256_LEN] = {{1}, {2}};
static const uint8_t pins_b[1][SHA256_LEN] = {{3}};
static const struct usage_owner owner_a = {pins_a, 2};
static const struct usage_owner owner_b = {pins_b, 1};

struct world {
    struct loop *loop;
    struct offload *offload;
    struct usage_store *store;
    char file[64];
};

static struct world world;

static void open_store(struct world *w, const char *file)
{
    assert_int_equal(loop_new(&w->loop), 0);
    assert_int_equal(offload_new(&w->offload, w->loop, 1), 0);
    assert_int_equal(usage_open(&w->store, w->loop, w->offload, file), 0);
}

static void close_store(struct world *w)
{
    usage_stop(w->store);
    offload_free(w->offload);
    usage_close(w->store);
    loop_free(w->loop);
}

static int make_world(void **state)
{
    snprintf(world.file, sizeof(world.file), "/tmp/cocoon-usage-XXXXXX");
    const int fd = mkstemp(world.file);
    if (fd < 0)
        return -1;
    close(fd);
    *state = &world;
    return 0;
}

static int end_world(void **state)
{
    struct world *w = *state;

    unlink(w->file);
    return 0;
}

static void add(struct world *w, const uint8_t *op, unsigned n)
{
    struct usage_key key = {.attempt = n % 3};
    char jws[40];

    memcpy(key.op, op, SHA256_LEN);
    snprintf(key.call, sizeof(key.call), "%032x", n);
    snprintf(jws, sizeof(jws), "head.payload%u.sig", n);
    usage_add(w->store, &key, span_str(jws));
}

static int ack(struct world *w, struct usage_owner owner, unsigned n)
{
    char call[33];

    snprintf(call, sizeof(call), "%032x", n);
    return usage_ack(w->store, owner, call, n % 3);
}

/* How many records the owner sees after `after`; *more and the first's seq. */
static size_t listed(struct world *w, struct usage_owner owner, uint64_t after, bool *more,
                     int64_t *first)
{
    AUTO(buf_fini) struct buf out = {0};
    AUTO_JSON json_t *doc = NULL;

    usage_list(w->store, owner, after, &out);
    assert_int_equal(json_read(buf_span(&out), &doc), 0);
    const json_t *records = json_object_get(doc, "records");
    *more = json_is_true(json_object_get(doc, "more"));
    *first = json_integer_value(json_object_get(json_array_get(records, 0), "seq"));
    return json_array_size(records);
}

static void an_operator_sees_and_ends_only_its_own(void **state)
{
    struct world *w = *state;
    bool more;
    int64_t first;

    open_store(w, "");
    add(w, pins_a[0], 1);
    add(w, pins_b[0], 2);
    add(w, pins_a[1], 3);
    assert_int_equal(listed(w, owner_a, 0, &more, &first), 2);
    assert_int_equal(listed(w, owner_b, 0, &more, &first), 1);
    assert_int_equal(first, 2);
    assert_int_equal(ack(w, owner_b, 1), E_NOT_FOUND);
    assert_int_equal(ack(w, owner_a, 1), 0);
    assert_int_equal(ack(w, owner_a, 1), E_NOT_FOUND);
    assert_int_equal(ack(w, owner_a, 3), 0); /* another pin of the same operator */
    assert_int_equal(usage_count(w->store), 1);
    close_store(w);
}

static void a_list_is_cut_at_a_thousand_and_goes_on_after_a_seq(void **state)
{
    struct world *w = *state;
    bool more;
    int64_t first;

    open_store(w, "");
    for (unsigned n = 1; n <= 1005; n++)
        add(w, pins_a[0], n);
    assert_int_equal(listed(w, owner_a, 0, &more, &first), 1000);
    assert_true(more);
    assert_int_equal(first, 1);
    assert_int_equal(listed(w, owner_a, 1000, &more, &first), 5);
    assert_false(more);
    assert_int_equal(first, 1001);
    close_store(w);
}

static void the_store_is_full_at_its_bound(void **state)
{
    struct world *w = *state;

    open_store(w, "");
    for (unsigned n = 0; n < USAGE_MAX_RECORDS; n++) {
        assert_false(usage_full(w->store));
        add(w, pins_a[0], n);
    }
    assert_true(usage_full(w->store));
    assert_int_equal(ack(w, owner_a, 5), 0);
    assert_false(usage_full(w->store));
    close_store(w);
}

static void records_survive_a_restart_without_those_acknowledged(void **state)
{
    struct world *w = *state;
    bool more;
    int64_t first;

    open_store(w, w->file);
    for (unsigned n = 1; n <= 5; n++)
        add(w, pins_a[0], n);
    for (int i = 0; i < 20; i++)
        loop_turn(w->loop, 10);
    assert_int_equal(ack(w, owner_a, 1), 0);
    assert_int_equal(ack(w, owner_a, 2), 0);
    close_store(w);

    open_store(w, w->file);
    assert_int_equal(usage_count(w->store), 3);
    assert_int_equal(listed(w, owner_a, 0, &more, &first), 3);
    assert_int_equal(first, 3);
    add(w, pins_a[0], 9); /* its number is not one that was used */
    assert_int_equal(listed(w, owner_a, 5, &more, &first), 1);
    assert_true(first >= 6);
    close_store(w);
}

static void a_clock_that_was_wrong_drops_no_record(void **state)
{
    static const char *const made_ms[] = {"1", "4102444800000"}; /* 1970, 2100 */
    struct world *w = *state;
    FILE *f = fopen(w->file, "w");

    assert_non_null(f);
    for (unsigned n = 0; n < 2; n++)
        fprintf(f,
                "{\"seq\":%u,\"t\":%s,\"op\":\"%064x\",\"call\":\"%032x\",\"attempt\":0,"
                "\"jws\":\"a.b.c\"}\n",
                n + 1, made_ms[n], 1, n);
    fclose(f);
    open_store(w, w->file);
    assert_int_equal(usage_count(w->store), 2);
    close_store(w);
}

static void what_nobody_asks_for_is_dropped_when_it_was_kept_for_26_hours(void **state)
{
    const uint64_t hour_ms = 3600000;
    struct world *w = *state;

    open_store(w, w->file);
    add(w, pins_a[0], 1);
    usage_tidy(w->store, clock_mono_ms() + 25 * hour_ms);
    assert_int_equal(usage_count(w->store), 1);
    usage_tidy(w->store, clock_mono_ms() + 27 * hour_ms);
    assert_int_equal(usage_count(w->store), 0);
    close_store(w);
    open_store(w, w->file);
    assert_int_equal(usage_count(w->store), 0);
    close_store(w);
}

static void a_torn_last_line_costs_only_itself(void **state)
{
    struct world *w = *state;

    open_store(w, w->file);
    add(w, pins_a[0], 1);
    add(w, pins_a[0], 2);
    close_store(w);
    FILE *f = fopen(w->file, "a");
    assert_non_null(f);
    fputs("{\"seq\":3,\"t\":1,\"op\":\"00", f);
    fclose(f);

    open_store(w, w->file);
    assert_int_equal(usage_count(w->store), 2);
    add(w, pins_a[0], 4);
    close_store(w);
    open_store(w, w->file);
    assert_int_equal(usage_count(w->store), 3);
    close_store(w);
}

static void the_file_does_not_grow_with_what_is_over(void **state)
{
    struct world *w = *state;

    open_store(w, w->file);
    for (unsigned n = 0; n < 5000; n++) {
        add(w, pins_a[0], n);
        assert_int_equal(ack(w, owner_a, n), 0);
        if (n % 100 == 0)
            loop_turn(w->loop, 5);
    }
    for (int i = 0; i < 50; i++)
        loop_turn(w->loop, 10);
    add(w, pins_a[0], 6000);
    for (int i = 0; i < 20; i++)
        loop_turn(w->loop, 10);
    FILE *f = fopen(w->file, "r");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    assert_true(ftell(f) < 1500 * 300);
    fclose(f);
    close_store(w);
    open_store(w, w->file);
    assert_int_equal(usage_count(w->store), 1);
    close_store(w);
}

/* ---- Acknowledgements ---- */

struct seen {
    size_t count;
    int64_t pay;
};

static void see(void *arg, const struct usage_ack *a)
{
    struct seen *s = arg;

    s->count++;
    s->pay += a->pay_nano;
}

#define CALL "\"call\":\"0123456789abcdef0123456789abcdef\""

static void acknowledgements_are_read_strictly(void **state)
{
    static const char *const bad[] = {
        "{}",
        "{\"acks\":{}}",
        "{\"acks\":[1]}",
        "{\"acks\":[{" CALL ",\"attempt\":0,\"result\":\"settled\"}]}",
        "{\"acks\":[{" CALL ",\"attempt\":0,\"result\":\"lost\",\"pay\":\"0\"}]}",
        "{\"acks\":[{" CALL ",\"attempt\":-1,\"result\":\"settled\",\"pay\":\"0\"}]}",
        "{\"acks\":[{" CALL ",\"attempt\":0,\"result\":\"settled\",\"pay\":\"-1\"}]}",
        "{\"acks\":[{" CALL
        ",\"attempt\":0,\"result\":\"settled\",\"pay\":\"1234567890123456789\"}]}",
        "{\"acks\":[{\"call\":\"0123\",\"attempt\":0,\"result\":\"settled\",\"pay\":\"0\"}]}",
    };
    struct seen seen = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(usage_acks_read(span_str(bad[i]), see, &seen), E_INVALID);
    assert_int_equal(seen.count, 0);
    assert_int_equal(
        usage_acks_read(SPAN("{\"acks\":[{" CALL
                             ",\"attempt\":0,\"result\":\"settled\",\"pay\":\"7\"},"
                             "{" CALL ",\"attempt\":1,\"result\":\"abandoned\",\"pay\":\"0\"}]}"),
                        see, &seen),
        0);
    assert_int_equal(seen.count, 2);
    assert_int_equal(seen.pay, 7);
}

static void one_bad_acknowledgement_refuses_all(void **state)
{
    struct seen seen = {0};

    (void)state;
    assert_int_equal(
        usage_acks_read(
            SPAN("{\"acks\":[{" CALL ",\"attempt\":0,\"result\":\"settled\",\"pay\":\"7\"},{}]}"),
            see, &seen),
        E_INVALID);
    assert_int_equal(seen.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_operator_sees_and_ends_only_its_own, make_world,
                                        end_world),
        cmocka_unit_test_setup_teardown(a_list_is_cut_at_a_thousand_and_goes_on_after_a_seq,
                                        make_world, end_world),
        cmocka_unit_test_setup_teardown(the_store_is_full_at_its_bound, make_world, end_world),
        cmocka_unit_test_setup_teardown(records_survive_a_restart_without_those_acknowledged,
                                        make_world, end_world),
        cmocka_unit_test_setup_teardown(a_clock_that_was_wrong_drops_no_record, make_world,
                                        end_world),
        cmocka_unit_test_setup_teardown(
            what_nobody_asks_for_is_dropped_when_it_was_kept_for_26_hours, make_world, end_world),
        cmocka_unit_test_setup_teardown(a_torn_last_line_costs_only_itself, make_world, end_world),
        cmocka_unit_test_setup_teardown(the_file_does_not_grow_with_what_is_over, make_world,
                                        end_world),
        cmocka_unit_test(acknowledgements_are_read_strictly),
        cmocka_unit_test(one_bad_acknowledgement_refuses_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
