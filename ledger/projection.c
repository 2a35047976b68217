/* A job is one thing of the books. It runs in phases: what a phase sends is answered before the
 * next begins; a job that failed begins anew. */
#include "ledger/projection.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "auth/marker.h"
#include "base/clock.h"
#include "base/fail_point.h"
#include "base/log.h"
#include "base/map.h"
#include "base/random.h"
#include "billing/layout.h"
#include "billing/scripts.h"
#include "ledger/books/account.h"
#include "ledger/books/facts.h"
#include "ledger/books/key.h"
#include "ledger/books/prices.h"
#include "ledger/books/record.h"
#include "ledger/books/usage.h"
#include "ledger/recovery.h"

enum {
    FLYING_MAX = 32, /* jobs at a time */
    RETRY_MS = 500,
    PAGE = 500,
    NAME = 96,
    NUMBER_LEN = 24,
    USAGE_DAY_S = 86400,
    FIELDS_MAX = 200 /* pairs in one HSET */
};

enum kind {
    JOB_ALL,
    JOB_ACCOUNT,
    JOB_RESTORE,
    JOB_KEYS_OF,
    JOB_KEY,
    JOB_PRICES,
    JOB_USAGE,
    JOB_MARKER
};

struct job {
    struct projection *projection;
    enum kind kind;
    char name[NAME]; /* account, key; "" */
    int64_t day;
    uint64_t seq;
    struct list link;
    unsigned phase, pending;
    int error;
    bool running, again;         /* in its phase; the phase is to be done once more */
    struct redis_script restore; /* with as many keys as there are holds */
    json_t *calls;               /* JOB_RESTORE: of the open holds */
};

struct waiter {
    struct projection *projection;
    uint64_t mark;
    projection_known_fn *fn;
    void *arg;
    struct loop_timer timer;
    struct list link;
};

struct projection {
    struct ledger *ledger;
    struct billing_scripts scripts;
    struct list waiting, flying, waiters;
    struct map by_name; /* of what waits: kind and name -> job */
    size_t waiting_count, flying_count;
    uint64_t seq;
    struct loop_timer timer;
    bool held, stopped;
};

static void pump(void *arg);

static void pump_soon(struct projection *p, uint64_t ms)
{
    if (!p->stopped && !loop_timer_is_set(&p->timer))
        loop_timer_set(p->ledger->loop, &p->timer, ms, pump, p);
}

/* ---- What waits ---- */

static size_t job_key(char out[static NAME + 32], enum kind kind, const char *name, int64_t day)
{
    return (size_t)snprintf(out, NAME + 32, "%d %s %" PRId64, (int)kind, name, day);
}

static void ask(struct projection *p, enum kind kind, const char *name, int64_t day)
{
    char key[NAME + 32];
    const size_t len = job_key(key, kind, name, day);

    p->seq++;
    if (p->stopped || map_get(&p->by_name, span_of(key, len)))
        return; /* it is read when its turn comes */
    struct job *j = mem_zero(sizeof(*j));
    j->projection = p;
    j->kind = kind;
    j->day = day;
    j->seq = p->seq;
    snprintf(j->name, sizeof(j->name), "%s", name);
    list_push(&p->waiting, &j->link);
    p->waiting_count++;
    map_put(&p->by_name, span_of(key, len), j);
    pump_soon(p, 0);
}

void projection_account(struct projection *p, const char *account)
{
    ask(p, JOB_ACCOUNT, account, 0);
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

static void waiter_end(struct waiter *w, bool known)
{
    list_del(&w->link);
    loop_timer_cancel(w->projection->ledger->loop, &w->timer);
    w->fn(w->arg, known);
    free(w);
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

static void step(struct job *j);

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
        ask(p, j->kind, j->name, j->day);
        loop_timer_cancel(p->ledger->loop, &p->timer);
        pump_soon(p, RETRY_MS);
    }
    job_free(j);
    tell_waiters(p);
    pump_soon(p, 0);
}

static void answered(struct job *j, int error)
{
    if (error < 0 && j->error == 0)
        j->error = error;
    if (--j->pending == 0 && !j->running)
        step(j);
}

static void on_reply(void *arg, int error, const struct redisReply *reply)
{
    if (error == 0 && redis_reply_type(reply) == REDIS_FAILURE)
        error = E_DENIED;
    answered(arg, error);
}

