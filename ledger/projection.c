/* A job is one thing of the books. It runs in phases: what a phase sends is answered before the
 * next begins; a job that failed begins anew. */
#include "ledger/projection.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/fail_point.h"
#include "base/log.h"
#include "ledger/books/account.h"
#include "ledger/books/record.h"
#include "ledger/books/usage.h"
#include "ledger/projection_job.h"

enum {
    FLYING_MAX = 32, /* jobs at a time */
    RETRY_MS = 500,
};

struct waiter {
    struct projection *projection;
    uint64_t mark;
    projection_known_fn *fn;
    void *arg;
    struct loop_timer timer;
    struct list link;
};

static void pump(void *arg);

static void pump_soon(struct projection *p, uint64_t ms)
{
    if (!p->stopped && !loop_timer_is_set(&p->timer))
        loop_timer_set(p->ledger->loop, &p->timer, ms, pump, p);
}

/* ---- What waits ---- */

static size_t map_key(char out[static JOB_NAME_LEN + 32], enum kind kind, const char *name,
                      int64_t day)
{
    return (size_t)snprintf(out, JOB_NAME_LEN + 32, "%d %s %" PRId64, (int)kind, name, day);
}

/* seq: of when it was first asked for. The job that waits; NULL: nothing is asked any more. */
static struct job *ask_since(struct projection *p, enum kind kind, const char *name, int64_t day,
                             uint64_t seq)
{
    char key[JOB_NAME_LEN + 32];
    const size_t len = map_key(key, kind, name, day);

    if (p->stopped)
        return NULL;
    struct job *j = map_get(&p->by_name, span_of(key, len));
    if (j) { /* it is read when its turn comes */
        j->seq = seq < j->seq ? seq : j->seq;
        return j;
    }
    j = mem_zero(sizeof(*j));
    j->projection = p;
    j->kind = kind;
    j->day = day;
    j->seq = seq;
    snprintf(j->name, sizeof(j->name), "%s", name);
    list_push(&p->waiting, &j->link);
    p->waiting_count++;
    map_put(&p->by_name, span_of(key, len), j);
    pump_soon(p, 0);
    return j;
}

static void ask(struct projection *p, enum kind kind, const char *name, int64_t day)
{
    (void)ask_since(p, kind, name, day, ++p->seq);
}

void projection_account(struct projection *p, const char *account)
{
    ask(p, JOB_ACCOUNT, account, 0);
}

void projection_budgets(struct projection *p, const char *account)
{
    struct job *j = ask_since(p, JOB_ACCOUNT, account, 0, ++p->seq);

    if (j)
        j->budgets = true;
}

void projection_key(struct projection *p, const char *key)
{
    ask(p, JOB_KEY, key, 0);
}

void projection_keys_of(struct projection *p, const char *account)
{
    ask(p, JOB_KEYS_OF, account, 0);
}

void projection_prices(struct projection *p)
{
    ask(p, JOB_PRICES, "", 0);
}

void projection_usage(struct projection *p, const char *account, int64_t day)
{
    ask(p, JOB_USAGE, account, day);
}

void projection_all(struct projection *p, bool restoring)
{
    ask(p, JOB_ALL, restoring ? "restore" : "", 0);
}

void projection_hold(struct projection *p, bool held)
{
    p->held = held;
    if (!held)
        pump_soon(p, 0);
}

size_t projection_waiting(const struct projection *p)
{
    return p->waiting_count + p->flying_count;
}

/* ---- Who waits ---- */

static void waiter_drop(struct waiter *w)
{
    list_del(&w->link);
    loop_timer_cancel(w->projection->ledger->loop, &w->timer);
    free(w);
}

static void waiter_end(struct waiter *w, bool known)
{
    const struct waiter its = *w;

    waiter_drop(w);
    its.fn(its.arg, known);
}

static void waiter_late(void *arg)
{
    waiter_end(arg, false);
}

void projection_await(struct projection *p, uint64_t within_ms, projection_known_fn *fn, void *arg)
{
    struct waiter *w = mem_zero(sizeof(*w));

    *w = (struct waiter){.projection = p, .mark = p->seq, .fn = fn, .arg = arg};
    list_push(&p->waiters, &w->link);
    if (p->stopped)
        waiter_end(w, false);
    else if (projection_waiting(p) == 0)
        waiter_end(w, true);
    else
        loop_timer_set(p->ledger->loop, &w->timer, within_ms, waiter_late, w);
}

void projection_forget(struct projection *p, const void *arg)
{
    LIST_FOREACH_SAFE(it, &p->waiters) {
        struct waiter *w = CONTAINER(it, struct waiter, link);
        if (w->arg == arg)
            waiter_drop(w);
    }
}

static uint64_t oldest(const struct projection *p)
{
    uint64_t seq = UINT64_MAX;

    LIST_FOREACH(it, &p->waiting)
        seq =
            CONTAINER(it, struct job, link)->seq < seq ? CONTAINER(it, struct job, link)->seq : seq;
    LIST_FOREACH(it, &p->flying)
        seq =
            CONTAINER(it, struct job, link)->seq < seq ? CONTAINER(it, struct job, link)->seq : seq;
    return seq;
}

