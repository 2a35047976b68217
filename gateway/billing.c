/* What the API says of money: prices, an account's balance, and its bills. */
#include <stdio.h>
#include <stdlib.h>

#include "base/encode.h"
#include "gateway/money.h"
#include "gateway/receipts.h"
#include "gateway/reply.h"

enum {
    LIST_MAX = 100,
    RECEIPT_LOOK_MS = 150,
    RECEIPT_LOOKS = 12,
    LIST_LOOKS = 8,
    BILL_ID_MAX = CALL_ID_LEN + 12 /* "call.attempt" */
};

/* Of a list: one of this instance's own bills. */
struct own_bill {
    char id[BILL_ID_MAX];
    int64_t n;  /* in the journal */
    size_t end; /* in the ask's body */
};

/* A question whose answer may come after its call has gone. */
struct billing_ask {
    struct call *call; /* NULL: gone */
    struct buf body;
    struct own_bill *list; /* LIST_MAX, the latest first; NULL: one bill is asked for */
    size_t rows, limit;
    char after[BILL_ID_MAX]; /* of the list's query; "": the newest are wanted */
    bool booked;             /* the books have rows of this journal */
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

static bool is_billed(const struct call *c)
{
    return c->key->metered && c->gateway->money->journal;
}

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
    char limit[24];

    snprintf(limit, sizeof(limit), "%zu", a->limit);
    const struct span argv[] = {SPAN("XADD"),     SPAN(LAYOUT_EVENTS),
                                SPAN("MAXLEN"),   SPAN("~"),
                                SPAN("10000"),    SPAN("*"),
                                SPAN("type"),     a->list ? SPAN("receipts") : SPAN("receipt"),
                                SPAN("account"),  span_str(c->key->account),
                                SPAN("call"),     a->list ? span_str(c->id) : c->tail,
                                SPAN("instance"), span_str(c->gateway->money->claim.instance),
                                SPAN("after"),    span_str(a->after),
                                SPAN("limit"),    span_str(limit)};
    const size_t count = sizeof(argv) / sizeof(*argv);

    if (redis_command(c->gateway->redis, argv[1], argv, count, ledger_asked, NULL) < 0)
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
    if (is_billed(c))
        journal_find(c->gateway->money->journal, span_str(c->key->account), c->tail, bill_found,
                     ask_new(c));
    else
        usage_reply(c);
}

/* ---- The list ---- */

/* What the books said: LAYOUT_RECEIPTS. */
struct books_page {
    bool here;  /* they said something */
    int64_t n;  /* they have this instance's rows up to n; -1: nothing is known of it */
    bool found; /* they know `after` */
    bool more;  /* older ones follow */
    struct span lines;
};

static struct books_page books_page_read(struct span text)
{
    struct span head = span_split(&text, '\n');
    uint64_t n, found, more;

    if (span_u64(span_split(&head, ' '), INT64_MAX, &n) < 0 ||
        span_u64(span_split(&head, ' '), 1, &found) < 0 || span_u64(head, 1, &more) < 0)
        return (struct books_page){.n = -1};
    return (struct books_page){true, (int64_t)n, found == 1, more == 1, text};
}

struct list_page {
    struct buf data;
    size_t count, limit;
    struct span first, last; /* ids */
    bool more;
};

static void page_add(struct list_page *p, struct span id, struct span bill)
{
    if (p->count == p->limit) {
        p->more = true;
        return;
    }
    if (p->count++ == 0)
        p->first = id;
    p->last = id;
    buf_append_str(&p->data, p->count > 1 ? "," : "");
    buf_append(&p->data, bill);
}

/* Those of this instance that the books do not hold yet are the newest. False: what is behind
 * `after` is not known. */
static bool page_fill(struct list_page *p, const struct billing_ask *a, struct books_page *books)
{
    bool behind = !a->after[0] || books->found;
    size_t i = 0;

    for (; !books->found && i < a->rows && a->list[i].n > books->n; i++) {
        const struct own_bill *own = &a->list[i];
        const size_t begin = i > 0 ? a->list[i - 1].end : 0;
        if (behind)
            page_add(p, span_str(own->id), span_of(a->body.data + begin, own->end - begin));
        else
            behind = strcmp(own->id, a->after) == 0;
    }
    if (i == LIST_MAX || (!books->here && a->booked)) { /* what comes then is not known here */
        p->more = true;
        books->here = false;
        return behind && p->count > 0;
    }
    while (behind && books->lines.len > 0) {
        struct span line = span_split(&books->lines, '\n');
        const struct span id = span_split(&line, ' ');
        page_add(p, id, line);
    }
    p->more |= books->more;
    return behind;
}