/* Scripts say ok, or why nothing changed. What is stale is right: something newer is there. */
static void on_said(void *arg, int error, const struct redisReply *reply)
{
    struct job *j = arg;
    const struct span said = error == 0 ? redis_reply_text(reply) : SPAN("");

    if (error == 0 && redis_reply_type(reply) == REDIS_FAILURE)
        error = E_DENIED;
    else if (error == 0 && span_is(said, "moved"))
        j->again = true;
    else if (error == 0 && !span_is(said, "ok") && !span_is(said, "stale"))
        log_event(LOG_ERROR, "projection", "account=%s script=%.*s", j->name, SPAN_FMT(said));
    answered(j, error);
}

static void count(struct job *j, int error)
{
    if (error == 0)
        j->pending++;
    else if (j->error == 0)
        j->error = error;
}

static void send_command(struct job *j, const struct span *argv, size_t argc)
{
    count(j, redis_command(j->projection->ledger->redis, argv[1], argv, argc, on_reply, j));
}

#define SEND(j, ...)                                                                               \
    send_command(j, (const struct span[]){__VA_ARGS__},                                            \
                 sizeof((const struct span[]){__VA_ARGS__}) / sizeof(struct span))

static void run_script(struct job *j, const struct redis_script *script, struct span key,
                       const struct span *args, size_t argc)
{
    count(j, redis_script_run(j->projection->ledger->redis, script, &key, args, argc, on_said, j));
}

static void send_field(struct job *j, const char *account, const char *name, int64_t version,
                       const char *value)
{
    char key[LAYOUT_KEY_LEN], number[NUMBER_LEN];

    snprintf(key, sizeof(key), LAYOUT_ACCOUNT, account);
    snprintf(number, sizeof(number), "%" PRId64, version);
    const struct span args[] = {span_str(name), span_str(number), span_str(value)};
    run_script(j, &j->projection->scripts.field, span_str(key), args, 3);
}

/* ---- Accounts ---- */

static void put_limits(struct buf *out, const json_t *settings)
{
    buf_printf(out, "%" PRId64 "|%" PRId64 "|%" PRId64,
               record_int(settings, "limits.requests_per_minute", 0),
               record_int(settings, "limits.tokens_per_minute", 0),
               record_int(settings, "limits.streams", 0));
}

/* state|requests|tokens|streams|day|month|total (billing/layout.h) */
static void put_cfg(struct buf *out, const json_t *it)
{
    buf_printf(out, "%s|", record_text(it, "state", "suspended"));
    put_limits(out, it);
    buf_printf(out, "|%s|%s|%s", record_text(it, "budgets.day", "0"),
               record_text(it, "budgets.month", "0"), record_text(it, "budgets.total", "0"));
}

static void send_account(struct job *j, const json_t *account)
{
    AUTO(buf_fini) struct buf cfg = {0};
    char key[LAYOUT_KEY_LEN], version[NUMBER_LEN], epoch[NUMBER_LEN];

    put_cfg(&cfg, account);
    snprintf(key, sizeof(key), LAYOUT_ACCOUNT, j->name);
    snprintf(version, sizeof(version), "%" PRId64, record_int(account, "version", 0));
    snprintf(epoch, sizeof(epoch), "%" PRId64, recovery_number(j->projection->ledger->recovery));
    const struct span args[] = {span_str(version), span_str(epoch),
                                span_str(record_text(account, "granted", "0")), buf_span(&cfg),
                                span_str(record_text(account, "charged", "0"))};
    run_script(j, &j->projection->scripts.account, span_str(key), args, 5);
}

static void send_models(struct job *j, const json_t *account)
{
    const char *model;
    json_t *limits;

    json_object_foreach(json_object_get(account, "per_model"), model, limits) {
        AUTO(buf_fini) struct buf name = {0};
        AUTO(buf_fini) struct buf value = {0};
        buf_printf(&name, "m:%s", model);
        buf_printf(&value, "%" PRId64 "|%" PRId64 "|%" PRId64,
                   record_int(limits, "requests_per_minute", 0),
                   record_int(limits, "tokens_per_minute", 0), record_int(limits, "streams", 0));
        send_field(j, j->name, buf_cstr(&name), record_int(account, "version", 0),
                   buf_cstr(&value));
    }
}

