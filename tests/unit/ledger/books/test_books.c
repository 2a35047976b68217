/* Money in the books: whatever comes in whatever order, and again, every nano is where it belongs.
 * The same cases run on SQLite and on PostgreSQL. */
#include "tests/unit/ledger/books/fixture.h"

#include "ledger/books/chain.h"

static struct transfer transfer_of(uint8_t id, int64_t amount)
{
    struct transfer t = {.debit = "world",
                         .credit = "client:a",
                         .currency = CURRENCY_TON,
                         .amount = amount,
                         .code = "test",
                         .reference = SPAN("r")};

    memset(t.id, id, sizeof(t.id));
    return t;
}

static void a_transfer_told_twice_moves_once(void **state)
{
    struct fixture *f = *state;
    const struct transfer t = transfer_of(1, 100);
    bool fresh = false;

    IN_BOOKS(f, transfer_post(f->books, &t, &fresh));
    assert_true(fresh);
    IN_BOOKS(f, transfer_post(f->books, &t, &fresh));
    assert_false(fresh);
    assert_int_equal(balance_of(f, "client:a"), 100);
    assert_int_equal(balance_of(f, "world"), -100);
    assert_string_equal(verify(f).names, " I6"); /* nobody gave it */
}

static void the_same_id_with_other_content_is_an_error(void **state)
{
    struct fixture *f = *state;
    struct transfer t = transfer_of(1, 100);

    IN_BOOKS(f, transfer_post(f->books, &t, NULL));
    t.amount = 101;
    NOT_IN_BOOKS(f, transfer_post(f->books, &t, NULL), E_EXISTS);
    t.amount = 100;
    t.credit = "client:b";
    NOT_IN_BOOKS(f, transfer_post(f->books, &t, NULL), E_EXISTS);
    assert_int_equal(balance_of(f, "client:a"), 100);
    assert_int_equal(balance_of(f, "client:b"), 0);
}

static void no_purse_goes_below_zero_and_a_refusal_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    const struct transfer in = transfer_of(1, 100);
    struct transfer out = transfer_of(2, 101);

    IN_BOOKS(f, transfer_post(f->books, &in, NULL));
    out.debit = "client:a";
    out.credit = "client:b";
    NOT_IN_BOOKS(f, transfer_post(f->books, &out, NULL), E_DENIED);
    out.amount = 100;
    IN_BOOKS(f, transfer_post(f->books, &out, NULL));
    assert_int_equal(balance_of(f, "client:a"), 0);
    assert_int_equal(balance_of(f, "client:b"), 100);
    assert_string_equal(verify(f).names, " I6"); /* nobody gave it */
}

static void sums_end_before_they_wrap(void **state)
{
    struct fixture *f = *state;
    const struct transfer most = transfer_of(1, INT64_MAX), more = transfer_of(2, 1);
    const struct transfer nothing = transfer_of(3, 0);

    IN_BOOKS(f, transfer_post(f->books, &most, NULL));
    NOT_IN_BOOKS(f, transfer_post(f->books, &more, NULL), E_TOO_LARGE);
    NOT_IN_BOOKS(f, transfer_post(f->books, &nothing, NULL), E_INVALID);
    assert_true(balance_of(f, "client:a") == INT64_MAX);
    assert_string_equal(verify(f).names, " I6"); /* nobody gave it */
}

static void refuse_sql(struct fixture *f, const char *sql)
{
    assert_int_equal(books_begin(f->books), 0);
    assert_true(db_run(f->books->db, sql, NULL, 0, NULL) < 0);
    assert_int_equal(books_end(f->books, E_IO), E_IO);
}

static void what_is_written_stays_written(void **state)
{
    struct fixture *f = *state;
    const struct transfer t = transfer_of(1, 100);

    IN_BOOKS(f, transfer_post(f->books, &t, NULL));
    refuse_sql(f, "UPDATE transfers SET amount = 1");
    refuse_sql(f, "DELETE FROM transfers");
    assert_string_equal(verify(f).names, " I6"); /* nobody gave it */
}

static int give(struct fixture *f, const char *account, int64_t amount, const char *id, bool *fresh)
{
    return account_credit(f->books, &root, account, amount, id, SPAN("paid"), fresh, NULL);
}

