/* Usage records that no attempt of this process waits for: of calls of an instance that died, or of
 * this one before its restart. Their holds are in Redis, by the call's account (money.md §6). */
#include <stdio.h>
#include <stdlib.h>

#include "gateway/money.h"

/* A dead instance's entry in Redis ends within 15 s: the last try is later, though the second may
 * come at once. */
enum { STRAYS_MAX = 10000, AGAIN_MS = 5000, CHARGED_TRIES = 6 };

/* The row of a hold, as common.lua has it. */
enum row_field {
    ROW_STATE,
    ROW_HOLD,
    ROW_CHARGED,
    ROW_ATTEMPT,
    ROW_EPOCH,
    ROW_INSTANCE,
    ROW_KEY,
    ROW_PROJECT,
    ROW_PRICE,
    ROW_BID,
    ROW_MAX_INPUT,
    ROW_MAX_TOKENS,
    ROW_TOKENS,
    ROW_MODEL = 15 /* and all that follows */
};

struct stray {
    struct list link; /* strays.all */
    struct strays *strays;
    struct pool_worker *worker;
    struct usage_record usage; /* of its own */
    struct buf jws, row;
    char account[LAYOUT_NAME_MAX + 1];
    bool asking;    /* a reply is under way */
    unsigned tries; /* at a call that the instance which lives has charged */
};

struct strays {
    struct money *money;
    struct list all;
    size_t count;
    struct loop_timer again;
    bool stopped;
};

static void stray_free(struct stray *y)
{
    y->strays->count--;
    list_del(&y->link);
    pool_worker_unref(y->worker);
    usage_record_fini(&y->usage);
    buf_fini(&y->jws);
    buf_fini(&y->row);
    free(y);
}

static void stray_refuse(struct stray *y, const char *why)
{
    log_event(LOG_WARN, "stray_refused", "call=%s attempt=%u why=%s", y->usage.call,
              y->usage.attempt, why);
    if (y->worker)
        pool_acknowledge(y->worker, span_str(y->usage.call), y->usage.attempt, "refused", 0);
    stray_free(y);
}

/* ---- The row ---- */

static struct span row_field(const struct stray *y, enum row_field which)
{
    struct span rest = buf_span(&y->row), field = {0};

    for (unsigned i = 0; i <= (unsigned)which; i++)
        field = span_split(&rest, '|');
    return field;
}

static struct span row_model(const struct stray *y)
{
    struct span rest = buf_span(&y->row);

    for (unsigned i = 0; i < ROW_MODEL; i++)
        (void)span_split(&rest, '|');
    return rest;
}

static int64_t row_number(const struct stray *y, enum row_field which)
{
    int64_t n = 0;

    return nano_parse(row_field(y, which), &n) == 0 ? n : 0;
}

/* One of before rows had an epoch gets an empty one: only with it the tokens come in place. */
static void row_take(struct stray *y, struct span row)
{
    struct span rest = row;
    uint64_t tokens;

    buf_clear(&y->row);
    buf_append(&y->row, row);
    if (span_u64(row_field(y, ROW_TOKENS), INT64_MAX, &tokens) == 0)
        return;
    for (unsigned i = 0; i < ROW_EPOCH; i++)
        (void)span_split(&rest, '|');
    buf_clear(&y->row);
    buf_append(&y->row, span_of(row.data, row.len - rest.len));
    buf_byte(&y->row, '|');
    buf_append(&y->row, rest);
}

static void text_of(const struct stray *y, enum row_field which, char *out, size_t size)
{
    struct span s = row_field(y, which);

    (void)snprintf(out, size, "%.*s", SPAN_FMT(s));
}

/* ---- Steps: account, row, is its instance alive, price book, settlement ---- */

static void with_book(void *arg, struct price_book *book)
{
    struct stray *y = arg;
    struct money *m = y->strays->money;
    char project[LAYOUT_NAME_MAX + 1], key[LAYOUT_NAME_MAX + 1];

    y->asking = false;
    if (!book || !y->worker)
        return; /* again later */
    struct money_terms t = {
        .book = book,
        .ceiling = row_number(y, ROW_HOLD),
        .bounds = {.max_input = row_number(y, ROW_MAX_INPUT),
                   .max_tokens = row_number(y, ROW_MAX_TOKENS),
                   .sequences = 1},
        .generates = row_number(y, ROW_MAX_TOKENS) > 0,
    };
    if (price_coefficient(y->usage.price, book->version, &t.coefficient) < 0 ||
        t.coefficient > row_number(y, ROW_BID)) {
        stray_refuse(y, "price");
        return;
    }
    if (!span_eq(row_model(y), y->usage.model)) {
        stray_refuse(y, "model");
        return;
    }
    text_of(y, ROW_PROJECT, project, sizeof(project));
    text_of(y, ROW_KEY, key, sizeof(key));
    const struct money_payer payer = {y->account, project, key, "unknown"};
    struct hold *give = hold_adopt(m->holds, y->account, y->usage.call, t.ceiling);
    settlement_begin(m, NULL, give, &payer, &t, y->worker, &y->usage, buf_span(&y->jws));
    stray_free(y);
}

static void take_over(struct stray *y)
{
    y->asking = true;
    prices_get(y->strays->money->prices, row_number(y, ROW_PRICE), with_book, y);
}

