/* One object a hold, and the scripts that move it. A script whose answer did not come is run again
 * until it does: each of them does its work once. */
#include "billing/hold.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/map.h"
#include "billing/nano.h"

enum {
    RETRY_MS = 200,
    MISSES_MAX = 5,
    BREAK_MS = 1000,
    ACCOUNTS_MAX = 100000,
    CALL_MAX = 32,
    NUMBER_LEN = 24
};

enum hold_state { HOLD_PLACING, HOLD_OPEN, HOLD_SETTLING, HOLD_RELEASING };

struct hold {
    struct list link; /* holds.all */
    struct holds *holds;
    enum hold_state state;
    bool sent;              /* a script of SETTLING or RELEASING is under way */
    bool adopted;           /* another process has placed it */
    bool lonely;            /* placing, and nobody waits for the answer any more */
    bool asserting;         /* being put back */
    int64_t asserted;       /* the epoch for whose recovery it was put back */
    struct loop_timer soon; /* a refusal that needs no Redis */
    char call[CALL_MAX + 1];
    char acct[LAYOUT_KEY_LEN], row[LAYOUT_KEY_LEN], open[LAYOUT_KEY_LEN];
    char account[LAYOUT_NAME_MAX + 1];
    struct buf text; /* the row as it was placed, for putting it back: from `instance` on */
    int64_t ceiling;
    uint32_t attempt;
    uint64_t until_ms; /* monotonic */
    hold_placed_fn *answer;
    hold_settled_fn *settled;
    void *arg;
    int64_t amount, tokens;
};

struct holds {
    struct loop *loop;
    struct redis *redis;
    const struct epoch *epoch;
    const struct billing_scripts *scripts;
    char instance[LAYOUT_NAME_MAX + 1];
    struct list all;
    struct map by_call;
    struct map accounts; /* seen: they are in m1:accounts */
    struct loop_timer retry;
    unsigned misses;
    uint64_t broken_until_ms;
    bool stopped;
};

static void hold_free(struct hold *o)
{
    struct holds *h = o->holds;

    if (map_get(&h->by_call, span_str(o->call)) == o)
        (void)map_del(&h->by_call, span_str(o->call));
    loop_timer_cancel(h->loop, &o->soon);
    list_del(&o->link);
    buf_fini(&o->text);
    free(o);
}

static void nothing(void *arg, int error, const struct redisReply *reply)
{
    (void)arg;
    (void)error;
    (void)reply;
}

static void wake_again(void *arg)
{
    holds_wake(arg);
}

static void retry_later(struct holds *h)
{
    if (!h->stopped && !loop_timer_is_set(&h->retry))
        loop_timer_set(h->loop, &h->retry, RETRY_MS, wake_again, h);
}

/* ---- The breaker: five that were not answered in time, and for a second nobody waits ---- */

bool holds_broken(const struct holds *h)
{
    return loop_now(h->loop) < h->broken_until_ms;
}

static void note_answer(struct holds *h, int error)
{
    if (error == 0) {
        h->misses = 0;
        return;
    }
    if (++h->misses < MISSES_MAX)
        return;
    h->misses = MISSES_MAX - 1; /* the next miss opens it again */
    h->broken_until_ms = loop_now(h->loop) + BREAK_MS;
    log_event(LOG_WARN, "money_breaker", "open_ms=%d", BREAK_MS);
}

/* ---- Settling and releasing ---- */

static void hold_send(struct hold *o);

static void keys_of(const struct hold *o, struct span keys[static 3])
{
    keys[0] = span_str(o->acct);
    keys[1] = span_str(o->row);
    keys[2] = span_str(o->open);
}

/* The first word of a script's list. */
static struct span word_of(const struct redisReply *reply)
{
    return redis_reply_count(reply) > 0 ? redis_reply_text(redis_reply_at(reply, 0)) : SPAN("");
}

/* The row of a hold that was placed here outlives it by a day: a Redis without it was emptied, and
 * the recovery that comes puts it back. */
static bool is_lost(const struct hold *o, struct span state)
{
    return span_is(state, "unknown") && !o->adopted &&
           loop_now(o->holds->loop) < o->until_ms + LAYOUT_LATE_MS;
}