static void a_credit_is_given_once_and_never_above_what_scripts_can_count(void **state)
{
    struct fixture *f = *state;
    bool fresh;

    make_account(f, "acme", 0);
    IN_BOOKS(f, give(f, "acme", 7, "invoice-1", &fresh));
    assert_true(fresh);
    IN_BOOKS(f, give(f, "acme", 7, "invoice-1", &fresh));
    assert_false(fresh);
    NOT_IN_BOOKS(f, give(f, "acme", 8, "invoice-1", &fresh), E_EXISTS);
    NOT_IN_BOOKS(f, give(f, "acme", INT64_C(9007199254740991), "x", &fresh), E_TOO_LARGE);
    NOT_IN_BOOKS(f, give(f, "acme", 0, "x", &fresh), E_INVALID);
    NOT_IN_BOOKS(f, give(f, "none", 1, "x", &fresh), E_NOT_FOUND);
    assert_int_equal(balance_of(f, "client:acme"), 7);
    ASSERT_VERIFIED(f);
}

static void a_bill_is_taken_once_and_pays_the_worker_and_us(void **state)
{
    struct fixture *f = *state;
    struct made_bill m = {0};
    char worker[PURSE_LEN];

    apply_prices(f);
    make_account(f, "acme", 1000000);
    make_bill(f, &m, "acme", 0, 1000, 100);
    assert_int_equal(m.amount, 1000 * 3 + 100 * 7 + 11);
    assert_int_equal(take(f, &m, 1), BILL_TAKEN);
    assert_int_equal(take(f, &m, 1), BILL_KNOWN);
    snprintf(worker, sizeof(worker), "worker:0:%064d", 7);
    assert_int_equal(balance_of(f, "client:acme"), 1000000 - m.amount);
    assert_int_equal(balance_of(f, worker), m.amount - m.fee);
    assert_int_equal(balance_of(f, "revenue:commission"), m.fee);
    ASSERT_VERIFIED(f);
    made_bill_free(&m);
}

static void expect_signed(struct fixture *f, const char *account, const char *after, size_t limit,
                          const struct made_bill *first, size_t count, bool more)
{
    AUTO_JSON json_t *page = NULL;

    IN_BOOKS(f, bills_signed(f->books, account, span_str(after), limit, &page));
    const json_t *data = json_object_get(page, "data");
    assert_int_equal(json_array_size(data), count);
    assert_int_equal(json_is_true(json_object_get(page, "has_more")), more);
    assert_string_equal(record_text(json_array_get(data, 0), "call", ""), first->call);
}

static void signed_bills_are_listed_page_by_page(void **state)
{
    struct fixture *f = *state;
    struct made_bill m[3] = {0};
    json_t *none = NULL;
    char middle[48];

    apply_prices(f);
    make_account(f, "acme", 1000000);
    make_account(f, "other", 0);
    for (size_t i = 0; i < 3; i++) {
        make_bill(f, &m[i], "acme", 0, 10, 1);
        assert_int_equal(take(f, &m[i], (int64_t)i + 1), BILL_TAKEN);
    }
    snprintf(middle, sizeof(middle), "%s.0", m[1].call);
    expect_signed(f, "acme", "", 3, &m[2], 3, false);
    expect_signed(f, "acme", "", 1, &m[2], 1, true);
    expect_signed(f, "acme", middle, 1, &m[0], 1, false);
    NOT_IN_BOOKS(f, bills_signed(f->books, "other", span_str(middle), 1, &none), E_NOT_FOUND);
    middle[33] = '1'; /* an attempt that has no bill */
    NOT_IN_BOOKS(f, bills_signed(f->books, "acme", span_str(middle), 1, &none), E_NOT_FOUND);
    NOT_IN_BOOKS(f, bills_signed(f->books, "acme", SPAN("x"), 1, &none), E_NOT_FOUND);
    NOT_IN_BOOKS(f, bills_signed(f->books, "acme", SPAN("."), 1, &none), E_NOT_FOUND);
    for (size_t i = 0; i < 3; i++)
        made_bill_free(&m[i]);
}

static void a_charge_that_another_gateway_has_billed_too_moves_nothing(void **state)
{
    struct fixture *f = *state;
    struct made_bill m = {0}, other = {0};

    apply_prices(f);
    make_account(f, "acme", 1000000);
    make_bill(f, &m, "acme", 0, 1000, 100);
    assert_int_equal(take(f, &m, 1), BILL_TAKEN);
    memcpy(other.call, m.call, sizeof(other.call));
    f->books->fixed_ms += 5000;
    make_bill(f, &other, "acme", 0, 1000, 100);
    assert_false(span_eq(buf_span(&m.bill), buf_span(&other.bill)));
    assert_int_equal(take(f, &other, 2), BILL_KNOWN);
    assert_int_equal(balance_of(f, "client:acme"), 1000000 - m.amount);
    ASSERT_VERIFIED(f);
    made_bill_free(&m);
    made_bill_free(&other);
}