static void id_write(struct buf *out, const char *name, struct span id)
{
    if (id.len > 0)
        buf_printf(out, ",\"%s\":\"%.*s\"", name, SPAN_FMT(id));
    else
        buf_printf(out, ",\"%s\":null", name);
}

static void page_reply(struct call *c, const struct list_page *p)
{
    struct buf body = {0};

    buf_append_str(&body, "{\"object\":\"list\",\"data\":[");
    buf_append(&body, buf_span(&p->data));
    buf_byte(&body, ']');
    id_write(&body, "first_id", p->first);
    id_write(&body, "last_id", p->last);
    buf_printf(&body, ",\"has_more\":%s}", p->more ? "true" : "false");
    reply_json(c, &body);
}

/* Another gateway's bill may be on its way to the books: a client that tries again then has its
 * page. The books' silence says nothing of the id. */
static void page_refuse(struct call *c, const struct books_page *books)
{
    if (books->here)
        api_fault_text(&c->fault, &ERR_SERVICE_UNAVAILABLE, "after",
                       "No such bill is known here, or not yet. Please try again, or begin anew.");
    else
        api_fault_set(&c->fault, &ERR_SERVICE_UNAVAILABLE, NULL, NULL);
    reply_fault(c);
}

/* books: what they said, or "" when they did not: this instance's own then. */
static void list_reply(struct billing_ask *a, struct span books)
{
    struct list_page page = {.limit = a->limit};
    struct books_page said = books_page_read(books);
    struct call *c = ask_call(a);

    if (c && page_fill(&page, a, &said))
        page_reply(c, &page);
    else if (c)
        page_refuse(c, &said);
    buf_fini(&page.data);
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
    own->n = r->n;
    snprintf(own->id, sizeof(own->id), "%.*s.%u", SPAN_FMT(r->call), r->attempt);
}

/* Whether or not it is known. */
static bool is_bill_id(struct span id)
{
    const bool fits = id.len < BILL_ID_MAX;
    const struct span call = span_split(&id, '.');
    uint8_t bytes[CALL_ID_LEN / 2];
    uint64_t attempt;

    for (size_t i = 0; i < call.len; i++) /* ids are not written in capitals */
        if (call.data[i] >= 'A' && call.data[i] <= 'F')
            return false;
    return fits && hex_decode(bytes, sizeof(bytes), call) == 0 &&
           span_u64(id, UINT64_MAX, &attempt) == 0;
}

static int list_query(struct call *c, uint64_t *limit, struct span *after, const char **param)
{
    const struct span given = route_query(http_query(c->ex), "limit", &c->arena);

    *limit = LIST_MAX;
    *param = "limit";
    if (given.data && (span_u64(given, LIST_MAX, limit) < 0 || *limit == 0))
        return E_INVALID;
    *param = "after";
    *after = route_query(http_query(c->ex), "after", &c->arena);
    return after->data && !is_bill_id(*after) ? E_INVALID : 0;
}

/* What every gateway billed is in the books; without a ledger this one's own is shown. */
void receipts_list(struct call *c)
{
    struct money *m = c->gateway->money;
    const char *param;
    struct span after;
    uint64_t limit;

    if (list_query(c, &limit, &after, &param) < 0) {
        api_fault_set(&c->fault, &ERR_INVALID_VALUE, param, param);
        reply_fault(c);
        return;
    }
    struct billing_ask *a = ask_new(c);
    a->limit = limit;
    a->booked = m->journal && journal_acked_to(m->journal) > 0;
    a->list = mem_zero(LIST_MAX * sizeof(*a->list));
    (void)!span_cstr(after, a->after, sizeof(a->after));
    if (is_billed(c))
        journal_recent(m->journal, span_str(c->key->account), LIST_MAX, bill_listed, a);
    else
        list_reply(a, SPAN("0 1 0\n")); /* it is never billed: nothing is behind any id */
}
