/* What the API says of money: prices, an account's balance, and its bills. */
#include <stdio.h>
#include <stdlib.h>

#include "gateway/money.h"
#include "gateway/receipts.h"
#include "gateway/reply.h"

enum { LIST_MAX = 100, RECEIPT_LOOK_MS = 150, RECEIPT_LOOKS = 12, LIST_LOOKS = 8 };

/* Of a list: one of this instance's own bills. */
struct own_bill {
    char call[CALL_ID_LEN + 1];
    bool unknown; /* the books had not confirmed it when the list was asked for */
    size_t end;   /* in the ask's body */
};

/* A question whose answer may come after its call has gone. */
struct billing_ask {
    struct call *call; /* NULL: gone */
    struct buf body;
    struct own_bill *list; /* LIST_MAX; NULL: one bill is asked for */
    size_t rows;
    int64_t confirmed;       /* by the books */
    struct loop_timer timer; /* between two looks for what the ledger says */
    unsigned looks;
};

static void ask_free(struct billing_ask *a)
{
    buf_fini(&a->body);
    free(a->list);
    free(a);
}

void billing_forget(struct call *c)
{
    struct billing_ask *a = c->billing_ask;

    c->billing_ask = NULL;
    if (!a)
        return;
    a->call = NULL;
    if (loop_timer_is_set(&a->timer)) { /* nothing else names it then */
        loop_timer_cancel(c->gateway->loop, &a->timer);
        ask_free(a);
    }
}

static struct billing_ask *ask_new(struct call *c)
{
    struct billing_ask *a = mem_zero(sizeof(*a));

    a->call = c;
    c->billing_ask = a;
    return a;
}

/* The call that still waits; NULL: it is answered, or gone. */
static struct call *ask_call(const struct billing_ask *a)
{
    struct call *c = a->call;

    if (c)
        c->billing_ask = NULL;
    return c && !c->answered && !c->gone ? c : NULL;
}

static void refuse(struct call *c, const struct api_error *e, const char *arg)
{
    api_fault_set(&c->fault, e, NULL, arg);
    reply_fault(c);
}

static void reply_json(struct call *c, struct buf *body)
{
    reply_whole(c, 200, "application/json", body);
}

/* ---- Prices ---- */

/* The book's very bytes: its hash is over them. */
static void book_reply(struct call *c, const struct price_book *b)
{
    struct buf body = {0};

    if (!b) {
        refuse(c, &ERR_NOT_FOUND, "price book");
        return;
    }
    buf_append(&body, buf_span(&b->json));
    reply_json(c, &body);
}

void prices_serve(struct call *c)
{
    book_reply(c, prices_current(c->gateway->money->prices));
}

static void book_here(void *arg, struct price_book *book)
{
    struct billing_ask *a = arg;
    struct call *c = ask_call(a);

    if (c)
        book_reply(c, book);
    ask_free(a);
}

void prices_version_serve(struct call *c)
{
    uint64_t version;

    if (span_u64(c->tail, INT32_MAX, &version) < 0) {
        refuse(c, &ERR_NOT_FOUND, "price book");
        return;
    }
    prices_get(c->gateway->money->prices, (int64_t)version, book_here, ask_new(c));
}

void prices_of_model(struct money *m, const char *model, struct buf *out)
{
    const struct price_book *b = prices_current(m->prices);
    const struct price *p = b ? price_book_find(b, span_str(model)) : NULL;
    const struct {
        const char *name;
        int64_t nano;
    } parts[] = {{"prompt", p ? p->prompt : 0},           {"cached", p ? p->cached : 0},
                 {"completion", p ? p->completion : 0},   {"reasoning", p ? p->reasoning : 0},
                 {"per_request", p ? p->per_request : 0}, {"minimum", p ? p->minimum : 0}};

    if (!p)
        return;
    buf_printf(out, ",\"prices\":{\"version\":%lld", (long long)b->version);
    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++)
        buf_printf(out, ",\"%s\":\"%lld\"", parts[i].name, (long long)parts[i].nano);
    buf_byte(out, '}');
}

/* ---- Balance ---- */

static int number_at(const struct redisReply *reply, size_t i, int64_t *out)
{
    return nano_parse(redis_reply_text(redis_reply_at(reply, i)), out);
}

static void balance_write(struct call *c, int64_t available, int64_t held, int64_t charged)
{
    char coins[NANO_COIN_LEN];
    struct buf body = {0};

    buf_printf(&body,
               "{\"object\":\"billing.balance\",\"available_nano\":%lld,\"available\":\"%s\",",
               (long long)available, nano_coins(coins, available));
    buf_printf(&body, "\"held_nano\":%lld,\"charged_nano\":%lld}", (long long)held,
               (long long)charged);
    reply_json(c, &body);
}

