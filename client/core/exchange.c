/* The exchange's way: find → seal → post → open → record → judge. */
#include "client/core/exchange_impl.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/encode.h"
#include "base/log.h"
#include "base/random.h"

enum {
    RETRIES_MAX = 3, /* retry_other_worker (wire.md §11) */
    REFUSAL_MAX = 64 * 1024,
    RID_BYTES = 16
};

const struct shown *exchange_shown(const struct exchange *x)
{
    return &x->shown;
}

unsigned exchange_status(const struct exchange *x)
{
    return x->status;
}

struct span exchange_ignored(const struct exchange *x)
{
    return buf_span(x->state == EXCHANGE_OVER ? &x->ignored : &x->answer.ignored);
}

int64_t exchange_cost(const struct exchange *x)
{
    return x->cost_nano;
}

bool exchange_may_have_run(const struct exchange *x)
{
    return x->may_have_run;
}

const struct attest_verdict *exchange_verdict(const struct exchange *x)
{
    return x->verified ? &x->verified->verdict : NULL;
}

const struct verified *exchange_worker(const struct exchange *x)
{
    return x->verified;
}

const struct usage *exchange_used(const struct exchange *x)
{
    return x->has_used ? &x->used : NULL;
}

/* ---- The end ---- */

/* Among the requests at the worker that it is encrypted to, or no longer. */
static void count_at_worker(struct exchange *x, bool is_there)
{
    if (x->counted == is_there)
        return;
    x->counted = is_there;
    x->verified->errands->in_flight += is_there ? 1 : -1U;
}

static void drop_attempt(struct exchange *x)
{
    count_at_worker(x, false);
    if (x->transfer)
        http_transfer_cancel(x->transfer);
    x->transfer = NULL;
    sealed_answer_fini(&x->answer);
    buf_fini(&x->refusal);
}

static void stop(struct exchange *x)
{
    struct loop *l = x->client->loop;

    if (x->state != EXCHANGE_OVER)
        buf_take(&x->ignored, &x->answer.ignored);
    x->state = EXCHANGE_OVER;
    if (x->search)
        search_cancel(x->search);
    x->search = NULL;
    drop_attempt(x);
    record_search_stop(&x->record);
    loop_timer_cancel(l, &x->silence);
    loop_timer_cancel(l, &x->total);
    loop_timer_cancel(l, &x->price_timer);
}

static void free_now(void *obj)
{
    struct exchange *x = obj;

    verified_unref(x->verified);
    shown_fini(&x->shown);
    saving_fini(&x->saving);
    buf_fini(&x->ignored);
    if (x->authorization)
        explicit_bzero(x->authorization, strlen(x->authorization));
    free(x->authorization);
    free(x->require_line);
    free(x);
}

void exchange_free(struct exchange *x)
{
    if (!x)
        return;
    stop(x);
    loop_defer_free(x->client->loop, x, free_now);
}

static void fail(struct exchange *x)
{
    const struct api_fault fault = x->fault;
    const bool told = x->answer.told;

    if (x->state == EXCHANGE_OVER)
        return;
    log_event(LOG_INFO, "request_failed", "call=%s error=%s",
              x->shown.call[0] ? x->shown.call : "-", fault.error->name);
    stop(x);
    x->events->failed(x->arg, &fault, told);
}

static void fail_with(struct exchange *x, const struct api_error *e, const char *text)
{
    if (text)
        api_fault_text(&x->fault, e, NULL, "%s", text);
    else
        api_fault_set(&x->fault, e, NULL, NULL);
    fail(x);
}

/* ---- Judging ---- */

static void succeed(void *arg)
{
    struct exchange *x = arg;
    AUTO(buf_wipe) struct buf kept = {0};

    exchange_save(x); /* the worker's own bytes */
    exchange_cost_splice(x);
    buf_take(&kept, &x->answer.kept);
    stop(x);
    if (kept.len > 0)
        x->events->content(x->arg, buf_span(&kept));
    x->events->end(x->arg);
}

