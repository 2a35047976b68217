/* A batch of accounts a second, by the cursor of SSCAN. */
#include "billing/sweep.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "billing/layout.h"

enum { TICK_MS = 1000, NUMBER_LEN = 24, CALL_MAX = 64 };

struct sweep {
    struct loop *loop;
    struct redis *redis;
    const struct epoch *epoch;
    const struct billing_scripts *scripts;
    char instance[LAYOUT_NAME_MAX + 1];
    struct loop_timer timer;
    char cursor[NUMBER_LEN];
    uint64_t expired;
    bool stopped;
};

/* What a reply is about. */
struct part {
    struct sweep *sweep;
    char account[LAYOUT_NAME_MAX + 1];
};

static void expired(void *arg, int error, const struct redisReply *reply)
{
    struct sweep *s = arg;

    if (error == 0 && redis_reply_count(reply) == 1 &&
        span_is(redis_reply_text(redis_reply_at(reply, 0)), "expired"))
        s->expired++;
}

static void expire(struct sweep *s, const char *account, struct span call)
{
    char acct[LAYOUT_KEY_LEN], row[LAYOUT_KEY_LEN], holds[LAYOUT_KEY_LEN], life[NUMBER_LEN];
    char text[CALL_MAX + 1];

    if (span_cstr(call, text, sizeof(text)) < 0)
        return;
    snprintf(acct, sizeof(acct), LAYOUT_ACCOUNT, account);
    snprintf(row, sizeof(row), LAYOUT_HOLD, account, text);
    snprintf(holds, sizeof(holds), LAYOUT_HOLDS, account);
    snprintf(life, sizeof(life), "%d", LAYOUT_LATE_MS);
    const struct span keys[] = {span_str(acct), span_str(row), span_str(holds)};
    const struct span args[] = {call, span_str(life)};
    if (redis_script_run(s->redis, &s->scripts->expire, keys, args, 2, expired, s) == 0)
        log_event(LOG_INFO, "hold_expires", "call=%s", text);
}

static void due_told(void *arg, int error, const struct redisReply *reply)
{
    struct part *p = arg;

    for (size_t i = 0; error == 0 && !p->sweep->stopped && i < redis_reply_count(reply); i++)
        expire(p->sweep, p->account, redis_reply_text(redis_reply_at(reply, i)));
    free(p);
}

static void account_look(struct sweep *s, struct span account)
{
    char key[LAYOUT_KEY_LEN];
    struct part *p = mem_zero(sizeof(*p));

    p->sweep = s;
    if (span_cstr(account, p->account, sizeof(p->account)) < 0) {
        free(p);
        return;
    }
    snprintf(key, sizeof(key), LAYOUT_HOLDS, p->account);
    const struct span holds = span_str(key), most = SPAN("100");
    if (redis_script_run(s->redis, &s->scripts->due, &holds, &most, 1, due_told, p) < 0)
        free(p);
}

static void accounts_told(void *arg, int error, const struct redisReply *reply)
{
    struct sweep *s = arg;

    if (error < 0 || s->stopped || redis_reply_count(reply) != 2 ||
        span_cstr(redis_reply_text(redis_reply_at(reply, 0)), s->cursor, sizeof(s->cursor)) < 0)
        return;
    const struct redisReply *list = redis_reply_at(reply, 1);
    for (size_t i = 0; i < redis_reply_count(list); i++)
        account_look(s, redis_reply_text(redis_reply_at(list, i)));
}

/* OK: this instance sweeps until the turn is over. */
static void turn_told(void *arg, int error, const struct redisReply *reply)
{
    struct sweep *s = arg;

    if (error < 0 || s->stopped || redis_reply_type(reply) != REDIS_STATUS)
        return;
    const struct span argv[] = {SPAN("SSCAN"), SPAN(LAYOUT_ACCOUNTS), span_str(s->cursor),
                                SPAN("COUNT"), SPAN("200")};
    if (redis_command(s->redis, argv[1], argv, 5, accounts_told, s) < 0)
        return; /* the next turn goes on here */
}

static void tick(void *arg)
{
    struct sweep *s = arg;
    char life[NUMBER_LEN];

    loop_timer_set(s->loop, &s->timer, TICK_MS, tick, s);
    if (epoch_state(s->epoch) != EPOCH_OPEN)
        return;
    snprintf(life, sizeof(life), "%d", TICK_MS - 100);
    const struct span argv[] = {SPAN("SET"), SPAN(LAYOUT_SWEEPER), span_str(s->instance),
                                SPAN("NX"),  SPAN("PX"),           span_str(life)};
    if (redis_command(s->redis, argv[1], argv, 6, turn_told, s) < 0)
        return;
}

struct sweep *sweep_new(struct loop *l, struct redis *r, const struct epoch *e,
                        const struct billing_scripts *scripts, const char *instance)
{
    struct sweep *s = mem_zero(sizeof(*s));

    s->loop = l;
    s->redis = r;
    s->epoch = e;
    s->scripts = scripts;
    snprintf(s->instance, sizeof(s->instance), "%s", instance);
    snprintf(s->cursor, sizeof(s->cursor), "0");
    loop_timer_set(l, &s->timer, TICK_MS, tick, s);
    return s;
}

void sweep_stop(struct sweep *s)
{
    s->stopped = true;
    loop_timer_cancel(s->loop, &s->timer);
}

void sweep_free(struct sweep *s)
{
    free(s);
}

uint64_t sweep_expired(const struct sweep *s)
{
    return s->expired;
}
