/* One attempt on one worker: BHTTP → OHTTP → tunnel, and back, or ciphertext both ways; ending with
 * a usage record that was checked against what passed. */
#include <stdlib.h>

#include "backends/pool/dispatch.h"
#include "backends/pool/pool_impl.h"
#include "backends/pool/standing.h"
#include "base/clock.h"
#include "base/encode.h"
#include "base/json.h"
#include "base/log.h"
#include "base/trace_context.h"
#include "ohttp/pieces.h"

enum {
    CANCEL_MS = 2000,
    RESET_EVERY_MS = 10,
    PROBLEM_MAX = 4096,
    OFFLOAD_BYTES = 256 * 1024,
    ANSWER_MAX = 1 << 30
};

enum dispatch_state {
    DISPATCH_SEALING,
    DISPATCH_SENT,      /* no head yet */
    DISPATCH_OPEN,      /* 200: ciphertext comes */
    DISPATCH_PROBLEM,   /* another status: its problem document comes */
    DISPATCH_DISCARDING /* nobody listens any more; the record is still of interest */
};

struct dispatch {
    struct pool_worker *worker;
    struct list link; /* pool_worker.recordless, asked */
    enum dispatch_state state;
    const struct dispatch_events *events; /* NULL: nobody listens */
    void *arg;
    dispatch_over_fn *over;
    void *charge;

    char call[33], price[40], traceparent[TRACEPARENT_LEN + 1];
    uint32_t attempt;
    struct buf model;
    int64_t max_tokens, max_input;
    struct chooser_job slot;
    uint8_t kfp[KFP_LEN], req[SHA256_LEN], resp[SHA256_LEN];
    uint8_t keyset[SHA256_LEN], keyset_said[SHA256_LEN]; /* at the start; on the answer's head */

    bool relayed; /* end to end: no client and no reader, ciphertext passes as it is */
    struct ohttp_client *client;
    struct buf plain, sealed;
    struct offload_job job; /* sealing of a large body, later the check of the record */
    int seal_error;

    struct tunnel_stream *stream;
    struct bhttp_reader *reader;
    struct sha256_ctx *resp_hash;
    struct ohttp_pieces pieces; /* end to end */
    struct buf problem;
    size_t unconsumed;
    bool sent, refused;   /* the worker took nothing of it: no record is owed */
    bool passed;          /* end to end: bytes of the answer went on */
    bool read_out, ended; /* the stream came to its end; so did the sealed answer in it */
    bool broken, cancelled, abandoned, recordless;
    unsigned status; /* of the answer's head */
    uint64_t sent_us, first_us, ended_ms, over_us, answer_bytes;
    struct loop_timer timer;

    struct buf jws;
    struct ed25519 *receipt; /* the worker's key when its record is judged */
    struct usage_record usage;
    bool usage_valid;
};

const char *dispatch_failure_name(enum dispatch_failure f)
{
    static const char *const names[] = {"busy", "price", "key", "refused", "gone", "broken"};
    return names[f];
}

const char *dispatch_cancel_name(enum dispatch_cancel why)
{
    static const char *const names[] = {"client_gone", "given_up", "timeout", "failed"};
    return names[why];
}

static uint64_t now_ms(const struct dispatch *d)
{
    return loop_now(d->worker->pool->loop);
}

static void dispatch_free(struct dispatch *d)
{
    struct pool *p = d->worker->pool;
    char key[ATTEMPT_KEY_LEN];

    if (map_get(&p->running, attempt_key(key, span_str(d->call), d->attempt)) == d)
        (void)map_del(&p->running, span_str(key));
    loop_timer_cancel(p->loop, &d->timer);
    if (chooser_finish(&d->slot, now_ms(d)))
        link_capacity(p);
    ohttp_client_free(d->client);
    bhttp_reader_free(d->reader);
    sha256_free(d->resp_hash);
    buf_fini(&d->model);
    buf_wipe(&d->plain);
    buf_fini(&d->sealed);
    buf_fini(&d->problem);
    buf_fini(&d->jws);
    ed25519_free(d->receipt);
    if (d->usage_valid)
        usage_record_fini(&d->usage);
    pool_worker_unref(d->worker);
    free(d);
}