static void send_project(struct job *j, const json_t *project)
{
    AUTO(buf_fini) struct buf cfg = {0};
    char name[NAME + 2];

    put_cfg(&cfg, project);
    snprintf(name, sizeof(name), "p:%s", record_text(project, "id", ""));
    send_field(j, j->name, name, record_int(project, "version", 0), buf_cstr(&cfg));
}

static int send_projects(struct job *j, struct books *b)
{
    char after[2 * NAME] = "";
    bool more = true;

    while (more) {
        AUTO_JSON json_t *page = NULL;
        TRY(projects_list(b, j->name, after, PAGE, &page));
        const json_t *data = json_object_get(page, "data");
        for (size_t i = 0; i < json_array_size(data); i++) {
            const json_t *project = json_array_get(data, i);
            send_project(j, project);
            snprintf(after, sizeof(after), "%s/%s", j->name, record_text(project, "id", ""));
        }
        more = json_is_true(json_object_get(page, "has_more"));
    }
    return 0;
}

static int run_account(struct job *j, struct books *b)
{
    AUTO_JSON json_t *account = NULL;

    TRY(account_find(b, j->name, &account));
    if (j->kind == JOB_ACCOUNT)
        send_account(j, account);
    send_models(j, account);
    return send_projects(j, b);
}

/* ---- Restoring an account: the open holds are read first ---- */

static void on_holds(void *arg, int error, const struct redisReply *reply)
{
    struct job *j = arg;

    json_decref(j->calls);
    j->calls = json_array();
    for (size_t i = 0; error == 0 && i < redis_reply_count(reply); i++) {
        const struct span call = redis_reply_text(redis_reply_at(reply, i));
        json_array_append_new(j->calls, json_stringn((const char *)call.data, call.len));
    }
    on_reply(j, error, reply);
}

static void read_holds(struct job *j)
{
    char key[LAYOUT_KEY_LEN];

    snprintf(key, sizeof(key), LAYOUT_HOLDS, j->name);
    const struct span argv[] = {SPAN("ZRANGE"), span_str(key), SPAN("0"), SPAN("-1")};
    count(j, redis_command(j->projection->ledger->redis, argv[1], argv, 4, on_holds, j));
}

static int send_restore(struct job *j, struct books *b)
{
    AUTO_JSON json_t *account = NULL;
    AUTO(buf_fini) struct buf cfg = {0};
    const size_t holds = json_array_size(j->calls);
    char version[NUMBER_LEN], epoch[NUMBER_LEN];

    TRY(account_find(b, j->name, &account));
    struct span *keys = mem_zero((holds + 2) * sizeof(*keys));
    struct span *args = mem_zero((holds + 5) * sizeof(*args));
    char(*rows)[LAYOUT_KEY_LEN] = mem_zero((holds + 2) * sizeof(*rows));
    snprintf(rows[0], LAYOUT_KEY_LEN, LAYOUT_ACCOUNT, j->name);
    snprintf(rows[1], LAYOUT_KEY_LEN, LAYOUT_HOLDS, j->name);
    put_cfg(&cfg, account);
    snprintf(version, sizeof(version), "%" PRId64, record_int(account, "version", 0));
    snprintf(epoch, sizeof(epoch), "%" PRId64, recovery_number(j->projection->ledger->recovery));
    args[0] = span_str(epoch);
    args[1] = span_str(version);
    args[2] = span_str(record_text(account, "granted", "0"));
    args[3] = span_str(record_text(account, "charged", "0"));
    args[4] = buf_span(&cfg);
    for (size_t i = 0; i < holds; i++) {
        const char *call = json_string_value(json_array_get(j->calls, i));
        snprintf(rows[2 + i], LAYOUT_KEY_LEN, LAYOUT_HOLD, j->name, call);
        args[5 + i] = span_str(call);
    }
    for (size_t i = 0; i < holds + 2; i++)
        keys[i] = span_str(rows[i]);
    billing_restore_init(&j->restore, (unsigned)holds + 2);
    count(j, redis_script_run(j->projection->ledger->redis, &j->restore, keys, args, holds + 5,
                              on_said, j));
    free(keys);
    free(args);
    free(rows);
    return 0;
}

