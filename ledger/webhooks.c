/* The next try is in the books before a delivery leaves: a crash repeats it, with the same id. */
#include "ledger/webhooks.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "ledger/books/hook.h"
#include "net/http_whole.h"

enum { LOOK_MS = 5000, ANSWER_MAX = 64 * 1024, AT_ONCE = 16 };

struct delivery {
    struct webhooks *webhooks;
    struct http_whole whole;
    struct hook_due due;
    bool busy;
};

struct webhooks {
    struct ledger *ledger;
    struct loop_timer timer;
    struct delivery deliveries[AT_ONCE];
};

static struct delivery *idle(struct webhooks *w)
{
    for (size_t i = 0; i < AT_ONCE; i++)
        if (!w->deliveries[i].busy)
            return &w->deliveries[i];
    return NULL;
}

static void busy_hooks(struct buf *out, const struct webhooks *w)
{
    for (size_t i = 0; i < AT_ONCE; i++)
        if (w->deliveries[i].busy)
            buf_printf(out, "%s%s", out->len > 0 ? " " : "", w->deliveries[i].due.hook);
}

static int take_due(struct delivery *d)
{
    struct books *b = d->webhooks->ledger->books;
    AUTO(buf_fini) struct buf busy = {0};

    busy_hooks(&busy, d->webhooks);
    TRY(books_begin(b));
    const int error = books_end(b, hook_take_due(b, buf_cstr(&busy), &d->due));
    if (error < 0)
        hook_due_fini(&d->due); /* it was taken, and the commit failed */
    return error;
}

static void note(struct delivery *d, int64_t status)
{
    struct ledger *l = d->webhooks->ledger;
    int error = books_begin(l->books);

    if (error == 0)
        error = books_end(l->books, hook_told(l->books, &d->due, status));
    if (error < 0)
        log_event(LOG_ERROR, "webhook", "error=%s", error_name(error));
    l->counters.webhooks_sent += status / 100 == 2;
    l->counters.webhooks_failed += status / 100 != 2;
    log_event(status / 100 == 2 ? LOG_DEBUG : LOG_WARN, "webhook",
              "id=%s hook=%s status=%" PRId64 " try=%" PRId64, d->due.id, d->due.hook, status,
              d->due.tries);
}

static void clear(struct delivery *d)
{
    http_whole_cancel(&d->whole);
    hook_due_fini(&d->due);
    d->busy = false;
}

static void over(struct delivery *d, int64_t status)
{
    note(d, status);
    clear(d);
    webhooks_wake(d->webhooks);
}

static void on_done(void *arg, struct http_transfer *t, int error)
{
    struct delivery *d = arg;

    (void)t;
    over(d, error == 0 ? (int64_t)d->whole.status : 0);
}

static int start(struct delivery *d)
{
    struct ledger *l = d->webhooks->ledger;
    AUTO(buf_fini) struct buf signature = {0};
    AUTO(buf_fini) struct buf body = {0};
    char id[64], at[48], signed_by[128];
    const int64_t now = (int64_t)(clock_wall_ms() / 1000);
    const char *const headers[] = {"Content-Type: application/json", id, at, signed_by};

    if (d->due.secret.len == 0)
        return E_INVALID;
    buf_append_str(&body, d->due.payload);
    hook_sign(&signature, buf_span(&d->due.secret), d->due.id, now, buf_span(&body));
    snprintf(id, sizeof(id), "webhook-id: %s", d->due.id);
    snprintf(at, sizeof(at), "webhook-timestamp: %" PRId64, now);
    snprintf(signed_by, sizeof(signed_by), "webhook-signature: %s", buf_cstr(&signature));
    const struct http_fetch fetch = {
        .url = d->due.url,
        .method = "POST",
        .headers = headers,
        .header_count = 4,
        .take_body = &body,
        .total_ms = (uint64_t)ledger_settings(l)->hooks_timeout_ms,
    };
    d->whole.max = ANSWER_MAX;
    d->whole.done = on_done;
    d->whole.arg = d;
    return http_whole_start(&d->whole, l->http, &fetch);
}

// One a turn of the loop: taking one is a commit.
static void look(void *arg)
{
    struct webhooks *w = arg;
    struct delivery *d = idle(w);

    loop_timer_set(w->ledger->loop, &w->timer, LOOK_MS, look, w);
    if (!d)
        return;
    const int error = take_due(d);
    if (error < 0 && error != E_NOT_FOUND)
        log_event(LOG_ERROR, "webhook", "error=%s", error_name(error));
    if (error < 0)
        return;
    d->busy = true;
    webhooks_wake(w);
    if (start(d) < 0)
        over(d, 0);
}

int webhooks_new(struct webhooks **out, struct ledger *l)
{
    struct webhooks *w = mem_zero(sizeof(*w));

    w->ledger = l;
    for (size_t i = 0; i < AT_ONCE; i++)
        w->deliveries[i].webhooks = w;
    webhooks_wake(w);
    *out = w;
    return 0;
}

void webhooks_wake(struct webhooks *w)
{
    loop_timer_set(w->ledger->loop, &w->timer, 0, look, w);
}

void webhooks_free(struct webhooks *w)
{
    if (!w)
        return;
    for (size_t i = 0; i < AT_ONCE; i++)
        clear(&w->deliveries[i]);
    loop_timer_cancel(w->ledger->loop, &w->timer);
    free(w);
}
