/* Slots that are kept for clients which were told to encrypt again, to another worker: for their
 * account, until they come, and for a moment at most. Without it a crowd is sent after one free
 * slot, and after the next, until it may not try again (wire.md §11). They cost nothing, so an
 * account has but a few at a time. */
#include <stdlib.h>

#include "backends/pool/pool_impl.h"

enum { PROMISE_MS = 500, PROMISES_MAX = 8, ACCOUNT_LEN = 64 };

/* An account to which something is promised. */
struct promisee {
    size_t open;
    char account[ACCOUNT_LEN + 1];
};

struct promise {
    struct list link;
    struct pool_worker *worker;
    struct promisee *to;
    struct loop_timer due;
};

static struct promisee *promisee_of(struct pool *p, struct span account)
{
    struct promisee *to = map_get(&p->promisees, account);

    if (to)
        return to;
    to = mem_zero(sizeof(*to));
    memcpy(to->account, account.data, account.len);
    map_put(&p->promisees, account, to);
    return to;
}

static void promisee_let_go(struct pool *p, struct promisee *to)
{
    if (--to->open > 0)
        return;
    (void)map_del(&p->promisees, span_str(to->account));
    free(to);
}

static void promise_end(struct promise *p)
{
    struct pool_worker *w = p->worker;

    w->entry.promised--;
    promisee_let_go(w->pool, p->to);
    list_del(&p->link);
    loop_timer_cancel(w->pool->loop, &p->due);
    free(p);
    worker_changed(w);
}

static void promise_late(void *arg)
{
    promise_end(arg);
}

void pool_promise(struct pool_worker *w, struct span account)
{
    if (w->entry.max <= 0 || account.len > ACCOUNT_LEN) /* its slots are not known */
        return;
    struct promisee *to = promisee_of(w->pool, account);
    if (to->open >= PROMISES_MAX)
        return;
    struct promise *p = mem_zero(sizeof(*p));
    p->worker = w;
    p->to = to;
    to->open++;
    list_push(&w->promises, &p->link);
    w->entry.promised++;
    loop_timer_set(w->pool->loop, &p->due, PROMISE_MS, promise_late, p);
    worker_changed(w);
}

bool pool_redeem(struct pool_worker *w, struct span account)
{
    LIST_FOREACH(it, &w->promises) {
        struct promise *p = CONTAINER(it, struct promise, link);
        if (span_is(account, p->to->account)) {
            promise_end(p);
            return true;
        }
    }
    return false;
}

void promises_taken(struct pool_worker *w, int64_t count)
{
    for (struct list *it; count-- > 0 && (it = list_pop(&w->promises));)
        promise_end(CONTAINER(it, struct promise, link));
}
