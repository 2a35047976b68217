/* The exchange's way: find → seal → post → open → record → judge. */
#include "client/core/exchange.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/encode.h"
#include "base/log.h"
#include "base/random.h"
#include "client/core/evidence.h"
#include "client/core/outer.h"
#include "client/core/record.h"
#include "client/core/saving.h"
#include "client/core/sealed_answer.h"

enum {
    RETRIES_MAX = 3, /* retry_other_worker (wire.md §11) */
    REFUSAL_MAX = 64 * 1024,
    RID_BYTES = 16,
    RID_MAX = 64
};

enum exchange_state {
    EXCHANGE_FINDING,
    EXCHANGE_SENT,    /* no head yet */
    EXCHANGE_OPEN,    /* ciphertext comes */
    EXCHANGE_REFUSED, /* a refusal in clear comes */
    EXCHANGE_RECORD,  /* the answer is whole; its usage record is asked for */
    EXCHANGE_OVER
};

struct exchange {
    struct client *client;
    struct exchange_ask ask;
    const struct exchange_events *events;
    void *arg;
    enum exchange_state state;
    char *authorization; /* a whole header line; NULL: none */
    char *require_line;
    char rid[RID_MAX + 1];

    struct search *search;
    struct directory_ask wish;
    struct verified *verified;
    char served[MODEL_LEN + 1];
    struct inner_bounds bounds;
    unsigned retries;
    bool refetched, paused;
    struct loop_timer silence, total;
    uint64_t last_ms; /* of the last authenticated byte */

    struct http_transfer *transfer;
    uint64_t sent_ms;
    uint8_t request[SHA256_LEN], body[SHA256_LEN];
    struct sealed_answer answer;

    struct shown shown;
    struct buf refusal; /* an answer in clear */
    unsigned status;    /* of the outer answer */

    struct record_search record; /* its jws: the usage record, wherever it came from */
    struct saving saving;
    struct api_fault fault;
};

const struct shown *exchange_shown(const struct exchange *x)
{
    return &x->shown;
}

const struct attest_verdict *exchange_verdict(const struct exchange *x)
{
    return x->verified ? &x->verified->verdict : NULL;
}

/* ---- The end ---- */

static void drop_attempt(struct exchange *x)
{
    if (x->transfer)
        http_transfer_cancel(x->transfer);
    x->transfer = NULL;
    sealed_answer_fini(&x->answer);
    buf_fini(&x->refusal);
}

static void stop(struct exchange *x)
{
    struct loop *l = x->client->loop;

    x->state = EXCHANGE_OVER;
    if (x->search)
        search_cancel(x->search);
    x->search = NULL;
    drop_attempt(x);
    record_search_stop(&x->record);
    loop_timer_cancel(l, &x->silence);
    loop_timer_cancel(l, &x->total);
}