/* Every failure but `busy` and `price` counts against the worker, or the one that fails fastest
 * would get the most; a 4xx that the request may have caused does not (413), one of the channel
 * does (400). */
static bool is_marked(const struct dispatch *d, enum dispatch_failure why)
{
    bool ours = why == DISPATCH_REFUSED && (d->status != 400 || d->relayed);

    if (d->relayed && why == DISPATCH_KEY)
        return false; /* what the client has made of it */

    return why != DISPATCH_BUSY && why != DISPATCH_PRICE && !ours;
}

/* Its slot is free for another. */
static void give_back(struct dispatch *d)
{
    chooser_freed(&d->slot, now_ms(d));
    link_capacity(d->worker->pool);
}

/* The worker takes nothing new now, as its next report will say or deny. */
static void turned_away(struct dispatch *d)
{
    d->worker->turned_away = true;
    worker_changed(d->worker);
}

/* Tells whoever listens, once; afterwards nobody does. */
static void tell_failed(struct dispatch *d, enum dispatch_failure why)
{
    const struct dispatch_events *ev = d->events;

    d->events = NULL;
    if (ev && is_marked(d, why)) {
        standing_note(d->worker, STANDING_FAILED);
        chooser_failed(&d->slot, now_ms(d));
    } else if (ev && (why == DISPATCH_BUSY || why == DISPATCH_PRICE)) {
        standing_note(d->worker, STANDING_REFUSED);
    }
    d->abandoned = d->abandoned || ev;
    if (ev)
        ev->failed(d->arg, why);
}

/* ---- The record ---- */

/* A record that is the worker's own, of this attempt. */
static bool usage_is_ours(const struct dispatch *d)
{
    return d->usage_valid && strcmp(d->usage.call, d->call) == 0 && d->usage.attempt == d->attempt;
}

/* Whether it says of the answer's end what was seen here. A worker that had ended before it heard
 * of a cancel sent a whole answer: nobody opened it, but its bytes passed through and are known.
 * End to end only the client can see whether the final chunk is there. */
static bool usage_tells_end(const struct dispatch *d)
{
    bool whole = d->ended && !d->broken;

    if (!d->usage.final)
        return !whole || d->relayed;
    return d->read_out && (whole || d->cancelled) &&
           memcmp(d->usage.resp, d->resp, SHA256_LEN) == 0;
}

/* The keyset may have changed on the way, and its proof may still be due: the key that signed the
 * record lives as long as the worker. */
static bool usage_keyset_known(const struct dispatch *d)
{
    return memcmp(d->usage.keyset, d->keyset, SHA256_LEN) == 0 ||
           memcmp(d->usage.keyset, d->keyset_said, SHA256_LEN) == 0 ||
           memcmp(d->usage.keyset, d->worker->keyset.digest, SHA256_LEN) == 0;
}

/* True when the record speaks of this attempt and of the bytes that passed through here. */
static bool usage_matches(const struct dispatch *d)
{
    const struct usage_record *u = &d->usage;

    return usage_is_ours(d) && usage_tells_end(d) && usage_keyset_known(d) &&
           memcmp(u->req, d->req, SHA256_LEN) == 0 && memcmp(u->kfp, d->kfp, KFP_LEN) == 0 &&
           memcmp(u->op, d->worker->pool->op, SHA256_LEN) == 0 &&
           span_eq(u->model, buf_span(&d->model)) && strcmp(u->price, d->price) == 0;
}

static void usage_work(struct offload_job *job)
{
    struct dispatch *d = CONTAINER(job, struct dispatch, job);

    d->usage_valid = usage_record_verify(&d->usage, d->receipt, buf_span(&d->jws)) == 0;
}

