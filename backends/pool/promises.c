/* Slots that are kept for clients which were told to encrypt again, to another worker: for their
 * account, until they come, and for a moment at most. Without it a crowd is sent after one free
 * slot, and after the next, until it may not try again (wire.md §11). */
#include <stdlib.h>

#include "backends/pool/pool_impl.h"

enum { PROMISE_MS = 500, ACCOUNT_LEN = 64 };

struct promise {
    struct list link;
    struct pool_worker *worker;
    struct loop_timer due;
    char account[ACCOUNT_LEN + 1];
};

static void promise_end(struct promise *p)
{
    struct pool_worker *w = p->worker;

    w->entry.promised--;
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
    struct promise *p;

    if (w->entry.max <= 0 || account.len > ACCOUNT_LEN) /* its slots are not known */
        return;
    p = mem_zero(sizeof(*p));
    p->worker = w;
    memcpy(p->account, account.data, account.len);
    list_push(&w->promises, &p->link);
    w->entry.promised++;
    loop_timer_set(w->pool->loop, &p->due, PROMISE_MS, promise_late, p);
    worker_changed(w);
}

bool pool_redeem(struct pool_worker *w, struct span account)
{
    LIST_FOREACH(it, &w->promises) {
        struct promise *p = CONTAINER(it, struct promise, link);
        if (span_is(account, p->account)) {
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
