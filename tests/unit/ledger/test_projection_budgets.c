/* What Redis is told of budgets after a loss, against the bills added up owner by owner. */
#include "tests/unit/ledger/books/fixture.h"

#include "ledger/books/key.h"
#include "ledger/projection_job.h"

enum { BILLS = 400 };

/* Hours beside which a window begins; now (fixture.h) is in hour 486111, on 2025-06-15. */
enum { TODAY = 486096, THIS_MONTH = 485760 };
static const int64_t hours[] = {TODAY + 15, TODAY, TODAY - 1, THIS_MONTH, THIS_MONTH - 1, 300000};

static void new_project(struct fixture *f, const char *text)
{
    AUTO_JSON json_t *body = json_of(text);

    IN_BOOKS(f, project_create(f->books, &root, body, NULL));
}

static void new_key(struct fixture *f, const char *text, char id[static 16])
{
    AUTO_JSON json_t *body = json_of(text);
    AUTO_JSON json_t *made = NULL;
    AUTO(buf_wipe) struct buf secret = {0};

    IN_BOOKS(f, key_create(f->books, &root, body, &secret, &made));
    snprintf(id, 16, "%s", record_text(made, "id", ""));
}

/* Only what is added up counts here; the rest of a bill is its place in the chain and the tree. */
static int charge(struct fixture *f, const char *account, const char *project, const char *key,
                  int64_t n)
{
    char call[33];

    snprintf(call, sizeof(call), "%032" PRId64, n);
    return DB_RUN(f->books->db, NULL,
                  "INSERT INTO bills (call, attempt, account, seq, head, bill, usage, kind, "
                  "endpoint, instance, project, key, model, worker, price, coefficient, tokens_in, "
                  "cached, tokens_out, reasoning, amount, fee, hour, taken, day, leaf) VALUES ($1, "
                  "0, $2, $3, $4, '', '', 'settled', 'chat', 'gw-1', $5, $6, 'm', '', 1, 1000, 0, "
                  "0, 0, 0, $7, 0, $8, 0, 0, $3)",
                  value_str(call), value_str(account), value_int(n), value_blob(SPAN("")),
                  value_str(project), value_str(key), value_int(1 + n * n),
                  value_int(hours[(size_t)n % (sizeof(hours) / sizeof(hours[0]))]));
}

static int64_t summed(struct fixture *f, const char *account, const char *project, const char *key,
                      int64_t from_hour)
{
    AUTO(rows_free) struct rows *rows = NULL;

    assert_int_equal(
        DB_SELECT(&rows, f->books->db,
                  "SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT) FROM bills WHERE account = $1 "
                  "AND ($2 = '' OR project = $2) AND ($3 = '' OR key = $3) AND hour >= $4",
                  value_str(account), value_str(project), value_str(key), value_int(from_hour)),
        0);
    assert_int_equal(rows_next(rows), 1);
    return rows_int(rows, 0);
}

static void read_budgets(struct fixture *f, const char *account, struct buf *out)
{
    AUTO_JSON json_t *found = NULL;

    IN_BOOKS(f, account_find(f->books, account, &found));
    IN_BOOKS(f, budgets_write(f->books, found, out));
}

/* The entry stands there, and is taken out. */
static void expect(struct buf *told, const char *owner, const char *window, int64_t nano)
{
    AUTO(buf_fini) struct buf entry = {0};

    buf_printf(&entry, "%s:%c,%s,%" PRId64 ";", owner, window[0], window, nano);
    const ptrdiff_t at = span_find(buf_span(told), buf_span(&entry));
    if (at < 0)
        fail_msg("%s is not in %s", buf_cstr(&entry), buf_cstr(told));
    memmove(told->data + at, told->data + (size_t)at + entry.len,
            told->len - (size_t)at - entry.len);
    told->len -= entry.len;
}