static void priced(void *arg)
{
    if (!exchange_cost_awaited(arg, priced))
        succeed(arg);
}

static void conclude(void *arg)
{
    struct exchange *x = arg;
    const char *finding = exchange_judge(x);

    if (!finding) {
        x->state = EXCHANGE_RECORD;
        if (!exchange_cost_awaited(x, priced))
            succeed(x);
        return;
    }
    log_event(LOG_WARN, "verification_failed", "call=%s why=\"%s\"", x->shown.call, finding);
    api_fault_text(&x->fault, &ERR_VERIFICATION_FAILED, NULL,
                   "The answer could not be verified, so it cannot be trusted: %s", finding);
    fail(x);
}

/* ---- The answer ---- */

static void content(void *arg, struct span bytes)
{
    struct exchange *x = arg;

    if (x->client->save_receipts)
        saving_answer(&x->saving, bytes);
    x->events->content(x->arg, bytes);
}

/* Of what was answered: where the request's own time was over, a worker was at it. */
static void note_own_time(struct exchange *x)
{
    x->may_have_run = x->fault.error == &ERR_UPSTREAM_TIMEOUT && x->ask.rq->timeout_ms > 0;
}

static void answer_fail(struct exchange *x)
{
    x->fault = x->answer.fault;
    note_own_time(x);
    fail(x);
}

/* Bytes that are not authenticated prove nothing, and do not count as life. */
static void answer_data(struct exchange *x, struct span bytes)
{
    const uint64_t chunks = x->answer.chunks;
    const int error = sealed_answer_feed(&x->answer, bytes);

    if (x->answer.chunks > chunks)
        x->last_ms = loop_now(x->client->loop);
    if (error < 0)
        answer_fail(x);
}

static void answer_end(struct exchange *x, struct http_transfer *t)
{
    const struct span jws = http_transfer_trailer(t, "cocoon-usage");

    if (sealed_answer_end(&x->answer) < 0) {
        answer_fail(x);
    } else if (jws.len > 0) {
        buf_append(&x->record.jws, jws);
        conclude(x);
    } else {
        x->state = EXCHANGE_RECORD;
        record_search_begin(&x->record);
    }
}

/* ---- The gateway's answer ---- */

/* Cocoon-Next is this key and no other: its worker is the only one, and has no room. */
static bool is_only(const struct next_keys *next, const uint8_t kfp[static KFP_LEN])
{
    return next->count == 1 && memcmp(next->kfp[0], kfp, KFP_LEN) == 0;
}

static void post_head(void *arg, struct http_transfer *t, unsigned status, struct span type)
{
    struct exchange *x = arg;

    shown_take(&x->shown, t);
    x->status = status;
    x->wish.next.count = next_read(x->wish.next.kfp, http_transfer_field(t, "cocoon-next"));
    x->wish.sent_there = true;
    if (status < 200 || status > 299) {
        x->state = EXCHANGE_REFUSED; /* what is next concerns this request alone */
        return;
    }
    directory_prefer(x->client->directory, buf_span(&x->ask.rq->model), span_str(x->conversation),
                     &x->wish.next);
    x->state = EXCHANGE_OPEN;
    if (status != 200 || !span_ieq(type, SPAN("message/ohttp-chunked-res")))
        fail_with(x, &ERR_VERIFICATION_FAILED,
                  "The gateway answered without encryption; the answer was thrown away.");
    else if (!x->shown.call[0])
        fail_with(x, &ERR_VERIFICATION_FAILED, "The gateway's answer names no call.");
    else
        exchange_price(x);
}

static void post_data(void *arg, struct http_transfer *t, struct span bytes)
{
    struct exchange *x = arg;

    (void)t;
    if (x->state == EXCHANGE_REFUSED) {
        if (x->refusal.len + bytes.len <= REFUSAL_MAX)
            buf_append(&x->refusal, bytes);
        return;
    }
    if (x->state == EXCHANGE_OPEN)
        answer_data(x, bytes);
}