static void alive_told(void *arg, int error, const struct redisReply *reply)
{
    struct stray *y = arg;

    y->asking = false;
    if (error < 0 || y->strays->stopped)
        return;
    if (redis_reply_number(reply) == 0)
        take_over(y);
    else if (!span_is(row_field(y, ROW_STATE), "open") && ++y->tries == CHARGED_TRIES)
        stray_free(y); /* its bill is long on disk */
}

/* An instance that lives settles its own holds, and bills what it has charged. */
static void look_for_instance(struct stray *y)
{
    struct money *m = y->strays->money;
    char key[LAYOUT_KEY_LEN], instance[LAYOUT_NAME_MAX + 1];

    text_of(y, ROW_INSTANCE, instance, sizeof(instance));
    const bool own = strcmp(instance, m->gateway->instance) == 0;
    if (own && upgrade_predecessor_lives(m->gateway))
        return; /* it may be that process's call; again later */
    if (own || span_is(row_field(y, ROW_STATE), "expired")) {
        take_over(y);
        return;
    }
    (void)snprintf(key, sizeof(key), "gw:%s", instance);
    const struct span argv[] = {SPAN("EXISTS"), span_str(key)};
    y->asking = redis_command(m->gateway->redis, argv[1], argv, 2, alive_told, y) == 0;
}

static void row_told(void *arg, int error, const struct redisReply *reply)
{
    struct stray *y = arg;

    y->asking = false;
    if (error < 0 || y->strays->stopped)
        return;
    struct span row = redis_reply_text(reply);
    if (!row.data) {
        stray_refuse(y, "no_hold");
        return;
    }
    row_take(y, row);
    struct span state = row_field(y, ROW_STATE);
    if (span_is(state, "released") || span_is(state, "tomb"))
        stray_refuse(y, "released");
    else
        look_for_instance(y);
}

static void account_told(void *arg, int error, const struct redisReply *reply)
{
    struct stray *y = arg;
    char key[LAYOUT_KEY_LEN];

    y->asking = false;
    if (error < 0 || y->strays->stopped)
        return;
    if (span_cstr(redis_reply_text(reply), y->account, sizeof(y->account)) < 0 || !y->account[0]) {
        stray_refuse(y, "unknown");
        return;
    }
    (void)snprintf(key, sizeof(key), LAYOUT_HOLD, y->account, y->usage.call);
    const struct span argv[] = {SPAN("GET"), span_str(key)};
    y->asking = redis_command(y->strays->money->gateway->redis, argv[1], argv, 2, row_told, y) == 0;
}

static void stray_begin(struct stray *y)
{
    struct money *m = y->strays->money;
    char key[LAYOUT_KEY_LEN];

    if (y->asking || epoch_state(m->epoch) != EPOCH_OPEN)
        return;
    (void)snprintf(key, sizeof(key), LAYOUT_CALL, y->usage.call);
    const struct span argv[] = {SPAN("GET"), span_str(key)};
    y->asking = redis_command(m->gateway->redis, argv[1], argv, 2, account_told, y) == 0;
}

static void try_again(void *arg)
{
    struct strays *s = arg;

    LIST_FOREACH_SAFE(it, &s->all)
        stray_begin(CONTAINER(it, struct stray, link));
    if (s->count > 0)
        loop_timer_set(s->money->gateway->loop, &s->again, AGAIN_MS, try_again, s);
}

static bool is_here(const struct strays *s, const struct usage_record *u)
{
    LIST_FOREACH(it, &s->all) {
        const struct stray *y = CONTAINER(it, struct stray, link);
        if (strcmp(y->usage.call, u->call) == 0 && y->usage.attempt == u->attempt)
            return true;
    }
    return false;
}

/* A record without a price belongs to a key that is not metered. */
bool stray_record(void *arg, struct pool_worker *w, const struct usage_record *u, struct span jws)
{
    struct money *m = arg;
    struct strays *s = m->strays;

    if (strncmp(u->price, "0;", 2) == 0)
        return false;
    if (!m->journal || s->stopped || s->count >= STRAYS_MAX || money_knows(m, u->call) ||
        is_here(s, u))
        return true; /* its own settlement acknowledges it; or the worker keeps it */
    struct stray *y = mem_zero(sizeof(*y));
    y->strays = s;
    y->worker = pool_worker_ref(w);
    y->usage = *u;
    y->usage.storage = (struct buf){0};
    buf_append(&y->usage.storage, u->model);
    y->usage.model = buf_span(&y->usage.storage);
    buf_append(&y->jws, jws);
    list_push(&s->all, &y->link);
    s->count++;
    stray_begin(y);
    if (!loop_timer_is_set(&s->again))
        loop_timer_set(m->gateway->loop, &s->again, AGAIN_MS, try_again, s);
    return true;
}

struct strays *strays_new(struct money *m)
{
    struct strays *s = mem_zero(sizeof(*s));

    s->money = m;
    list_init(&s->all);
    return s;
}

void strays_stop(struct strays *s)
{
    s->stopped = true;
    loop_timer_cancel(s->money->gateway->loop, &s->again);
    LIST_FOREACH(it, &s->all) {
        struct stray *y = CONTAINER(it, struct stray, link);
        pool_worker_unref(y->worker);
        y->worker = NULL;
    }
}

void strays_free(struct strays *s)
{
    if (!s)
        return;
    LIST_FOREACH_SAFE(it, &s->all)
        stray_free(CONTAINER(it, struct stray, link));
    free(s);
}
