/* Looks a few times a second; each look is one question of the present state, and every step may be
 * repeated by another start of the ledger. */
#include "ledger/recovery.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/fail_point.h"
#include "base/log.h"
#include "base/map.h"
#include "billing/layout.h"
#include "ledger/books/facts.h"
#include "ledger/intake.h"
#include "ledger/projection.h"

enum { LOOK_MS = 200, PRIMARIES_MAX = 64, RUN_FIELD = 4 + REDIS_RUN_ID_LEN + 1 };

struct recovery {
    struct ledger *ledger;
    struct loop_timer timer;
    enum recovery_state state;
    int64_t number; /* that Redis had when it was last asked; before: that of the books */
    int64_t coming; /* the books': a lower one in Redis does not stand */
    bool asking, stopped;
    struct map missing; /* instances that are waited for */
    uint64_t passes;    /* of the intake, when the last instance had said it */
    bool all_said;
};

static const char *const names[] = {"away", "waiting", "restoring", "open"};

static void become(struct recovery *r, enum recovery_state state)
{
    if (r->state == state)
        return;
    if (r->state == RECOVERY_RESTORING) /* it is over, or another one comes: no word of this one */
        projection_forget(r->ledger->projection, r);
    r->state = state;
    log_event(state == RECOVERY_OPEN ? LOG_INFO : LOG_WARN, "epoch", "n=%" PRId64 " state=%s",
              recovery_number(r), names[state]);
    projection_hold(r->ledger->projection, state != RECOVERY_OPEN && state != RECOVERY_RESTORING);
}

static void nothing(void *arg, int error, const struct redisReply *reply)
{
    (void)arg, (void)error, (void)reply;
}

static int command(struct recovery *r, const struct span *argv, size_t argc, redis_reply_fn *fn)
{
    if (r->stopped)
        return E_CLOSED;
    return redis_command(r->ledger->redis, argv[1], argv, argc, fn, r);
}

/* ---- A new epoch ---- */

/* Fields of m1:epoch: n, run_id (the first primary's), state, run:<id> for each
 * primary. */
static int write_epoch(struct recovery *r)
{
    char ids[PRIMARIES_MAX][REDIS_RUN_ID_LEN + 1], fields[PRIMARIES_MAX][RUN_FIELD], number[24];
    struct span argv[10 + 2 * PRIMARIES_MAX] = {
        SPAN("HSET"), SPAN(LAYOUT_EPOCH), SPAN("n"), SPAN(""), SPAN("state"), SPAN("recovering")};
    const size_t count = redis_run_ids(r->ledger->redis, ids, PRIMARIES_MAX);
    size_t argc = 6;

    if (count == 0)
        return E_UNAVAILABLE;
    snprintf(number, sizeof(number), "%" PRId64, r->coming);
    argv[3] = span_str(number);
    argv[argc++] = SPAN("run_id");
    argv[argc++] = span_str(ids[0]);
    for (size_t i = 0; i < count; i++) {
        snprintf(fields[i], sizeof(fields[i]), "run:%.40s", ids[i]);
        argv[argc++] = span_str(fields[i]);
        argv[argc++] = SPAN("1");
    }
    return command(r, argv, argc, nothing);
}

/* For the servers that it was begun with: one that came since is not restored. */
static int write_open(struct recovery *r, redis_reply_fn *fn)
{
    static const struct span argv[] = {SPAN("HSET"), SPAN(LAYOUT_EPOCH), SPAN("state"),
                                       SPAN("open")};

    return command(r, argv, 4, fn);
}

static int next_number(struct recovery *r)
{
    struct books *b = r->ledger->books;

    TRY(books_begin(b));
    return books_end(b, facts_epoch_next(b, r->number, &r->coming));
}

/* The epoch in force does not stand: the next look begins another one. */
static void doubt(struct recovery *r)
{
    if (r->coming <= r->number)
        r->coming = r->number + 1;
}

/* What did not come to Redis is begun again, by its number: the look after this asks for it. */
static void begin(struct recovery *r)
{
    static const struct span clear[] = {SPAN("DEL"), SPAN(LAYOUT_EPOCH), SPAN("")};

    r->all_said = false;
    fail_point("recovery.begin");
    doubt(r);
    const int error = next_number(r);
    become(r, RECOVERY_WAITING);
    if (error < 0)
        return;
    fail_point("recovery.numbered");
    (void)!command(r, clear, 2, nothing);
    (void)!write_epoch(r);
    intake_forget(r->ledger->intake);
}

