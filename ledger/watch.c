/* Refusals for a budget, and questions for receipts, come through a stream of the gateways,
 * m1:events, of which an entry may be missed (the next one brings another) and none counts twice.
 */
#include "ledger/watch.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/log.h"
#include "billing/layout.h"
#include "ledger/books/account.h"
#include "ledger/books/hook.h"
#include "ledger/books/record.h"
#include "ledger/webhooks.h"

enum { LOOK_MS = 200, NAME = LAYOUT_NAME_MAX + 1, ID_LEN = 48, RECEIPTS_MAX = 100 };

struct watch {
    struct ledger *ledger;
    struct loop_timer timer;
    bool asking, stopped;
};

int watch_balance(struct ledger *l, const char *account)
{
    AUTO_JSON json_t *it = NULL;
    AUTO_JSON json_t *data = record_object();
    char what[64];
    size_t queued = 0;

    TRY(account_find(l->books, account, &it));
    const int64_t low = record_money(it, "low_balance");
    const int64_t balance = record_money(it, "granted") - record_money(it, "charged");
    if (low == 0 || balance >= low)
        return 0;
    record_set_money(data, "balance", balance);
    record_set_money(data, "low_balance", low);
    snprintf(what, sizeof(what), "low/%s/%" PRId64, record_text(it, "granted", "0"), low);
    TRY(hook_tell(l->books, account, "balance.low", what, data, &queued));
    if (queued > 0)
        webhooks_wake(l->webhooks);
    return 0;
}

/* ---- Budgets ---- */

/* What a gateway says: whose budget (a, p, k) of which window (d, m, t). */
struct refusal {
    char account[NAME], project[NAME], key[NAME], of[2], window[2];
};

static int read_refusal(const struct redisReply *fields, struct refusal *out)
{
    const struct {
        const char *name;
        char *at;
        size_t size;
    } places[] = {{"account", out->account, NAME},
                  {"project", out->project, NAME},
                  {"key", out->key, NAME},
                  {"of", out->of, sizeof(out->of)},
                  {"window", out->window, sizeof(out->window)}};

    *out = (struct refusal){0};
    for (size_t i = 0; i + 1 < redis_reply_count(fields); i += 2)
        for (size_t p = 0; p < sizeof(places) / sizeof(places[0]); p++)
            if (span_is(redis_reply_text(redis_reply_at(fields, i)), places[p].name))
                TRY(span_cstr(redis_reply_text(redis_reply_at(fields, i + 1)), places[p].at,
                              places[p].size));
    const bool good = record_id_valid(span_str(out->account)) && out->of[0] && out->window[0] &&
                      strchr("apk", out->of[0]) && strchr("dmt", out->window[0]);
    return good ? 0 : E_INVALID;
}

static const char *word_of(char letter)
{
    static const char *const words[] = {"account", "project", "key", "day", "month", "total"};

    return words[strchr("apkdmt", letter) - "apkdmt"];
}

// Which day or month, so that each is told of once.
static int64_t window_number(const struct books *b, char window)
{
    const time_t now = (time_t)b->now_s;
    struct tm tm;

    gmtime_r(&now, &tm);
    if (window == 'd')
        return (int64_t)(b->now_s / 86400);
    return window == 'm' ? (int64_t)tm.tm_year * 12 + tm.tm_mon : 0;
}

static int tell_refusal(struct watch *w, const struct refusal *r, size_t *queued)
{
    struct books *b = w->ledger->books;
    AUTO_JSON json_t *data = record_object();
    const char *id = r->of[0] == 'k' ? r->key : r->of[0] == 'p' ? r->project : "";
    char what[160];

    record_set_text(data, "of", span_str(word_of(r->of[0])));
    record_set_text(data, "window", span_str(word_of(r->window[0])));
    record_set_text(data, "project", span_str(r->project));
    record_set_text(data, "key", span_str(r->key));
    snprintf(what, sizeof(what), "budget/%s/%s/%s/%" PRId64, r->of, id, r->window,
             window_number(b, r->window[0]));
    return hook_tell(b, r->account, "budget.reached", what, data, queued);
}

