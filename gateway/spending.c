/* One question a day of the page, all at once; the answer is written when the last one is there. */
#include "gateway/spending.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "billing/layout.h"
#include "billing/nano.h"
#include "billing/usage_query.h"
#include "gateway/reply.h"

struct spending {
    struct call *call; /* NULL: it is over */
    struct usage_sums *sums;
    unsigned pending;
    bool failed;
};

struct asked_day {
    struct spending *spending;
    int64_t day;
};

static void spending_free(struct spending *s)
{
    usage_sums_free(s->sums);
    free(s);
}

void spending_forget(struct call *c)
{
    if (c->spending)
        c->spending->call = NULL;
    c->spending = NULL;
}

static void answer(struct spending *s)
{
    struct call *c = s->call;
    struct buf body = {0};

    if (c) {
        c->spending = NULL;
        if (s->failed) {
            call_fail(c, &ERR_SERVICE_UNAVAILABLE);
        } else if (!c->answered && !c->gone) {
            usage_sums_write(s->sums, &body);
            reply_whole(c, 200, "application/json", &body);
        }
    }
    spending_free(s);
}

static void answered(struct spending *s, bool failed)
{
    s->failed = s->failed || failed;
    if (--s->pending == 0)
        answer(s);
}

static void on_day(void *arg, int error, const struct redisReply *reply)
{
    struct asked_day *d = arg;
    struct spending *s = d->spending;
    const int64_t day = d->day;

    free(d);
    for (size_t i = 0; error == 0 && s->call && i + 1 < redis_reply_count(reply); i += 2)
        usage_sums_add(s->sums, day, redis_reply_text(redis_reply_at(reply, i)),
                       redis_reply_text(redis_reply_at(reply, i + 1)));
    answered(s, error < 0 || redis_reply_type(reply) == REDIS_FAILURE);
}

static void ask_day(struct spending *s, int64_t day)
{
    struct asked_day *d = mem_zero(sizeof(*d));
    const time_t at = (time_t)day * USAGE_DAY_S;
    char key[LAYOUT_KEY_LEN], date[16];
    struct tm tm;

    gmtime_r(&at, &tm);
    strftime(date, sizeof(date), "%Y-%m-%d", &tm);
    snprintf(key, sizeof(key), LAYOUT_USAGE, s->call->key->account, date);
    *d = (struct asked_day){s, day};
    const struct span argv[] = {SPAN("HGETALL"), span_str(key)};
    if (redis_command(s->call->gateway->redis, argv[1], argv, 2, on_day, d) == 0) {
        s->pending++;
        return;
    }
    s->failed = true;
    free(d);
}

static void ask(struct call *c, const struct usage_query *q)
{
    struct spending *s = mem_zero(sizeof(*s));
    const int64_t most = q->start + q->limit * q->width;
    const int64_t end = q->end < most ? q->end : most;

    s->call = c;
    s->sums = usage_sums_new(q);
    c->spending = s;
    s->pending = 1;
    for (int64_t day = q->start / USAGE_DAY_S; day * USAGE_DAY_S < end; day++)
        ask_day(s, day);
    answered(s, false);
}

static void serve(struct call *c, bool costs)
{
    const char *param = NULL;
    struct usage_query q;

    if (usage_query_read(&q, &c->arena, http_query(c->ex), costs, (int64_t)(clock_wall_ms() / 1000),
                         &param) < 0) {
        api_fault_set(&c->fault, &ERR_INVALID_VALUE, param, param);
        reply_fault(c);
        return;
    }
    if (c->key->project[0])
        usage_query_confine(&q, span_str(c->key->project));
    ask(c, &q);
}

void spending_usage(struct call *c)
{
    serve(c, false);
}

void spending_costs(struct call *c)
{
    serve(c, true);
}