static void mark_served(struct dispatch *d)
{
    const struct chooser_served seen = {
        .first_token_ms = d->first_us ? (double)(d->first_us - d->sent_us) / 1000.0 : 0,
        .input = d->usage.in,
        .cached = d->usage.cached,
        .output = d->usage.out,
        .took_ms = d->ended_ms > d->slot.started_ms ? d->ended_ms - d->slot.started_ms : 0,
    };

    chooser_served(&d->slot, &seen, now_ms(d));
}

/* A record of this attempt ends the matter for the worker, whatever it says; one that is still to
 * come will. */
static void acknowledge(struct dispatch *d, bool matches)
{
    const char *result = d->abandoned ? "abandoned" : matches ? "settled" : "refused";
    struct span call = span_str(d->call);

    if (usage_is_ours(d))
        acks_add(d->worker, call, d->attempt, result, 0);
    else if (d->abandoned && d->sent && !d->refused)
        verdict_note(d->worker->pool, call, d->attempt, result, 0, 0);
}

/* The only trailer of the inner message; end to end it is the client's. */
static struct span content_receipt(const struct dispatch *d)
{
    size_t count = 0;
    const struct bhttp_field *fields = d->reader ? bhttp_trailers_of(d->reader, &count) : NULL;
    struct span jws = {0};

    return bhttp_field_get(fields, count, "cocoon-receipt", &jws) == 0 ? jws : SPAN("");
}

static void usage_done(struct offload_job *job)
{
    struct dispatch *d = CONTAINER(job, struct dispatch, job);
    bool matches = usage_matches(d);
    bool defer = false;
    struct dispatch_report report = {
        .worker = d->worker,
        .attempt = d->attempt,
        .usage = matches ? &d->usage : NULL,
        .jws = buf_span(&d->jws),
        .receipt = content_receipt(d),
        .abandoned = d->abandoned,
        .cancelled = d->cancelled,
        .ran_ms = d->over_us > d->sent_us ? (d->over_us - d->sent_us) / 1000 : 0,
        .answer_bytes = d->answer_bytes,
        .pieces = ohttp_pieces_count(&d->pieces),
        .defer = &defer,
    };

    if (d->jws.len > 0 && !matches) {
        standing_note(d->worker, STANDING_USAGE_MISMATCH);
        log_event(LOG_WARN, "usage_refused", "call=%s attempt=%u worker=%s valid=%d", d->call,
                  d->attempt, d->worker->iid, d->usage_valid);
    }
    if (matches && !d->abandoned &&
        (d->usage.outcome == USAGE_STOP || d->usage.outcome == USAGE_LENGTH)) {
        standing_note(d->worker, STANDING_COMPLETED);
        mark_served(d);
    }
    const bool engine_failed = matches && d->usage.outcome == USAGE_ERROR;
    if (!d->abandoned && (engine_failed || (!matches && d->ended))) {
        standing_note(d->worker, STANDING_FAILED);
        chooser_failed(&d->slot, now_ms(d));
    }
    d->over(d->charge, &report);
    if (!defer)
        acknowledge(d, matches);
    dispatch_free(d);
}

/* Checks the record off the loop, then reports; on the loop when the pool is full: it is money. */
void dispatch_judge(struct dispatch *d, struct span jws)
{
    d->recordless = false;
    list_del(&d->link);
    buf_append(&d->jws, jws);
    d->job = (struct offload_job){.work = usage_work, .done = usage_done};
    d->receipt = ed25519_share(d->worker->receipt);
    if (d->jws.len > 0 && offload_submit(d->worker->pool->offload, &d->job) == 0)
        return;
    if (d->jws.len > 0)
        usage_work(&d->job);
    usage_done(&d->job);
}

struct dispatch *dispatch_of(struct list *link)
{
    return CONTAINER(link, struct dispatch, link);
}

bool dispatch_is_recordless(const struct dispatch *d, const struct pool_worker *w)
{
    return d->recordless && d->worker == w;
}

/* The stream is over. A record that it did not bring is asked for; over a tunnel that is lost
 * nothing can be. */