/* ---- Waiting ---- */

static void forget_missing(struct recovery *r)
{
    map_fini(&r->missing);
    r->missing = (struct map){0};
}

static void expect(void *arg, struct span instance)
{
    struct recovery *r = arg;

    map_put(&r->missing, instance, r);
}

/* Whether every instance that the books or Redis know has put everything back, and all of it is in
 * the books since. */
static void on_said(void *arg, int error, const struct redisReply *reply)
{
    struct recovery *r = arg;
    uint64_t n;

    r->asking = false;
    if (error < 0 || redis_reply_type(reply) != REDIS_LIST || r->state != RECOVERY_WAITING)
        return;
    forget_missing(r);
    intake_each(r->ledger->intake, expect, r);
    for (size_t i = 0; i + 1 < redis_reply_count(reply); i += 2) {
        const struct span said = redis_reply_text(redis_reply_at(reply, i + 1));
        if (span_u64(said, INT64_MAX, &n) == 0 && (int64_t)n == r->number)
            map_del(&r->missing, redis_reply_text(redis_reply_at(reply, i)));
    }
    if (r->missing.len > 0) {
        r->all_said = false;
        return;
    }
    if (!r->all_said)
        r->passes = intake_passes(r->ledger->intake);
    r->all_said = true;
}

static void ask_said(struct recovery *r)
{
    static const struct span argv[] = {SPAN("HGETALL"), SPAN(LAYOUT_SAID)};

    r->asking = command(r, argv, 2, on_said) == 0;
}

/* ---- Restoring ---- */

static void on_open(void *arg, int error, const struct redisReply *reply)
{
    struct recovery *r = arg;

    if (error == 0 && redis_reply_type(reply) == REDIS_NUMBER && r->state == RECOVERY_RESTORING)
        become(r, RECOVERY_OPEN);
    else
        doubt(r); /* begun anew: the servers may be others by now */
}

static void on_restored(void *arg, bool known)
{
    struct recovery *r = arg;

    if (r->stopped || r->state != RECOVERY_RESTORING || r->coming > r->number)
        return;
    fail_point("recovery.open");
    if (!known || write_open(r, on_open) < 0)
        doubt(r);
}

static void restored_first(void *arg, bool known)
{
    struct recovery *r = arg;

    if (!r->stopped && known) /* the jobs that "everything" asked for */
        projection_await(r->ledger->projection, 3600000, on_restored, r);
    else
        on_restored(r, false);
}

static void restore(struct recovery *r)
{
    fail_point("recovery.restore");
    become(r, RECOVERY_RESTORING);
    projection_all(r->ledger->projection, true);
    projection_await(r->ledger->projection, 3600000, restored_first, r);
}

/* ---- Looking ---- */

/* Whether every primary of now is one for which the epoch holds. */
static bool same_servers(const struct recovery *r, const struct redisReply *reply, size_t *found)
{
    char ids[PRIMARIES_MAX][REDIS_RUN_ID_LEN + 1], field[RUN_FIELD];
    const size_t count = redis_run_ids(r->ledger->redis, ids, PRIMARIES_MAX);
    size_t same = 0;

    *found = count;
    for (size_t i = 0; i < count; i++) {
        snprintf(field, sizeof(field), "run:%.40s", ids[i]);
        for (size_t k = 0; k + 1 < redis_reply_count(reply); k += 2)
            same += span_is(redis_reply_text(redis_reply_at(reply, k)), field);
    }
    return count > 0 && same == count;
}

static struct span field_of(const struct redisReply *reply, const char *name)
{
    for (size_t i = 0; i + 1 < redis_reply_count(reply); i += 2)
        if (span_is(redis_reply_text(redis_reply_at(reply, i)), name))
            return redis_reply_text(redis_reply_at(reply, i + 1));
    return SPAN("");
}

/* In the books is all when every stream was found empty since the last one had said it. */
static void wait_on(struct recovery *r)
{
    if (r->all_said && intake_passes(r->ledger->intake) > r->passes + 1)
        restore(r);
    else
        ask_said(r);
}