/* available, granted, charged: what is in none of them is held by calls that run. */
static void balance_told(void *arg, int error, const struct redisReply *reply)
{
    struct billing_ask *a = arg;
    struct call *c = ask_call(a);
    int64_t available, granted, charged;

    ask_free(a);
    if (!c)
        return;
    if (error < 0 || redis_reply_count(reply) != 3 || number_at(reply, 0, &available) < 0 ||
        number_at(reply, 1, &granted) < 0 || number_at(reply, 2, &charged) < 0)
        refuse(c, &ERR_SERVICE_UNAVAILABLE, NULL);
    else
        balance_write(c, available, granted - charged - available, charged);
}

void balance_serve(struct call *c)
{
    char key[LAYOUT_KEY_LEN];

    if (!c->key->metered) {
        refuse(c, &ERR_NOT_FOUND, "account");
        return;
    }
    snprintf(key, sizeof(key), LAYOUT_ACCOUNT, c->key->account);
    const struct span argv[] = {SPAN("HMGET"), span_str(key), SPAN("available"), SPAN("granted"),
                                SPAN("charged")};
    struct billing_ask *a = ask_new(c);
    if (epoch_state(c->gateway->money->epoch) != EPOCH_OPEN ||
        redis_command(c->gateway->redis, argv[1], argv, 5, balance_told, a) < 0)
        balance_told(a, E_UNAVAILABLE, NULL);
}

/* ---- Bills ---- */

static void row_write(struct buf *out, const struct journal_row *r)
{
    buf_printf(out, "{\"call\":\"%.*s\",\"bill\":\"%.*s\",\"usage\":\"%.*s\"}", SPAN_FMT(r->call),
               SPAN_FMT(r->bill), SPAN_FMT(r->usage));
}

/* No bill: what is kept here of the call. */
static void usage_reply(struct call *c)
{
    const struct receipt kept = receipts_find(c->gateway->receipts, c->tail, c->key->id);
    struct buf body = {0};

    if (kept.usage.len == 0) {
        refuse(c, &ERR_NOT_FOUND, "receipt");
        return;
    }
    buf_printf(&body, "{\"usage\":\"%.*s\"", SPAN_FMT(kept.usage));
    if (kept.content.len > 0)
        buf_printf(&body, ",\"receipt\":\"%.*s\"", SPAN_FMT(kept.content));
    buf_byte(&body, '}');
    reply_json(c, &body);
}

/* A bill is an object of our own or the ledger's, and says nothing of the answer. */
static void content_add(struct call *c, struct buf *bill)
{
    const struct receipt kept = receipts_find(c->gateway->receipts, c->tail, c->key->id);

    if (kept.content.len == 0 || !span_ends(buf_span(bill), SPAN("}")))
        return;
    bill->len--;
    buf_printf(bill, ",\"receipt\":\"%.*s\"}", SPAN_FMT(kept.content));
}

/* With what this instance has itself. */
static void receipt_reply(struct billing_ask *a)
{
    struct call *c = ask_call(a);

    if (c && a->body.len > 0) {
        content_add(c, &a->body);
        reply_json(c, &a->body);
    } else if (c) {
        usage_reply(c);
    }
    ask_free(a);
}

static void receipt_look(void *arg);
static void list_reply(struct billing_ask *a, struct span books);

/* "": the books have no such bill, or not yet. */
static void receipt_told(void *arg, int error, const struct redisReply *reply)
{
    struct billing_ask *a = arg;
    const struct span text = error == 0 ? redis_reply_text(reply) : SPAN("");
    const bool over =
        text.data || error < 0 || !a->call || ++a->looks == (a->list ? LIST_LOOKS : RECEIPT_LOOKS);

    if (over && a->list) {
        list_reply(a, text);
        return;
    }
    if (text.len > 0) {
        buf_clear(&a->body);
        buf_append(&a->body, text);
    }
    if (over)
        receipt_reply(a);
    else
        loop_timer_set(a->call->gateway->loop, &a->timer, RECEIPT_LOOK_MS, receipt_look, a);
}

/* With what is here. */
static void look_over(struct billing_ask *a)
{
    if (a->list)
        list_reply(a, SPAN(""));
    else
        receipt_reply(a);
}