static void refuse(struct fixture *f, const struct made_bill *m, struct span usage,
                   const char *reason)
{
    struct bill_entry e = entry_of(m, 2);
    struct bill_outcome out;

    if (usage.len > 0)
        e.usage = usage;
    IN_BOOKS(f, bill_take(f->books, &f->keys, &e, &out));
    assert_int_equal(out.result, BILL_REFUSED);
    assert_string_equal(out.reason, reason);
}

static void what_is_no_bill_of_ours_is_refused_and_kept_for_people(void **state)
{
    struct fixture *f = *state;
    struct made_bill m = {0}, other = {0};
    struct ed25519 *own = f->key;

    apply_prices(f);
    make_account(f, "acme", 1000000);
    make_bill(f, &m, "acme", 0, 10, 10);
    assert_int_equal(take(f, &m, 1), BILL_TAKEN);

    assert_int_equal(ed25519_generate(&f->key), 0);
    make_bill(f, &other, "acme", 0, 1, 1);
    ed25519_free(f->key);
    f->key = own;
    refuse(f, &other, SPAN(""), "signature");
    memcpy(other.call, m.call, sizeof(other.call));
    make_bill(f, &other, "acme", 0, 11, 10);
    refuse(f, &other, SPAN(""), "other_bill");
    make_bill(f, &other, "acme", 1, 11, 10);
    refuse(f, &other, SPAN(""), "call_charged");
    other.call[0] = '\0';
    make_bill(f, &other, "nobody", 0, 1, 1);
    refuse(f, &other, SPAN(""), "account");
    refuse(f, &m, SPAN("another"), "usage_hash");

    assert_int_equal(balance_of(f, "client:acme"), 1000000 - m.amount);
    assert_string_equal(verify(f).wrong, "C1: see the table conflicts");
    made_bill_free(&m), made_bill_free(&other);
}

static void a_charge_above_the_balance_is_the_operators_loss_and_shows(void **state)
{
    struct fixture *f = *state;
    struct made_bill m = {0};

    apply_prices(f);
    make_account(f, "acme", 10);
    make_bill(f, &m, "acme", 0, 1000, 100);
    assert_int_equal(take(f, &m, 1), BILL_TAKEN);
    assert_int_equal(balance_of(f, "client:acme"), 0);
    assert_int_equal(balance_of(f, "expense:shortfall"), -(m.amount - 10));
    assert_string_equal(verify(f).wrong, "I3: the operator covered it");
    made_bill_free(&m);
}

/* ---- Random interleavings ---- */

enum { ACCOUNTS = 3, BILLS = 40, CREDITS = 20, STEPS = 300, NAME_LEN = 24 };

struct world {
    struct made_bill bills[BILLS];
    int owner[BILLS];
    bool taken[BILLS], credited[CREDITS];
    int64_t expected[ACCOUNTS], credit_of[CREDITS];
};

static void account_name(char out[static NAME_LEN], int i)
{
    snprintf(out, NAME_LEN, "acct-%d", i);
}

static void step_bill(struct fixture *f, struct world *w, int i, bool crash)
{
    const struct bill_entry e = entry_of(&w->bills[i], i + 1);
    struct bill_outcome out;

    assert_int_equal(books_begin(f->books), 0);
    assert_int_equal(bill_take(f->books, &f->keys, &e, &out), 0);
    assert_int_equal(out.result, w->taken[i] ? BILL_KNOWN : BILL_TAKEN);
    assert_int_equal(books_end(f->books, crash ? E_IO : 0), crash ? E_IO : 0);
    if (!crash && !w->taken[i])
        w->expected[w->owner[i]] -= w->bills[i].amount;
    w->taken[i] = w->taken[i] || !crash;
}

static void step_credit(struct fixture *f, struct world *w, int i, bool crash)
{
    char account[NAME_LEN], id[16];
    bool fresh;

    account_name(account, i % ACCOUNTS);
    snprintf(id, sizeof(id), "credit-%d", i);
    assert_int_equal(books_begin(f->books), 0);
    assert_int_equal(give(f, account, w->credit_of[i], id, &fresh), 0);
    assert_int_equal(fresh, !w->credited[i]);
    assert_int_equal(books_end(f->books, crash ? E_IO : 0), crash ? E_IO : 0);
    if (!crash && !w->credited[i])
        w->expected[i % ACCOUNTS] += w->credit_of[i];
    w->credited[i] = w->credited[i] || !crash;
}

