/* The journal on a real file: one transaction for many, each attempt once, numbers without gaps,
 * what the disk refuses is kept. */
#include "tests/unit/lib/vectors.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <unistd.h>

#include "billing/journal.h"

struct rig {
    struct loop *loop;
    struct offload *offload;
    struct ed25519 *key;
    struct journal *journal;
    char folder[64], path[96];
    int written, known, rows;
    int64_t last, epochs; /* of the last row; the sum of all that are known */
    int unknown;          /* epochs that are not */
    char calls[64][33];
};

static void open_journal(struct rig *r, const char *instance, int expected)
{
    AUTO(buf_fini) struct buf why = {0};

    assert_int_equal(
        journal_open(&r->journal, r->loop, r->offload, r->path, instance, r->key, &why), expected);
    if (expected < 0)
        assert_true(why.len > 0);
}

static void rig_make(struct rig *r)
{
    const uint8_t seed[ED25519_KEY_LEN] = {1};

    *r = (struct rig){.folder = "/tmp/cocoon-journal-XXXXXX"};
    assert_non_null(mkdtemp(r->folder));
    snprintf(r->path, sizeof(r->path), "%s/j", r->folder);
    assert_int_equal(loop_new(&r->loop), 0);
    assert_int_equal(offload_new(&r->offload, r->loop, 2), 0);
    assert_int_equal(ed25519_from_seed(&r->key, SPAN_OF(seed)), 0);
    open_journal(r, "one", 0);
}

static void rig_close(struct rig *r)
{
    char command[160];

    offload_stop(r->offload);
    journal_free(r->journal);
    offload_free(r->offload);
    loop_free(r->loop);
    ed25519_free(r->key);
    snprintf(command, sizeof(command), "rm -r '%s'", r->folder);
    assert_int_equal(system(command), 0);
}

static void done(void *arg, enum journal_result result)
{
    struct rig *r = arg;

    r->written += result == JOURNAL_WRITTEN;
    r->known += result == JOURNAL_KNOWN;
}

static void add(struct rig *r, unsigned call, uint32_t attempt, const char *account)
{
    struct journal_entry *e = mem_zero(sizeof(*e));

    snprintf(e->bill.call, sizeof(e->bill.call), "%032x", call);
    snprintf(e->bill.account, sizeof(e->bill.account), "%s", account);
    snprintf(e->bill.worker, sizeof(e->bill.worker), "0:%064d", 0);
    e->bill.attempt = attempt;
    buf_append_str(&e->bill.storage, "m");
    e->bill.model = buf_span(&e->bill.storage);
    e->bill.price = 1;
    e->bill.amount = 100;
    e->bill.fee = 5;
    buf_append_str(&e->usage, "a.b.c");
    e->endpoint = "chat";
    e->kind = "settled";
    e->epoch = 7;
    e->done = done;
    e->arg = r;
    journal_add(r->journal, e);
}

static void settle(struct rig *r, int total)
{
    for (int i = 0; i < 1000 && r->written + r->known < total; i++)
        loop_turn(r->loop, 10);
    assert_int_equal(r->written + r->known, total);
}

static void row_seen(void *arg, const struct journal_row *row)
{
    struct rig *r = arg;

    if (!row) {
        r->last = -1;
        return;
    }
    assert_true(row->n > r->last);
    r->last = row->n;
    assert_true(row->bill.len > 100 && span_is(row->usage, "a.b.c"));
    assert_int_equal(span_cstr(row->call, r->calls[r->rows], sizeof(r->calls[0])), 0);
    r->unknown += row->epoch == LAYOUT_EPOCH_UNKNOWN;
    r->epochs += row->epoch == LAYOUT_EPOCH_UNKNOWN ? 0 : row->epoch;
    r->rows++;
}

static void read_all(struct rig *r)
{
    for (int i = 0; i < 1000 && r->last != -1; i++)
        loop_turn(r->loop, 10);
    assert_int_equal(r->last, -1);
}

static void every_bill_is_written_once_and_numbered_without_gaps(void **state)
{
    struct rig r;

    (void)state;
    rig_make(&r);
    for (unsigned i = 0; i < 30; i++)
        add(&r, i, 0, "acme");
    add(&r, 7, 0, "acme"); /* again */
    add(&r, 7, 1, "acme"); /* another attempt */
    assert_false(journal_idle(r.journal));
    settle(&r, 32);
    assert_int_equal(r.written, 31);
    assert_int_equal(r.known, 1);
    assert_true(journal_idle(r.journal));
    assert_int_equal(journal_last(r.journal), 31);
    journal_read(r.journal, 0, 100, row_seen, &r);
    read_all(&r);
    assert_int_equal(r.rows, 31);
    rig_close(&r);
}

