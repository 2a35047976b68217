/* What the bill itself says is judged later, by its signature (books/bills.c). */
#include "ledger/intake_entry.h"

#include "billing/layout.h"

static struct span *place(struct bill_entry *e, struct span *n, struct span *epoch,
                          struct span field)
{
    const struct {
        const char *name;
        struct span *at;
    } places[] = {{"n", n},
                  {"epoch", epoch},
                  {"bill", &e->bill},
                  {"usage", &e->usage},
                  {"project", &e->project},
                  {"key", &e->key},
                  {"kind", &e->kind},
                  {"endpoint", &e->endpoint}};

    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
        if (span_is(field, places[i].name))
            return places[i].at;
    return NULL;
}

int intake_entry_read(const struct redisReply *fields, struct bill_entry *e)
{
    struct span n = {NULL, 0}, epoch = {NULL, 0};
    uint64_t number = 0, of = LAYOUT_EPOCH_UNKNOWN;

    for (size_t i = 0; i + 1 < redis_reply_count(fields); i += 2) {
        struct span *at = place(e, &n, &epoch, redis_reply_text(redis_reply_at(fields, i)));
        const struct span value = redis_reply_text(redis_reply_at(fields, i + 1));
        if (at && (at->data || !value.data))
            return E_INVALID;
        if (at)
            *at = value;
    }
    TRY(span_u64(n, INT64_MAX - 1, &number));
    if (epoch.data)
        TRY(span_u64(epoch, INT64_MAX, &of));
    e->n = (int64_t)number;
    e->epoch = (int64_t)of;
    return e->bill.data && e->usage.data && e->kind.data ? 0 : E_INVALID;
}
