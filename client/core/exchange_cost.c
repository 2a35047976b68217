/* What the answer cost, as its reader sees it: counted from what was verified, by the price book
 * that the gateway names (wire.md §9). An answer whose prices cannot be had goes without. */
#include "billing/cost_text.h"
#include "client/core/exchange_impl.h"

enum { LOOK_MS = 50, LOOKS_MAX = 40 };

void exchange_price(struct exchange *x)
{
    x->cost_nano = -1;
    x->priced = x->shown.has_price &&
                price_tag_read(span_str(x->shown.price), &x->version, &x->coefficient) == 0 &&
                x->version > 0;
    if (x->priced)
        prices_want(x->client->prices, x->version);
}

bool exchange_cost_awaited(struct exchange *x, void (*again)(void *arg))
{
    if (!x->priced || !x->has_used || !prices_pending(x->client->prices, x->version) ||
        x->price_looks++ == LOOKS_MAX)
        return false;
    loop_timer_set(x->client->loop, &x->price_timer, LOOK_MS, again, x);
    return true;
}

/* Prompt tokens beyond what was declared are not charged. */
static int cost_of(struct exchange *x)
{
    struct usage charged = x->used;

    if (charged.in > x->bounds.max_input)
        charged.in = x->bounds.max_input;
    if (charged.cached > charged.in)
        charged.cached = charged.in;
    return prices_cost(x->client->prices, x->version, x->coefficient, span_str(x->served), &charged,
                       &x->cost_nano);
}

void exchange_cost_splice(struct exchange *x)
{
    AUTO(buf_wipe) struct buf out = {0};
    struct buf *kept = &x->answer.kept;

    if (!x->priced || !x->has_used || cost_of(x) < 0)
        return;
    const int error = x->answer.whole ? cost_into_object(buf_span(kept), x->cost_nano, &out)
                                      : cost_into_events(buf_span(kept), x->cost_nano, &out);
    if (error < 0) {
        x->cost_nano = -1;
        return;
    }
    buf_wipe(kept);
    buf_take(kept, &out);
}
