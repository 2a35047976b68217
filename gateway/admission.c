/* Step admit of a metered call: the price is pinned, the ceiling set aside in the account, the
 * rates counted: one script, one round trip. Whatever is not known is refused (money.md §5). */
#include <stdio.h>

#include "gateway/money.h"
#include "gateway/replay.h"
#include "gateway/reply.h"

enum { BUDGET_TELL_MS = 100, RETRY_MAX_MS = 60000, DURATION_LEN = 48, BYTES_PER_TOKEN = 4 };

static enum step_result refuse(struct call *c, const struct api_error *e, int64_t wait_ms)
{
    api_fault_set(&c->fault, e, NULL, NULL);
    c->fault.retry_after_ms = (unsigned)(wait_ms < RETRY_MAX_MS ? wait_ms : RETRY_MAX_MS);
    return STEP_FAIL;
}

/* As Go writes durations: 12ms, 1s, 8.64s, 6m0s, 1h0m0s (api.md §3.1). */
static void duration_write(char out[static DURATION_LEN], int64_t ms)
{
    long long h = ms / 3600000, m = ms / 60000 % 60, s = ms / 1000 % 60, rest = ms % 1000;
    char fraction[8] = "";

    if (ms < 1000) {
        (void)snprintf(out, DURATION_LEN, ms > 0 ? "%lldms" : "0s", (long long)ms);
        return;
    }
    if (rest > 0) {
        int len = snprintf(fraction, sizeof(fraction), ".%03lld", rest);
        while (fraction[len - 1] == '0')
            fraction[--len] = 0;
    }
    if (h > 0)
        (void)snprintf(out, DURATION_LEN, "%lldh%lldm%lld%ss", h, m, s, fraction);
    else if (m > 0)
        (void)snprintf(out, DURATION_LEN, "%lldm%lld%ss", m, s, fraction);
    else
        (void)snprintf(out, DURATION_LEN, "%lld%ss", s, fraction);
}

/* ---- What the account said ---- */

static enum step_result refuse_rate(struct call *c, const struct api_error *e, int64_t wait_ms)
{
    char wait[DURATION_LEN];

    duration_write(wait, wait_ms);
    api_fault_set(&c->fault, e, NULL, wait);
    c->fault.retry_after_ms =
        (unsigned)(wait_ms > 0 ? wait_ms < RETRY_MAX_MS ? wait_ms : RETRY_MAX_MS : 1);
    return STEP_FAIL;
}

static void told(void *arg, int error, const struct redisReply *reply)
{
    (void)arg;
    (void)error;
    (void)reply;
}

/* For the account's webhooks: the ledger tells each budget once a window, so few of these do. */
static void tell_budget(struct call *c, const char *detail)
{
    struct gateway *g = c->gateway;
    const size_t len = strlen(detail);
    const struct span argv[] = {SPAN("XADD"),    SPAN(LAYOUT_EVENTS),
                                SPAN("MAXLEN"),  SPAN("~"),
                                SPAN("10000"),   SPAN("*"),
                                SPAN("account"), span_str(c->key->account),
                                SPAN("project"), span_str(c->key->project),
                                SPAN("key"),     span_str(c->key->id),
                                SPAN("of"),      span_of(detail, 1),
                                SPAN("window"),  span_of(detail + len - 1, 1)};

    if (len < 2 || loop_now(g->loop) < g->money->budget_told_ms + BUDGET_TELL_MS)
        return;
    if (redis_command(g->redis, argv[1], argv, sizeof(argv) / sizeof(*argv), told, NULL) == 0)
        g->money->budget_told_ms = loop_now(g->loop);
}

/* "a:d" → the account's budget of the day. */
static enum step_result refuse_budget(struct call *c, const char *detail)
{
    size_t len = strlen(detail);
    const char *whose = detail[0] == 'k' ? "key" : detail[0] == 'p' ? "project" : "account";
    char period = len > 0 ? detail[len - 1] : 't';
    const char *when = period == 'd' ? " for today" : period == 'm' ? " for this month" : "";

    tell_budget(c, detail);
    api_fault_text(&c->fault, &ERR_INSUFFICIENT_QUOTA, NULL,
                   "The %s's budget%s does not allow this request.", whose, when);
    return STEP_FAIL;
}

/* The record in the cache is older than the account's: once, it is read again. */
static enum step_result read_key_again(struct call *c)
{
    struct buf scratch = {0};

    if (c->rekeyed)
        return refuse(c, &ERR_SERVICE_UNAVAILABLE, 0);
    c->rekeyed = true;
    c->admission = NULL;
    auth_forget(c->gateway->auth, call_credential(c, &scratch));
    buf_wipe(&scratch);
    key_record_unref(c->key);
    c->key = NULL;
    charge_unref(c->charge);
    c->charge = NULL;
    c->step = CALL_AUTH;
    return STEP_NEXT;
}

static enum step_result answered(struct call *c)
{
    const struct hold_answer *a = c->admission;

    switch (a->verdict) {
    case HOLD_OK:
        return STEP_NEXT;
    case HOLD_STALE:
        return read_key_again(c);
    case HOLD_REQUESTS:
        return refuse_rate(c, &ERR_RATE_LIMIT, a->wait_ms);
    case HOLD_TOKENS:
        return refuse_rate(c, &ERR_RATE_LIMIT_TOKENS, a->wait_ms);
    case HOLD_TOKENS_SIZE:
        return refuse(c, &ERR_REQUEST_ABOVE_RATE, 0);
    case HOLD_STREAMS:
        return refuse(c, &ERR_RATE_LIMIT_STREAMS, a->wait_ms);
    case HOLD_BUDGET:
        return refuse_budget(c, a->detail);
    case HOLD_BALANCE:
        return refuse(c, &ERR_INSUFFICIENT_QUOTA, 0);
    case HOLD_SUSPENDED:
        return refuse(c, &ERR_ACCOUNT_SUSPENDED, 0);
    case HOLD_ABSENT:
    case HOLD_EPOCH:
    case HOLD_AWAY:
        break;
    }
    return refuse(c, &ERR_SERVICE_UNAVAILABLE, 0);
}