static int run_restore(struct job *j, struct books *b)
{
    switch (j->phase) {
    case 1:
        read_holds(j);
        return 0;
    case 2:
        j->again = false;
        return send_restore(j, b);
    case 3:
        if (j->again) {
            j->phase = 1;
            read_holds(j);
            return 0;
        }
        return run_account(j, b);
    default:
        return E_NOT_FOUND;
    }
}

/* ---- Keys ---- */

static void send_record(void *arg, const char *lookup, struct span record)
{
    char key[64];

    snprintf(key, sizeof(key), "key:{%s}", lookup);
    SEND(arg, SPAN("SET"), span_str(key), record);
}

struct publishing {
    struct job *job;
    char marker[FACTS_MARKER_LEN];
};

/* The marker of the record's slot moves on with it: a Redis set back behind this change is noticed.
 */
static void publish(void *arg, const char *lookup, struct span record)
{
    const struct publishing *p = arg;
    const struct redis *redis = p->job->projection->ledger->redis;
    char key[64], marker[MARKER_KEY_LEN];

    (void)record;
    snprintf(key, sizeof(key), "key:{%s}", lookup);
    marker_key(redis, marker_of(redis, span_str(key)), marker);
    if (recovery_state(p->job->projection->ledger->recovery) == RECOVERY_OPEN)
        SEND(p->job, SPAN("SET"), span_str(marker), span_str(p->marker));
    SEND(p->job, SPAN("PUBLISH"), SPAN("keys:changed"), span_str(lookup));
}

static int run_publish(struct job *j, struct books *b, const json_t *key)
{
    struct publishing p = {.job = j};

    TRY(facts_keys_marker(b, p.marker));
    return key_project(b, key, publish, &p);
}

/* The account's slot first: from then on the old record admits nothing (auth.md). */
static int run_key(struct job *j, struct books *b)
{
    AUTO_JSON json_t *key = NULL;
    char name[NAME + 3], version[NUMBER_LEN];

    TRY(key_find(b, j->name, &key));
    switch (j->phase) {
    case 1:
        snprintf(name, sizeof(name), "kv:%s", j->name);
        snprintf(version, sizeof(version), "%" PRId64, record_int(key, "version", 0));
        send_field(j, record_text(key, "account", ""), name, record_int(key, "version", 0),
                   version);
        return 0;
    case 2:
        return key_project(b, key, send_record, j);
    default:
        return run_publish(j, b, key);
    }
}

static int run_keys_of(struct job *j, struct books *b)
{
    char after[NAME] = "";
    bool more = true;

    while (more) {
        AUTO_JSON json_t *page = NULL;
        TRY(keys_list(b, j->name, after, PAGE, &page));
        const json_t *data = json_object_get(page, "data");
        for (size_t i = 0; i < json_array_size(data); i++) {
            snprintf(after, sizeof(after), "%s", record_text(json_array_get(data, i), "id", ""));
            projection_key(j->projection, after);
        }
        more = json_is_true(json_object_get(page, "has_more"));
    }
    return 0;
}

/* Gateways take Redis for emptied without it: written when every record stands there. */
static int run_marker(struct job *j, struct books *b)
{
    const struct redis *redis = j->projection->ledger->redis;
    char marker[96], key[MARKER_KEY_LEN];

    TRY(facts_keys_marker(b, marker));
    for (size_t i = 0; i < marker_count(redis); i++) {
        marker_key(redis, i, key);
        SEND(j, SPAN("SET"), span_str(key), span_str(marker));
    }
    SEND(j, SPAN("SET"), SPAN(MARKER_FIRST), span_str(marker));
    return 0;
}

/* ---- Prices and usage ---- */

static void send_book(void *arg, int64_t version, struct span book)
{
    char key[64];

    snprintf(key, sizeof(key), LAYOUT_BOOK, (long long)version);
    SEND(arg, SPAN("SET"), span_str(key), book);
}