static void check_world(struct fixture *f, const struct world *w)
{
    char account[NAME_LEN], purse[PURSE_LEN];
    int64_t sum = 0;

    for (int i = 0; i < ACCOUNTS; i++) {
        account_name(account, i);
        purse_client(purse, account);
        assert_true(balance_of(f, purse) == w->expected[i]);
        sum += w->expected[i];
    }
    for (int i = 0; i < BILLS; i++)
        sum += w->taken[i] ? w->bills[i].amount : 0;
    assert_true(balance_of(f, "world") == -sum);
}

static void begin_world(struct fixture *f, struct world *w)
{
    char account[NAME_LEN];

    apply_prices(f);
    for (int i = 0; i < ACCOUNTS; i++) {
        account_name(account, i);
        w->expected[i] = INT64_C(1000000000);
        make_account(f, account, w->expected[i]);
    }
    for (int i = 0; i < BILLS; i++) {
        w->owner[i] = (int)random_below(ACCOUNTS);
        account_name(account, w->owner[i]);
        make_bill(f, &w->bills[i], account, (uint32_t)random_below(3), (int64_t)random_below(5000),
                  (int64_t)random_below(500));
    }
    for (int i = 0; i < CREDITS; i++)
        w->credit_of[i] = 1 + (int64_t)random_below(1000000);
}

// I1, I4, I8: any order, any repetition, crashes at any point, the books opened anew now and then.
static void any_order_with_repeats_and_crashes_leaves_the_books_exact(void **state)
{
    struct fixture *f = *state;
    struct world w = {0};

    begin_world(f, &w);
    for (int s = 0; s < STEPS; s++) {
        const bool crash = random_below(8) == 0;
        if (random_below(3) == 0)
            step_credit(f, &w, (int)random_below(CREDITS), crash);
        else
            step_bill(f, &w, (int)random_below(BILLS), crash);
        if (random_below(100) == 0) {
            close_books(f);
            open_books(f);
        }
    }
    check_world(f, &w);
    ASSERT_VERIFIED(f);
    for (int i = 0; i < BILLS; i++)
        made_bill_free(&w.bills[i]);
}

/* ---- Bills cannot be changed afterwards ---- */

static void unlock_tables(struct fixture *f)
{
    const char *sql = f->postgres ? "ALTER TABLE bills DISABLE TRIGGER ALL;"
                                    "ALTER TABLE transfers DISABLE TRIGGER ALL;"
                                    "ALTER TABLE audit DISABLE TRIGGER ALL;"
                                    "ALTER TABLE prices DISABLE TRIGGER ALL;"
                                  : "DROP TRIGGER bills_stay; DROP TRIGGER transfers_stay;"
                                    "DROP TRIGGER audit_stays; DROP TRIGGER prices_stay;";

    assert_int_equal(db_script(f->books->db, sql), 0);
}

static void write_cell(struct fixture *f, const char *column, const char *call, struct span text)
{
    AUTO(buf_fini) struct buf sql = {0};

    buf_printf(&sql, "UPDATE bills SET %s = $1 WHERE call = $2", column);
    IN_BOOKS(f, DB_RUN(f->books->db, NULL, buf_cstr(&sql), value_text(text), value_str(call)));
}

static void flip(struct fixture *f, const char *column, const char *call, struct span had,
                 size_t at)
{
    AUTO(buf_fini) struct buf text = {0};

    buf_append(&text, had);
    text.data[at] = text.data[at] == 'A' ? 'B' : 'A';
    write_cell(f, column, call, buf_span(&text));
    if (verify(f).good)
        fail_msg("byte %zu of the %s was changed and nothing noticed it", at, column);
    write_cell(f, column, call, had);
}

// I10; every byte would take long: every 23rd, and the last.
static void any_byte_of_a_bill_that_is_changed_is_found(void **state)
{
    struct fixture *f = *state;
    struct made_bill m[3] = {0};

    apply_prices(f);
    make_account(f, "acme", 1000000);
    for (int i = 0; i < 3; i++) {
        make_bill(f, &m[i], "acme", 0, 10 + i, 10);
        assert_int_equal(take(f, &m[i], i + 1), BILL_TAKEN);
    }
    unlock_tables(f);
    for (size_t at = 0; at < m[1].bill.len; at += 23)
        flip(f, "bill", m[1].call, buf_span(&m[1].bill), at);
    flip(f, "bill", m[1].call, buf_span(&m[1].bill), m[1].bill.len - 1);
    for (size_t at = 0; at < m[1].usage.len; at += 7)
        flip(f, "usage", m[1].call, buf_span(&m[1].usage), at);
    ASSERT_VERIFIED(f);
    for (int i = 0; i < 3; i++)
        made_bill_free(&m[i]);
}

