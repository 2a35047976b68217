/* From a worker's usage record to its acknowledgement: bounded, priced, charged in Redis, billed in
 * the journal, and only then told to the worker (money.md §3, §4, §6). */
#include <stdio.h>
#include <stdlib.h>

#include "gateway/money.h"
#include "backends/pool/standing.h"
#include "base/clock.h"
#include "base/fail_point.h"
#include "gateway/replay.h"

enum { NUMBER_LEN = 24 };

struct settlement {
    struct list link; /* money.settlements */
    struct money *money;
    struct charge *charge;      /* NULL: a stray record's */
    struct pool_worker *worker; /* NULL: nobody is told any more */
    struct price_book *book;
    struct journal_entry *entry; /* NULL once it is the journal's */
    char call[CALL_ID_LEN + 1], account[LAYOUT_NAME_MAX + 1];
    uint32_t attempt;
    int64_t pay;
    const char *result;
};

static void entry_free(struct journal_entry *e)
{
    if (!e)
        return;
    bill_fini(&e->bill);
    buf_fini(&e->usage);
    free(e);
}

static void settlement_end(struct settlement *s)
{
    if (s->worker)
        pool_acknowledge(s->worker, span_str(s->call), s->attempt, s->result, s->pay);
    pool_worker_unref(s->worker);
    price_book_unref(s->book);
    charge_unref(s->charge);
    entry_free(s->entry);
    list_del(&s->link);
    s->money->settling--;
    free(s);
}

void settlement_leave(struct list *link)
{
    struct settlement *s = CONTAINER(link, struct settlement, link);

    pool_worker_unref(s->worker);
    s->worker = NULL;
}

void settlement_free(struct list *link)
{
    settlement_end(CONTAINER(link, struct settlement, link));
}

bool settlement_is_of(struct list *link, const char *call)
{
    return strcmp(CONTAINER(link, struct settlement, link)->call, call) == 0;
}

static void nothing(void *arg, int error, const struct redisReply *reply)
{
    (void)arg;
    (void)error;
    (void)reply;
}

/* The bill is on disk: what Redis keeps of the call need not last for a day. */
static void forget_soon(const struct settlement *s)
{
    char row[LAYOUT_KEY_LEN], call[LAYOUT_KEY_LEN], life[NUMBER_LEN];
    struct redis *r = s->money->gateway->redis;

    snprintf(row, sizeof(row), LAYOUT_HOLD, s->account, s->call);
    snprintf(call, sizeof(call), LAYOUT_CALL, s->call);
    snprintf(life, sizeof(life), "%d", LAYOUT_DONE_MS);
    const struct span rows[] = {SPAN("PEXPIRE"), span_str(row), span_str(life)};
    const struct span calls[] = {SPAN("PEXPIRE"), span_str(call), span_str(life)};
    if (redis_command(r, rows[1], rows, 3, nothing, NULL) < 0 ||
        redis_command(r, calls[1], calls, 3, nothing, NULL) < 0)
        return; /* they end by themselves, later */
}

static void written(void *arg, enum journal_result result)
{
    struct settlement *s = arg;

    fail_point("settle.journaled");
    if (result == JOURNAL_WRITTEN)
        feed_wake(s->money->feed);
    forget_soon(s);
    settlement_end(s);
}

static void tell_charge(struct charge *ch, enum charge_cost cost, int64_t nano)
{
    if (!ch)
        return;
    ch->cost = cost;
    ch->charged = nano;
    replay_charged(ch);
    charge_tell(ch);
}

static void charged(void *arg, enum hold_end end, int64_t nano, int64_t in_epoch)
{
    struct settlement *s = arg;
    struct journal_entry *e = s->entry;

    fail_point("settle.charged");
    tell_charge(s->charge, end == HOLD_REFUSED ? COST_NONE : COST_SETTLED, nano);
    if (end == HOLD_REFUSED) {
        s->result = "refused";
        settlement_end(s);
        return;
    }
    *(end == HOLD_LATE ? &s->money->late : &s->money->settled) += 1;
    s->result = e->kind = end == HOLD_LATE ? "late_settled" : "settled";
    e->epoch = in_epoch;
    e->bill.amount = nano;
    price_split(nano, s->book->commission_bps, &s->pay, &e->bill.fee);
    e->done = written;
    e->arg = s;
    s->entry = NULL;
    journal_add(s->money->journal, e);
}

/* ---- What it costs ---- */

int price_coefficient(const char *price, int64_t version, int64_t *coefficient)
{
    struct span rest = span_str(price), first = span_split(&rest, ';');
    uint64_t v, k;

    TRY(span_u64(first, INT32_MAX, &v));
    TRY(span_u64(rest, (uint64_t)PRICE_COEFFICIENT_MAX, &k));
    *coefficient = (int64_t)k;
    return (int64_t)v == version ? 0 : E_INVALID;
}

/* Nothing is owed for what was refused, or made nothing (money.md §2). */
static bool is_free(const struct usage_record *u, bool generates)
{
    return u->outcome == USAGE_REJECTED || u->outcome == USAGE_BINDING_MISMATCH ||
           (generates && u->out == 0);
}