static void judge(struct recovery *r, const struct redisReply *reply)
{
    uint64_t n = 0;
    size_t primaries;
    const bool same = same_servers(r, reply, &primaries);

    if (primaries == 0) {
        become(r, RECOVERY_AWAY);
        return;
    }
    if (span_u64(field_of(reply, "n"), INT32_MAX, &n) < 0)
        n = 0;
    r->number = (int64_t)n;
    if (!same || n == 0 || r->number < r->coming) {
        begin(r);
        return;
    }
    r->coming = r->number;
    if (span_is(field_of(reply, "state"), "open")) {
        if (r->state == RECOVERY_AWAY)
            projection_all(r->ledger->projection, false); /* what was missed meanwhile */
        if (r->state != RECOVERY_RESTORING)
            become(r, RECOVERY_OPEN);
        return;
    }
    if (r->state == RECOVERY_AWAY)
        become(r, RECOVERY_WAITING);
    if (r->state == RECOVERY_WAITING)
        wait_on(r);
}

static void on_epoch(void *arg, int error, const struct redisReply *reply)
{
    struct recovery *r = arg;

    r->asking = false;
    if (error == 0 && redis_reply_type(reply) == REDIS_LIST)
        judge(r, reply);
    else if (error == E_UNAVAILABLE)
        become(r, RECOVERY_AWAY);
}

static void look(void *arg)
{
    static const struct span argv[] = {SPAN("HGETALL"), SPAN(LAYOUT_EPOCH)};
    struct recovery *r = arg;

    loop_timer_set(r->ledger->loop, &r->timer, LOOK_MS, look, r);
    if (r->asking)
        return;
    if (!redis_up(r->ledger->redis))
        become(r, RECOVERY_AWAY);
    else
        r->asking = command(r, argv, 2, on_epoch) == 0;
}

int recovery_new(struct recovery **out, struct ledger *l)
{
    struct recovery *r = mem_zero(sizeof(*r));

    r->ledger = l;
    *out = r;
    TRY(facts_epoch(l->books, &r->coming));
    r->number = r->coming;
    loop_timer_set(l->loop, &r->timer, 0, look, r);
    return 0;
}

void recovery_stop(struct recovery *r)
{
    r->stopped = true;
    loop_timer_cancel(r->ledger->loop, &r->timer);
}

void recovery_free(struct recovery *r)
{
    if (!r)
        return;
    forget_missing(r);
    free(r);
}

enum recovery_state recovery_state(const struct recovery *r)
{
    return r->state;
}

int64_t recovery_number(const struct recovery *r)
{
    return r->state == RECOVERY_WAITING ? r->coming : r->number;
}

void recovery_missing(const struct recovery *r, struct buf *out)
{
    size_t at = 0;
    struct span name;
    void *value;

    while (r->state == RECOVERY_WAITING && map_next(&r->missing, &at, &name, &value))
        buf_printf(out, "%s%.*s", out->len ? " " : "", SPAN_FMT(name));
}

int recovery_without(struct recovery *r, const char *instance, redis_reply_fn *fn, void *arg)
{
    const struct span argv[] = {SPAN("SREM"), SPAN(LAYOUT_INSTANCES), span_str(instance)};

    return r->stopped ? E_CLOSED : redis_command(r->ledger->redis, argv[1], argv, 3, fn, arg);
}

void recovery_left_out(struct recovery *r, const char *instance)
{
    intake_drop(r->ledger->intake, instance);
    log_event(LOG_WARN, "epoch", "n=%" PRId64 " without=%s", r->number, instance);
}

int recovery_charged(struct recovery *r, int64_t epoch)
{
    if (r->state == RECOVERY_WAITING || epoch >= r->number)
        return 0;
    if (r->coming <= r->number)
        log_event(LOG_WARN, "epoch", "n=%" PRId64 " late_bill=yes", r->number);
    return recovery_begin(r);
}

int recovery_begin(struct recovery *r)
{
    struct books *b = r->ledger->books;

    TRY(facts_epoch(b, &r->coming));
    return r->coming > r->number ? 0 : facts_epoch_next(b, r->number, &r->coming);
}
