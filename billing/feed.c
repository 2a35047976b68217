/* Go-back-N over a Redis stream: rows are read from the journal behind `sent`; one that could not
 * be added, or that the books neither confirm in time nor still have before them, is sent again
 * with all that follow. */
#include "billing/feed.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/encode.h"
#include "billing/bill_claim.h"
#include "billing/nano.h"
#include "crypto/jws.h"

enum { BATCH = 200, LOOK_MS = 1000, SOON_MS = 5, STILL_MS = 5000, NUMBER_LEN = 24 };

struct feed {
    struct loop *loop;
    struct redis *redis;
    struct journal *journal;
    char instance[LAYOUT_NAME_MAX + 1], stream[LAYOUT_KEY_LEN];
    char kid[JWS_KID_LEN + 1], key[2 * ED25519_KEY_LEN + 1];
    char since[LAYOUT_NAME_MAX + NUMBER_LEN]; /* as LAYOUT_SINCE has it */
    struct buf claim;                         /* as LAYOUT_VOUCHED has it; empty: none */
    struct loop_timer look, soon;
    int64_t sent;      /* the last row given to Redis */
    int64_t confirmed; /* that Redis has taken */
    uint64_t moved_ms; /* when the books' mark last moved, there was nothing to wait for, or it was
                          asked why */
    unsigned flying;   /* XADDs without an answer */
    bool reading, failed, named, ready, stopped;
};

static void nothing(void *arg, int error, const struct redisReply *reply)
{
    (void)arg;
    (void)error;
    (void)reply;
}

static void send_more(void *arg);

static void send_soon(struct feed *f)
{
    if (!f->stopped && !loop_timer_is_set(&f->soon))
        loop_timer_set(f->loop, &f->soon, SOON_MS, send_more, f);
}

/* Every row of a batch has its answer. */
static void batch_over(struct feed *f)
{
    if (f->failed)
        f->sent = f->confirmed;
    f->failed = false;
    if (f->sent < journal_last(f->journal))
        send_soon(f);
}

static void added(void *arg, int error, const struct redisReply *reply)
{
    struct feed *f = arg;

    f->flying--;
    if (error < 0 || redis_reply_type(reply) != REDIS_BULK)
        f->failed = true;
    else if (!f->failed)
        f->confirmed++;
    if (f->flying == 0 && !f->reading)
        batch_over(f);
}

/* The books find instances and their keys by these. */
static void name_instance(struct feed *f)
{
    const struct span key[] = {SPAN("HSET"), SPAN(LAYOUT_KEYS), span_str(f->kid), span_str(f->key)};
    const struct span since[] = {SPAN("HSET"), SPAN(LAYOUT_SINCE), span_str(f->kid),
                                 span_str(f->since)};
    const struct span claim[] = {SPAN("HSET"), SPAN(LAYOUT_VOUCHED), span_str(f->kid),
                                 buf_span(&f->claim)};
    const struct span add[] = {SPAN("SADD"), SPAN(LAYOUT_INSTANCES), span_str(f->instance)};

    f->named =
        redis_command(f->redis, key[1], key, 4, nothing, NULL) == 0 &&
        redis_command(f->redis, since[1], since, 4, nothing, NULL) == 0 &&
        (f->claim.len == 0 || redis_command(f->redis, claim[1], claim, 4, nothing, NULL) == 0) &&
        redis_command(f->redis, add[1], add, 3, nothing, NULL) == 0;
}

static void row_add(void *arg, const struct journal_row *r)
{
    struct feed *f = arg;
    const bool dated = r && r->epoch != LAYOUT_EPOCH_UNKNOWN;
    char n[NUMBER_LEN], attempt[NUMBER_LEN], epoch[NUMBER_LEN];

    if (!r) {
        f->reading = false;
        if (f->flying == 0)
            batch_over(f);
        return;
    }
    if (f->failed || f->stopped || r->n != f->sent + 1) {
        f->failed = true; /* sent moved back meanwhile: read again */
        return;
    }
    snprintf(n, sizeof(n), "%lld", (long long)r->n);
    snprintf(attempt, sizeof(attempt), "%u", r->attempt);
    snprintf(epoch, sizeof(epoch), "%lld", (long long)r->epoch);
    const struct span argv[] = {
        SPAN("XADD"),      span_str(f->stream), SPAN("*"),   SPAN("n"),
        span_str(n),       SPAN("call"),        r->call,     SPAN("attempt"),
        span_str(attempt), SPAN("bill"),        r->bill,     SPAN("usage"),
        r->usage,          SPAN("account"),     r->account,  SPAN("project"),
        r->project,        SPAN("key"),         r->key,      SPAN("kind"),
        r->kind,           SPAN("endpoint"),    r->endpoint, SPAN("epoch"),
        span_str(epoch)};
    const size_t argc = sizeof(argv) / sizeof(*argv) - (dated ? 0 : 2);
    if (redis_command(f->redis, argv[1], argv, argc, added, f) < 0) {
        f->failed = true;
        return;
    }
    f->flying++;
    f->sent = r->n;
}