static void run_sql(struct fixture *f, const char *sql)
{
    if (db_script(f->books->db, sql) < 0)
        fail_msg("%s", sql);
}

static void what_is_tampered_with_is_found(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *sql, *undo, *says;
    } cases[] = {
        {"UPDATE purses SET credits = credits + 1 WHERE name = 'client:acme'",
         "UPDATE purses SET credits = credits - 1 WHERE name = 'client:acme'", "I1"},
        {"UPDATE transfers SET amount = amount + 1 WHERE code = 'settle'",
         "UPDATE transfers SET amount = amount - 1 WHERE code = 'settle'", "I1"},
        {"UPDATE bills SET amount = amount + 1", "UPDATE bills SET amount = amount - 1", "I4"},
        {"UPDATE accounts SET chain_seq = 5 WHERE id = 'acme'",
         "UPDATE accounts SET chain_seq = 1 WHERE id = 'acme'", "I10"},
        {"UPDATE bills SET model = model || 'x'",
         "UPDATE bills SET model = SUBSTR(model, 1, LENGTH(model) - 1)",
         "I10: the row says something else"},
        {"UPDATE bills SET price = price + 1", "UPDATE bills SET price = price - 1",
         "I10: the row says something else"},
        {"UPDATE bills SET coefficient = coefficient + 1",
         "UPDATE bills SET coefficient = coefficient - 1", "I10: the row says something else"},
        {"UPDATE bills SET cached = cached + 1", "UPDATE bills SET cached = cached - 1",
         "I10: the row says something else"},
        {"UPDATE bills SET reasoning = reasoning + 1", "UPDATE bills SET reasoning = reasoning - 1",
         "I10: the row says something else"},
        {"UPDATE bills SET hour = hour + 1", "UPDATE bills SET hour = hour - 1",
         "I10: the row says something else"},
        {"UPDATE bills SET tokens_in = tokens_in - 1", "UPDATE bills SET tokens_in = tokens_in + 1",
         "I10: the row says something else"},
        {"CREATE TABLE kept AS SELECT * FROM accounts WHERE id = 'idle';"
         "DELETE FROM accounts WHERE id = 'idle'",
         "INSERT INTO accounts SELECT * FROM kept; DROP TABLE kept", "I5: no such account: idle"},
        {"CREATE TABLE kept AS SELECT * FROM days; DELETE FROM days",
         "INSERT INTO days SELECT * FROM kept; DROP TABLE kept", "I10: no tree of day"},
        {"UPDATE days SET tree = (SELECT head FROM bills)", "UPDATE days SET tree = root",
         "I10: the tree of day"},
        {"UPDATE bill_keys SET kid = kid || 'x'",
         "UPDATE bill_keys SET kid = SUBSTR(kid, 1, LENGTH(kid) - 1)",
         "I10: a bill key is not as its name says"},
        {"UPDATE prices SET sha256 = sha256 || 'x'",
         "UPDATE prices SET sha256 = SUBSTR(sha256, 1, LENGTH(sha256) - 1)",
         "I9: price book 1 has another hash"},
        {"UPDATE days SET leaves = 2", "UPDATE days SET leaves = 1", "I10"},
        {"UPDATE audit SET seq = 99 WHERE seq = 1", "UPDATE audit SET seq = 1 WHERE seq = 99",
         "A1"},
    };
    struct made_bill m = {0};

    apply_prices(f);
    make_account(f, "acme", 1000000);
    make_account(f, "idle", 5);
    make_bill(f, &m, "acme", 0, 10, 10);
    assert_int_equal(take(f, &m, 1), BILL_TAKEN);
    unlock_tables(f);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        run_sql(f, cases[i].sql);
        const struct verified v = verify(f);
        if (v.good || strncmp(v.wrong, cases[i].says, strlen(cases[i].says)) != 0)
            fail_msg("%s: %s", cases[i].sql, v.wrong);
        run_sql(f, cases[i].undo);
    }
    ASSERT_VERIFIED(f);
    made_bill_free(&m);
}