static void every_window_of_every_owner_has_the_sum_of_its_bills(void **state)
{
    struct fixture *f = *state;
    AUTO(buf_fini) struct buf told = {0};
    AUTO_JSON json_t *all =
        json_of("{\"budgets\":{\"day\":\"1\",\"month\":\"2\",\"total\":\"3\"}}");
    char total[16], daily[16], none[16], idle[16], name[3][24];

    make_account(f, "acme", 0);
    make_account(f, "other", 0);
    IN_BOOKS(f, account_change(f->books, &root, "acme", all, NULL));
    new_project(f, "{\"account\":\"acme\",\"id\":\"web\",\"budgets\":{\"month\":\"4\"}}");
    new_project(f, "{\"account\":\"acme\",\"id\":\"free\"}");
    new_key(f, "{\"account\":\"acme\",\"budgets\":{\"total\":\"5\"}}", total);
    new_key(f, "{\"account\":\"acme\",\"project\":\"web\",\"budgets\":{\"day\":\"6\"}}", daily);
    new_key(f, "{\"account\":\"acme\",\"project\":\"free\"}", none);
    new_key(f, "{\"account\":\"acme\",\"budgets\":{\"day\":\"7\",\"total\":\"8\"}}", idle);
    const char *const keys[] = {total, daily, none}, *const projects[] = {"", "web", "free"};
    assert_int_equal(books_begin(f->books), 0);
    for (int64_t n = 1; n <= BILLS; n++)
        assert_int_equal(
            charge(f, n % 7 ? "acme" : "other", projects[n / 6 % 3], keys[n / 18 % 3], n), 0);
    assert_int_equal(books_end(f->books, 0), 0);
    read_budgets(f, "acme", &told);
    snprintf(name[0], sizeof(name[0]), "k:%s", total);
    snprintf(name[1], sizeof(name[1]), "k:%s", daily);
    snprintf(name[2], sizeof(name[2]), "k:%s", idle);
    expect(&told, "a", "d20254", summed(f, "acme", "", "", TODAY));
    expect(&told, "a", "m665", summed(f, "acme", "", "", THIS_MONTH));
    expect(&told, "a", "t", summed(f, "acme", "", "", 0));
    expect(&told, "p:web", "m665", summed(f, "acme", "web", "", THIS_MONTH));
    expect(&told, name[0], "t", summed(f, "acme", "", total, 0));
    expect(&told, name[1], "d20254", summed(f, "acme", "", daily, TODAY));
    expect(&told, name[2], "d20254", 0);
    expect(&told, name[2], "t", 0);
    assert_int_equal(told.len, 0);
}

static void windows_that_begin_late_are_summed_where_nobody_has_a_total(void **state)
{
    struct fixture *f = *state;
    AUTO(buf_fini) struct buf told = {0};

    make_account(f, "acme", 0);
    read_budgets(f, "acme", &told);
    assert_int_equal(told.len, 0);
    new_project(f, "{\"account\":\"acme\",\"id\":\"web\",\"budgets\":{\"month\":\"4\"}}");
    new_project(f, "{\"account\":\"acme\",\"id\":\"app\",\"budgets\":{\"day\":\"4\"}}");
    assert_int_equal(books_begin(f->books), 0);
    for (int64_t n = 1; n <= BILLS; n++)
        assert_int_equal(charge(f, "acme", n / 6 % 2 ? "web" : "app", "k", n), 0);
    assert_int_equal(books_end(f->books, 0), 0);
    read_budgets(f, "acme", &told);
    expect(&told, "p:web", "m665", summed(f, "acme", "web", "", THIS_MONTH));
    expect(&told, "p:app", "d20254", summed(f, "acme", "app", "", TODAY));
    assert_int_equal(told.len, 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        CASE(every_window_of_every_owner_has_the_sum_of_its_bills),
        CASE(windows_that_begin_late_are_summed_where_nobody_has_a_total),
    };

    return RUN_ON_BOTH(tests);
}
