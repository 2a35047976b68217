/* Any bytes as a query of usage, and as a field and value that Redis holds. */
#include "base/json.h"
#include "billing/usage_query.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void sum(const struct usage_query *q, struct span rest)
{
    AUTO(usage_sums_free) struct usage_sums *s = usage_sums_new(q);
    AUTO(buf_fini) struct buf out = {0};
    AUTO_JSON json_t *page = NULL;
    const struct span field = span_split(&rest, '\n');

    usage_sums_add(s, q->start / USAGE_DAY_S, field, rest);
    usage_sums_add(s, q->start / USAGE_DAY_S, SPAN("0||k|m"), SPAN("1,2,3,4,5,6"));
    usage_sums_write(s, &out);
    CHECK(json_read(buf_span(&out), &page) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct span rest = span_of(data, len);
    const struct span query = span_split(&rest, '\n');
    const char *param = NULL;
    struct arena a = {0};
    struct usage_query q;

    for (int costs = 0; costs < 2; costs++) {
        if (usage_query_read(&q, &a, query, costs, 1750003200, &param) == 0) {
            CHECK(q.start < q.end && q.limit > 0 && q.limit <= 180);
            sum(&q, rest);
        } else {
            CHECK(param);
        }
    }
    arena_fini(&a);
    return 0;
}