/* Of what fails. What was refused has not run, nor what is not out yet. */
static void note_run(struct exchange *x, const struct http_transfer *t)
{
    const bool is_sent = x->state == EXCHANGE_SENT && t && http_transfer_is_out(t);

    x->may_have_run = is_sent || x->state == EXCHANGE_OPEN || x->state == EXCHANGE_RECORD;
}

static void find(struct exchange *x);

/* ---- Another worker ---- */

static void note_tried(struct exchange *x)
{
    if (x->wish.tried_count < TRIED_MAX)
        memcpy(x->wish.tried[x->wish.tried_count++], x->verified->config.kfp, KFP_LEN);
}

static bool goes_on(struct exchange *x)
{
    const struct span text = buf_span(&x->refusal);

    if (x->status == 503 && refusal_is(text, "retry_other_worker") && x->retries < RETRIES_MAX) {
        x->retries++;
        if (!is_only(&x->wish.next, x->verified->config.kfp))
            note_tried(x); /* else the gateway waits until it has room */
        x->wish.fresh = false;
        return true;
    }
    if (x->status == 400 && refusal_is(text, "ohttp_key") && !x->refetched) {
        x->refetched = true;
        directory_forget(x->client->directory, x->verified->config.kfp);
        x->wish.fresh = true;
        return true;
    }
    return false;
}

static void refused(struct exchange *x)
{
    if (goes_on(x)) {
        drop_attempt(x);
        find(x);
        return;
    }
    refusal_read(x->status, buf_span(&x->refusal), (const char *)x->wish.model.data, &x->fault);
    note_own_time(x);
    fail(x);
}

static void post_done(void *arg, struct http_transfer *t, int error)
{
    struct exchange *x = arg;

    x->transfer = NULL;
    if (error == 0 && x->state == EXCHANGE_REFUSED)
        refused(x);
    else if (error == 0 && x->state == EXCHANGE_OPEN)
        answer_end(x, t);
    else if (x->state == EXCHANGE_OPEN)
        fail_with(x, &ERR_VERIFICATION_FAILED, SEALED_ANSWER_CUT);
    else {
        note_run(x, t);
        client_unreachable(&x->fault, error);
        fail(x);
    }
}

/* ---- Sealing and sending ---- */

static int post(struct exchange *x)
{
    static const struct http_transfer_events events = {post_head, post_data, post_done};
    AUTO(buf_fini) struct buf sealed = {0};
    AUTO(outer_fini) struct outer_lines l = {.count = 0};

    TRY(exchange_seal(x, &sealed, &l, content));
    x->state = EXCHANGE_SENT;
    x->sent_ms = clock_wall_ms();
    x->last_ms = loop_now(x->client->loop);
    const struct client_ask ask = {
        .path = "/v1/confidential/ohttp", .fields = l.at, .field_count = l.count};
    TRY(client_post(x->client, &ask, &sealed, &events, x, &x->transfer));
    count_at_worker(x, true);
    return 0;
}

static void found(void *arg, struct verified *v, const char *served, const struct api_fault *fault)
{
    struct exchange *x = arg;

    x->search = NULL;
    if (!v) {
        x->fault = *fault;
        fail(x);
        return;
    }
    x->verified = verified_ref(v);
    snprintf(x->served, sizeof(x->served), "%s", served);
    if (post(x) < 0)
        fail_with(x, &ERR_INTERNAL, "The request could not be encrypted or sent.");
}

static void find(struct exchange *x)
{
    x->state = EXCHANGE_FINDING;
    verified_unref(x->verified);
    x->verified = NULL;
    x->search = directory_find(x->client->directory, &x->wish, found, x);
}

/* ---- Deadlines ---- */

static void time_over(void *arg)
{
    struct exchange *x = arg;

    note_run(x, x->transfer);
    fail_with(x, &ERR_UPSTREAM_TIMEOUT, NULL);
}

