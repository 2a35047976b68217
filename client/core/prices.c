/* A few books at a time: a new one replaces the oldest. */
#include "client/core/prices.h"

#include <stdio.h>
#include <stdlib.h>

#include "billing/price_book.h"

enum { BOOKS = 4, FETCH_MS = 5000, AGAIN_MS = 60000, PATH_LEN = 48 };

struct entry {
    struct prices *all;
    int64_t version; /* 0: free */
    struct price_book *book;
    uint64_t asked_ms;
    struct http_whole answer;
};

struct prices {
    struct client *client;
    struct entry entries[BOOKS];
    size_t next; /* is replaced next */
};

struct prices *prices_new(struct client *c)
{
    struct prices *p = mem_zero(sizeof(*p));

    p->client = c;
    return p;
}

static void entry_clear(struct entry *e)
{
    http_whole_cancel(&e->answer);
    buf_fini(&e->answer.body);
    price_book_unref(e->book);
    *e = (struct entry){0};
}

void prices_free(struct prices *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < BOOKS; i++)
        entry_clear(&p->entries[i]);
    free(p);
}

int price_tag_read(struct span text, int64_t *version, int64_t *coefficient)
{
    struct span rest = text;
    uint64_t v = 0, c = 0;

    TRY(span_u64(span_split(&rest, ';'), INT32_MAX, &v));
    TRY(span_u64(rest, (uint64_t)PRICE_COEFFICIENT_MAX, &c));
    *version = (int64_t)v;
    *coefficient = (int64_t)c;
    return 0;
}

static const struct entry *find(const struct prices *p, int64_t version)
{
    for (size_t i = 0; i < BOOKS; i++)
        if (version > 0 && p->entries[i].version == version)
            return &p->entries[i];
    return NULL;
}

static void fetched(void *arg, struct http_transfer *t, int error)
{
    struct entry *e = arg;
    struct price_book *book = NULL;

    (void)t;
    if (error == 0 && e->answer.status == 200 &&
        price_book_parse(&book, buf_span(&e->answer.body)) == 0 && book->version == e->version)
        e->book = price_book_ref(book);
    price_book_unref(book);
    buf_fini(&e->answer.body);
}

void prices_want(struct prices *p, int64_t version)
{
    struct loop *l = p->client->loop;
    const struct entry *known = find(p, version);
    char path[PATH_LEN];
    const struct client_ask ask = {.path = path, .total_ms = FETCH_MS};

    if (version <= 0 || (known && (known->book || known->answer.transfer ||
                                   loop_now(l) - known->asked_ms < AGAIN_MS)))
        return;
    struct entry *e = &p->entries[known ? (size_t)(known - p->entries) : p->next++ % BOOKS];
    entry_clear(e);
    *e = (struct entry){.all = p, .version = version, .asked_ms = loop_now(l)};
    e->answer = (struct http_whole){.max = PRICE_BOOK_MAX, .done = fetched, .arg = e};
    snprintf(path, sizeof(path), "/v1/prices/%lld", (long long)version);
    (void)!client_get(p->client, &ask, &e->answer);
}

bool prices_pending(const struct prices *p, int64_t version)
{
    const struct entry *e = find(p, version);

    return e && e->answer.transfer;
}

int prices_cost(const struct prices *p, int64_t version, int64_t coefficient, struct span model,
                const struct usage *used, int64_t *nano)
{
    const struct entry *e = find(p, version);
    const struct price *price = e && e->book ? price_book_find(e->book, model) : NULL;
    const struct price_tokens tokens = {
        .in = used->in, .cached = used->cached, .out = used->out, .reasoning = used->reasoning};

    return price ? price_amount(price, &tokens, coefficient, nano) : E_NOT_FOUND;
}
