/* Step settle: what a call used, told once. A charge is made at admission and ends here whatever
 * becomes of the call: by the usage record of the attempt that answered, or without one. The hold
 * of the account is settled or released in the same place. */
#include <stdlib.h>

#include "gateway/money.h"
#include "base/clock.h"
#include "gateway/counters.h"
#include "gateway/receipts.h"
#include "gateway/replay.h"

enum { RECEIPT_MAX = 8 * 1024 };

struct charge *charge_new(struct call *c)
{
    struct charge *ch = mem_zero(sizeof(*ch));

    ch->refs = 1;
    ch->gateway = c->gateway;
    memcpy(ch->call, c->id, sizeof(ch->call));
    memcpy(ch->key, c->key->id, sizeof(ch->key));
    ch->end_to_end = call_is_end_to_end(c);
    ch->keeps_receipt = c->key->receipts && !ch->end_to_end;
    if (!c->rq.shows_other && c->rq.sequences == c->rq.prompts * c->rq.choices)
        ch->choices = c->rq.sequences;
    snprintf(ch->model, sizeof(ch->model), "%.*s", SPAN_FMT(buf_span(&c->rq.model)));
    return ch;
}

struct charge *charge_ref(struct charge *ch)
{
    ch->refs++;
    return ch;
}

static void settle(struct charge *ch, const struct usage_record *u)
{
    struct metrics *m = &ch->gateway->metrics;

    if (ch->settled)
        return;
    ch->settled = true;
    if (!u)
        return;
    ch->counted = true;
    ch->in = u->in;
    ch->out = u->out;
    m->tokens[0] += (uint64_t)u->in;
    m->tokens[1] += (uint64_t)u->cached;
    m->tokens[2] += (uint64_t)u->out;
    m->tokens[3] += (uint64_t)u->reasoning;
    counters_usage(ch->gateway->counters, ch->key, ch->model, u);
}

/* The last to let go releases what no record has settled. */
void charge_unref(struct charge *ch)
{
    if (!ch || --ch->refs > 0)
        return;
    settle(ch, NULL);
    trace_charged(ch);
    if (ch->hold)
        hold_release(ch->hold);
    replay_drop(ch->kept);
    price_book_unref(ch->book);
    free(ch);
}

void charge_tell(struct charge *ch)
{
    struct call *c = ch->waiting;

    ch->waiting = NULL;
    if (c)
        call_resume(c);
}

void charge_leave(struct charge *ch)
{
    if (ch)
        ch->waiting = NULL;
    charge_unref(ch);
}

static void keep(struct charge *ch, const struct dispatch_report *r)
{
    struct receipt kept = {r->jws, SPAN("")};

    if (!r->usage || !(ch->end_to_end || (ch->keeps_receipt && !r->abandoned)))
        return;
    /* of a compact JWS's letters alone: it is put into JSON as it is, and nobody has verified it */
    if (ch->keeps_receipt && span_plain(r->receipt, "-_.", RECEIPT_MAX))
        kept.content = r->receipt;
    receipts_put(ch->gateway->receipts, ch->call, ch->key, &kept);
}

/* A failed or abandoned attempt owes nothing and settles nothing: another may still answer. */
void settle_attempt(void *charge, const struct dispatch_report *r)
{
    struct charge *ch = charge;

    keep(ch, r);
    if (!r->abandoned && r->usage)
        settle(ch, r->usage);
    else if (!r->abandoned)
        ch->gateway->metrics.usage_missing++;
    if (!r->abandoned && ch->book) {
        ch->judged = true;
        *r->defer = r->usage && money_settle(ch, r);
        charge_tell(ch);
    }
    seen_learn(ch, r);
    charge_unref(ch);
}

void charge_attempt(struct charge *ch, uint32_t attempt)
{
    if (ch->hold && attempt > 0)
        hold_attempt(ch->hold, attempt);
}