// I10: the damaged key alone is named, though it is read before the good one.
static void a_damaged_key_accuses_no_bill_of_another(void **state)
{
    struct fixture *f = *state;
    struct made_bill m = {0};

    apply_prices(f);
    make_account(f, "acme", 1000000);
    make_bill(f, &m, "acme", 0, 10, 10);
    assert_int_equal(take(f, &m, 1), BILL_TAKEN);
    run_sql(f, "CREATE TABLE kept AS SELECT * FROM bill_keys; DELETE FROM bill_keys;"
               "INSERT INTO bill_keys (kid, public_key, since) VALUES ('!', 'no hex', 1);"
               "INSERT INTO bill_keys SELECT * FROM kept; DROP TABLE kept");
    const struct verified broken = verify(f);
    assert_string_equal(broken.names, " I10");
    assert_string_equal(broken.wrong, "I10: a bill key is not as its name says");
    assert_int_equal(broken.difference, 1);
    run_sql(f, "DELETE FROM bill_keys WHERE kid = '!'");
    ASSERT_VERIFIED(f);
    made_bill_free(&m);
}

/* ---- Each invariant, broken alone ---- */

static void post(struct fixture *f, const char *debit, const char *credit, const char *code)
{
    struct transfer t = transfer_of(9, 1);

    t.debit = debit, t.credit = credit, t.code = code;
    IN_BOOKS(f, transfer_post(f->books, &t, NULL));
}

static void break_sums(struct fixture *f, const struct made_bill *m)
{
    (void)m;
    run_sql(f, "UPDATE purses SET credits = credits + 1 WHERE name = 'client:acme'");
}

static void break_owing(struct fixture *f, const struct made_bill *m)
{
    (void)m;
    post(f, "client:acme", "client:b", "test");
    run_sql(f, "UPDATE transfers SET amount = 1000001 WHERE code = 'test';"
               "UPDATE purses SET debits = debits + 1000000 WHERE name = 'client:acme';"
               "UPDATE purses SET credits = credits + 1000000 WHERE name = 'client:b';");
}

static void break_covered(struct fixture *f, const struct made_bill *m)
{
    const struct span parts[] = {span_str(m->call)};
    struct transfer t = transfer_of(0, 1);

    t.debit = "expense:shortfall", t.credit = "client:acme", t.code = "shortfall";
    t.reference = span_str(m->call);
    transfer_id(t.id, "shortfall", parts, 1);
    IN_BOOKS(f, transfer_post(f->books, &t, NULL));
}

// The second attempt gets in while the first one seems to be free.
static void break_charged_once(struct fixture *f, const struct made_bill *m)
{
    AUTO(buf_fini) struct buf sql = {0};
    struct made_bill second = {0}, large = {0};

    make_bill(f, &large, "acme", 0, 10000, 10000); /* its fee pays the worker for the other again */
    assert_int_equal(take(f, &large, 2), BILL_TAKEN);
    made_bill_free(&large);
    run_sql(f, "UPDATE bills SET amount = 0, fee = 0 WHERE tokens_in = 10");
    memcpy(second.call, m->call, sizeof(second.call));
    make_bill(f, &second, "acme", 1, 10, 10);
    assert_int_equal(take(f, &second, 3), BILL_TAKEN);
    buf_printf(&sql, "UPDATE bills SET amount = %lld, fee = %lld WHERE amount = 0",
               (long long)m->amount, (long long)m->fee);
    run_sql(f, buf_cstr(&sql));
    made_bill_free(&second);
}

static void break_reference(struct fixture *f, const struct made_bill *m)
{
    (void)m;
    run_sql(f, "UPDATE transfers SET reference = 'x' WHERE code = 'work'");
}

static void break_id(struct fixture *f, const struct made_bill *m)
{
    const uint8_t id[TRANSFER_ID_LEN] = {1};

    (void)m;
    IN_BOOKS(f, DB_RUN(f->books->db, NULL, "UPDATE transfers SET id = $1 WHERE code = 'settle'",
                       value_blob(SPAN_OF(id))));
}

static void break_credit(struct fixture *f, const struct made_bill *m)
{
    (void)m;
    run_sql(f, "UPDATE audit SET action = 'x' WHERE action = 'credit'");
}

static void break_source(struct fixture *f, const struct made_bill *m)
{
    (void)m;
    post(f, "world", "client:acme", "deposit");
}

static void break_payout(struct fixture *f, const struct made_bill *m)
{
    char worker[PURSE_LEN];

    (void)m;
    snprintf(worker, sizeof(worker), "worker:0:%064d", 7);
    post(f, worker, "world", "payout");
}