static void send_more(void *arg)
{
    struct feed *f = arg;

    if (f->stopped || !f->ready || f->reading || f->flying > 0 || !redis_up(f->redis))
        return;
    if (!f->named) /* also with nothing to send: a recovery waits for it */
        name_instance(f);
    if (f->sent >= journal_last(f->journal))
        return;
    f->reading = true;
    f->confirmed = f->sent;
    journal_read(f->journal, f->sent, BATCH, row_add, f);
}

void feed_again(struct feed *f)
{
    f->named = false;
    if (f->reading || f->flying > 0)
        f->failed = true;
    f->sent = f->confirmed = journal_acked_to(f->journal);
    f->moved_ms = loop_now(f->loop);
    send_soon(f);
}

/* ---- The books' mark ---- */

/* A mark above all rows, at the start: the file is a new one, and its numbers would be taken for
 * old rows. */
static void mark_told(void *arg, int error, const struct redisReply *reply)
{
    struct feed *f = arg;
    int64_t n = 0;

    if (f->stopped || error < 0 ||
        (redis_reply_type(reply) != REDIS_NULL && nano_parse(redis_reply_text(reply), &n) < 0))
        return;
    if (!f->ready)
        journal_raise(f->journal, n);
    f->ready = true;
    if (n > journal_acked_to(f->journal) && n <= journal_last(f->journal)) {
        journal_acked(f->journal, n);
        f->moved_ms = loop_now(f->loop);
    }
    if (f->sent < journal_acked_to(f->journal))
        f->sent = f->confirmed = journal_acked_to(f->journal);
    if (!f->named)
        send_soon(f); /* who was woken by the asking may have come before the answer */
}

static void ask_mark(struct feed *f)
{
    const struct span argv[] = {SPAN("HGET"), SPAN(LAYOUT_ACKED), span_str(f->instance)};

    if (redis_up(f->redis) && redis_command(f->redis, argv[1], argv, 3, mark_told, f) < 0)
        return; /* asked again in a second */
}

/* The books take away what they have read. Where as many stand as they have not confirmed, they
 * have not come to them yet: Redis would only fill. */
static void length_told(void *arg, int error, const struct redisReply *reply)
{
    struct feed *f = arg;

    if (!f->stopped && error == 0 && redis_reply_type(reply) == REDIS_NUMBER &&
        redis_reply_number(reply) < feed_lag(f) && feed_idle(f))
        feed_again(f);
}

/* The books stand still: they may not know our key, or have lost entries. */
static void ask_length(struct feed *f)
{
    const struct span argv[] = {SPAN("XLEN"), span_str(f->stream)};

    if (!redis_up(f->redis))
        return;
    name_instance(f);
    if (redis_command(f->redis, argv[1], argv, 2, length_told, f) == 0)
        f->moved_ms = loop_now(f->loop);
}

static void look(void *arg)
{
    struct feed *f = arg;
    uint64_t now = loop_now(f->loop);

    loop_timer_set(f->loop, &f->look, LOOK_MS, look, f);
    ask_mark(f);
    if (feed_lag(f) == 0)
        f->moved_ms = now;
    else if (now - f->moved_ms > STILL_MS && feed_idle(f))
        ask_length(f);
    else
        send_soon(f);
}

void feed_wake(struct feed *f)
{
    if (!f->ready)
        ask_mark(f);
    send_soon(f);
}

struct feed *feed_new(struct loop *l, struct redis *r, struct journal *j,
                      const struct bill_claim *key, const struct ed25519 *operator_key)
{
    struct feed *f = mem_zero(sizeof(*f));

    f->loop = l;
    f->redis = r;
    f->journal = j;
    snprintf(f->instance, sizeof(f->instance), "%s", key->instance);
    snprintf(f->stream, sizeof(f->stream), LAYOUT_BILLS, f->instance);
    snprintf(f->since, sizeof(f->since), "%llu %s", (unsigned long long)key->since_s, f->instance);
    jws_kid(f->kid, key->key);
    hex_encode(f->key, SPAN_OF(key->key));
    if (operator_key && bill_claim_sign(key, operator_key, &f->claim) < 0)
        buf_clear(&f->claim); /* the books wait until somebody pins it */
    f->sent = f->confirmed = journal_acked_to(j);
    look(f);
    return f;
}

void feed_stop(struct feed *f)
{
    f->stopped = true;
    loop_timer_cancel(f->loop, &f->look);
    loop_timer_cancel(f->loop, &f->soon);
}

void feed_free(struct feed *f)
{
    if (!f)
        return;
    buf_fini(&f->claim);
    free(f);
}

bool feed_idle(const struct feed *f)
{
    return !f->reading && f->flying == 0 && f->sent >= journal_last(f->journal) && f->named;
}

bool feed_ready(const struct feed *f)
{
    return f->ready;
}

int64_t feed_lag(const struct feed *f)
{
    return journal_last(f->journal) - journal_acked_to(f->journal);
}
