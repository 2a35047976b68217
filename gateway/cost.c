/* The cost in an answer: the amount that was charged, spliced into the worker's own bytes. */
#include "gateway/cost.h"

#include "billing/cost_text.h"
#include "gateway/charge.h"

/* A record that does not come in the same flight is fetched; Redis may be slow. */
enum { RECORD_MS = 2500, REDIS_MS = 250 };

static void look_again(void *arg)
{
    struct call *c = arg;

    c->cost_late = true;
    call_resume(c);
}

static void wait_for(struct call *c, uint64_t ms)
{
    c->charge->waiting = c;
    if (!loop_timer_is_set(&c->cost_timer))
        loop_timer_set(c->gateway->loop, &c->cost_timer, ms, look_again, c);
}

bool cost_is_awaited(struct call *c)
{
    struct charge *ch = c->charge;

    if (!ch->book || c->broken || c->cost_late)
        return false;
    if (!ch->judged) {
        wait_for(c, RECORD_MS);
        return true;
    }
    if (ch->cost == COST_PENDING) { /* what it will be is known already */
        wait_for(c, REDIS_MS);
        return true;
    }
    return false;
}

static bool is_known(const struct charge *ch)
{
    return ch && (ch->cost == COST_SETTLED || ch->cost == COST_PENDING);
}

const char *cost_header(struct call *c)
{
    if (!is_known(c->charge) || c->fault.error)
        return NULL;
    return arena_printf(&c->arena, "%lld", (long long)c->charge->charged);
}

void cost_splice(struct call *c)
{
    AUTO(buf_wipe) struct buf out = {0};
    struct buf *text = c->held.len > 0 ? &c->held : &c->inner;
    int error;

    if (!is_known(c->charge) || text->len == 0)
        return;
    error = text == &c->held ? cost_into_events(buf_span(text), c->charge->charged, &out)
                             : cost_into_object(buf_span(text), c->charge->charged, &out);
    if (error < 0)
        return;
    buf_wipe(text);
    buf_take(text, &out);
}