// A bill like m's of another call, signed as it is after the change.
static void take_changed(struct fixture *f, void (*change)(struct bill *b, struct buf *usage))
{
    AUTO(bill_fini) struct bill b = {0};
    struct made_bill m = {0};

    make_bill(f, &m, "acme", 0, 10, 10);
    assert_int_equal(bill_verify(&b, f->key, buf_span(&m.bill)), 0);
    change(&b, &m.usage);
    sha256(b.usage, buf_span(&m.usage));
    buf_clear(&m.bill);
    assert_int_equal(bill_sign(&b, f->key, &m.bill), 0);
    assert_int_equal(take(f, &m, 2), BILL_TAKEN);
    made_bill_free(&m);
}

static void other_calls_usage(struct bill *b, struct buf *usage)
{
    (void)b;
    buf_clear(usage);
    make_usage(usage, "00000000000000000000000000000000", 0, 10, 10);
}

static void break_usage(struct fixture *f, const struct made_bill *m)
{
    (void)m;
    take_changed(f, other_calls_usage);
}

static void less_usage(struct bill *b, struct buf *usage)
{
    buf_clear(usage);
    make_usage(usage, b->call, 0, 10, 9);
}

static void break_count(struct fixture *f, const struct made_bill *m)
{
    (void)m;
    take_changed(f, less_usage);
}

static void more_amount(struct bill *b, struct buf *usage)
{
    (void)usage;
    b->amount++;
}

static void break_amount(struct fixture *f, const struct made_bill *m)
{
    (void)m;
    take_changed(f, more_amount);
}

static void break_chain(struct fixture *f, const struct made_bill *m)
{
    (void)m;
    run_sql(f, "UPDATE accounts SET chain_seq = 5");
}

static void break_tree(struct fixture *f, const struct made_bill *m)
{
    (void)m;
    run_sql(f, "UPDATE days SET leaves = 2");
}

static void break_bill(struct fixture *f, const struct made_bill *m)
{
    const struct bill_entry e = entry_of(m, 2);
    struct bill_entry bad = e;
    struct bill_outcome out;

    bad.usage = SPAN("another");
    IN_BOOKS(f, bill_take(f->books, &f->keys, &bad, &out));
    assert_int_equal(out.result, BILL_REFUSED);
}

static void break_audit(struct fixture *f, const struct made_bill *m)
{
    (void)m;
    run_sql(f, "UPDATE audit SET seq = 99 WHERE seq = 1");
}

static void an_invariant_that_is_broken_alone_is_named_alone(void **state)
{
    static const struct {
        void (*spoil)(struct fixture *f, const struct made_bill *m);
        const char *names;
    } cases[] = {{break_sums, " I1"},      {break_owing, " I2"},
                 {break_covered, " I3"},   {break_charged_once, " I3 I4"}, /* paid twice, too */
                 {break_reference, " I4"}, {break_id, " I4"},
                 {break_credit, " I5"},    {break_source, " I6"},
                 {break_payout, " I7"},    {break_usage, " I8"},
                 {break_count, " I8"},     {break_amount, " I9"},
                 {break_chain, " I10"},    {break_tree, " I10"},
                 {break_bill, " C1"},      {break_audit, " A1"}};
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct made_bill m = {0};
        apply_prices(f);
        make_account(f, "acme", 1000000);
        make_bill(f, &m, "acme", 0, 10, 10);
        assert_int_equal(take(f, &m, 1), BILL_TAKEN);
        const struct verified clean = verify(f);
        assert_string_equal(clean.names, "");
        assert_string_equal(clean.looked, " I1 I2 I3 I4 I5 I6 I7 I8 I9 I10 I10 C1 A1");
        unlock_tables(f);
        cases[i].spoil(f, &m);
        if (strcmp(verify(f).names, cases[i].names) != 0)
            fail_msg("case %zu:%s in place of%s", i, verify(f).names, cases[i].names);
        made_bill_free(&m);
        leave_books(state);
        empty_books(state);
    }
}

// I9: a gateway that charges more than the formula is found.
static void an_amount_above_the_formula_is_found(void **state)
{
    struct fixture *f = *state;
    struct made_bill m = {0}, again = {0};
    AUTO(bill_fini) struct bill b = {0};

    apply_prices(f);
    make_account(f, "acme", 1000000);
    make_bill(f, &m, "acme", 0, 1000, 100);
    assert_int_equal(bill_verify(&b, f->key, buf_span(&m.bill)), 0);
    b.amount++;
    buf_append(&again.usage, buf_span(&m.usage));
    assert_int_equal(bill_sign(&b, f->key, &again.bill), 0);
    assert_int_equal(take(f, &again, 1), BILL_TAKEN);
    assert_memory_equal(verify(f).wrong, "I9: above the formula", 21);
    made_bill_free(&m), made_bill_free(&again);
}