/* Whether an honest machine cannot have counted so: one may get texts that differ from the others'
 * as far as those that it is believed, and its standing is not their callers' to spoil. */
static bool is_mismatch(const struct price_tokens *claim, const struct plausible_bounds *bounds)
{
    struct plausible_bounds b = *bounds;
    struct price_tokens most;

    if (!b.usual.told)
        b.usual = (struct usual_bounds){0};
    return plausible_bound(claim, &b, &most);
}

/* The tokens that can be true. */
static void tokens_bound(struct money *m, const struct money_terms *t, struct pool_worker *w,
                         const struct usage_record *u, struct price_tokens *tokens)
{
    const struct price_tokens claim = {u->in, u->cached, u->out, u->reasoning};

    if (!plausible_bound(&claim, &t->bounds, tokens))
        return;
    m->bounded++;
    log_event(LOG_WARN, "usage_bounded", "call=%s in=%lld/%lld out=%lld/%lld", u->call,
              (long long)tokens->in, (long long)u->in, (long long)tokens->out, (long long)u->out);
    if (is_mismatch(&claim, &t->bounds))
        standing_note(w, STANDING_USAGE_MISMATCH);
}

/* At the pinned price. */
static int64_t amount_of(const struct money_terms *t, const struct usage_record *u,
                         const struct price_tokens *tokens)
{
    const struct price *p = price_book_find(t->book, u->model);
    int64_t nano = 0;

    if (!p || is_free(u, t->generates))
        return 0;
    if (price_amount(p, tokens, t->coefficient, &nano) < 0 || nano > t->ceiling)
        return t->ceiling;
    return nano;
}

static struct journal_entry *entry_new(const struct money_payer *payer, const struct money_terms *t,
                                       struct pool_worker *w, const struct usage_record *u,
                                       struct span jws, const struct price_tokens *tokens)
{
    struct journal_entry *e = mem_zero(sizeof(*e));
    struct bill *b = &e->bill;

    memcpy(b->call, u->call, sizeof(b->call));
    b->attempt = u->attempt;
    snprintf(b->account, sizeof(b->account), "%s", payer->account);
    snprintf(b->worker, sizeof(b->worker), "%s", pool_worker_payout(w));
    buf_append(&b->storage, u->model);
    b->model = buf_span(&b->storage);
    b->price = t->book->version;
    memcpy(b->price_sha256, t->book->sha256, SHA256_LEN);
    b->coefficient = t->coefficient;
    b->in = tokens->in;
    b->cached = tokens->cached;
    b->out = tokens->out;
    b->reasoning = tokens->reasoning;
    b->t_ms = clock_wall_ms();
    sha256(b->usage, jws);
    buf_append(&e->usage, jws);
    snprintf(e->project, sizeof(e->project), "%s", payer->project);
    snprintf(e->key, sizeof(e->key), "%s", payer->key);
    e->endpoint = payer->endpoint;
    return e;
}

void settlement_begin(struct money *m, struct charge *ch, struct hold *give,
                      const struct money_payer *payer, const struct money_terms *t,
                      struct pool_worker *w, const struct usage_record *u, struct span jws)
{
    struct settlement *s = mem_zero(sizeof(*s));
    struct price_tokens tokens;

    tokens_bound(m, t, w, u, &tokens);
    int64_t amount = amount_of(t, u, &tokens);
    s->money = m;
    s->charge = ch ? charge_ref(ch) : NULL;
    s->worker = m->left ? NULL : pool_worker_ref(w);
    s->book = price_book_ref(t->book);
    s->entry = entry_new(payer, t, w, u, jws, &tokens);
    memcpy(s->call, u->call, sizeof(s->call));
    snprintf(s->account, sizeof(s->account), "%s", payer->account);
    s->attempt = u->attempt;
    list_push(&m->settlements, &s->link);
    m->settling++;
    tell_charge(ch, COST_PENDING, amount);
    fail_point("settle.before");
    hold_settle(give, amount, u->attempt, tokens.in + tokens.out, charged, s);
}

bool money_settle(struct charge *ch, const struct dispatch_report *r)
{
    struct money *m = ch->gateway->money;
    const struct money_payer payer = {ch->account, ch->project, ch->key, ch->endpoint};
    struct money_terms t = {
        .book = ch->book,
        .ceiling = ch->hold ? hold_ceiling(ch->hold) : 0,
        .bounds = {.max_input = ch->max_input,
                   .max_tokens = ch->max_tokens,
                   .sequences = ch->sequences,
                   .top_speed = ch->end_to_end ? 0 : gateway_settings(ch->gateway)->top_speed,
                   .ran_ms = r->ran_ms,
                   .answer_bytes = r->answer_bytes,
                   .usual = seen_bound(ch, r)},
        .generates = ch->generates,
    };
    struct hold *give = ch->hold;

    if (!give || price_coefficient(r->usage->price, ch->book->version, &t.coefficient) < 0)
        return false;
    ch->hold = NULL;
    settlement_begin(m, ch, give, &payer, &t, r->worker, r->usage, r->jws);
    return true;
}