static void free_now(void *obj)
{
    struct exchange *x = obj;

    verified_unref(x->verified);
    shown_fini(&x->shown);
    saving_fini(&x->saving);
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

static void save(struct exchange *x)
{
    const struct saving_proof proof = {.call = x->shown.call,
                                       .stream = !x->answer.whole,
                                       .receipt = buf_span(&x->answer.receipt),
                                       .record = buf_span(&x->record.jws),
                                       .worker = x->verified};

    if (!x->client->save_receipts)
        return;
    saving_answer(&x->saving, buf_span(&x->answer.kept));
    saving_write(x->client, &x->saving, &proof);
}

static void succeed(struct exchange *x)
{
    AUTO(buf_wipe) struct buf kept = {0};

    save(x);
    buf_take(&kept, &x->answer.kept);
    stop(x);
    if (kept.len > 0)
        x->events->content(x->arg, buf_span(&kept));
    x->events->end(x->arg);
}

static const char *judge(const struct exchange *x)
{
    const struct sealed_answer *a = &x->answer;
    struct evidence e = {
        .keyset = &x->verified->keyset,
        .env = attest_env_name(x->verified->verdict.env),
        .kfp = SPAN_OF(x->verified->config.kfp),
        .model = span_str(x->served),
        .rid = span_str(x->rid),
        .call = span_str(x->shown.call),
        .price = x->shown.has_price ? span_str(x->shown.price) : (struct span){0},
        .sent_ms = x->sent_ms,
        .received_ms = clock_wall_ms(),
        .max_tokens = x->bounds.max_tokens,
    };
    memcpy(e.request, x->request, SHA256_LEN);
    memcpy(e.response, a->sealed, SHA256_LEN);
    memcpy(e.body, x->body, SHA256_LEN);
    memcpy(e.content, a->opened, SHA256_LEN);
    const struct span shown = a->whole ? buf_span(&a->kept) : buf_span(&a->usage);
    const int error = shown.len > 0 ? counts_read(shown, &e.counts) : E_NOT_FOUND;
    if (error == E_INVALID)
        return "The answer's token counts cannot be read.";
    e.has_counts = error == 0;
    if (!e.has_counts && (a->whole || x->ask.rq->include_usage))
        return "The answer shows no token counts.";
    return evidence_judge(&e, a->receipt.len > 0 ? buf_span(&a->receipt) : (struct span){0},
                          buf_span(&x->record.jws));
}

static void conclude(void *arg)
{
    struct exchange *x = arg;
    const char *finding = judge(x);

    if (!finding) {
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

static void answer_fail(struct exchange *x)
{
    x->fault = x->answer.fault;
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

static void post_head(void *arg, struct http_transfer *t, unsigned status, struct span type)
{
    struct exchange *x = arg;
    const struct span next = http_transfer_field(t, "cocoon-next");

    shown_take(&x->shown, t);
    x->status = status;
    if (next.data)
        directory_prefer(x->client->directory, buf_span(&x->ask.rq->model), next);
    if (status < 200 || status > 299) {
        x->state = EXCHANGE_REFUSED;
        return;
    }
    x->state = EXCHANGE_OPEN;
    if (status != 200 || !span_ieq(type, SPAN("message/ohttp-chunked-res")))
        fail_with(x, &ERR_VERIFICATION_FAILED,
                  "The gateway answered without encryption; the answer was thrown away.");
    else if (!x->shown.call[0])
        fail_with(x, &ERR_VERIFICATION_FAILED, "The gateway's answer names no call.");
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
        note_tried(x);
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
    refusal_read(x->status, buf_span(&x->refusal), &x->fault);
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
        client_unreachable(&x->fault, error);
        fail(x);
    }
}

/* ---- Sealing and sending ---- */

/* The body for this worker, sealed into *sealed; the lines that stand outside into *l. */
static int seal(struct exchange *x, struct buf *sealed, struct outer_lines *l)
{
    AUTO(ohttp_client_free) struct ohttp_client *ohttp = NULL;
    AUTO(buf_wipe) struct buf body = {0};
    AUTO(buf_wipe) struct buf plain = {0};
    const struct key_config *to = &x->verified->config;
    const enum aead_id aead = to->aes_256_gcm ? AEAD_AES_256_GCM : AEAD_CHACHA20_POLY1305;

    TRY(request_forward(x->ask.rq, span_str(x->served), &body));
    const struct inner_ask ask = {
        .rq = x->ask.rq,
        .served_model = span_str(x->served),
        .body = buf_span(&body),
        .rid = span_str(x->rid),
        .bounds = x->bounds,
        .padding = x->client->padding,
        .ping_ms = x->client->ping_ms,
        .client_key = SPAN_OF(x->client->key),
        .date = (time_t)(clock_wall_ms() / 1000),
    };
    inner_write(&ask, &plain);
    TRY(ohttp_client_new(&ohttp, to, x->verified->public, aead));
    TRY(ohttp_client_seal(ohttp, buf_span(&plain), sealed));
    outer_write(l, &ask, to->kfp, x->authorization, x->require_line);
    sha256(x->body, buf_span(&body));
    if (x->client->save_receipts)
        saving_body(&x->saving, buf_span(&body));
    sha256(x->request, buf_span(sealed));
    sealed_answer_begin(&x->answer, ohttp, x->rid, x->ask.rq->stream, content, x);
    ohttp = NULL;
    return 0;
}

static int post(struct exchange *x)
{
    static const struct http_transfer_events events = {post_head, post_data, post_done};
    AUTO(buf_fini) struct buf sealed = {0};
    AUTO(outer_fini) struct outer_lines l = {.count = 0};

    TRY(seal(x, &sealed, &l));
    x->state = EXCHANGE_SENT;
    x->sent_ms = clock_wall_ms();
    x->last_ms = loop_now(x->client->loop);
    const struct client_ask ask = {
        .path = "/v1/confidential/ohttp", .fields = l.at, .field_count = l.count};
    return client_post(x->client, &ask, &sealed, &events, x, &x->transfer);
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
    verified_unref(x->verified);
    x->verified = verified_ref(v);
    snprintf(x->served, sizeof(x->served), "%s", served);
    if (post(x) < 0)
        fail_with(x, &ERR_INTERNAL, "The request could not be encrypted or sent.");
}

static void find(struct exchange *x)
{
    x->state = EXCHANGE_FINDING;
    x->search = directory_find(x->client->directory, &x->wish, found, x);
}

/* ---- Deadlines ---- */

static void total_due(void *arg)
{
    fail_with(arg, &ERR_UPSTREAM_TIMEOUT, NULL);
}

static void silence_due(void *arg)
{
    struct exchange *x = arg;
    const uint64_t now = loop_now(x->client->loop);

    if (x->paused || x->state == EXCHANGE_FINDING || x->state == EXCHANGE_RECORD)
        x->last_ms = now;
    if (now - x->last_ms >= x->client->silence_ms)
        fail_with(x, &ERR_UPSTREAM_TIMEOUT, NULL);
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

int exchange_start(struct exchange **out, struct client *c, const struct exchange_ask *ask,
                   const struct exchange_events *ev, void *arg)
{
    struct exchange *x = mem_zero(sizeof(*x));

    x->client = c;
    x->ask = *ask;
    x->events = ev;
    x->arg = arg;
    name_request(x, ask->rid);
    x->wish.model = buf_span(&ask->rq->model);
    x->wish.require = ask->require;
    x->bounds =
        inner_bounds_of(ask->rq, ask->rq->body.len, c->default_output, c->template_allowance);
    if (copy_lines(x, ask) < 0 || !span_visible(x->wish.model, MODEL_LEN)) {
        free_now(x);
        return E_INVALID;
    }
    x->record = (struct record_search){.client = c,
                                       .authorization = x->authorization,
                                       .call = x->shown.call,
                                       .done = conclude,
                                       .arg = x};
    x->last_ms = loop_now(c->loop);
    loop_timer_set(c->loop, &x->total, total_of(x), total_due, x);
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
