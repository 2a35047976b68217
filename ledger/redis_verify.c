/* Accounts one after the other, so that a check of many costs Redis little at a time. While
 * requests run the books are a little behind: what Redis says of an account must fit together, the
 * books must not be ahead of it, and must reach soon what it has charged. Of the holds those are
 * looked at that are open, and those of the account's last bills: Redis keeps them for an hour. */
#include "ledger/redis_verify.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "billing/layout.h"
#include "billing/nano.h"
#include "ledger/admin.h"
#include "ledger/books/account.h"
#include "ledger/books/record.h"
#include "ledger/recovery.h"

enum { TRIES = 25, HOLD_TRIES = 3, PAUSE_MS = 200, BILLS = 200 };

struct look {
    struct ledger *ledger;
    struct request *request;
    struct loop_timer timer;
    json_t *accounts; /* ids, and which comes next */
    size_t at;
    int tries, pending;
    bool failed;
    int64_t available, granted, charged, holds; /* of Redis */
    int64_t before; /* what the books had charged when Redis was asked */
    int64_t rows,
        misfit;    /* of this account: holds, and nano or holds that are not as they must be */
    char row[120]; /* the first of them */
    int64_t looked_at, difference, negative, holds_looked_at, holds_misfit;
    char first[120], first_row[120];
};

/* One hold that is asked for. */
struct hold_asked {
    struct look *look;
    bool billed;             /* else it is among the open ones */
    int64_t amount, attempt; /* of the bill */
    char call[LAYOUT_NAME_MAX + 1];
};

static void begin_account(void *arg);

static void put_line(struct look *k, const char *name, const char *what, int64_t looked_at,
                     int64_t difference, const char *detail)
{
    json_t *it = record_object();

    record_set_text(it, "check", span_str(name));
    record_set_text(it, "what", span_str(what));
    record_set(it, "good", json_boolean(difference == 0));
    record_set_int(it, "looked_at", looked_at);
    record_set_int(it, "difference", difference);
    record_set_text(it, "detail", span_str(detail));
    json_array_append_new(json_object_get(k->request->out, "checks"), it);
    if (difference != 0)
        record_set(k->request->out, "good", json_false());
}

static void end(struct look *k, int error)
{
    struct request *r = k->request;

    if (error == 0) {
        put_line(k, "I2", "no account in Redis is below zero", k->looked_at, k->negative, "");
        put_line(k, "I3", "holds in Redis left open once, charged as their bills say",
                 k->holds_looked_at, k->holds_misfit, k->first_row);
        put_line(k, "I11", "balances in Redis are those of the books, less open holds",
                 k->looked_at, k->difference, k->first);
    }
    loop_timer_cancel(k->ledger->loop, &k->timer);
    json_decref(k->accounts);
    k->ledger->redis_look = NULL;
    free(k);
    admin_answer(r, error);
}

/* ---- One account ---- */

static const char *account_of(const struct look *k)
{
    return json_string_value(json_array_get(k->accounts, k->at));
}

static int read_books(struct look *k, int64_t *granted, int64_t *charged)
{
    struct books *b = k->ledger->books;
    AUTO_JSON json_t *account = NULL;

    TRY(books_begin(b));
    TRY(books_end(b, account_find(b, account_of(k), &account)));
    *granted = record_money(account, "granted");
    *charged = record_money(account, "charged");
    return 0;
}

static void judge(void *arg);

// Once more in a moment; false when that was tried often enough.
static bool again(struct look *k, loop_timer_fn *fn)
{
    if (++k->tries >= TRIES)
        return false;
    loop_timer_set(k->ledger->loop, &k->timer, PAUSE_MS, fn, k);
    return true;
}

static void next_account(struct look *k, int64_t difference, int64_t books)
{
    k->looked_at++;
    k->negative += k->available < 0 ? -k->available : 0;
    k->difference += difference < 0 ? -difference : difference;
    if (difference != 0 && !k->first[0])
        snprintf(k->first, sizeof(k->first), "%s: %" PRId64 " in Redis, %" PRId64 " in the books",
                 account_of(k), k->available + k->holds, books);
    k->holds_looked_at += k->rows;
    k->holds_misfit += k->misfit;
    if (!k->first_row[0])
        memcpy(k->first_row, k->row, sizeof(k->first_row));
    k->at++;
    k->tries = 0;
    loop_timer_set(k->ledger->loop, &k->timer, 0, begin_account, k);
}