static void settle_told(void *arg, int error, const struct redisReply *reply)
{
    struct hold *o = arg;
    struct span word = error == 0 ? word_of(reply) : SPAN("");
    int64_t charged = 0, in_epoch = 0;

    o->sent = false;
    if (error < 0 || redis_reply_count(reply) != 3 || is_lost(o, word) ||
        nano_parse(redis_reply_text(redis_reply_at(reply, 1)), &charged) < 0 ||
        nano_parse(redis_reply_text(redis_reply_at(reply, 2)), &in_epoch) < 0) {
        retry_later(o->holds);
        return;
    }
    enum hold_end end = HOLD_REFUSED;
    if (span_is(word, "settled") || span_is(word, "again"))
        end = HOLD_SETTLED;
    else if (span_is(word, "late_settled") || span_is(word, "again_late"))
        end = HOLD_LATE;
    else
        log_event(LOG_WARN, "settle_refused", "call=%s state=%.*s", o->call, SPAN_FMT(word));
    o->settled(o->arg, end, charged, in_epoch);
    hold_free(o);
}

static int settle_send(struct hold *o)
{
    char amount[NANO_LEN], attempt[NUMBER_LEN], tokens[NUMBER_LEN], life[NUMBER_LEN];
    struct span keys[3];

    keys_of(o, keys);
    snprintf(attempt, sizeof(attempt), "%u", o->attempt);
    snprintf(tokens, sizeof(tokens), "%lld", (long long)o->tokens);
    snprintf(life, sizeof(life), "%d", LAYOUT_SETTLED_MS);
    const struct span args[] = {span_str(o->call), span_str(nano_text(amount, o->amount)),
                                span_str(attempt), span_str(tokens), span_str(life)};
    return redis_script_run(o->holds->redis, &o->holds->scripts->settle, keys, args, 5, settle_told,
                            o);
}

static void release_told(void *arg, int error, const struct redisReply *reply)
{
    struct hold *o = arg;

    o->sent = false;
    if (error == 0 && redis_reply_type(reply) == REDIS_LIST)
        hold_free(o);
    else
        retry_later(o->holds);
}

static int release_send(struct hold *o)
{
    char life[NUMBER_LEN];
    struct span keys[3];

    keys_of(o, keys);
    snprintf(life, sizeof(life), "%d", LAYOUT_DONE_MS);
    const struct span args[] = {span_str(o->call), span_str(life)};
    return redis_script_run(o->holds->redis, &o->holds->scripts->release, keys, args, 2,
                            release_told, o);
}

/* Only while the money is whole: during a recovery the ledger counts what is open. */
static void hold_send(struct hold *o)
{
    struct holds *h = o->holds;

    if (o->sent || h->stopped || (o->state != HOLD_SETTLING && o->state != HOLD_RELEASING))
        return;
    if (epoch_covers(h->epoch, o->acct))
        o->sent = (o->state == HOLD_SETTLING ? settle_send(o) : release_send(o)) == 0;
    if (!o->sent)
        retry_later(h);
}

void hold_settle(struct hold *o, int64_t amount, uint32_t attempt, int64_t tokens,
                 hold_settled_fn *done, void *arg)
{
    CHECK(o->state == HOLD_OPEN);
    o->state = HOLD_SETTLING;
    o->amount = amount;
    o->attempt = attempt;
    o->tokens = tokens;
    o->settled = done;
    o->arg = arg;
    hold_send(o);
}

void hold_release(struct hold *o)
{
    if (o->state == HOLD_PLACING)
        o->lonely = true; /* its answer decides what there is to give back */
    if (o->state != HOLD_OPEN)
        return;
    o->state = HOLD_RELEASING;
    hold_send(o);
}

void hold_attempt(struct hold *o, uint32_t attempt)
{
    char text[NUMBER_LEN];
    const struct span key = span_str(o->row);

    o->attempt = attempt;
    snprintf(text, sizeof(text), "%u", attempt);
    const struct span args[] = {span_str(text)};
    if (redis_script_run(o->holds->redis, &o->holds->scripts->attempt, &key, args, 1, nothing,
                         NULL) < 0)
        return; /* it only matters when this instance dies */
}