static void dispatch_finish(struct dispatch *d)
{
    struct pool_worker *w = d->worker;

    d->abandoned = d->abandoned || d->refused || !d->sent;
    if (d->jws.len > 0 || d->refused || !d->sent || !w->tunnel || !tunnel_is_open(w->tunnel)) {
        dispatch_judge(d, SPAN(""));
        return;
    }
    d->recordless = true;
    list_push(&w->recordless, &d->link);
    records_fetch(w);
}

/* ---- The answer ---- */

static void break_off(struct dispatch *d)
{
    d->broken = true;
    d->state = DISPATCH_DISCARDING;
    tell_failed(d, DISPATCH_BROKEN);
    if (d->stream)
        tunnel_stream_reset(d->stream);
}

static void read_inner(struct dispatch *d)
{
    enum bhttp_event event;
    struct span content;

    while (!d->broken && d->events) {
        if (bhttp_next(d->reader, &event, &content) < 0) {
            d->broken = true;
            return;
        }
        if (event == BHTTP_NEED_MORE || event == BHTTP_END)
            return;
        if (event == BHTTP_HEAD) {
            const struct bhttp_head *h = bhttp_head_of(d->reader);
            struct span type = SPAN(""), ignored = SPAN("");
            (void)!bhttp_field_get(h->fields, h->count, "content-type", &type);
            (void)!bhttp_field_get(h->fields, h->count, "cocoon-ignored", &ignored);
            d->events->head(d->arg, h->status, type, ignored);
        } else if (event == BHTTP_CONTENT) {
            d->events->content(d->arg, content);
        }
    }
}

static void on_chunk(void *arg, struct span plain, bool final)
{
    struct dispatch *d = arg;

    (void) final;
    if (!d->events || d->broken)
        return;
    bhttp_feed(d->reader, plain);
    read_inner(d);
}

static bool is_sealed_answer(const struct tunnel_stream *s)
{
    struct span type = tunnel_stream_field(s, "content-type");

    return tunnel_stream_status(s) == 200 && span_ieq(type, SPAN("message/ohttp-chunked-res"));
}

static void stream_head(void *arg, struct tunnel_stream *s)
{
    struct dispatch *d = arg;

    struct span keyset = tunnel_stream_field(s, "cocoon-keyset");

    link_observe(d->worker, s);
    d->status = tunnel_stream_status(s);
    d->refused = !is_sealed_answer(s);
    if (hex_decode(d->keyset_said, sizeof(d->keyset_said), keyset) < 0)
        memcpy(d->keyset_said, d->keyset, sizeof(d->keyset_said));
    if (d->state == DISPATCH_SENT)
        d->state = d->refused ? DISPATCH_PROBLEM : DISPATCH_OPEN;
    if (d->relayed && d->state == DISPATCH_OPEN && d->events)
        d->events->head(d->arg, 200, SPAN(""), SPAN(""));
}

static void stream_data(void *arg, struct tunnel_stream *s, struct span bytes)
{
    struct dispatch *d = arg;

    d->unconsumed += bytes.len;
    if (d->state != DISPATCH_PROBLEM) {
        sha256_update(d->resp_hash, bytes);
        d->answer_bytes += bytes.len;
        if (d->relayed)
            ohttp_pieces_feed(&d->pieces, bytes);
    }
    if (d->state == DISPATCH_OPEN && d->relayed) {
        d->passed = true;
        if (d->events)
            d->events->content(d->arg, bytes);
        return;
    }
    if (d->state == DISPATCH_OPEN) {
        if (ohttp_client_open(d->client, bytes, on_chunk, d) < 0 || d->broken)
            break_off(d);
        return;
    }
    if (d->state == DISPATCH_PROBLEM && d->problem.len < PROBLEM_MAX)
        buf_append(&d->problem, span_cut(bytes, 0, PROBLEM_MAX - d->problem.len));
    tunnel_stream_consume(s, d->unconsumed);
    d->unconsumed = 0;
}