static void it_is_all_there_after_a_restart(void **state)
{
    struct rig r;

    (void)state;
    rig_make(&r);
    for (unsigned i = 0; i < 5; i++)
        add(&r, i, 0, "acme");
    settle(&r, 5);
    journal_acked(r.journal, 3);
    for (int i = 0; i < 50; i++)
        loop_turn(r.loop, 2);
    journal_free(r.journal);
    open_journal(&r, "one", 0);
    assert_int_equal(journal_last(r.journal), 5);
    assert_int_equal(journal_acked_to(r.journal), 3);
    add(&r, 99, 0, "acme");
    settle(&r, 6);
    journal_read(r.journal, 3, 100, row_seen, &r);
    read_all(&r);
    assert_int_equal(r.rows, 3);
    assert_string_equal(r.calls[2], "00000000000000000000000000000063");
    rig_close(&r);
}

static void another_instance_may_not_have_it(void **state)
{
    struct rig r;

    (void)state;
    rig_make(&r);
    journal_free(r.journal);
    r.journal = NULL;
    open_journal(&r, "two", E_INVALID);
    snprintf(r.path, sizeof(r.path), "%s/no/such/folder", r.folder);
    open_journal(&r, "one", E_IO);
    rig_close(&r);
}

static void numbers_go_on_above_what_the_books_have(void **state)
{
    struct rig r;

    (void)state;
    rig_make(&r);
    journal_raise(r.journal, 41);
    add(&r, 1, 0, "acme");
    settle(&r, 1);
    assert_int_equal(journal_last(r.journal), 42);
    journal_raise(r.journal, 7);
    assert_int_equal(journal_last(r.journal), 42);
    rig_close(&r);
}

static void a_bill_is_found_by_its_account_only(void **state)
{
    struct rig r;

    (void)state;
    rig_make(&r);
    add(&r, 1, 0, "acme");
    add(&r, 2, 0, "acme");
    add(&r, 3, 0, "other");
    settle(&r, 3);
    journal_find(r.journal, SPAN("acme"), SPAN("00000000000000000000000000000001"), row_seen, &r);
    read_all(&r);
    assert_int_equal(r.rows, 1);
    r.last = 0;
    journal_find(r.journal, SPAN("other"), SPAN("00000000000000000000000000000001"), row_seen, &r);
    read_all(&r);
    assert_int_equal(r.rows, 1);
    r.last = 0;
    journal_recent(r.journal, SPAN("acme"), 1, row_seen, &r);
    read_all(&r);
    assert_string_equal(r.calls[1], "00000000000000000000000000000002");
    rig_close(&r);
}

static void two_processes_of_one_instance_share_the_numbers(void **state)
{
    AUTO(buf_fini) struct buf why = {0};
    struct journal *other = NULL, *first;
    struct rig r;

    (void)state;
    rig_make(&r);
    assert_int_equal(journal_open(&other, r.loop, r.offload, r.path, "one", r.key, &why), 0);
    first = r.journal;
    for (unsigned i = 0; i < 10; i++) {
        r.journal = i % 2 ? first : other;
        add(&r, i, 0, "acme");
        settle(&r, (int)i + 1);
    }
    r.journal = first;
    assert_int_equal(r.written, 10);
    assert_int_equal(journal_last(first), 10);
    journal_free(other);
    rig_close(&r);
}

static void run(const struct rig *r, const char *sql)
{
    sqlite3 *db = NULL;

    assert_int_equal(sqlite3_open(r->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    (void)sqlite3_close(db);
}

/* As files had it before bills named the epoch of their charge. A process of then that still drains
 * goes on writing beside the one that has added the column. */
static void a_journal_of_before_epochs_is_read_on(void **state)
{
    struct rig r;

    (void)state;
    rig_make(&r);
    add(&r, 1, 0, "acme");
    settle(&r, 1);
    journal_free(r.journal);
    run(&r, "ALTER TABLE bills DROP COLUMN epoch");
    open_journal(&r, "one", 0);
    add(&r, 2, 0, "acme");
    settle(&r, 2);
    run(&r, "INSERT INTO bills (n, call, attempt, account, project, key, kind, endpoint, amount,"
            " fee, bill, usage, at_ms) SELECT 3, 'c', attempt, account, project, key, kind,"
            " endpoint, amount, fee, bill, usage, at_ms FROM bills WHERE n = 1");
    journal_free(r.journal);
    open_journal(&r, "one", 0);
    journal_read(r.journal, 0, 10, row_seen, &r);
    read_all(&r);
    assert_int_equal(r.rows, 3);
    assert_int_equal(r.epochs, 0 + 7);
    assert_int_equal(r.unknown, 1);
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_bill_is_written_once_and_numbered_without_gaps),
        cmocka_unit_test(it_is_all_there_after_a_restart),
        cmocka_unit_test(another_instance_may_not_have_it),
        cmocka_unit_test(numbers_go_on_above_what_the_books_have),
        cmocka_unit_test(a_bill_is_found_by_its_account_only),
        cmocka_unit_test(two_processes_of_one_instance_share_the_numbers),
        cmocka_unit_test(a_journal_of_before_epochs_is_read_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