static void receipt_look(void *arg)
{
    struct billing_ask *a = arg;
    const struct call *c = a->call;
    char key[LAYOUT_KEY_LEN], id[LAYOUT_NAME_MAX + 1];

    if (span_cstr(a->list ? span_str(c->id) : c->tail, id, sizeof(id)) < 0) {
        look_over(a);
        return;
    }
    snprintf(key, sizeof(key), a->list ? LAYOUT_RECEIPTS : LAYOUT_RECEIPT, c->key->account, id);
    const struct span argv[] = {SPAN("GET"), span_str(key)};
    if (redis_command(c->gateway->redis, argv[1], argv, 2, receipt_told, a) < 0)
        look_over(a);
}

static void ledger_asked(void *arg, int error, const struct redisReply *reply)
{
    (void)arg;
    (void)error;
    (void)reply;
}

/* The books know what other instances billed, and the bill's place in its day's tree. */
static void ledger_ask(struct billing_ask *a)
{
    struct call *c = a->call;
    const struct span argv[] = {SPAN("XADD"),    SPAN(LAYOUT_EVENTS),
                                SPAN("MAXLEN"),  SPAN("~"),
                                SPAN("10000"),   SPAN("*"),
                                SPAN("type"),    a->list ? SPAN("receipts") : SPAN("receipt"),
                                SPAN("account"), span_str(c->key->account),
                                SPAN("call"),    a->list ? span_str(c->id) : c->tail};

    if (redis_command(c->gateway->redis, argv[1], argv, sizeof(argv) / sizeof(*argv), ledger_asked,
                      NULL) < 0)
        look_over(a);
    else
        loop_timer_set(c->gateway->loop, &a->timer, RECEIPT_LOOK_MS, receipt_look, a);
}

/* Only what is not here, or lacks the proof that is wanted. */
static bool may_ask(const struct billing_ask *a)
{
    const struct call *c = a->call;

    if (c->tail.len != CALL_ID_LEN || !span_visible(c->tail, CALL_ID_LEN))
        return false;
    if (a->body.len > 0)
        return span_is(http_query(c->ex), "proof=true");
    return receipts_find(c->gateway->receipts, c->tail, c->key->id).usage.len == 0;
}

static void bill_found(void *arg, const struct journal_row *r)
{
    struct billing_ask *a = arg;

    if (r)
        row_write(&a->body, r);
    else if (a->call && may_ask(a))
        ledger_ask(a);
    else
        receipt_reply(a);
}

void receipts_get(struct call *c)
{
    struct money *m = c->gateway->money;

    if (c->key->metered && m->journal)
        journal_find(m->journal, span_str(c->key->account), c->tail, bill_found, ask_new(c));
    else
        usage_reply(c);
}

static bool is_among(struct span books, const char *call)
{
    return books.len > 0 && memmem(books.data, books.len, call, CALL_ID_LEN);
}

/* The books' list, `[…]`, with those of this instance in front that it does not hold yet; "": this
 * instance's own. */
static void list_reply(struct billing_ask *a, struct span books)
{
    struct call *c = ask_call(a);
    struct buf body = {0};
    size_t begin = 0, count = 0;

    buf_append_str(&body, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; i < a->rows; begin = a->list[i].end, i++) {
        const struct own_bill *own = &a->list[i];
        if (books.len > 0 && (!own->unknown || is_among(books, own->call)))
            continue;
        buf_append_str(&body, count++ ? "," : "");
        buf_append(&body, span_of(a->body.data + begin, own->end - begin));
    }
    if (books.len > 2) {
        buf_append_str(&body, count ? "," : "");
        buf_append(&body, span_cut(books, 1, books.len - 2));
    }
    buf_append_str(&body, "]}");
    if (c)
        reply_json(c, &body);
    buf_fini(&body);
    ask_free(a);
}

static void bill_listed(void *arg, const struct journal_row *r)
{
    struct billing_ask *a = arg;

    if (!r && a->call)
        ledger_ask(a);
    else if (!r)
        ask_free(a);
    if (!r || a->rows == LIST_MAX)
        return;
    struct own_bill *own = &a->list[a->rows++];
    row_write(&a->body, r);
    own->end = a->body.len;
    own->unknown = r->n > a->confirmed;
    if (span_cstr(r->call, own->call, sizeof(own->call)) < 0)
        own->call[0] = 0;
}

/* What every gateway billed is in the books; without a ledger this one's own is shown. */
void receipts_list(struct call *c)
{
    struct money *m = c->gateway->money;
    struct billing_ask *a = ask_new(c);

    a->list = mem_zero(LIST_MAX * sizeof(*a->list));
    if (!c->key->metered || !m->journal) {
        list_reply(a, SPAN(""));
        return;
    }
    a->confirmed = journal_acked_to(m->journal);
    journal_recent(m->journal, span_str(c->key->account), LIST_MAX, bill_listed, a);
}