/* Of "version;coefficient". */
static int64_t coefficient(const struct dispatch *d)
{
    struct span text = span_str(d->price);
    uint64_t n = 0;

    (void)span_split(&text, ';');
    return span_u64(text, INT64_MAX, &n) == 0 ? (int64_t)n : 0;
}

static enum dispatch_failure problem_kind(struct dispatch *d)
{
    AUTO_JSON json_t *doc = NULL;
    const char *code = json_read(buf_span(&d->problem), &doc) == 0
                           ? json_string_value(json_object_get(doc, "code"))
                           : NULL;

    log_event(LOG_INFO, "worker_refusal", "call=%s attempt=%u worker=%s status=%u", d->call,
              d->attempt, d->worker->iid, d->status);
    if (code && strcmp(code, "ohttp_key") == 0) {
        if (!d->relayed) /* a client's mistake must not cost the worker a quote */
            link_attest_soon(d->worker);
        return DISPATCH_KEY;
    }
    if (d->status == 503 && code && strcmp(code, "price") == 0) {
        link_refused_price(d->worker, coefficient(d));
        return DISPATCH_PRICE;
    }
    if (d->status == 503) {
        turned_away(d);
        return DISPATCH_BUSY;
    }
    return d->status >= 400 && d->status <= 499 ? DISPATCH_REFUSED : DISPATCH_BROKEN;
}

/* The authenticated end, or what only looks like one. */
static void answer_end(struct dispatch *d)
{
    d->broken = d->relayed ? !d->passed : ohttp_client_end(d->client, on_chunk, d) < 0 || d->broken;
    if (!d->relayed && !d->broken && d->events) {
        bhttp_finish(d->reader);
        read_inner(d);
    }
    if (d->broken || !d->events) {
        tell_failed(d, DISPATCH_BROKEN);
        return;
    }
    d->ended = true;
    d->ended_ms = now_ms(d);
    const struct dispatch_events *ev = d->events;
    d->events = NULL;
    ev->end(d->arg);
}

static void stream_end(void *arg, struct tunnel_stream *s)
{
    struct dispatch *d = arg;
    struct span jws = tunnel_stream_trailer(s, "cocoon-usage");

    if (jws.data)
        buf_append(&d->jws, jws);
    sha256_final(d->resp_hash, d->resp);
    d->read_out = true;
    if (d->state == DISPATCH_PROBLEM)
        tell_failed(d, problem_kind(d));
    else if (d->state == DISPATCH_OPEN)
        answer_end(d);
    d->state = DISPATCH_DISCARDING;
}

static void stream_closed(void *arg, struct tunnel_stream *s, int error)
{
    struct dispatch *d = arg;

    (void)s;
    d->stream = NULL;
    d->over_us = clock_mono_us();
    if (error == E_BUSY) { /* the worker never looked at it */
        d->refused = true;
        turned_away(d);
    }
    tell_failed(d, error == E_BUSY ? DISPATCH_BUSY : DISPATCH_GONE);
    give_back(d);
    link_fetch_waiting(d->worker);
    dispatch_finish(d);
}

static const struct tunnel_stream_events stream_events = {
    .head = stream_head,
    .data = stream_data,
    .end = stream_end,
    .closed = stream_closed,
};

/* ---- The request ---- */

static int seal(struct dispatch *d)
{
    if (!d->relayed)
        TRY(ohttp_client_seal(d->client, buf_span(&d->plain), &d->sealed));
    sha256(d->req, buf_span(&d->sealed));
    buf_wipe(&d->plain);
    return 0;
}

