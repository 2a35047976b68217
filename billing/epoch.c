/* Reads m1:epoch twice a second and after each connect. */
#include "billing/epoch.h"

#include <stdlib.h>

#include "base/log.h"
#include "billing/layout.h"
#include "billing/nano.h"

enum { LOOK_MS = 500, RUN_ID_MAX = 64 };

struct epoch {
    struct loop *loop;
    struct redis *redis;
    void (*changed)(void *arg);
    void *arg;
    struct loop_timer timer;
    char run_id[RUN_ID_MAX + 1]; /* of the server; empty: none */
    enum epoch_state state;
    int64_t number;
    bool asking;
};

static const char *state_name(enum epoch_state s)
{
    static const char *const names[] = {"unknown", "recovering", "open"};
    return names[s];
}

static void become(struct epoch *e, enum epoch_state state, int64_t number)
{
    if (e->state == state && e->number == number)
        return;
    e->state = state;
    e->number = number;
    log_event(state == EPOCH_OPEN ? LOG_INFO : LOG_WARN, "money_epoch", "n=%lld state=%s",
              (long long)number, state_name(state));
    e->changed(e->arg);
}

/* n, run_id, state */
static void judge(struct epoch *e, const struct redisReply *reply)
{
    int64_t n = 0;

    if (redis_reply_count(reply) != 3 ||
        nano_parse(redis_reply_text(redis_reply_at(reply, 0)), &n) < 0 || n == 0) {
        become(e, EPOCH_UNKNOWN, 0);
        return;
    }
    struct span run_id = redis_reply_text(redis_reply_at(reply, 1));
    struct span state = redis_reply_text(redis_reply_at(reply, 2));
    if (!span_is(run_id, e->run_id))
        become(e, EPOCH_UNKNOWN, 0);
    else if (span_is(state, "open"))
        become(e, EPOCH_OPEN, n);
    else
        become(e, span_is(state, "recovering") ? EPOCH_RECOVERING : EPOCH_UNKNOWN, n);
}

static void told(void *arg, int error, const struct redisReply *reply)
{
    struct epoch *e = arg;

    e->asking = false;
    if (error == 0 && redis_reply_type(reply) == REDIS_LIST)
        judge(e, reply);
    else if (error == E_UNAVAILABLE)
        become(e, EPOCH_UNKNOWN, 0);
}

static void look(void *arg)
{
    static const struct span argv[] = {SPAN("HMGET"), SPAN(LAYOUT_EPOCH), SPAN("n"), SPAN("run_id"),
                                       SPAN("state")};
    struct epoch *e = arg;

    loop_timer_set(e->loop, &e->timer, LOOK_MS, look, e);
    if (!e->asking && e->run_id[0])
        e->asking = redis_command(e->redis, argv[1], argv, 5, told, e) == 0;
}

void epoch_connected(struct epoch *e, const char *run_id)
{
    if (!run_id || span_cstr(span_str(run_id), e->run_id, sizeof(e->run_id)) < 0)
        e->run_id[0] = 0;
    become(e, EPOCH_UNKNOWN, 0);
    look(e);
}

struct epoch *epoch_new(struct loop *l, struct redis *r, void (*changed)(void *arg), void *arg)
{
    struct epoch *e = mem_zero(sizeof(*e));

    e->loop = l;
    e->redis = r;
    e->changed = changed;
    e->arg = arg;
    look(e);
    return e;
}

void epoch_stop(struct epoch *e)
{
    loop_timer_cancel(e->loop, &e->timer);
}

void epoch_free(struct epoch *e)
{
    free(e);
}

enum epoch_state epoch_state(const struct epoch *e)
{
    return e->state;
}

int64_t epoch_number(const struct epoch *e)
{
    return e->number;
}
