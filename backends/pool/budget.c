/* Retries of the last minute against a share of its requests. */
#include "backends/pool/budget.h"

void budget_note(struct budget *b, uint64_t now_ms)
{
    window_add(&b->requests, now_ms);
}

bool budget_take(struct budget *b, const struct budget_options *o, uint64_t now_ms)
{
    const uint64_t share = window_count(&b->requests, now_ms) * o->percent / 100;
    const uint64_t most = share > o->least ? share : o->least;

    if (window_count(&b->retries, now_ms) >= most)
        return false;
    window_add(&b->retries, now_ms);
    return true;
}