static void placed(void *arg, const struct hold_answer *a)
{
    struct charge *ch = arg;
    struct call *c = ch->waiting;

    if (a->verdict != HOLD_OK)
        ch->hold = NULL; /* it has ended with this answer */
    ch->waiting = NULL;
    if (c) {
        struct hold_answer *kept = arena_alloc(&c->arena, sizeof(*kept));
        *kept = *a;
        c->admission = kept;
        call_resume(c);
    }
    charge_unref(ch);
}

/* ---- What is asked of it ---- */

static bool name_good(const char *s)
{
    return *s == '\0' || span_plain(span_str(s), "._-", LAYOUT_NAME_MAX);
}

/* The price of the request, its ceiling, and what the charge needs to know later. */
static enum step_result pin_price(struct call *c, int64_t *ceiling)
{
    struct money *m = c->gateway->money;
    struct charge *ch = c->charge;
    struct price_book *book = prices_current(m->prices);
    const struct price *p = book ? price_book_find(book, buf_span(&c->rq.model)) : NULL;

    if (!p)
        return refuse(c, &ERR_NO_PRICE, 0);
    if (c->model.workers && c->max_input > c->model.model.context && c->model.model.context > 0)
        ch->max_input = c->model.model.context;
    else
        ch->max_input = c->max_input;
    ch->max_tokens = c->max_tokens;
    ch->sequences = c->rq.sequences > 0 ? c->rq.sequences : 1;
    ch->generates = c->max_tokens > 0;
    ch->bid = call_bid(c);
    if (price_ceiling(p, ch->max_input, ch->max_tokens, ch->bid, ceiling) < 0)
        return refuse(c, &ERR_INSUFFICIENT_QUOTA, 0);
    ch->book = price_book_ref(book);
    c->price_version = book->version;
    return STEP_NEXT;
}

/* An answer that is given again costs nothing: it has no price. */
static void place(struct call *c, int64_t ceiling)
{
    struct charge *ch = c->charge;
    const struct key_record *k = c->key;
    const struct gateway_config *s = c->config->values;
    const struct hold_terms t = {
        .call = c->id,
        .account = ch->account,
        .key = ch->key,
        .project = ch->project,
        .key_version = k->version,
        .model = buf_span(&c->rq.model),
        .limits = {.requests = k->requests_per_minute,
                   .tokens = k->tokens_per_minute,
                   .streams = k->streams,
                   .day = k->budget_day,
                   .month = k->budget_month,
                   .total = k->budget_total},
        .ceiling = ceiling,
        .price_version = ch->book ? ch->book->version : 0,
        .bid = ch->bid,
        .max_input = ch->max_input,
        .max_tokens = ch->max_tokens,
        .tokens = replay_is_again(c) ? 0 : ch->max_input / BYTES_PER_TOKEN + ch->max_tokens,
        .life_ms = (uint64_t)(s->total_ms + s->hold_grace_ms),
    };

    ch->waiting = c;
    ch->hold = hold_place(c->gateway->money->holds, &t, placed, charge_ref(ch));
}

static bool is_closed(const struct money *m)
{
    return !m->journal || journal_failing(m->journal) || !feed_ready(m->feed);
}

enum step_result money_admit(struct call *c)
{
    struct charge *ch = c->charge;
    int64_t ceiling = 0;

    if (c->admission)
        return answered(c);
    if (ch->waiting)
        return STEP_WAIT;
    if (is_closed(c->gateway->money))
        return refuse(c, &ERR_SERVICE_UNAVAILABLE, 0);
    if (!name_good(c->key->account) || !name_good(c->key->project))
        return refuse(c, &ERR_SERVICE_UNAVAILABLE, 0);
    snprintf(ch->account, sizeof(ch->account), "%s", c->key->account);
    snprintf(ch->project, sizeof(ch->project), "%s", c->key->project);
    ch->endpoint = c->route->scope ? c->route->scope : "end-to-end";
    if (!replay_is_again(c) && pin_price(c, &ceiling) == STEP_FAIL)
        return STEP_FAIL;
    place(c, ceiling);
    return STEP_WAIT;
}

/* ---- Headers (api.md §3.1) ---- */

static void rate_write(struct call *c, struct reply_headers *h, const char *kind,
                       const struct hold_rate *r)
{
    char reset[DURATION_LEN];

    if (r->limit < 0)
        return;
    duration_write(reset, r->reset_ms);
    reply_add(h, arena_printf(&c->arena, "x-ratelimit-limit-%s", kind),
              arena_printf(&c->arena, "%lld", (long long)r->limit));
    reply_add(h, arena_printf(&c->arena, "x-ratelimit-remaining-%s", kind),
              arena_printf(&c->arena, "%lld", (long long)r->remaining));
    reply_add(h, arena_printf(&c->arena, "x-ratelimit-reset-%s", kind),
              arena_strdup(&c->arena, span_str(reset)));
}

void money_headers(struct call *c, struct reply_headers *h)
{
    const struct hold_answer *a = c->admission;

    if (!a || a->verdict == HOLD_BALANCE || a->verdict == HOLD_BUDGET)
        return;
    rate_write(c, h, "requests", &a->requests);
    rate_write(c, h, "tokens", &a->tokens);
}
