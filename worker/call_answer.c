/* The answer's bytes: inner head, chunks, pings and the end, sealed and written (wire.md §4, §5,
 * §9). */
#include "worker/call.h"

#include "base/clock.h"
#include "base/fail_point.h"
#include "worker/describe.h"

enum { INNER_FIELDS = 4 };

/* ---- Writing ---- */

static void outer_head(struct call *c)
{
    struct exchange_fields f;

    if (c->head_sent || !c->stream)
        return;
    c->head_sent = true;
    exchange_fields_init(&f, c->worker);
    exchange_fields_add(&f, "content-type", SPAN("message/ohttp-chunked-res"));
    exchange_fields_add(&f, "incremental", SPAN("?1"));
    exchange_fields_add(&f, "cache-control", SPAN("no-store"));
    tunnel_respond(c->stream, 200, f.list, f.count, false);
}

/* Hashes what has left the queue, so that `resp` covers what was sent and nothing else. */
static void hash_sent(struct call *c, size_t still_queued)
{
    if (c->unsent.len <= still_queued)
        return;
    const size_t sent = c->unsent.len - still_queued;
    sha256_update(c->resp_hash, span_of(c->unsent.data, sent));
    buf_consume(&c->unsent, sent);
}

static void flush(struct call *c)
{
    if (!c->stream) {
        buf_clear(&c->out);
        return;
    }
    outer_head(c);
    hash_sent(c, tunnel_stream_queued(c->stream));
    buf_append(&c->unsent, buf_span(&c->out));
    c->bytes_out += c->out.len;
    tunnel_stream_write(c->stream, &c->out);
}

/* Sealing fails only beyond 2^32 chunks: then the channel cannot go on, and never ends properly. */
static void seal(struct call *c, struct span plain, bool final)
{
    c->chunks++;
    if (ohttp_server_seal(c->server, plain, final, &c->out) < 0 && c->stream)
        tunnel_stream_reset(c->stream);
}

/* Appends the inner head to plain, once. */
static void inner_head(struct call *c, unsigned status, const char *content_type, struct buf *plain)
{
    char date[CLOCK_HTTP_LEN];

    if (c->inner_head_sent)
        return;
    c->inner_head_sent = true;
    clock_http_format(date, (time_t)(clock_wall_ms() / 1000));
    const struct span ignored = buf_span(&c->opened.request.ignored);
    struct bhttp_field fields[INNER_FIELDS] = {
        {SPAN("content-type"), span_str(content_type)},
        {SPAN("date"), span_str(date)},
    };
    size_t count = 2;
    if (c->opened.rid.len > 0)
        fields[count++] = (struct bhttp_field){SPAN("cocoon-request-id"), c->opened.rid};
    if (ignored.len > 0)
        fields[count++] = (struct bhttp_field){SPAN("cocoon-ignored"), ignored};
    bhttp_response_head(plain, status, fields, count);
}

static void seal_head(struct call *c, unsigned status, const char *content_type)
{
    AUTO(buf_wipe) struct buf plain = {0};

    inner_head(c, status, content_type, &plain);
    if (plain.len > 0)
        seal(c, buf_span(&plain), false);
}

static void seal_content(struct call *c, struct span content)
{
    AUTO(buf_wipe) struct buf plain = {0};

    if (content.len == 0)
        return;
    sha256_update(c->content_hash, content);
    bhttp_content(&plain, content);
    seal(c, buf_span(&plain), false);
}

static void stream_head(struct call *c)
{
    seal_head(c, 200, "text/event-stream; charset=utf-8");
}

/* ---- The hold of the head, and pings ---- */

static void on_timer(void *arg)
{
    struct call *c = arg;
    const uint64_t ping_ms = c->opened.ping_ms;

    if (!c->stream)
        return;
    const uint64_t quiet_ms = c->first_us ? loop_now(c->worker->loop) - c->last_ms : ping_ms;
    if (quiet_ms < ping_ms) {
        call_answer_timer(c, ping_ms - quiet_ms);
        return;
    }
    if (!c->opened.request
             .stream) { /* an answer in one piece has no sign of life but its outer head */
        outer_head(c);
        return;
    }
    stream_head(c);
    if (ping_ms > 0 && tunnel_stream_queued(c->stream) == 0)
        seal_content(c, SPAN(ANSWER_PING));
    flush(c);
    if (ping_ms > 0)
        call_answer_timer(c, ping_ms);
}

void call_answer_timer(struct call *c, uint64_t ms)
{
    loop_timer_set(c->worker->loop, &c->timer, ms, on_timer, c);
}

