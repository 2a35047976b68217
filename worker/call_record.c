/* What a call used: the record that is signed and kept, the counters, the line of the log; and the
 * slots that are free with it. */
#include "worker/call.h"

#include <inttypes.h>

#include "base/clock.h"
#include "base/fail_point.h"
#include "base/log.h"

void call_give_back(struct call *c, unsigned keep)
{
    if (c->slots <= keep)
        return;
    c->worker->slots -= c->slots - keep;
    c->slots = keep;
}

void call_usage_record(const struct call *c, enum usage_outcome outcome, struct usage_record *u)
{
    *u = (struct usage_record){
        .attempt = c->outer.attempt,
        .model = span_str(c->outer.model),
        .in = c->usage.in,
        .cached = c->usage.cached,
        .out = c->usage.out,
        .reasoning = c->usage.reasoning,
        .outcome = outcome,
        .t0_ms = c->t0_ms,
        .t1_ms = clock_wall_ms(),
    };
    memcpy(u->call, c->outer.call, sizeof(u->call));
    memcpy(u->price, c->outer.price, sizeof(u->price));
    memcpy(u->op, c->op, SHA256_LEN);
    memcpy(u->kfp, c->kfp, SHA256_LEN);
    memcpy(u->keyset, c->keyset, SHA256_LEN);
    memcpy(u->req, c->req, SHA256_LEN);
    memcpy(u->env, worker_env(c->worker), strlen(worker_env(c->worker)) + 1);
}

static uint64_t ms_since(const struct call *c, uint64_t us)
{
    return us > c->begun_us ? (us - c->begun_us) / 1000 : 0;
}

static void count(struct worker_counters *n, const struct call *c, enum usage_outcome outcome)
{
    n->calls[outcome]++;
    n->tokens_in += (uint64_t)c->usage.in;
    n->tokens_cached += (uint64_t)c->usage.cached;
    n->tokens_out += (uint64_t)c->usage.out;
    n->events += c->chunks;
}

void call_record(struct call *c, enum usage_outcome outcome, bool final,
                 const uint8_t resp[static SHA256_LEN], struct buf *jws)
{
    struct worker *w = c->worker;
    struct usage_record u;
    struct usage_key key = {.attempt = c->outer.attempt};

    call_usage_record(c, outcome, &u);
    u.final = final;
    memcpy(u.resp, resp, SHA256_LEN);
    memcpy(key.op, c->op, SHA256_LEN);
    memcpy(key.call, c->outer.call, sizeof(key.call));
    const int error = usage_record_sign(&u, keys_receipt(w->keys), jws);
    fail_point("record.signed");
    if (error < 0)
        log_event(LOG_ERROR, "usage_unsigned", "call=%s attempt=%" PRIu32, c->outer.call,
                  c->outer.attempt);
    else
        usage_add(w->usage, &key, buf_span(jws));
    count(&w->counters, c, outcome);
    log_event(LOG_INFO, "call",
              "call=%s attempt=%" PRIu32 " model=%s outcome=%s in=%" PRId64 " cached=%" PRId64
              " out=%" PRId64 " reasoning=%" PRId64 " first_ms=%" PRIu64 " ms=%" PRIu64
              " chunks=%" PRIu64 " bytes=%" PRIu64 " final=%d",
              c->outer.call, c->outer.attempt, c->outer.model, usage_outcome_name(outcome),
              c->usage.in, c->usage.cached, c->usage.out, c->usage.reasoning,
              ms_since(c, c->first_us), ms_since(c, clock_mono_us()), c->chunks, c->bytes_out,
              final);
    c->state = CALL_OVER;
    call_give_back(c, 0);
}
