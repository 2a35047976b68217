/* One thread at a time works on the file: what was added meanwhile is the next transaction. */
#include "billing/journal.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/fail_point.h"
#include "base/log.h"

enum {
    BATCH_MAX = 1000,
    RETRY_MS = 1000,
    KEEP_MS = 7 * 24 * 3600 * 1000, /* of what the books have */
    ROWS_MAX = 500
};

static const char SCHEMA[] =
    "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
    "CREATE TABLE IF NOT EXISTS bills (n INTEGER PRIMARY KEY, call TEXT NOT NULL,"
    " attempt INTEGER NOT NULL, account TEXT NOT NULL, project TEXT NOT NULL, key TEXT NOT NULL,"
    " kind TEXT NOT NULL, endpoint TEXT NOT NULL, amount INTEGER NOT NULL, fee INTEGER NOT NULL,"
    " bill TEXT NOT NULL, usage TEXT NOT NULL, at_ms INTEGER NOT NULL,"
    " UNIQUE (call, attempt)) STRICT;"
    "CREATE INDEX IF NOT EXISTS bills_account ON bills (account, n);"
    "CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;"
    "INSERT OR IGNORE INTO state VALUES ('format', 'cgw/journal/v1'), ('acked', '0'),"
    " ('last', '0');";

/* What a thread is asked to do; the pool has one at a time. */
struct task {
    struct offload_job job;
    struct list link;
    struct journal *journal;
    int error;
    /* Writing: the entries, and the number of the last one. */
    struct list entries;
    int64_t last;
    /* Acknowledging. */
    int64_t acked;
    /* Reading. */
    int64_t after;
    unsigned limit;
    struct buf account, call;
    struct list rows;
    journal_row_fn *fn;
    void *arg;
};

struct row {
    struct list link;
    struct journal_row row;
    struct buf text;
};

struct journal {
    struct loop *loop;
    struct offload *offload;
    const struct ed25519 *key;
    sqlite3 *db;
    sqlite3_stmt *insert;
    struct list added; /* struct journal_entry.link */
    struct list tasks; /* struct task.link: reads and acknowledgements that wait */
    bool busy, failing;
    struct loop_timer retry;
    int64_t last, acked;
};

static void journal_next(struct journal *j);

/* ---- In a thread: SQL ---- */