static void judge(void *arg)
{
    struct look *k = arg;
    int64_t granted, charged;

    if (k->failed || read_books(k, &granted, &charged) < 0) {
        end(k, E_UNAVAILABLE);
        return;
    }
    const int64_t inside = k->available + k->holds - (k->granted - k->charged);
    const bool fits = inside == 0 && k->granted == granted && k->before <= k->charged;
    if ((!fits || (k->misfit > 0 && k->tries < HOLD_TRIES)) && again(k, begin_account))
        return;
    if (fits && charged < k->charged && again(k, judge))
        return;
    const int64_t behind = fits && charged < k->charged ? k->charged - charged : 0;
    const int64_t unfit = k->available + k->holds - (granted - charged);
    next_account(k, fits ? behind : unfit ? unfit : 1, granted - charged);
}

static void answered(struct look *k, int error, const struct redisReply *reply)
{
    k->failed = k->failed || error < 0 || redis_reply_type(reply) == REDIS_FAILURE;
    if (--k->pending == 0)
        judge(k);
}

// False: it is not asked, and arg is still the caller's.
static bool ask(struct look *k, const struct span *argv, size_t argc, redis_reply_fn *fn, void *arg)
{
    const bool asked = redis_command(k->ledger->redis, argv[1], argv, argc, fn, arg) == 0;

    if (asked)
        k->pending++;
    else
        k->failed = true;
    return asked;
}

/* ---- Its holds (I3) ---- */

__attribute__((format(printf, 3, 4))) static void misfit(struct hold_asked *h, int64_t nano,
                                                         const char *fmt, ...)
{
    struct look *k = h->look;
    const size_t len = strlen(k->row);
    va_list args;

    k->misfit += nano < 0 ? -nano : nano;
    if (len > 0)
        return;
    va_start(args, fmt);
    vsnprintf(k->row, sizeof(k->row), fmt, args);
    va_end(args);
}

// What left `open` must have left the open ones with it.
static void on_score(void *arg, int error, const struct redisReply *reply)
{
    struct hold_asked *h = arg;

    if (error == 0 && redis_reply_type(reply) == REDIS_BULK)
        misfit(h, 1, "call %s is not open and stands among those that are", h->call);
    answered(h->look, error, reply);
    free(h);
}

static bool judge_open(struct hold_asked *h, struct span state, int64_t held, int64_t charged)
{
    struct look *k = h->look;
    char holds[LAYOUT_KEY_LEN];

    if (span_is(state, "open")) {
        k->holds += held;
        if (charged != 0)
            misfit(h, charged, "call %s is open and charged", h->call);
        return true;
    }
    snprintf(holds, sizeof(holds), LAYOUT_HOLDS, account_of(k));
    const struct span argv[] = {SPAN("ZSCORE"), span_str(holds), span_str(h->call)};
    return !ask(k, argv, 3, on_score, h);
}

static void judge_billed(struct hold_asked *h, struct span state, int64_t charged, int64_t attempt)
{
    const bool over = span_is(state, "settled") || span_is(state, "late_settled");

    if (span_is(state, "open") || span_is(state, "released") || span_is(state, "tomb"))
        misfit(h, h->amount, "call %s is billed and %.*s", h->call, SPAN_FMT(state));
    else if (over && (charged != h->amount || attempt != h->attempt))
        misfit(h, charged != h->amount ? charged - h->amount : 1,
               "call %s is charged %" PRId64 ", its bill says %" PRId64, h->call, charged,
               h->amount);
}

/* state|hold|charged|attempt|… (billing/lua/common.lua); false: h is asked about again. */
static bool judge_row(struct hold_asked *h, struct span row)
{
    const struct span state = span_split(&row, '|');
    int64_t held = 0, charged = 0, attempt = 0;

    if (state.len == 0) /* of a billed one: Redis keeps it no longer */
        return h->billed || judge_open(h, state, 0, 0);
    h->look->rows++;
    if (nano_parse(span_split(&row, '|'), &held) < 0 ||
        nano_parse(span_split(&row, '|'), &charged) < 0 ||
        nano_parse(span_split(&row, '|'), &attempt) < 0) {
        misfit(h, 1, "the row of call %s cannot be read", h->call);
        return true;
    }
    if (charged > held)
        misfit(h, charged - held, "call %s is charged more than it held", h->call);
    if (!h->billed)
        return judge_open(h, state, held, charged);
    judge_billed(h, state, charged, attempt);
    return true;
}

static void on_hold(void *arg, int error, const struct redisReply *reply)
{
    struct hold_asked *h = arg;
    struct look *k = h->look;

    const bool done = error < 0 || k->failed || judge_row(h, redis_reply_text(reply));
    if (done)
        free(h);
    answered(k, error, reply);
}