static void read_path(const json_t *found, struct buf *path)
{
    const json_t *list = record_at(found, "proof.path");
    uint8_t hash[SHA256_LEN];

    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *hex = json_string_value(json_array_get(list, i));
        assert_int_equal(hex_decode(hash, SHA256_LEN, span_str(hex)), 0);
        buf_append(path, SPAN_OF(hash));
    }
}

static void check_proof(struct fixture *f, const struct made_bill *m)
{
    AUTO_JSON json_t *found = NULL;
    AUTO(buf_fini) struct buf path = {0};
    uint8_t top[SHA256_LEN], leaf[SHA256_LEN];

    IN_BOOKS(f, bill_find(f->books, "acme", m->call, &found));
    read_path(found, &path);
    assert_int_equal(hex_decode(top, SHA256_LEN, span_str(record_text(found, "proof.root", ""))),
                     0);
    tree_leaf(leaf, buf_span(&m->bill));
    assert_int_equal(tree_verify(top, leaf, (uint64_t)record_int(found, "proof.leaf", -1),
                                 (uint64_t)record_int(found, "proof.leaves", -1), buf_span(&path)),
                     0);
}

static void a_day_is_closed_once_and_proves_its_bills(void **state)
{
    struct fixture *f = *state;
    struct made_bill m[6] = {0};
    size_t closed = 9;

    apply_prices(f);
    make_account(f, "acme", 1000000);
    for (int i = 0; i < 5; i++) {
        make_bill(f, &m[i], "acme", 0, 1, 1);
        assert_int_equal(take(f, &m[i], i + 1), BILL_TAKEN);
    }
    IN_BOOKS(f, bill_days_close(f->books, &closed));
    assert_int_equal(closed, 0);
    f->books->fixed_ms += 86400000;
    IN_BOOKS(f, bill_days_close(f->books, &closed));
    assert_int_equal(closed, 1);
    f->books->fixed_ms -= 86400000; /* a clock that was set back opens no closed day */
    make_bill(f, &m[5], "acme", 0, 1, 1);
    assert_int_equal(take(f, &m[5], 6), BILL_TAKEN);
    for (int i = 0; i < 5; i++)
        check_proof(f, &m[i]);
    ASSERT_VERIFIED(f);
    for (int i = 0; i < 6; i++)
        made_bill_free(&m[i]);
}

static void books_that_somebody_writes_are_only_read_by_others(void **state)
{
    struct fixture *f = *state;
    AUTO(buf_fini) struct buf why = {0};
    struct books *second;

    assert_int_equal(books_open(&second, f->where, true, &why), E_BUSY);
    assert_int_equal(books_open(&second, f->where, false, &why), 0);
    assert_int_equal(books_begin(second), 0);
    assert_true(db_run(second->db, "DELETE FROM purses", NULL, 0, NULL) < 0);
    assert_int_equal(books_end(second, E_IO), E_IO);
    books_close(second);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        CASE(a_transfer_told_twice_moves_once),
        CASE(the_same_id_with_other_content_is_an_error),
        CASE(no_purse_goes_below_zero_and_a_refusal_leaves_nothing),
        CASE(sums_end_before_they_wrap),
        CASE(what_is_written_stays_written),
        CASE(a_credit_is_given_once_and_never_above_what_scripts_can_count),
        CASE(a_bill_is_taken_once_and_pays_the_worker_and_us),
        CASE(signed_bills_are_listed_page_by_page),
        CASE(a_charge_that_another_gateway_has_billed_too_moves_nothing),
        CASE(what_is_no_bill_of_ours_is_refused_and_kept_for_people),
        CASE(a_charge_above_the_balance_is_the_operators_loss_and_shows),
        CASE(any_order_with_repeats_and_crashes_leaves_the_books_exact),
        CASE(any_byte_of_a_bill_that_is_changed_is_found),
        CASE(what_is_tampered_with_is_found),
        CASE(a_damaged_key_accuses_no_bill_of_another),
        CASE(an_invariant_that_is_broken_alone_is_named_alone),
        CASE(an_amount_above_the_formula_is_found),
        CASE(a_day_is_closed_once_and_proves_its_bills),
        CASE(books_that_somebody_writes_are_only_read_by_others),
    };

    return RUN_ON_BOTH(tests);
}