int64_t hold_ceiling(const struct hold *o)
{
    return o->ceiling;
}

/* ---- Placing ---- */

static const struct {
    const char *word;
    enum hold_verdict verdict;
} words[] = {
    {"ok", HOLD_OK},         {"absent", HOLD_ABSENT},           {"stale", HOLD_STALE},
    {"epoch", HOLD_EPOCH},   {"suspended", HOLD_SUSPENDED},     {"requests", HOLD_REQUESTS},
    {"tokens", HOLD_TOKENS}, {"tokens_size", HOLD_TOKENS_SIZE}, {"streams", HOLD_STREAMS},
    {"budget", HOLD_BUDGET}, {"balance", HOLD_BALANCE},
};

static int64_t number_at(const struct redisReply *reply, size_t i)
{
    return redis_reply_number(redis_reply_at(reply, i));
}

static void answer_read(struct hold_answer *a, const struct redisReply *reply)
{
    enum { PARTS = 9 };

    if (redis_reply_count(reply) != PARTS)
        return;
    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
        if (span_is(word_of(reply), words[i].word))
            a->verdict = words[i].verdict;
    struct span detail = redis_reply_text(redis_reply_at(reply, 1));
    snprintf(a->detail, sizeof(a->detail), "%.*s", SPAN_FMT(detail));
    a->wait_ms = number_at(reply, 2);
    a->requests = (struct hold_rate){number_at(reply, 3), number_at(reply, 4), number_at(reply, 5)};
    a->tokens = (struct hold_rate){number_at(reply, 6), number_at(reply, 7), number_at(reply, 8)};
}

/* Out of placing: open, gone, or to be given back because nobody waits or nobody knows. */
static void placed(void *arg, int error, const struct redisReply *reply)
{
    struct hold *o = arg;
    struct hold_answer a = {.verdict = HOLD_AWAY, .requests.limit = -1, .tokens.limit = -1};
    hold_placed_fn *answer = o->lonely ? NULL : o->answer;
    void *to = o->arg;

    note_answer(o->holds, error);
    if (error == 0)
        answer_read(&a, reply);
    if (a.verdict == HOLD_OK && answer) {
        o->state = HOLD_OPEN;
    } else if (a.verdict == HOLD_OK || a.verdict == HOLD_AWAY) {
        o->state = HOLD_RELEASING;
        hold_send(o);
    } else {
        hold_free(o);
    }
    if (answer)
        answer(to, &a);
}

static void place_refused(void *arg)
{
    struct hold *o = arg;
    struct hold_answer a = {.verdict =
                                epoch_state(o->holds->epoch) == EPOCH_OPEN ? HOLD_AWAY : HOLD_EPOCH,
                            .requests.limit = -1,
                            .tokens.limit = -1};

    if (!o->lonely)
        o->answer(o->arg, &a);
    hold_free(o);
}

/* Any instance can find the account of a record, and the sweeper the account. */
static void place_index(struct hold *o)
{
    struct holds *h = o->holds;
    char key[LAYOUT_KEY_LEN], life[NUMBER_LEN];

    snprintf(key, sizeof(key), LAYOUT_CALL, o->call);
    snprintf(life, sizeof(life), "%d", LAYOUT_SETTLED_MS);
    const struct span set[] = {SPAN("SET"), span_str(key), span_str(o->account), SPAN("PX"),
                               span_str(life)};
    const struct span add[] = {SPAN("SADD"), SPAN(LAYOUT_ACCOUNTS), span_str(o->account)};
    if (redis_command(h->redis, set[1], set, 5, nothing, NULL) < 0)
        return; /* the hold itself was sent before: its answer tells how Redis is */
    if (map_get(&h->accounts, span_str(o->account)) || h->accounts.len >= ACCOUNTS_MAX)
        return;
    if (redis_command(h->redis, add[1], add, 3, nothing, NULL) == 0)
        (void)map_put(&h->accounts, span_str(o->account), h);
}