static int send_sealed(struct dispatch *d)
{
    char kfp[2 * KFP_LEN + 1], attempt[12], tokens[24], input[24];

    hex_encode(kfp, SPAN_OF(d->kfp));
    snprintf(attempt, sizeof(attempt), "%u", d->attempt);
    snprintf(tokens, sizeof(tokens), "%lld", (long long)d->max_tokens);
    snprintf(input, sizeof(input), "%lld", (long long)d->max_input);
    const struct tunnel_field fields[] = {
        {SPAN("content-type"), SPAN("message/ohttp-chunked-req")},
        {SPAN("accept"), SPAN("message/ohttp-chunked-res")},
        {SPAN("incremental"), SPAN("?1")},
        {SPAN("cocoon-key"), span_str(kfp)},
        {SPAN("cocoon-model"), buf_span(&d->model)},
        {SPAN("cocoon-max-tokens"), span_str(tokens)},
        {SPAN("cocoon-max-input"), span_str(input)},
        {SPAN("cocoon-call"), span_str(d->call)},
        {SPAN("cocoon-attempt"), span_str(attempt)},
        {SPAN("cocoon-price"), span_str(d->price)},
        {SPAN("traceparent"), span_str(d->traceparent)},
    };
    const size_t count = sizeof(fields) / sizeof(*fields) - (d->traceparent[0] ? 0 : 1);

    if (!d->worker->tunnel || d->worker->state != POOL_READY)
        return E_CLOSED;
    if (d->worker->entry.in_flight >= pool_calls_max(d->worker->pool))
        return E_BUSY;
    TRY(tunnel_request(d->worker->tunnel, "POST", "/ohttp", fields, count, &d->sealed,
                       &stream_events, d, &d->stream));
    d->state = DISPATCH_SENT;
    d->sent = true;
    d->sent_us = clock_mono_us();
    return 0;
}

static void seal_work(struct offload_job *job)
{
    struct dispatch *d = CONTAINER(job, struct dispatch, job);

    d->seal_error = seal(d);
}

static void seal_done(struct offload_job *job)
{
    struct dispatch *d = CONTAINER(job, struct dispatch, job);

    int error = d->cancelled ? E_CLOSED : d->seal_error;
    if (error == 0)
        error = send_sealed(d);
    if (error == 0)
        return;
    /* A worker that said GOAWAY meanwhile was sent nothing: no failure of its. */
    bool away = error == E_BUSY || (error == E_CLOSED && d->worker->leaving);
    tell_failed(d, away ? DISPATCH_BUSY : DISPATCH_GONE);
    give_back(d);
    dispatch_finish(d);
}

static struct dispatch *dispatch_new(struct pool_worker *w, const struct dispatch_message *m)
{
    struct dispatch *d = mem_zero(sizeof(*d));

    d->worker = pool_worker_ref(w);
    d->attempt = m->attempt;
    d->max_tokens = m->max_tokens;
    d->max_input = m->max_input;
    memcpy(d->call, m->call.data, 32);
    snprintf(d->price, sizeof(d->price), "%.*s", SPAN_FMT(m->price));
    snprintf(d->traceparent, sizeof(d->traceparent), "%s", m->traceparent ? m->traceparent : "");
    buf_append(&d->model, m->model);
    d->relayed = m->take_sealed != NULL;
    memcpy(d->kfp, d->relayed ? m->kfp : w->key.kfp, KFP_LEN);
    memcpy(d->keyset, d->relayed ? worker_keyset_of(w, d->kfp) : w->keyset.digest, SHA256_LEN);
    d->reader = d->relayed ? NULL : bhttp_reader_new(false, ANSWER_MAX);
    d->resp_hash = sha256_new();
    return d;
}

/* What is to be sent, or to be sealed. */
static int message_take(struct dispatch *d, const struct dispatch_message *m)
{
    if (d->relayed) {
        buf_take(&d->sealed, m->take_sealed);
        return 0;
    }
    bhttp_request(&d->plain, SPAN("POST"), SPAN("https"), SPAN("worker"), span_str(m->path),
                  m->fields, m->field_count, m->body);
    return senders_take(d->worker->senders, &d->client);
}