static void silence_due(void *arg)
{
    struct exchange *x = arg;
    const uint64_t now = loop_now(x->client->loop);

    if (x->paused || x->state == EXCHANGE_FINDING || x->state == EXCHANGE_RECORD)
        x->last_ms = now;
    if (now - x->last_ms >= x->client->silence_ms)
        time_over(x);
    else
        loop_timer_set(x->client->loop, &x->silence, x->last_ms + x->client->silence_ms - now,
                       silence_due, x);
}

static uint64_t total_of(const struct exchange *x)
{
    const uint64_t own = x->ask.rq->timeout_ms, most = x->client->total_ms;

    return own > 0 && own < most ? own : most;
}

/* ---- Start ---- */

static int copy_lines(struct exchange *x, const struct exchange_ask *ask)
{
    AUTO(buf_wipe) struct buf text = {0};

    if (ask->authorization) {
        buf_printf(&text, "Authorization: %s", ask->authorization);
        if (strpbrk(ask->authorization, "\r\n"))
            return E_INVALID;
        x->authorization = mem_strdup(buf_cstr(&text));
        buf_wipe(&text);
    }
    trace_context_pass(x->traceparent, ask->traceparent);
    if (ask->require_text.len > 0) {
        buf_printf(&text, "Cocoon-Require: %.*s", SPAN_FMT(ask->require_text));
        x->require_line = mem_strdup(buf_cstr(&text));
        if (strpbrk(x->require_line, "\r\n"))
            return E_INVALID;
    }
    return 0;
}

static void name_request(struct exchange *x, struct span rid)
{
    uint8_t raw[RID_BYTES];

    if (span_visible(rid, RID_MAX) && span_cstr(rid, x->rid, sizeof(x->rid)) == 0)
        return;
    random_bytes(raw, sizeof(raw));
    hex_encode(x->rid, SPAN_OF(raw));
}

/* If it goes on, the gateway has said where its prefix is cached. */
static void name_conversation(struct exchange *x)
{
    const struct request *rq = x->ask.rq;
    const struct next_keys *next;

    inner_tag(x->affinity, SPAN_OF(x->client->key), "route", buf_span(&rq->conversation));
    snprintf(x->conversation, sizeof(x->conversation), "%s/%.*s", x->affinity,
             SPAN_FMT(buf_span(&rq->model)));
    next = directory_next(x->client->directory, span_str(x->conversation));
    if (next)
        x->wish.next = *next;
}

int exchange_start(struct exchange **out, struct client *c, const struct exchange_ask *ask,
                   const struct exchange_events *ev, void *arg)
{
    struct exchange *x = mem_zero(sizeof(*x));

    x->client = c;
    x->cost_nano = -1;
    x->ask = *ask;
    x->events = ev;
    x->arg = arg;
    name_request(x, ask->rid);
    x->wish.model = buf_span(&ask->rq->model); /* with a NUL behind */
    x->wish.require = ask->require;
    x->wish.bound = ask->worker != NULL;
    if (ask->worker)
        memcpy(x->wish.worker, ask->worker, KFP_LEN);
    x->bounds =
        inner_bounds_of(ask->rq, ask->rq->body.len, c->default_output, c->template_allowance);
    if (copy_lines(x, ask) < 0 || !span_visible(x->wish.model, MODEL_LEN)) {
        free_now(x);
        return E_INVALID;
    }
    name_conversation(x);
    x->record = (struct record_search){.client = c,
                                       .authorization = x->authorization,
                                       .call = x->shown.call,
                                       .done = conclude,
                                       .arg = x};
    x->last_ms = loop_now(c->loop);
    loop_timer_set(c->loop, &x->total, total_of(x), time_over, x);
    loop_timer_set(c->loop, &x->silence, c->silence_ms, silence_due, x);
    find(x);
    *out = x;
    return 0;
}

void exchange_pause(struct exchange *x, bool paused)
{
    if (x->paused == paused || x->state == EXCHANGE_OVER)
        return;
    x->paused = paused;
    if (!paused)
        x->last_ms = loop_now(x->client->loop);
    if (x->transfer && x->state == EXCHANGE_OPEN)
        http_transfer_pause(x->transfer, paused);
}
