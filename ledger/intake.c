/* Streams are read from their beginning: what was taken is trimmed, and an entry that is read again
 * changes nothing. One transaction a batch. */
#include "ledger/intake.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/fail_point.h"
#include "base/list.h"
#include "base/log.h"
#include "billing/layout.h"
#include "ledger/books/record.h"
#include "ledger/intake_entry.h"
#include "ledger/keyring.h"
#include "ledger/projection.h"
#include "ledger/recovery.h"
#include "ledger/watch.h"

enum { LOOK_MS = 50, WAITS_MS = 1000, FAILED_MS = 1000, WHO_MS = 1000, BATCH = 500, LAST_LEN = 48 };

struct source {
    struct intake *intake;
    char instance[LAYOUT_NAME_MAX + 1], stream[LAYOUT_KEY_LEN];
    int64_t n;          /* taken so far */
    uint64_t oldest_ms; /* of the batch under way, by Redis' clock; 0: none waits */
    int64_t waiting;
    struct key_wait wait;
    uint64_t again_ms; /* it is not looked at before; by the loop's clock */
    bool asking, dropped;
    uint64_t empty_pass; /* the pass in which nothing was left that could be taken */
    struct list link;
};

struct intake {
    struct ledger *ledger;
    struct loop_timer look, who;
    struct list sources;
    uint64_t pass, passes;
    bool stopped, asked_who;
};

static void look(void *arg);

static int command(struct intake *i, const struct span *argv, size_t argc, redis_reply_fn *fn,
                   void *arg)
{
    if (i->stopped)
        return E_CLOSED;
    return redis_command(i->ledger->redis, argv[1], argv, argc, fn, arg);
}

static void nothing(void *arg, int error, const struct redisReply *reply)
{
    (void)arg, (void)error, (void)reply;
}

/* ---- Who sends ---- */

static struct source *find(const struct intake *i, struct span instance)
{
    LIST_FOREACH(it, &i->sources) {
        struct source *s = CONTAINER(it, struct source, link);
        if (span_is(instance, s->instance))
            return s;
    }
    return NULL;
}

/* n: what the books have of it. */
static void add(struct intake *i, struct span instance, int64_t n)
{
    struct source *s = mem_zero(sizeof(*s));

    s->intake = i;
    s->n = n;
    CHECK(span_cstr(instance, s->instance, sizeof(s->instance)) == 0);
    snprintf(s->stream, sizeof(s->stream), LAYOUT_BILLS, s->instance);
    list_push(&i->sources, &s->link);
}

static int add_known(struct intake *i)
{
    AUTO(rows_free) struct rows *rows = NULL;
    int row;

    TRY(db_select(&rows, i->ledger->books->db, "SELECT stream, n FROM cursors WHERE dropped = 0",
                  NULL, 0));
    while ((row = rows_next(rows)) > 0)
        add(i, rows_bytes(rows, 0), rows_int(rows, 1));
    return row;
}

static int read_cursor(struct books *b, struct span instance, int64_t *n)
{
    TRY(bill_cursor(b, instance, n));
    return bill_cursor_set(b, instance, *n);
}

/* One that Redis names: perhaps a recovery went on without it, and it is back. The books name it
 * from now on, for when Redis does not. */
static void add_named(struct intake *i, struct span instance)
{
    struct books *b = i->ledger->books;
    int64_t n = 0;

    if (!record_id_valid(instance) || find(i, instance))
        return;
    int error = books_begin(b);
    if (error == 0)
        error = books_end(b, read_cursor(b, instance, &n));
    if (error < 0)
        log_event(LOG_ERROR, "intake", "instance=%.*s error=%s", SPAN_FMT(instance),
                  error_name(error));
    else
        add(i, instance, n);
}

static void on_instances(void *arg, int error, const struct redisReply *reply)
{
    struct intake *i = arg;

    for (size_t k = 0; error == 0 && k < redis_reply_count(reply); k++)
        add_named(i, redis_reply_text(redis_reply_at(reply, k)));
    i->asked_who = i->asked_who || (error == 0 && redis_reply_type(reply) == REDIS_LIST);
}