int dispatch_start(struct dispatch **out, struct pool_worker *w, const struct dispatch_message *m,
                   const struct dispatch_events *ev, void *arg, dispatch_over_fn *over,
                   void *charge)
{
    char key[ATTEMPT_KEY_LEN];

    struct chooser_seat *seat = chooser_seat_of(&w->entry, m->model);
    const struct chooser_query load = {
        .input = m->input, .output = m->output, .class = m->class, .affinity = m->affinity};

    CHECK(m->call.len == 32);
    if (w->state != POOL_READY || !seat || (m->take_sealed && !worker_keyset_of(w, m->kfp)))
        return E_CLOSED;
    struct dispatch *d = dispatch_new(w, m);
    int error = message_take(d, m);
    bool large = d->plain.len + d->sealed.len > OFFLOAD_BYTES;
    if (error == 0 && large) {
        d->job = (struct offload_job){.work = seal_work, .done = seal_done};
        error = offload_submit(w->pool->offload, &d->job);
    } else if (error == 0) {
        error = seal(d);
        if (error == 0)
            error = send_sealed(d);
    }
    if (error < 0) {
        dispatch_free(d);
        return error;
    }
    d->events = ev;
    d->arg = arg;
    d->over = over;
    d->charge = charge;
    chooser_start(&d->slot, seat, &load, now_ms(d));
    (void)map_put(&w->pool->running, attempt_key(key, m->call, m->attempt), d);
    *out = d;
    return 0;
}

/* ---- While it runs ---- */

static void reset_now(void *arg)
{
    struct dispatch *d = arg;

    if (d->stream)
        tunnel_stream_reset(d->stream);
}

/* The worker did not end the stream in time. Many at once take their turn, below its guard against
 * rapid resets. */
static void cancel_late(void *arg)
{
    struct dispatch *d = arg;
    struct pool_worker *w = d->worker;
    uint64_t now = loop_now(w->pool->loop);

    if (!d->stream)
        return;
    uint64_t at = w->next_reset_ms > now ? w->next_reset_ms : now;
    w->next_reset_ms = at + RESET_EVERY_MS;
    if (at > now)
        loop_timer_set(w->pool->loop, &d->timer, at - now, reset_now, d);
    else
        tunnel_stream_reset(d->stream);
}

static void cancel_heard(struct pool_worker *w, const struct link_answer *a)
{
    (void)w;
    (void)a; /* 204, or 404 when it has ended meanwhile: the stream itself tells */
}

void dispatch_cancel(struct dispatch *d, enum dispatch_cancel why)
{
    char path[64];

    if (d->cancelled)
        return;
    d->events = NULL;
    d->cancelled = true;
    d->abandoned = d->abandoned || why != CANCEL_CLIENT_GONE;
    if (why == CANCEL_TIMEOUT || why == CANCEL_FAILED) {
        standing_note(d->worker, STANDING_FAILED);
        chooser_failed(&d->slot, now_ms(d));
    }
    if (!d->stream || d->read_out)
        return;                               /* not sent yet, or over: nothing to stop */
    if (!tunnel_is_open(d->worker->tunnel)) { /* the worker is leaving: no DELETE can reach it */
        tunnel_stream_reset(d->stream);
        return;
    }
    if (d->state == DISPATCH_OPEN || d->state == DISPATCH_SENT)
        d->state = DISPATCH_DISCARDING;
    snprintf(path, sizeof(path), "/ohttp/%s/%u", d->call, d->attempt);
    link_fetch(d->worker, "DELETE", path, NULL, 0, NULL, PROBLEM_MAX, cancel_heard);
    loop_timer_set(d->worker->pool->loop, &d->timer, CANCEL_MS, cancel_late, d);
    dispatch_consumed(d);
}

bool dispatch_answered(const struct dispatch *d)
{
    return d->status != 0;
}

struct span dispatch_record(const struct dispatch *d)
{
    return buf_span(&d->jws);
}

unsigned dispatch_status(const struct dispatch *d)
{
    return d->status;
}

void dispatch_consumed(struct dispatch *d)
{
    if (d->stream && d->unconsumed > 0)
        tunnel_stream_consume(d->stream, d->unconsumed);
    d->unconsumed = 0;
}

void dispatch_first_event(struct dispatch *d)
{
    if (!d->first_us)
        d->first_us = clock_mono_us();
}