static int run(struct journal *j, const char *sql)
{
    return sqlite3_exec(j->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : E_IO;
}

static void bind_text(sqlite3_stmt *s, int at, struct span text)
{
    (void)sqlite3_bind_text(s, at, text.data ? (const char *)text.data : "", (int)text.len,
                            SQLITE_STATIC);
}

/* Without gaps in the numbers, so that the books see that none is missing. */
static int entry_insert(struct task *t, struct journal_entry *e)
{
    AUTO(buf_fini) struct buf jws = {0};
    sqlite3_stmt *s = t->journal->insert;

    TRY(bill_sign(&e->bill, t->journal->key, &jws));
    (void)sqlite3_reset(s);
    bind_text(s, 1, span_str(e->bill.call));
    (void)sqlite3_bind_int64(s, 2, e->bill.attempt);
    bind_text(s, 3, span_str(e->bill.account));
    bind_text(s, 4, span_str(e->project));
    bind_text(s, 5, span_str(e->key));
    bind_text(s, 6, span_str(e->kind));
    bind_text(s, 7, span_str(e->endpoint));
    (void)sqlite3_bind_int64(s, 8, e->bill.amount);
    (void)sqlite3_bind_int64(s, 9, e->bill.fee);
    bind_text(s, 10, buf_span(&jws));
    bind_text(s, 11, buf_span(&e->usage));
    (void)sqlite3_bind_int64(s, 12, (int64_t)clock_wall_ms());
    (void)sqlite3_bind_int64(s, 13, t->last + 1);
    (void)sqlite3_bind_int64(s, 14, e->epoch);
    int step = sqlite3_step(s);
    (void)sqlite3_reset(s);
    if (step != SQLITE_DONE)
        return E_IO;
    e->result = sqlite3_changes(t->journal->db) == 1 ? JOURNAL_WRITTEN : JOURNAL_KNOWN;
    t->last += e->result == JOURNAL_WRITTEN;
    return 0;
}

static int number_of(struct journal *j, const char *sql, int64_t *out)
{
    sqlite3_stmt *s = NULL;
    int error = E_IO;

    if (sqlite3_prepare_v2(j->db, sql, -1, &s, NULL) == SQLITE_OK &&
        sqlite3_step(s) == SQLITE_ROW) {
        *out = sqlite3_column_int64(s, 0);
        error = 0;
    }
    (void)sqlite3_finalize(s);
    return error;
}

static const char LAST[] = "SELECT CAST(value AS INTEGER) FROM state WHERE name = 'last'";

/* While one process hands over to the next, both write: the file knows the last number. */
static int entries_insert(struct task *t)
{
    char sql[96];
    int64_t last;

    TRY(number_of(t->journal, LAST, &last));
    t->last = last > t->last ? last : t->last;
    LIST_FOREACH(it, &t->entries)
        TRY(entry_insert(t, CONTAINER(it, struct journal_entry, link)));
    snprintf(sql, sizeof(sql), "UPDATE state SET value = '%lld' WHERE name = 'last'",
             (long long)t->last);
    return run(t->journal, sql);
}

static void write_work(struct offload_job *job)
{
    struct task *t = CONTAINER(job, struct task, job);
    struct journal *j = t->journal;

    fail_point("journal.commit.before");
    t->error = run(j, "BEGIN IMMEDIATE");
    if (t->error == 0)
        t->error = entries_insert(t);
    if (t->error == 0)
        t->error = run(j, "COMMIT");
    if (t->error < 0)
        (void)run(j, "ROLLBACK");
    else
        fail_point("journal.commit.after");
}

static void ack_work(struct offload_job *job)
{
    struct task *t = CONTAINER(job, struct task, job);
    char sql[256];

    snprintf(sql, sizeof(sql),
             "UPDATE state SET value = '%lld' WHERE name = 'acked';"
             "DELETE FROM bills WHERE n IN (SELECT n FROM bills WHERE n <= %lld AND at_ms < %lld "
             "ORDER BY n LIMIT 1000);",
             (long long)t->acked, (long long)t->acked,
             (long long)clock_wall_ms() - (long long)KEEP_MS);
    t->error = run(t->journal, sql);
}

static struct span column(sqlite3_stmt *s, int at)
{
    return span_of(sqlite3_column_text(s, at), (size_t)sqlite3_column_bytes(s, at));
}

static struct span own(struct buf *text, struct span s)
{
    size_t at = text->len;

    buf_append(text, s);
    return span_of(text->data + at, s.len);
}

/* n, attempt, call, account, project, key, kind, endpoint, bill, usage, epoch */
static void row_read(struct task *t, sqlite3_stmt *s)
{
    struct row *r = mem_zero(sizeof(*r));
    struct span *const texts[] = {&r->row.call, &r->row.account,  &r->row.project, &r->row.key,
                                  &r->row.kind, &r->row.endpoint, &r->row.bill,    &r->row.usage};
    size_t len = 0;

    for (int i = 0; i < 8; i++)
        len += column(s, 2 + i).len;
    buf_reserve(&r->text, len + 1);
    r->row.n = sqlite3_column_int64(s, 0);
    r->row.attempt = (uint32_t)sqlite3_column_int64(s, 1);
    r->row.epoch = sqlite3_column_type(s, 10) == SQLITE_NULL ? LAYOUT_EPOCH_UNKNOWN
                                                             : sqlite3_column_int64(s, 10);
    for (int i = 0; i < 8; i++)
        *texts[i] = own(&r->text, column(s, 2 + i));
    list_push(&t->rows, &r->link);
}

#define COLUMNS                                                                                    \
    "SELECT n, attempt, call, account, project, key, kind, endpoint, bill, usage, epoch "

/* By what the task names: a call of an account, an account, or nothing but the numbers. */
static sqlite3_stmt *read_prepare(struct task *t)
{
    static const char by_call[] =
        COLUMNS "FROM bills WHERE call = ?1 AND account = ?2 ORDER BY attempt DESC LIMIT 1";
    static const char by_account[] =
        COLUMNS "FROM bills WHERE account = ?2 ORDER BY n DESC LIMIT ?4";
    static const char by_n[] = COLUMNS "FROM bills WHERE n > ?3 ORDER BY n LIMIT ?4";
    const char *sql = t->call.len > 0 ? by_call : t->account.len > 0 ? by_account : by_n;
    sqlite3_stmt *s = NULL;

    if (sqlite3_prepare_v2(t->journal->db, sql, -1, &s, NULL) != SQLITE_OK)
        return NULL;
    bind_text(s, 1, buf_span(&t->call));
    bind_text(s, 2, buf_span(&t->account));
    (void)sqlite3_bind_int64(s, 3, t->after);
    (void)sqlite3_bind_int64(s, 4, t->limit);
    return s;
}

static void read_work(struct offload_job *job)
{
    struct task *t = CONTAINER(job, struct task, job);
    sqlite3_stmt *s = read_prepare(t);

    while (s && sqlite3_step(s) == SQLITE_ROW)
        row_read(t, s);
    (void)sqlite3_finalize(s);
}

/* ---- In the loop ---- */

static void entry_free(struct journal_entry *e)
{
    bill_fini(&e->bill);
    buf_fini(&e->usage);
    free(e);
}

static void task_free(struct task *t)
{
    for (struct list *it; (it = list_pop(&t->rows));) {
        struct row *r = CONTAINER(it, struct row, link);
        buf_fini(&r->text);
        free(r);
    }
    buf_fini(&t->account);
    buf_fini(&t->call);
    free(t);
}

static struct task *task_new(struct journal *j, void (*work)(struct offload_job *),
                             void (*done)(struct offload_job *))
{
    struct task *t = mem_zero(sizeof(*t));

    t->journal = j;
    t->job = (struct offload_job){.work = work, .done = done};
    list_init(&t->entries);
    list_init(&t->rows);
    return t;
}

static void try_again(void *arg)
{
    journal_next(arg);
}

/* Back in front of what came meanwhile, in the order in which they came. */
static void entries_back(struct journal *j, struct task *t)
{
    while (!list_empty(&t->entries)) {
        struct list *last = t->entries.prev;
        list_del(last);
        list_push(j->added.next, last); /* before the first */
    }
}

static void note_failure(struct journal *j, int error)
{
    bool failing = error < 0;

    if (failing != j->failing)
        log_event(failing ? LOG_ERROR : LOG_INFO, failing ? "journal_failing" : "journal_works",
                  "error=%s sqlite=%d", error_name(error), sqlite3_errcode(j->db));
    j->failing = failing;
}

static void write_done(struct offload_job *job)
{
    struct task *t = CONTAINER(job, struct task, job);
    struct journal *j = t->journal;

    j->busy = false;
    note_failure(j, t->error);
    if (t->error < 0)
        entries_back(j, t);
    else
        j->last = t->last;
    for (struct list *it; (it = list_pop(&t->entries));) {
        struct journal_entry *e = CONTAINER(it, struct journal_entry, link);
        e->done(e->arg, e->result);
        entry_free(e);
    }
    task_free(t);
    if (j->failing)
        loop_timer_set(j->loop, &j->retry, RETRY_MS, try_again, j);
    else
        journal_next(j);
}

static void read_done(struct offload_job *job)
{
    struct task *t = CONTAINER(job, struct task, job);
    struct journal *j = t->journal;

    j->busy = false;
    LIST_FOREACH(it, &t->rows)
        t->fn(t->arg, &CONTAINER(it, struct row, link)->row);
    t->fn(t->arg, NULL);
    task_free(t);
    journal_next(j);
}

static void ack_done(struct offload_job *job)
{
    struct task *t = CONTAINER(job, struct task, job);
    struct journal *j = t->journal;

    j->busy = false;
    task_free(t);
    journal_next(j);
}

static struct task *write_task(struct journal *j)
{
    struct task *t = task_new(j, write_work, write_done);

    t->last = j->last;
    struct list *link;
    for (unsigned i = 0; i < BATCH_MAX && (link = list_pop(&j->added)); i++)
        list_push(&t->entries, link);
    return t;
}

/* Bills first. */
static void journal_next(struct journal *j)
{
    struct task *t;

    if (j->busy)
        return;
    if (!list_empty(&j->added) && !loop_timer_is_set(&j->retry))
        t = write_task(j);
    else if (!list_empty(&j->tasks))
        t = CONTAINER(list_pop(&j->tasks), struct task, link);
    else
        return;
    j->busy = offload_submit(j->offload, &t->job) == 0;
    if (j->busy)
        return;
    if (t->job.work == write_work) {
        entries_back(j, t);
        task_free(t);
    } else {
        list_push(&j->tasks, &t->link);
    }
    loop_timer_set(j->loop, &j->retry, RETRY_MS, try_again, j);
}

void journal_add(struct journal *j, struct journal_entry *take)
{
    list_push(&j->added, &take->link);
    journal_next(j);
}

static void task_add(struct journal *j, struct task *t)
{
    list_push(&j->tasks, &t->link);
    journal_next(j);
}

static void task_read(struct journal *j, struct span account, struct span call, int64_t after,
                      unsigned limit, journal_row_fn *fn, void *arg)
{
    struct task *t = task_new(j, read_work, read_done);

    buf_append(&t->account, account);
    buf_append(&t->call, call);
    t->after = after;
    t->limit = limit < ROWS_MAX ? limit : ROWS_MAX;
    t->fn = fn;
    t->arg = arg;
    task_add(j, t);
}

void journal_read(struct journal *j, int64_t after, unsigned limit, journal_row_fn *fn, void *arg)
{
    task_read(j, SPAN(""), SPAN(""), after, limit, fn, arg);
}

void journal_find(struct journal *j, struct span account, struct span call, journal_row_fn *fn,
                  void *arg)
{
    CHECK(account.len > 0 && call.len > 0);
    task_read(j, account, call, 0, 1, fn, arg);
}

void journal_recent(struct journal *j, struct span account, unsigned limit, journal_row_fn *fn,
                    void *arg)
{
    CHECK(account.len > 0);
    task_read(j, account, SPAN(""), 0, limit, fn, arg);
}

void journal_raise(struct journal *j, int64_t n)
{
    if (n <= j->last)
        return;
    log_event(LOG_WARN, "journal_renumbered", "from=%lld to=%lld", (long long)j->last,
              (long long)n);
    j->last = n;
}

void journal_acked(struct journal *j, int64_t n)
{
    if (n <= j->acked)
        return;
    struct task *t = task_new(j, ack_work, ack_done);
    j->acked = t->acked = n;
    task_add(j, t);
}

bool journal_failing(const struct journal *j)
{
    return j->failing;
}

bool journal_idle(const struct journal *j)
{
    return list_empty(&j->added) && !j->busy;
}

int64_t journal_last(const struct journal *j)
{
    return j->last;
}

int64_t journal_acked_to(const struct journal *j)
{
    return j->acked;
}

/* ---- Opening ---- */

/* Rows are numbered for the books by instance: a journal belongs to one for ever. */
static int claim(struct journal *j, const char *instance)
{
    sqlite3_stmt *s = NULL;
    int error = E_IO;

    if (sqlite3_prepare_v2(j->db, "INSERT OR IGNORE INTO state VALUES ('instance', ?1)", -1, &s,
                           NULL) == SQLITE_OK) {
        bind_text(s, 1, span_str(instance));
        error = sqlite3_step(s) == SQLITE_DONE ? 0 : E_IO;
    }
    (void)sqlite3_finalize(s);
    TRY(error);
    if (sqlite3_prepare_v2(j->db, "SELECT value FROM state WHERE name = 'instance'", -1, &s,
                           NULL) == SQLITE_OK &&
        sqlite3_step(s) == SQLITE_ROW)
        error = span_is(column(s, 0), instance) ? 0 : E_INVALID;
    (void)sqlite3_finalize(s);
    return error;
}

/* A journal made before bills had an epoch: theirs are over (0). What a process of then writes from
 * now on, while it drains, has none. */
static int add_epoch(struct journal *j)
{
    int64_t there = 0;

    TRY(number_of(j, "SELECT count(*) FROM pragma_table_info('bills') WHERE name = 'epoch'",
                  &there));
    return there ? 0
                 : run(j, "BEGIN IMMEDIATE; ALTER TABLE bills ADD COLUMN epoch INTEGER;"
                          " UPDATE bills SET epoch = 0; COMMIT");
}

static int open_file(struct journal *j, const char *path, const char *instance)
{
    static const char insert[] =
        "INSERT INTO bills (call, attempt, account, project, key, kind, endpoint, amount, fee,"
        " bill, usage, at_ms, n, epoch)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)"
        " ON CONFLICT (call, attempt) DO NOTHING";

    if (sqlite3_open_v2(path, &j->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) !=
        SQLITE_OK)
        return E_IO;
    (void)sqlite3_busy_timeout(j->db, 2000);
    TRY(run(j, SCHEMA));
    TRY(add_epoch(j));
    TRY(claim(j, instance));
    TRY(number_of(j, LAST, &j->last));
    TRY(number_of(j, "SELECT CAST(value AS INTEGER) FROM state WHERE name = 'acked'", &j->acked));
    return sqlite3_prepare_v2(j->db, insert, -1, &j->insert, NULL) == SQLITE_OK ? 0 : E_IO;
}

int journal_open(struct journal **out, struct loop *l, struct offload *o, const char *path,
                 const char *instance, const struct ed25519 *key, struct buf *why)
{
    struct journal *j = mem_zero(sizeof(*j));

    j->loop = l;
    j->offload = o;
    j->key = key;
    list_init(&j->added);
    list_init(&j->tasks);
    int error = open_file(j, path, instance);
    if (error == E_INVALID)
        buf_append_str(why, "it is another instance's journal");
    else if (error < 0)
        buf_append_str(why, j->db ? sqlite3_errmsg(j->db) : "out of memory");
    if (error < 0) {
        journal_free(j);
        return error;
    }
    *out = j;
    return 0;
}

void journal_free(struct journal *j)
{
    if (!j)
        return;
    loop_timer_cancel(j->loop, &j->retry);
    for (struct list *it; (it = list_pop(&j->added));)
        entry_free(CONTAINER(it, struct journal_entry, link));
    for (struct list *it; (it = list_pop(&j->tasks));)
        task_free(CONTAINER(it, struct task, link));
    (void)sqlite3_finalize(j->insert);
    (void)sqlite3_close(j->db);
    free(j);
}
