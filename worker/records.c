/* Lists and acknowledges usage records. */
#include "worker/records.h"

#include "base/fail_point.h"

void records_list(struct exchange *x)
{
    AUTO(buf_fini) struct buf body = {0};
    const struct span after = exchange_query(x, "after");
    uint64_t seq = 0;

    if (after.data && span_u64(after, UINT64_MAX, &seq) < 0) {
        exchange_problem(x, &problem_bad_request);
        return;
    }
    usage_list(x->worker->usage, link_owner(x->link), seq, &body);
    exchange_reply(x, 200, "application/json", &body);
}

static void acknowledge(void *arg, const struct usage_ack *ack)
{
    struct exchange *x = arg;
    struct worker_counters *n = &x->worker->counters;

    fail_point("record.ack.before");
    if (usage_ack(x->worker->usage, link_owner(x->link), ack->call, ack->attempt) < 0)
        return; /* acknowledged twice, or never ours */
    fail_point("record.ack.after");
    n->acknowledged++;
    if (__builtin_add_overflow(n->earned_nano, ack->pay_nano, &n->earned_nano))
        n->earned_nano = INT64_MAX;
}

void records_ack(struct exchange *x)
{
    if (usage_acks_read(buf_span(&x->body), acknowledge, x) < 0)
        exchange_problem(x, &problem_bad_request);
    else
        exchange_reply(x, 204, NULL, NULL);
}
