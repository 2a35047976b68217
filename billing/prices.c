/* Follows prices:current by its channel and every five seconds; books never change, so each is read
 * once. */
#include "billing/prices.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "billing/layout.h"

enum { LOOK_MS = 5000, BOOKS_MAX = 64 };

struct prices {
    struct loop *loop;
    struct redis *redis;
    struct loop_timer timer;
    struct price_book *books[BOOKS_MAX]; /* a ring: the newest that were read */
    size_t next;
    struct price_book *current;
    int64_t wanted; /* the version that Redis names; its book may still come, or begin later */
};

static struct price_book *book_of(const struct prices *p, int64_t version)
{
    for (size_t i = 0; i < BOOKS_MAX; i++)
        if (p->books[i] && p->books[i]->version == version)
            return p->books[i];
    return NULL;
}

static void book_keep(struct prices *p, struct price_book *b)
{
    price_book_unref(p->books[p->next]);
    p->books[p->next] = b;
    p->next = (p->next + 1) % BOOKS_MAX;
}

static bool has_begun(const struct price_book *b)
{
    return b->valid_from_s <= clock_wall_ms() / 1000;
}

static void put_in_force(struct prices *p, struct price_book *b)
{
    if (b == p->current)
        return;
    log_event(LOG_INFO, "prices", "version=%lld models=%zu", (long long)b->version, b->models.len);
    price_book_unref(p->current);
    p->current = price_book_ref(b);
}

/* The named book is in force once it is here and its time has come. */
static void take_over(struct prices *p)
{
    struct price_book *b = book_of(p, p->wanted);

    if (b && has_begun(b))
        put_in_force(p, b);
}

/* ---- One book ---- */

struct fetch {
    struct prices *prices;
    int64_t version;
    prices_fn *fn;
    void *arg;
};

static struct price_book *book_read(struct prices *p, int64_t version, struct span json)
{
    struct price_book *b = NULL;

    if (!json.data || price_book_parse(&b, json) < 0 || b->version != version) {
        log_event(LOG_ERROR, "prices_refused", "version=%lld", (long long)version);
        price_book_unref(b);
        return NULL;
    }
    book_keep(p, b);
    return b;
}

static void fetched(void *arg, int error, const struct redisReply *reply)
{
    struct fetch *f = arg;
    struct price_book *b = book_of(f->prices, f->version); /* asked for twice */

    if (!b && error == 0)
        b = book_read(f->prices, f->version, redis_reply_text(reply));
    f->fn(f->arg, b);
    free(f);
}

void prices_get(struct prices *p, int64_t version, prices_fn *fn, void *arg)
{
    struct price_book *b = book_of(p, version);
    char key[LAYOUT_KEY_LEN];

    if (b) {
        fn(arg, b);
        return;
    }
    struct fetch *f = mem_alloc(sizeof(*f));
    *f = (struct fetch){p, version, fn, arg};
    (void)snprintf(key, sizeof(key), LAYOUT_BOOK, (long long)version);
    const struct span argv[] = {SPAN("GET"), span_str(key)};
    if (redis_command(p->redis, argv[1], argv, 2, fetched, f) < 0)
        fetched(f, E_UNAVAILABLE, NULL);
}

/* ---- The one in force ---- */

/* A process that starts while the named book is still to come takes the newest that has begun. */
static void book_here(void *arg, struct price_book *book)
{
    struct prices *p = arg;

    if (book && has_begun(book) && (!p->current || book->version == p->wanted))
        put_in_force(p, book);
    else if (book && !p->current && book->version > 1)
        prices_get(p, book->version - 1, book_here, p);
}

static void named(void *arg, int error, const struct redisReply *reply)
{
    struct prices *p = arg;
    int64_t version;

    if (error < 0 || nano_parse(redis_reply_text(reply), &version) < 0)
        return;
    p->wanted = version;
    prices_get(p, version, book_here, p);
}

void prices_read(struct prices *p)
{
    static const struct span argv[] = {SPAN("GET"), SPAN(LAYOUT_CURRENT)};

    take_over(p);
    if (redis_up(p->redis) && redis_command(p->redis, argv[1], argv, 2, named, p) < 0)
        return; /* the next turn asks again */
}

static void look(void *arg)
{
    struct prices *p = arg;

    loop_timer_set(p->loop, &p->timer, LOOK_MS, look, p);
    prices_read(p);
}

static void changed(void *arg, struct span channel, struct span payload)
{
    (void)channel;
    (void)payload;
    prices_read(arg);
}

struct prices *prices_new(struct loop *l, struct redis *r)
{
    struct prices *p = mem_zero(sizeof(*p));

    p->loop = l;
    p->redis = r;
    CHECK(redis_subscribe(r, LAYOUT_CHANGED, changed, p) == 0);
    look(p);
    return p;
}

void prices_stop(struct prices *p)
{
    loop_timer_cancel(p->loop, &p->timer);
}

void prices_free(struct prices *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < BOOKS_MAX; i++)
        price_book_unref(p->books[i]);
    price_book_unref(p->current);
    free(p);
}

struct price_book *prices_current(const struct prices *p)
{
    return p->current;
}