/* ---- Receipts ---- */

static void nothing(void *arg, int error, const struct redisReply *reply)
{
    (void)arg, (void)error, (void)reply;
}

static struct span field_of(const struct redisReply *fields, const char *name)
{
    for (size_t i = 0; i + 1 < redis_reply_count(fields); i += 2)
        if (span_is(redis_reply_text(redis_reply_at(fields, i)), name))
            return redis_reply_text(redis_reply_at(fields, i + 1));
    return SPAN("");
}

static bool names_call(const struct redisReply *fields, char account[static NAME],
                       char call[static NAME])
{
    return span_cstr(field_of(fields, "account"), account, NAME) == 0 &&
           span_cstr(field_of(fields, "call"), call, NAME) == 0 &&
           record_id_valid(span_str(account)) && record_id_valid(span_str(call));
}

static void write_receipt(struct buf *out, const json_t *bill)
{
    static const char *const members[] = {"call", "bill", "usage", "proof"};
    AUTO_JSON json_t *it = record_object();

    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
        if (json_object_get(bill, members[i]))
            record_set(it, members[i], json_deep_copy(json_object_get(bill, members[i])));
    record_write(out, it);
}

/* What has its proof stays for a day; what is still to get one, or is not known yet, for moments.
 */
static int give_receipt(struct watch *w, const struct redisReply *fields)
{
    AUTO_JSON json_t *bill = NULL;
    AUTO(buf_fini) struct buf text = {0};
    char account[NAME], call[NAME], key[LAYOUT_KEY_LEN];

    if (!names_call(fields, account, call))
        return 0;
    const int error = bill_find(w->ledger->books, account, call, &bill);
    if (error < 0 && error != E_NOT_FOUND)
        return error;
    if (bill)
        write_receipt(&text, bill);
    snprintf(key, sizeof(key), LAYOUT_RECEIPT, account, call);
    const bool proven = json_is_object(json_object_get(bill, "proof"));
    const struct span argv[] = {SPAN("SET"), span_str(key), buf_span(&text), SPAN("EX"),
                                proven ? SPAN("86400") : SPAN("5")};
    (void)!redis_command(w->ledger->redis, argv[1], argv, 5, nothing, NULL);
    return 0;
}

static void write_page(struct buf *out, int64_t known, bool found, const json_t *page)
{
    const json_t *data = json_object_get(page, "data");

    buf_printf(out, "%" PRId64 " %d %d\n", known, found,
               json_is_true(json_object_get(page, "has_more")));
    for (size_t i = 0; i < json_array_size(data); i++) {
        const json_t *bill = json_array_get(data, i);
        buf_printf(out, "%s.%" JSON_INTEGER_FORMAT " ", record_text(bill, "call", ""),
                   json_integer_value(json_object_get(bill, "attempt")));
        write_receipt(out, bill);
        buf_byte(out, '\n');
    }
}

/* LAYOUT_RECEIPTS; of a gateway that knows no pages, and names no limit, the bare array. */
static int read_page(struct books *b, const char *account, const struct redisReply *fields,
                     struct buf *out)
{
    const struct span after = field_of(fields, "after");
    AUTO_JSON json_t *page = NULL;
    uint64_t limit = RECEIPTS_MAX;
    int64_t known;

    (void)!span_u64(field_of(fields, "limit"), RECEIPTS_MAX, &limit);
    TRY(bill_cursor(b, field_of(fields, "instance"), &known));
    int error = bills_signed(b, account, after, limit, &page);
    const bool found = error == 0 && after.len > 0;
    if (error == E_NOT_FOUND)
        error = bills_signed(b, account, SPAN(""), limit, &page);
    if (error == 0 && field_of(fields, "limit").len > 0)
        write_page(out, known, found, page);
    else if (error == 0)
        record_write(out, json_object_get(page, "data"));
    return error;
}

