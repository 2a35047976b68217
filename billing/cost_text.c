/* Spliced into the worker's own bytes. */
#include "billing/cost_text.h"

#include "base/json.h"
#include "billing/nano.h"

int cost_into_object(struct span object, int64_t nano, struct buf *out)
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

int cost_into_events(struct span events, int64_t nano, struct buf *out)
{
    ptrdiff_t end = span_find(events, SPAN("\n\n"));

    if (end < 0 || !span_starts(events, SPAN("data: {")))
        return E_NOT_FOUND;
    const size_t before = out->len;
    buf_append_str(out, "data: ");
    const int error = cost_into_object(span_cut(events, 6, (size_t)end - 6), nano, out);
    if (error < 0)
        out->len = before;
    else
        buf_append(out, span_from(events, (size_t)end));
    return error;
}