static void ask_who(void *arg)
{
    static const struct span instances[] = {SPAN("SMEMBERS"), SPAN(LAYOUT_INSTANCES)};
    struct intake *i = arg;

    loop_timer_set(i->ledger->loop, &i->who, WHO_MS, ask_who, i);
    if (!redis_up(i->ledger->redis))
        return;
    keyring_look(
        i->ledger->keyring); /* first: the bills of those that come next are signed by them */
    (void)!command(i, instances, 2, on_instances, i);
}

/* ---- Taking ---- */

struct batch {
    struct source *source;
    int64_t n;
    struct span last; /* id of the last entry read */
    int64_t taken;
    bool waits; /* the next one does, for its key */
};

static void note_outcome(struct intake *i, const struct bill_entry *e,
                         const struct bill_outcome *out)
{
    struct ledger_counters *c = &i->ledger->counters;

    c->bills += out->result == BILL_TAKEN;
    c->known += out->result == BILL_KNOWN;
    c->conflicts += out->result == BILL_REFUSED;
    if (out->result == BILL_TAKEN)
        projection_usage(i->ledger->projection, out->account, out->hour / 24);
    if (out->result == BILL_REFUSED)
        log_event(LOG_ERROR, "bill_refused", "instance=%.*s n=%" PRId64 " reason=%s",
                  SPAN_FMT(e->instance), e->n, out->reason);
}

/* What is behind a gap is read again when its gateway sends it again. */
static int take_entry(struct batch *b, const struct redisReply *reply)
{
    struct intake *i = b->source->intake;
    struct bill_entry e = {.instance = span_str(b->source->instance)};
    struct bill_outcome out;

    const struct span id = redis_entry_id(reply);
    const bool good = id.data && intake_entry_read(redis_reply_at(reply, 1), &e) == 0;
    const enum bill_key_state key =
        good ? keyring_state(i->ledger->keyring, e.bill, &b->source->wait) : BILL_KEY_COUNTS;

    b->waits = key == BILL_KEY_UNKNOWN;
    if (b->waits)
        return 0;
    b->last = id;
    if (key == BILL_KEY_REVOKED) /* its gateway's next key goes on behind what the books have */
        return 0;
    if (!good) {
        log_event(LOG_ERROR, "bill_refused", "instance=%s reason=entry", b->source->instance);
        return 0;
    }
    if (e.n > b->n + 1)
        return 0;
    TRY(bill_take(i->ledger->books, keyring_keys(i->ledger->keyring), &e, &out));
    b->n = e.n > b->n ? e.n : b->n;
    b->taken++;
    note_outcome(i, &e, &out);
    if (out.result != BILL_TAKEN)
        return 0;
    TRY(recovery_charged(i->ledger->recovery, e.epoch));
    return watch_balance(i->ledger, out.account);
}

static int take_entries(struct batch *b, const struct redisReply *entries)
{
    struct books *books = b->source->intake->ledger->books;

    for (size_t k = 0; k < redis_reply_count(entries) && !b->waits; k++)
        TRY(take_entry(b, redis_reply_at(entries, k)));
    return b->n > b->source->n ? bill_cursor_set(books, span_str(b->source->instance), b->n) : 0;
}

static void say_mark(struct intake *i, struct span instance, int64_t number)
{
    char n[24];

    snprintf(n, sizeof(n), "%" PRId64, number);
    const struct span acked[] = {SPAN("HSET"), SPAN(LAYOUT_ACKED), instance, span_str(n)};
    (void)!command(i, acked, 4, nothing, NULL);
}