/* The timer is not set anew by each event: it looks how long the last one was ago. */
static void begin_pings(struct call *c)
{
    if (c->opened.ping_ms > 0)
        call_answer_timer(c, c->opened.ping_ms);
    else
        loop_timer_cancel(c->worker->loop, &c->timer);
}

void call_answer_bytes(struct call *c, struct span bytes)
{
    const bool first = !c->first_us;

    c->last_ms = loop_now(c->worker->loop);
    if (first)
        c->first_us = clock_mono_us();
    stream_head(c);
    seal_content(c, bytes);
    flush(c);
    if (first)
        begin_pings(c);
}

/* ---- The end ---- */

/* The content receipt, as the only trailer of the inner message. */
static void put_receipt(struct call *c, enum usage_outcome outcome, struct buf *plain)
{
    AUTO(buf_fini) struct buf jws = {0};
    struct usage_record u;
    struct keyset described = {0};
    struct receipt_extra extra = {.rid = c->opened.rid};

    describe_keyset(c->worker, &described);
    extra.model_digest = described.model_digest;
    extra.config_sha256 = described.config_sha256;
    memcpy(extra.req_body, c->opened.body_sha256, SHA256_LEN);
    sha256_final(c->content_hash, extra.resp_body);
    call_usage_record(c, outcome, &u);
    if (receipt_sign(&u, &extra, keys_receipt(c->worker->keys), &jws) < 0)
        return;
    const struct bhttp_field trailer = {SPAN("cocoon-receipt"), buf_span(&jws)};
    bhttp_trailers(plain, &trailer, 1);
}

/* Signs and keeps the record, and ends the stream with it. */
static void end_stream(struct call *c, enum usage_outcome outcome, bool final)
{
    AUTO(buf_fini) struct buf jws = {0};
    uint8_t resp[SHA256_LEN];

    loop_timer_cancel(c->worker->loop, &c->timer);
    sha256_final(c->resp_hash, resp);
    call_record(c, outcome, final, resp, &jws);
    fail_point("record.kept");
    if (!c->stream)
        return;
    const struct tunnel_field trailer = {SPAN("cocoon-usage"), buf_span(&jws)};
    tunnel_stream_end(c->stream, &trailer, jws.len > 0 ? 1 : 0);
    fail_point("record.sent");
}

/* The final chunk and what follows it, in one write with what was sealed before. */
static void end_content(struct call *c, enum usage_outcome outcome)
{
    AUTO(buf_wipe) struct buf plain = {0};

    bhttp_content_end(&plain);
    put_receipt(c, outcome, &plain);
    seal(c, buf_span(&plain), true);
    flush(c);
    hash_sent(c, 0);
    end_stream(c, outcome, true);
}

void call_answer_fault(struct call *c, const struct api_fault *fault, enum usage_outcome outcome)
{
    AUTO(buf_wipe) struct buf text = {0};

    if (c->inner_head_sent) {
        api_fault_event(fault, &text);
        outcome = outcome == USAGE_REJECTED ? USAGE_ERROR : outcome;
    } else {
        api_fault_body(fault, &text);
        seal_head(c, fault->error->status, "application/json");
    }
    seal_content(c, buf_span(&text));
    end_content(c, outcome);
}

void call_answer_date(struct call *c)
{
    AUTO(buf_fini) struct buf text = {0};

    problem_write(&problem_date, &text);
    seal_head(c, problem_date.status, "application/problem+json");
    seal_content(c, buf_span(&text));
    end_content(c, USAGE_REJECTED);
}

void call_answer_finish(struct call *c, struct answer *answer)
{
    AUTO(buf_wipe) struct buf usage_event = {0};
    AUTO(buf_wipe) struct buf rest = {0};

    if (answer_finish(answer, &usage_event, &rest, &c->usage) < 0) {
        struct api_fault fault = {0};
        answer_usage(answer, &c->usage);
        api_fault_set(&fault, c->inner_head_sent ? &ERR_STREAM_BROKEN : &ERR_WORKER_ERROR, NULL,
                      NULL);
        call_answer_fault(c, &fault, USAGE_ERROR);
        return;
    }
    if (!c->first_us)
        c->first_us = clock_mono_us();
    if (c->opened.request.stream)
        stream_head(c);
    else
        seal_head(c, 200, "application/json");
    seal_content(c, buf_span(&usage_event));
    seal_content(c, buf_span(&rest));
    end_content(c, answer_any_length(answer) ? USAGE_LENGTH : USAGE_STOP);
}

void call_answer_abort(struct call *c)
{
    if (c->stream) {
        outer_head(c);
        hash_sent(c, tunnel_stream_queued(c->stream));
        tunnel_stream_drop_queued(c->stream);
    } else {
        hash_sent(c, 0);
    }
    end_stream(c, USAGE_CLIENT_ABORT, false);
}