/* For one request only, which looks for moments. */
static int give_receipts(struct watch *w, const struct redisReply *fields)
{
    AUTO(buf_fini) struct buf text = {0};
    char account[NAME], call[NAME], key[LAYOUT_KEY_LEN];

    if (!names_call(fields, account, call))
        return 0;
    TRY(read_page(w->ledger->books, account, fields, &text));
    snprintf(key, sizeof(key), LAYOUT_RECEIPTS, account, call);
    const struct span argv[] = {SPAN("SET"), span_str(key), buf_span(&text), SPAN("EX"), SPAN("5")};
    (void)!redis_command(w->ledger->redis, argv[1], argv, 5, nothing, NULL);
    return 0;
}

static int take(struct watch *w, const struct redisReply *entries, size_t *queued)
{
    struct refusal r;

    for (size_t i = 0; i < redis_reply_count(entries); i++) {
        const struct redisReply *entry = redis_reply_at(entries, i);
        size_t more = 0;
        if (!redis_entry_id(entry).data)
            continue;
        const struct redisReply *fields = redis_reply_at(entry, 1);
        if (span_is(field_of(fields, "type"), "receipt")) {
            TRY(give_receipt(w, fields));
            continue;
        }
        if (span_is(field_of(fields, "type"), "receipts")) {
            TRY(give_receipts(w, fields));
            continue;
        }
        if (read_refusal(fields, &r) < 0)
            continue;
        TRY(tell_refusal(w, &r, &more));
        *queued += more;
    }
    return 0;
}

static void forget(struct watch *w, struct span last)
{
    const struct span argv[] = {SPAN("XDEL"), SPAN(LAYOUT_EVENTS), last};
    const struct span trim[] = {SPAN("XTRIM"), SPAN(LAYOUT_EVENTS), SPAN("MINID"), last};

    (void)!redis_command(w->ledger->redis, argv[1], trim, 4, nothing, NULL);
    (void)!redis_command(w->ledger->redis, argv[1], argv, 3, nothing, NULL);
}

static void take_all(struct watch *w, const struct redisReply *entries)
{
    struct books *b = w->ledger->books;
    const size_t count = redis_reply_count(entries);
    size_t queued = 0;

    int error = books_begin(b);
    if (error == 0)
        error = books_end(b, take(w, entries, &queued));
    if (error < 0) {
        log_event(LOG_ERROR, "watch", "error=%s", error_name(error));
        return;
    }
    const struct span last = redis_entry_id(redis_reply_at(entries, count - 1));
    if (last.data)
        forget(w, last);
    if (queued > 0)
        webhooks_wake(w->ledger->webhooks);
}

static void on_events(void *arg, int error, const struct redisReply *reply)
{
    struct watch *w = arg;
    const struct redisReply *stream =
        error == 0 && redis_reply_count(reply) == 1 ? redis_reply_at(reply, 0) : NULL;

    w->asking = false;
    if (stream && !w->stopped && redis_reply_count(stream) == 2 &&
        redis_reply_count(redis_reply_at(stream, 1)) > 0)
        take_all(w, redis_reply_at(stream, 1));
}

static void look(void *arg)
{
    static const struct span argv[] = {SPAN("XREAD"),   SPAN("COUNT"),       SPAN("100"),
                                       SPAN("STREAMS"), SPAN(LAYOUT_EVENTS), SPAN("0-0")};
    struct watch *w = arg;

    loop_timer_set(w->ledger->loop, &w->timer, LOOK_MS, look, w);
    if (!w->asking)
        w->asking = redis_command(w->ledger->redis, argv[4], argv, 6, on_events, w) == 0;
}

int watch_new(struct watch **out, struct ledger *l)
{
    struct watch *w = mem_zero(sizeof(*w));

    w->ledger = l;
    loop_timer_set(l->loop, &w->timer, LOOK_MS, look, w);
    *out = w;
    return 0;
}

void watch_stop(struct watch *w)
{
    w->stopped = true;
    loop_timer_cancel(w->ledger->loop, &w->timer);
}

void watch_free(struct watch *w)
{
    free(w);
}