static void limits_write(const struct hold_limits *l, char limits[static 3 * NUMBER_LEN],
                         char budgets[static 3 * NUMBER_LEN])
{
    limits[0] = budgets[0] = 0;
    if (l->requests || l->tokens || l->streams)
        snprintf(limits, (size_t)3 * NUMBER_LEN, "%lld|%lld|%lld", (long long)l->requests,
                 (long long)l->tokens, (long long)l->streams);
    if (l->day || l->month || l->total)
        snprintf(budgets, (size_t)3 * NUMBER_LEN, "%lld|%lld|%lld", (long long)l->day,
                 (long long)l->month, (long long)l->total);
}

enum { PLACE_ARGS = 16 };

static int place_send(struct hold *o, const struct hold_terms *t)
{
    struct holds *h = o->holds;
    char limits[3 * NUMBER_LEN], budgets[3 * NUMBER_LEN], ceiling[NANO_LEN];
    char n[7][NUMBER_LEN];
    const int64_t numbers[7] = {epoch_number(h->epoch),
                                (int64_t)t->key_version,
                                (int64_t)t->life_ms,
                                t->tokens,
                                t->price_version,
                                t->bid,
                                t->max_input};
    char max_tokens[NUMBER_LEN];
    struct span keys[3];

    for (size_t i = 0; i < 7; i++)
        snprintf(n[i], NUMBER_LEN, "%lld", (long long)numbers[i]);
    snprintf(max_tokens, sizeof(max_tokens), "%lld", (long long)t->max_tokens);
    limits_write(&t->limits, limits, budgets);
    keys_of(o, keys);
    const struct span args[PLACE_ARGS] = {
        span_str(t->call), span_str(nano_text(ceiling, t->ceiling)),
        span_str(n[0]),    span_str(t->key),
        span_str(n[1]),    span_str(t->project),
        t->model,          span_str(n[2]),
        span_str(n[3]),    span_str(limits),
        span_str(budgets), span_str(h->instance),
        span_str(n[4]),    span_str(n[5]),
        span_str(n[6]),    span_str(max_tokens)};
    /* As admit.lua writes it, but without what it was counted against: a recovery counts anew. */
    buf_printf(&o->text, "%s|%s|%s|%lld|%lld|%lld|%lld|0|||%.*s", h->instance, t->key, t->project,
               (long long)t->price_version, (long long)t->bid, (long long)t->max_input,
               (long long)t->max_tokens, SPAN_FMT(t->model));
    return redis_script_run(h->redis, &h->scripts->admit, keys, args, PLACE_ARGS, placed, o);
}

static struct hold *hold_new(struct holds *h, const char *account, const char *call,
                             int64_t ceiling)
{
    struct hold *o = mem_zero(sizeof(*o));

    CHECK(strlen(call) <= CALL_MAX && strlen(account) <= LAYOUT_NAME_MAX);
    o->holds = h;
    o->ceiling = ceiling;
    snprintf(o->call, sizeof(o->call), "%s", call);
    snprintf(o->account, sizeof(o->account), "%s", account);
    snprintf(o->acct, sizeof(o->acct), LAYOUT_ACCOUNT, account);
    snprintf(o->row, sizeof(o->row), LAYOUT_HOLD, account, call);
    snprintf(o->open, sizeof(o->open), LAYOUT_HOLDS, account);
    list_push(&h->all, &o->link);
    (void)map_put(&h->by_call, span_str(o->call), o);
    return o;
}

struct hold *hold_place(struct holds *h, const struct hold_terms *t, hold_placed_fn *answer,
                        void *arg)
{
    struct hold *o = hold_new(h, t->account, t->call, t->ceiling);

    o->until_ms = loop_now(h->loop) + t->life_ms;
    o->answer = answer;
    o->arg = arg;
    if (!epoch_covers(h->epoch, o->acct) || holds_broken(h) || place_send(o, t) < 0)
        loop_timer_set(h->loop, &o->soon, 0, place_refused, o);
    else
        place_index(o);
    return o;
}

struct hold *hold_adopt(struct holds *h, const char *account, const char *call, int64_t ceiling)
{
    struct hold *o = hold_new(h, account, call, ceiling);

    o->state = HOLD_OPEN;
    o->adopted = true;
    return o;
}

/* ---- Recovery ---- */