static void tell_waiters(struct projection *p)
{
    const uint64_t seq = list_empty(&p->waiters) ? 0 : oldest(p);

    LIST_FOREACH_SAFE(it, &p->waiters) {
        struct waiter *w = CONTAINER(it, struct waiter, link);
        if (w->mark < seq)
            waiter_end(w, true);
    }
}

/* ---- A job's commands ---- */

static void job_free(struct job *j)
{
    json_decref(j->calls);
    free(j);
}

static void job_end(struct job *j)
{
    struct projection *p = j->projection;

    list_del(&j->link);
    p->flying_count--;
    p->ledger->counters.projected += j->error == 0;
    p->ledger->counters.projection_failures += j->error < 0;
    if (j->error < 0 && j->error != E_NOT_FOUND && !p->stopped) {
        log_event(LOG_WARN, "projection", "kind=%d error=%s", (int)j->kind, error_name(j->error));
        struct job *again = ask_since(p, j->kind, j->name, j->day, j->seq);
        if (again && j->budgets)
            again->budgets = true; /* whoever waits for it still does */
        loop_timer_cancel(p->ledger->loop, &p->timer);
        pump_soon(p, RETRY_MS);
    }
    job_free(j);
    tell_waiters(p);
    pump_soon(p, 0);
}

/* ---- Everything ---- */

static void ask_usage(void *arg, const char *account, int64_t day)
{
    projection_usage(arg, account, day);
}

static void ask_account(void *arg, const json_t *account)
{
    const char *id = record_text(account, "id", "");
    struct job *j = arg;

    if (j->name[0])
        ask(j->projection, JOB_RESTORE, id, 0);
    else
        projection_budgets(j->projection, id); /* of one that was set last, Redis may not know */
}

static int run_all(struct job *j, struct books *b)
{
    struct projection *p = j->projection;

    TRY(accounts_each(b, ask_account, j));
    projection_prices(p);
    struct job every = {.projection = p, .kind = JOB_KEYS_OF};
    TRY(job_keys_of(&every, b));
    TRY(usage_days(b, usage_first_day(j), ask_usage, p));
    ask(p, JOB_MARKER, "", 0);
    return 0;
}

/* ---- Running ---- */

static const struct {
    int (*run)(struct job *j, struct books *b);
    unsigned phases;
} kinds[] = {
    [JOB_ALL] = {run_all, 1},         [JOB_ACCOUNT] = {job_account, 1},
    [JOB_RESTORE] = {job_restore, 3}, [JOB_KEYS_OF] = {job_keys_of, 1},
    [JOB_KEY] = {job_key, 3},         [JOB_PRICES] = {job_prices, 3},
    [JOB_USAGE] = {job_usage, 1},     [JOB_MARKER] = {job_marker, 1},
};

static int run_phase(struct job *j)
{
    struct books *b = j->projection->ledger->books;

    TRY(books_begin(b));
    return books_end(b, kinds[j->kind].run(j, b));
}

/* Goes on until something is to be answered. */
void job_step(struct job *j)
{
    j->running = true;
    while (j->pending == 0 && j->error == 0 && j->phase < kinds[j->kind].phases) {
        fail_point("projection.phase");
        j->phase++;
        const int error = run_phase(j);
        if (error < 0 && j->error == 0)
            j->error = error;
    }
    j->running = false;
    if (j->pending == 0)
        job_end(j);
}

static void start(struct projection *p)
{
    struct list *link = list_pop(&p->waiting);
    char key[JOB_NAME_LEN + 32];

    if (!link)
        return;
    struct job *j = CONTAINER(link, struct job, link);
    map_del(&p->by_name, span_of(key, map_key(key, j->kind, j->name, j->day)));
    p->waiting_count--;
    p->flying_count++;
    list_push(&p->flying, &j->link);
    job_step(j);
}

/* The marker waits for all that was begun before it. */
static bool may_start(const struct projection *p)
{
    if (list_empty(&p->waiting) || p->flying_count >= FLYING_MAX)
        return false;
    const struct job *first = CONTAINER(p->waiting.next, struct job, link);
    return first->kind != JOB_MARKER || p->flying_count == 0;
}

static void pump(void *arg)
{
    struct projection *p = arg;

    if (p->held || p->stopped)
        return;
    if (!redis_up(p->ledger->redis)) {
        pump_soon(p, RETRY_MS);
        return;
    }
    for (int i = 0; i < FLYING_MAX && may_start(p); i++)
        start(p);
    if (may_start(p))
        pump_soon(p, 0);
}

int projection_new(struct projection **out, struct ledger *l)
{
    struct projection *p = mem_zero(sizeof(*p));

    p->ledger = l;
    p->held = true; /* until the recovery says that this Redis is the one */
    list_init(&p->waiting);
    list_init(&p->flying);
    list_init(&p->waiters);
    billing_scripts_init(&p->scripts);
    *out = p;
    return 0;
}

void projection_stop(struct projection *p)
{
    p->stopped = true;
    loop_timer_cancel(p->ledger->loop, &p->timer);
    LIST_FOREACH_SAFE(it, &p->waiters)
        waiter_end(CONTAINER(it, struct waiter, link), false);
}

void projection_free(struct projection *p)
{
    if (!p)
        return;
    CHECK(p->flying_count == 0);
    LIST_FOREACH_SAFE(it, &p->waiting) {
        list_del(it);
        job_free(CONTAINER(it, struct job, link));
    }
    map_fini(&p->by_name);
    free(p);
}
