/* The next try is in the books before a delivery leaves: a crash repeats it, with the same id. */
#include "ledger/webhooks.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "ledger/books/hook.h"
#include "net/http_whole.h"

enum { LOOK_MS = 5000, ANSWER_MAX = 64 * 1024 };

struct webhooks {
    struct ledger *ledger;
    struct loop_timer timer;
    struct http_whole whole;
    struct hook_due due; /* the one under way */
    bool busy;
};

static void look(void *arg);

static int take_due(struct webhooks *w)
{
    struct books *b = w->ledger->books;

    TRY(books_begin(b));
    return books_end(b, hook_take_due(b, &w->due));
}

static void note(struct webhooks *w, int64_t status)
{
    struct books *b = w->ledger->books;
    int error = books_begin(b);

    if (error == 0)
        error = books_end(b, hook_told(b, &w->due, status));
    if (error < 0)
        log_event(LOG_ERROR, "webhook", "error=%s", error_name(error));
    w->ledger->counters.webhooks_sent += status / 100 == 2;
    w->ledger->counters.webhooks_failed += status / 100 != 2;
    log_event(status / 100 == 2 ? LOG_DEBUG : LOG_WARN, "webhook",
              "id=%s hook=%s status=%" PRId64 " try=%" PRId64, w->due.id, w->due.hook, status,
              w->due.tries);
}

static void over(struct webhooks *w, int64_t status)
{
    note(w, status);
    hook_due_fini(&w->due);
    w->busy = false;
    loop_timer_set(w->ledger->loop, &w->timer, 0, look, w);
}

static void on_done(void *arg, struct http_transfer *t, int error)
{
    struct webhooks *w = arg;

    (void)t;
    over(w, error == 0 ? (int64_t)w->whole.status : 0);
}

static int start(struct webhooks *w)
{
    AUTO(buf_fini) struct buf signature = {0};
    AUTO(buf_fini) struct buf body = {0};
    char id[64], at[48], signed_by[128];
    const int64_t now = (int64_t)(clock_wall_ms() / 1000);
    const char *const headers[] = {"Content-Type: application/json", id, at, signed_by};

    buf_append_str(&body, w->due.payload);
    hook_sign(&signature, buf_span(&w->due.secret), w->due.id, now, buf_span(&body));
    snprintf(id, sizeof(id), "webhook-id: %s", w->due.id);
    snprintf(at, sizeof(at), "webhook-timestamp: %" PRId64, now);
    snprintf(signed_by, sizeof(signed_by), "webhook-signature: %s", buf_cstr(&signature));
    const struct http_fetch fetch = {
        .url = w->due.url,
        .method = "POST",
        .headers = headers,
        .header_count = 4,
        .take_body = &body,
        .total_ms = (uint64_t)ledger_settings(w->ledger)->hooks_timeout_ms,
    };
    w->whole.max = ANSWER_MAX;
    w->whole.done = on_done;
    w->whole.arg = w;
    return http_whole_start(&w->whole, w->ledger->http, &fetch);
}

static void look(void *arg)
{
    struct webhooks *w = arg;

    loop_timer_set(w->ledger->loop, &w->timer, LOOK_MS, look, w);
    if (w->busy || take_due(w) < 0)
        return;
    w->busy = true;
    if (start(w) < 0)
        over(w, 0);
}

int webhooks_new(struct webhooks **out, struct ledger *l)
{
    struct webhooks *w = mem_zero(sizeof(*w));

    w->ledger = l;
    loop_timer_set(l->loop, &w->timer, 0, look, w);
    *out = w;
    return 0;
}

void webhooks_wake(struct webhooks *w)
{
    if (!w->busy)
        loop_timer_set(w->ledger->loop, &w->timer, 0, look, w);
}

void webhooks_free(struct webhooks *w)
{
    if (!w)
        return;
    http_whole_cancel(&w->whole);
    buf_fini(&w->whole.body);
    hook_due_fini(&w->due);
    loop_timer_cancel(w->ledger->loop, &w->timer);
    free(w);
}