/* Its money is still set aside as far as this instance knows. */
static bool is_held(const struct hold *o)
{
    return !o->adopted && (o->state == HOLD_OPEN || o->state == HOLD_SETTLING);
}

/* What this hold charges is in Redis already: only the answer was lost. */
static bool was_charged(const struct hold *o, struct span state)
{
    return o->state == HOLD_SETTLING &&
           (span_is(state, "settled") || span_is(state, "late_settled"));
}

/* No open hold stands for what was charged: its bill has to be in the books before balances are
 * written from them, so the settlement is heard again at once. */
static void assert_told(void *arg, int error, const struct redisReply *reply)
{
    struct hold *o = arg;
    const bool told = error == 0 && redis_reply_type(reply) == REDIS_LIST;

    o->asserting = false;
    if (told && was_charged(o, word_of(reply)))
        o->sent = settle_send(o) == 0;
    else if (told)
        o->asserted = epoch_number(o->holds->epoch);
    if (!o->sent && (!told || o->asserted != epoch_number(o->holds->epoch)))
        retry_later(o->holds);
}

static void assert_send(struct hold *o)
{
    struct holds *h = o->holds;
    AUTO(buf_fini) struct buf row = {0};
    char life[NUMBER_LEN];
    uint64_t now = loop_now(h->loop);

    buf_printf(&row, "open|%lld|0|%u||", (long long)o->ceiling, o->attempt);
    buf_append(&row, buf_span(&o->text));
    snprintf(life, sizeof(life), "%llu",
             (unsigned long long)(o->until_ms > now ? o->until_ms - now : 1));
    const struct span keys[] = {span_str(o->row), span_str(o->open)};
    const struct span args[] = {span_str(o->call), buf_span(&row), span_str(life)};
    o->asserting =
        redis_script_run(h->redis, &h->scripts->assert, keys, args, 3, assert_told, o) == 0;
    if (o->asserting)
        place_index(o);
    else
        retry_later(h);
}

bool holds_asserted(const struct holds *h, int64_t n)
{
    LIST_FOREACH(it, &h->all) {
        const struct hold *o = CONTAINER(it, struct hold, link);
        if (o->sent || o->asserting || o->state == HOLD_PLACING || (is_held(o) && o->asserted != n))
            return false;
    }
    return true;
}

void holds_wake(struct holds *h)
{
    if (h->stopped)
        return;
    LIST_FOREACH(it, &h->all) {
        struct hold *o = CONTAINER(it, struct hold, link);
        if (epoch_state(h->epoch) == EPOCH_RECOVERING && is_held(o) && !o->asserting && !o->sent &&
            o->asserted != epoch_number(h->epoch))
            assert_send(o);
        else
            hold_send(o);
    }
}

/* ---- All of them ---- */

struct holds *holds_new(struct loop *l, struct redis *r, const struct epoch *e,
                        const struct billing_scripts *scripts, const char *instance)
{
    struct holds *h = mem_zero(sizeof(*h));

    h->loop = l;
    h->redis = r;
    h->epoch = e;
    h->scripts = scripts;
    snprintf(h->instance, sizeof(h->instance), "%s", instance);
    list_init(&h->all);
    return h;
}

void holds_stop(struct holds *h)
{
    h->stopped = true;
    loop_timer_cancel(h->loop, &h->retry);
    LIST_FOREACH_SAFE(it, &h->all) {
        struct hold *o = CONTAINER(it, struct hold, link);
        if (loop_timer_is_set(&o->soon))
            place_refused(o);
    }
}

void holds_free(struct holds *h)
{
    if (!h)
        return;
    LIST_FOREACH_SAFE(it, &h->all)
        hold_free(CONTAINER(it, struct hold, link));
    map_fini(&h->by_call);
    map_fini(&h->accounts);
    free(h);
}

size_t holds_open(const struct holds *h)
{
    return h->by_call.len;
}

bool holds_idle(const struct holds *h)
{
    LIST_FOREACH(it, &h->all)
        if (CONTAINER(it, struct hold, link)->state != HOLD_OPEN)
            return false;
    return true;
}

bool holds_has(const struct holds *h, struct span call)
{
    return map_get(&h->by_call, call) != NULL;
}
