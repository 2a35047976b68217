/* Accounts one after the other, so that a check of many costs Redis little at a time. */
#include "ledger/redis_verify.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "billing/layout.h"
#include "billing/nano.h"
#include "ledger/admin.h"
#include "ledger/books/account.h"
#include "ledger/books/record.h"
#include "ledger/recovery.h"

enum { TRIES = 25, PAUSE_MS = 200, PAGE = 200 };

struct look {
    struct ledger *ledger;
    struct request *request;
    struct loop_timer timer;
    json_t *accounts; /* ids, and which comes next */
    size_t at;
    int tries, pending;
    bool failed;
    int64_t available, holds;
    int64_t looked_at, difference, negative;
    char first[120];
};

static void begin_account(void *arg);

static void put_line(struct look *k, const char *name, const char *what, int64_t difference,
                     const char *detail)
{
    json_t *it = record_object();

    record_set_text(it, "check", span_str(name));
    record_set_text(it, "what", span_str(what));
    record_set(it, "good", json_boolean(difference == 0));
    record_set_int(it, "looked_at", k->looked_at);
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
        put_line(k, "I2", "no account in Redis is below zero", k->negative, "");
        put_line(k, "I11", "balances in Redis are those of the books, less open holds",
                 k->difference, k->first);
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

static int expected(struct look *k, int64_t *nano)
{
    struct books *b = k->ledger->books;
    AUTO_JSON json_t *account = NULL;

    TRY(books_begin(b));
    TRY(books_end(b, account_find(b, account_of(k), &account)));
    *nano = record_money(account, "granted") - record_money(account, "charged");
    return 0;
}

static void judge(struct look *k)
{
    int64_t nano;

    if (k->failed || expected(k, &nano) < 0) {
        end(k, E_UNAVAILABLE);
        return;
    }
    const int64_t difference = k->available + k->holds - nano;
    if (difference != 0 && ++k->tries < TRIES) { /* a bill may be on its way */
        loop_timer_set(k->ledger->loop, &k->timer, PAUSE_MS, begin_account, k);
        return;
    }
    k->looked_at++;
    k->negative += k->available < 0 ? -k->available : 0;
    k->difference += difference < 0 ? -difference : difference;
    if (difference != 0 && !k->first[0])
        snprintf(k->first, sizeof(k->first), "%s: %" PRId64 " in Redis, %" PRId64 " in the books",
                 account_of(k), k->available + k->holds, nano);
    k->at++;
    k->tries = 0;
    loop_timer_set(k->ledger->loop, &k->timer, 0, begin_account, k);
}

static void answered(struct look *k, int error, const struct redisReply *reply)
{
    k->failed = k->failed || error < 0 || redis_reply_type(reply) == REDIS_FAILURE;
    if (--k->pending == 0)
        judge(k);
}

/* state|hold|… of an open hold (billing/lua/common.lua) */
static void on_hold(void *arg, int error, const struct redisReply *reply)
{
    struct look *k = arg;
    struct span row = error == 0 ? redis_reply_text(reply) : SPAN("");
    int64_t nano = 0;

    if (span_is(span_split(&row, '|'), "open") && nano_parse(span_split(&row, '|'), &nano) == 0)
        k->holds += nano;
    answered(k, error, reply);
}

static void ask(struct look *k, const char *command, const char *key, const char *more,
                redis_reply_fn *fn)
{
    const struct span argv[] = {span_str(command), span_str(key), span_str(more), SPAN("-1")};
    const size_t argc = strcmp(command, "GET") == 0 ? 2 : strcmp(command, "HGET") == 0 ? 3 : 4;

    if (redis_command(k->ledger->redis, argv[1], argv, argc, fn, k) == 0)
        k->pending++;
    else
        k->failed = true;
}

static void on_holds(void *arg, int error, const struct redisReply *reply)
{
    struct look *k = arg;

    for (size_t i = 0; error == 0 && i < redis_reply_count(reply); i++) {
        char call[LAYOUT_NAME_MAX + 1], key[LAYOUT_KEY_LEN];
        if (span_cstr(redis_reply_text(redis_reply_at(reply, i)), call, sizeof(call)) < 0)
            continue;
        snprintf(key, sizeof(key), LAYOUT_HOLD, account_of(k), call);
        ask(k, "GET", key, "", on_hold);
    }
    answered(k, error, reply);
}

static void on_available(void *arg, int error, const struct redisReply *reply)
{
    struct look *k = arg;
    const struct span text = error == 0 ? redis_reply_text(reply) : SPAN("");
    const bool minus = span_starts(text, SPAN("-"));
    int64_t nano = 0;

    if (nano_parse(span_from(text, minus ? 1 : 0), &nano) == 0)
        k->available = minus ? -nano : nano;
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
    k->available = k->holds = 0;
    k->failed = false;
    k->pending = 1;
    snprintf(account, sizeof(account), LAYOUT_ACCOUNT, account_of(k));
    snprintf(holds, sizeof(holds), LAYOUT_HOLDS, account_of(k));
    ask(k, "HGET", account, "available", on_available);
    ask(k, "ZRANGE", holds, "0", on_holds);
    if (--k->pending == 0)
        judge(k);
}

static int read_accounts(struct look *k)
{
    struct books *b = k->ledger->books;
    char after[LAYOUT_NAME_MAX + 1] = "";
    bool more = true;

    k->accounts = json_array();
    while (more) {
        AUTO_JSON json_t *page = NULL;
        TRY(books_begin(b));
        TRY(books_end(b, accounts_list(b, after, PAGE, &page)));
        const json_t *data = json_object_get(page, "data");
        for (size_t i = 0; i < json_array_size(data); i++) {
            snprintf(after, sizeof(after), "%s", record_text(json_array_get(data, i), "id", ""));
            json_array_append_new(k->accounts, json_string(after));
        }
        more = json_is_true(json_object_get(page, "has_more"));
    }
    return 0;
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