static void ask_hold(struct look *k, const struct hold_asked *about)
{
    struct hold_asked *h = mem_zero(sizeof(*h));
    char key[LAYOUT_KEY_LEN];

    *h = *about;
    h->look = k;
    snprintf(key, sizeof(key), LAYOUT_HOLD, account_of(k), h->call);
    if (!ask(k, (const struct span[]){SPAN("GET"), span_str(key)}, 2, on_hold, h))
        free(h);
}

static int read_bills(struct look *k, struct rows **rows)
{
    return DB_SELECT(rows, k->ledger->books->db,
                     "SELECT call, attempt, amount FROM bills WHERE account = $1 AND amount > 0 "
                     "ORDER BY seq DESC LIMIT $2",
                     value_str(account_of(k)), value_int(BILLS));
}

// Their rows are asked for when the books have been read.
static void ask_billed(struct look *k)
{
    AUTO(rows_free) struct rows *rows = NULL;
    int row = -1;

    if (read_bills(k, &rows) < 0)
        k->failed = true;
    while (!k->failed && (row = rows_next(rows)) > 0) {
        struct hold_asked h = {
            .billed = true, .attempt = rows_int(rows, 1), .amount = rows_int(rows, 2)};
        if (span_cstr(rows_bytes(rows, 0), h.call, sizeof(h.call)) == 0)
            ask_hold(k, &h);
    }
    k->failed = k->failed || row < 0;
}

/* ---- Its sums (I2, I11) ---- */

static void on_holds(void *arg, int error, const struct redisReply *reply)
{
    struct look *k = arg;

    for (size_t i = 0; error == 0 && i < redis_reply_count(reply); i++) {
        struct hold_asked h = {.billed = false};
        if (span_cstr(redis_reply_text(redis_reply_at(reply, i)), h.call, sizeof(h.call)) == 0)
            ask_hold(k, &h);
    }
    answered(k, error, reply);
}

static int64_t number_at(const struct redisReply *reply, size_t i)
{
    const struct span text =
        i < redis_reply_count(reply) ? redis_reply_text(redis_reply_at(reply, i)) : SPAN("");
    const bool minus = span_starts(text, SPAN("-"));
    int64_t nano = 0;

    (void)!nano_parse(span_from(text, minus ? 1 : 0), &nano);
    return minus ? -nano : nano;
}

static void on_account(void *arg, int error, const struct redisReply *reply)
{
    struct look *k = arg;

    if (error == 0) {
        k->available = number_at(reply, 0);
        k->granted = number_at(reply, 1);
        k->charged = number_at(reply, 2);
    }
    answered(k, error, reply);
}

static void begin_account(void *arg)
{
    struct look *k = arg;
    char account[LAYOUT_KEY_LEN], holds[LAYOUT_KEY_LEN];

    if (k->at == json_array_size(k->accounts)) {
        end(k, 0);
        return;
    }
    int64_t granted;
    k->available = k->granted = k->charged = k->holds = k->rows = k->misfit = 0;
    k->row[0] = '\0';
    k->failed = read_books(k, &granted, &k->before) < 0;
    k->pending = 1;
    snprintf(account, sizeof(account), LAYOUT_ACCOUNT, account_of(k));
    snprintf(holds, sizeof(holds), LAYOUT_HOLDS, account_of(k));
    const struct span fields[] = {SPAN("HMGET"), span_str(account), SPAN("available"),
                                  SPAN("granted"), SPAN("charged")};
    const struct span range[] = {SPAN("ZRANGE"), span_str(holds), SPAN("0"), SPAN("-1")};
    (void)ask(k, fields, 5, on_account, k);
    (void)ask(k, range, 4, on_holds, k);
    ask_billed(k);
    if (--k->pending == 0)
        judge(k);
}

static void keep_account(void *arg, const json_t *account)
{
    json_array_append_new(arg, json_string(record_text(account, "id", "")));
}

static int read_accounts(struct look *k)
{
    struct books *b = k->ledger->books;

    k->accounts = json_array();
    TRY(books_begin(b));
    return books_end(b, accounts_each(b, keep_account, k->accounts));
}

void redis_verify(struct ledger *l, struct request *r)
{
    if (l->redis_look || recovery_state(l->recovery) != RECOVERY_OPEN) {
        books_why("%s", l->redis_look ? "another verification runs" : "Redis is being recovered");
        admin_answer(r, E_BUSY);
        return;
    }
    struct look *k = mem_zero(sizeof(*k));
    k->ledger = l;
    k->request = r;
    l->redis_look = k;
    if (read_accounts(k) < 0)
        end(k, E_IO);
    else
        begin_account(k);
}

void redis_verify_stop(struct ledger *l)
{
    struct look *k = l->redis_look;

    if (!k)
        return;
    loop_timer_cancel(l->loop, &k->timer);
    k->failed = true;
    if (k->pending == 0)
        end(k, E_UNAVAILABLE);
}