static void acknowledge(struct source *s, struct span last)
{
    char minid[LAST_LEN];
    struct span rest = last;
    const struct span ms = span_split(&rest, '-');
    uint64_t seq = 0;

    say_mark(s->intake, span_str(s->instance), s->n);
    if (span_u64(rest, INT64_MAX, &seq) < 0 || ms.len > 20)
        return;
    snprintf(minid, sizeof(minid), "%.*s-%" PRIu64, SPAN_FMT(ms), seq + 1);
    const struct span trim[] = {SPAN("XTRIM"), span_str(s->stream), SPAN("MINID"), span_str(minid)};
    (void)!command(s->intake, trim, 4, nothing, NULL);
}

static uint64_t id_ms(struct span id)
{
    uint64_t ms = 0;

    (void)span_u64(span_split(&id, '-'), INT64_MAX, &ms);
    return ms;
}

/* Nothing can be taken from it for now: of all of them that is one pass. */
static void count_pass(struct source *s)
{
    struct intake *i = s->intake;

    s->empty_pass = i->pass;
    LIST_FOREACH(it, &i->sources)
        if (CONTAINER(it, struct source, link)->empty_pass != i->pass)
            return;
    i->passes++;
    i->pass++;
}

/* Others need not wait until somebody vouches for its key. */
static void found_waiting(struct source *s)
{
    if (s->wait.looked)
        s->again_ms = loop_now(s->intake->ledger->loop) + WAITS_MS;
    count_pass(s);
}

/* False: there is nothing more to take for now. */
static bool take_batch(struct source *s, const struct redisReply *entries)
{
    struct books *books = s->intake->ledger->books;
    struct batch b = {.source = s, .n = s->n};
    char last[LAST_LEN] = "";

    s->waiting = (int64_t)redis_reply_count(entries);
    s->oldest_ms = id_ms(redis_entry_id(redis_reply_at(entries, 0)));
    int error = keyring_ready(s->intake->ledger->keyring);
    if (error == 0)
        error = books_begin(books);
    if (error == 0) {
        error = take_entries(&b, entries);
        fail_point("books.bills.before");
        error = books_end(books, error);
        fail_point("books.bills.after");
    }
    if (error < 0) {
        log_event(LOG_ERROR, "intake", "instance=%s error=%s", s->instance, error_name(error));
        loop_timer_set(s->intake->ledger->loop, &s->intake->look, FAILED_MS, look, s->intake);
        return false;
    }
    s->n = b.n;
    if (b.waits && !b.last.data)
        found_waiting(s);
    if (b.last.data && span_cstr(b.last, last, sizeof(last)) == 0)
        acknowledge(s, span_str(last));
    return !b.waits && redis_reply_count(entries) == BATCH;
}

static void found_empty(struct source *s)
{
    s->waiting = 0;
    s->oldest_ms = 0;
    count_pass(s);
}

static void free_source(void *source)
{
    free(source);
}

static void source_end(struct source *s)
{
    list_del(&s->link);
    loop_defer_free(s->intake->ledger->loop, s, free_source);
}

static void on_entries(void *arg, int error, const struct redisReply *reply)
{
    struct source *s = arg;
    struct intake *i = s->intake;

    s->asking = false;
    if (s->dropped)
        source_end(s);
    if (error < 0 || i->stopped || s->dropped)
        return;
    /* [[stream, entries]], or nothing */
    const struct redisReply *stream =
        redis_reply_count(reply) == 1 ? redis_reply_at(reply, 0) : NULL;
    const struct redisReply *entries =
        stream && redis_reply_count(stream) == 2 ? redis_reply_at(stream, 1) : NULL;
    if (entries && redis_reply_count(entries) > 0) {
        if (take_batch(s, entries))
            loop_timer_set(i->ledger->loop, &i->look, 0, look, i);
    } else if (redis_reply_type(reply) == REDIS_NULL) {
        found_empty(s);
    }
}

