/* The cost in an answer: the amount that was charged, spliced into the worker's own bytes. */
#include "gateway/cost.h"

#include "base/json.h"
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

/* Appends the object with the cost in its usage; E_NOT_FOUND, E_INVALID: out stays as it was. */
static int object_splice(struct span object, int64_t nano, struct buf *out)
{
    char text[NANO_LEN], coins[NANO_COIN_LEN + 2];
    AUTO(buf_fini) struct buf usage = {0};
    struct json_member m;

    TRY(json_member_find(object, "usage", &m));
    coins[0] = '"';
    (void)nano_coins(coins + 1, nano);
    size_t len = strlen(coins);
    coins[len++] = '"';
    const struct json_edit edits[] = {{"cost_nano", span_str(nano_text(text, nano))},
                                      {"cost", span_of(coins, len)}};
    TRY(json_splice(m.value, edits, 2, &usage));
    size_t at = (size_t)(m.value.data - object.data);
    buf_append(out, span_cut(object, 0, at));
    buf_append(out, buf_span(&usage));
    buf_append(out, span_from(object, at + m.value.len));
    return 0;
}

/* The first of the events that were kept back is the usage event, if there is one. */
static int event_splice(struct span held, int64_t nano, struct buf *out)
{
    ptrdiff_t end = span_find(held, SPAN("\n\n"));

    if (end < 0 || !span_starts(held, SPAN("data: {")))
        return E_NOT_FOUND;
    buf_append_str(out, "data: ");
    TRY(object_splice(span_cut(held, 6, (size_t)end - 6), nano, out));
    buf_append(out, span_from(held, (size_t)end));
    return 0;
}

void cost_splice(struct call *c)
{
    AUTO(buf_wipe) struct buf out = {0};
    struct buf *text = c->held.len > 0 ? &c->held : &c->inner;
    int error;

    if (!is_known(c->charge) || text->len == 0)
        return;
    error = text == &c->held ? event_splice(buf_span(text), c->charge->charged, &out)
                             : object_splice(buf_span(text), c->charge->charged, &out);
    if (error < 0)
        return;
    buf_wipe(text);
    buf_take(text, &out);
}