static int run_prices(struct job *j, struct books *b)
{
    AUTO_JSON json_t *newest = NULL;
    char version[NUMBER_LEN];

    if (j->phase == 1)
        return prices_each(b, send_book, j);
    const int error = prices_find(b, 0, &newest);
    if (error < 0)
        return error;
    snprintf(version, sizeof(version), "%" PRId64, record_int(newest, "version", 0));
    if (j->phase == 2)
        SEND(j, SPAN("SET"), SPAN(LAYOUT_CURRENT), span_str(version));
    else
        SEND(j, SPAN("PUBLISH"), SPAN(LAYOUT_CHANGED), span_str(version));
    return 0;
}

struct fields {
    struct job *job;
    struct span key;
};

static void send_usage_field(void *arg, struct span field, struct span value)
{
    const struct fields *f = arg;

    SEND(f->job, SPAN("HSET"), f->key, field, value);
}

static void usage_key(char out[static LAYOUT_KEY_LEN], const char *account, int64_t day)
{
    const time_t at = (time_t)day * USAGE_DAY_S;
    char date[16] = "";
    struct tm tm;

    if (gmtime_r(&at, &tm))
        strftime(date, sizeof(date), "%Y-%m-%d", &tm);
    snprintf(out, LAYOUT_KEY_LEN, LAYOUT_USAGE, account, date);
}

static int64_t first_day(const struct job *j)
{
    return (int64_t)(clock_wall_ms() / 1000 / USAGE_DAY_S) -
           ledger_settings(j->projection->ledger)->usage_days;
}

static int run_usage(struct job *j, struct books *b)
{
    char key[LAYOUT_KEY_LEN], seconds[NUMBER_LEN];
    struct fields f = {j, {NULL, 0}};

    if (j->day < first_day(j))
        return 0;
    usage_key(key, j->name, j->day);
    f.key = span_str(key);
    snprintf(seconds, sizeof(seconds), "%" PRId64, (j->day - first_day(j) + 1) * USAGE_DAY_S);
    TRY(usage_day(b, j->name, j->day, send_usage_field, &f));
    SEND(j, SPAN("EXPIRE"), f.key, span_str(seconds));
    return 0;
}

/* ---- Everything ---- */

static void ask_usage(void *arg, const char *account, int64_t day)
{
    projection_usage(arg, account, day);
}

static int run_all(struct job *j, struct books *b)
{
    const enum kind kind = j->name[0] ? JOB_RESTORE : JOB_ACCOUNT;
    struct projection *p = j->projection;
    char after[NAME] = "";
    bool more = true;

    while (more) {
        AUTO_JSON json_t *page = NULL;
        TRY(accounts_list(b, after, PAGE, &page));
        const json_t *data = json_object_get(page, "data");
        for (size_t i = 0; i < json_array_size(data); i++) {
            snprintf(after, sizeof(after), "%s", record_text(json_array_get(data, i), "id", ""));
            ask(p, kind, after, 0);
        }
        more = json_is_true(json_object_get(page, "has_more"));
    }
    projection_prices(p);
    struct job every = {.projection = p, .kind = JOB_KEYS_OF};
    TRY(run_keys_of(&every, b));
    TRY(usage_days(b, first_day(j), ask_usage, p));
    ask(p, JOB_MARKER, "", 0);
    return 0;
}

/* ---- Running ---- */

static const struct {
    int (*run)(struct job *j, struct books *b);
    unsigned phases;
} kinds[] = {
    [JOB_ALL] = {run_all, 1},         [JOB_ACCOUNT] = {run_account, 1},
    [JOB_RESTORE] = {run_restore, 3}, [JOB_KEYS_OF] = {run_keys_of, 1},
    [JOB_KEY] = {run_key, 3},         [JOB_PRICES] = {run_prices, 3},
    [JOB_USAGE] = {run_usage, 1},     [JOB_MARKER] = {run_marker, 1},
};

static int run_phase(struct job *j)
{
    struct books *b = j->projection->ledger->books;

    TRY(books_begin(b));
    return books_end(b, kinds[j->kind].run(j, b));
}

/* Goes on until something is to be answered. */
static void step(struct job *j)
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
    char key[NAME + 32];

    if (!link)
        return;
    struct job *j = CONTAINER(link, struct job, link);
    map_del(&p->by_name, span_of(key, job_key(key, j->kind, j->name, j->day)));
    p->waiting_count--;
    p->flying_count++;
    list_push(&p->flying, &j->link);
    step(j);
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