static void look(void *arg)
{
    struct intake *i = arg;

    loop_timer_set(i->ledger->loop, &i->look, LOOK_MS, look, i);
    if (!redis_up(i->ledger->redis))
        return;
    if (list_empty(&i->sources) && i->asked_who)
        i->passes++;
    LIST_FOREACH(it, &i->sources) {
        struct source *s = CONTAINER(it, struct source, link);
        const struct span argv[] = {SPAN("XREAD"),   SPAN("COUNT"),       SPAN("500"),
                                    SPAN("STREAMS"), span_str(s->stream), SPAN("0-0")};
        if (loop_now(i->ledger->loop) < s->again_ms)
            count_pass(s);
        else if (!s->asking && !i->stopped)
            s->asking = redis_command(i->ledger->redis, argv[4], argv, 6, on_entries, s) == 0;
    }
}

/* ---- What others see ---- */

uint64_t intake_passes(const struct intake *i)
{
    return i->passes;
}

void intake_each(const struct intake *i, intake_instance_fn *fn, void *arg)
{
    LIST_FOREACH(it, &i->sources)
        fn(arg, span_str(CONTAINER(it, struct source, link)->instance));
}

void intake_drop(struct intake *i, const char *instance)
{
    struct source *s = find(i, span_str(instance));

    if (!s)
        return;
    s->dropped = true;
    if (!s->asking)
        source_end(s);
}

/* Of everyone, those that were dropped as well: a new journal begins above it. */
static int say_marks(struct intake *i)
{
    AUTO(rows_free) struct rows *rows = NULL;
    int row;

    TRY(db_select(&rows, i->ledger->books->db, "SELECT stream, n FROM cursors", NULL, 0));
    while ((row = rows_next(rows)) > 0)
        say_mark(i, rows_bytes(rows, 0), rows_int(rows, 1));
    return row;
}

void intake_forget(struct intake *i)
{
    if (say_marks(i) < 0)
        log_event(LOG_ERROR, "intake", "marks=no");
    i->asked_who = false;
    i->pass++;
    loop_timer_set(i->ledger->loop, &i->who, 0, ask_who, i);
}

void intake_known(struct intake *i, const char *instance, int64_t n)
{
    struct source *s = find(i, span_str(instance));

    if (s && n > s->n)
        s->n = n;
}

uint64_t intake_lag_ms(const struct intake *i)
{
    const uint64_t now = clock_wall_ms();
    uint64_t lag = 0;

    LIST_FOREACH(it, &i->sources) {
        const struct source *s = CONTAINER(it, struct source, link);
        if (s->oldest_ms > 0 && s->oldest_ms < now && now - s->oldest_ms > lag)
            lag = now - s->oldest_ms;
    }
    return lag;
}

json_t *intake_status(const struct intake *i)
{
    json_t *list = json_array();

    LIST_FOREACH(it, &i->sources) {
        const struct source *s = CONTAINER(it, struct source, link);
        json_t *row = record_object();
        record_set_text(row, "instance", span_str(s->instance));
        record_set_int(row, "n", s->n);
        record_set_int(row, "waiting", s->waiting);
        const bool revoked = bill_keys_state(keyring_keys(i->ledger->keyring),
                                             span_str(s->wait.kid)) == BILL_KEY_REVOKED;
        record_set_text(row, "unknown_key",
                        span_str(s->wait.looked && !revoked ? s->wait.kid : ""));
        record_set_text(row, "revoked_key", span_str(revoked ? s->wait.kid : ""));
        json_array_append_new(list, row);
    }
    return list;
}

int intake_new(struct intake **out, struct ledger *l)
{
    struct intake *i = mem_zero(sizeof(*i));

    i->ledger = l;
    i->pass = 1;
    list_init(&i->sources);
    *out = i;
    TRY(add_known(i));
    loop_timer_set(l->loop, &i->look, 0, look, i);
    loop_timer_set(l->loop, &i->who, 0, ask_who, i);
    return 0;
}

void intake_stop(struct intake *i)
{
    i->stopped = true;
    loop_timer_cancel(i->ledger->loop, &i->look);
    loop_timer_cancel(i->ledger->loop, &i->who);
}

void intake_free(struct intake *i)
{
    if (!i)
        return;
    LIST_FOREACH_SAFE(it, &i->sources) {
        list_del(it);
        free(CONTAINER(it, struct source, link));
    }
    free(i);
}
