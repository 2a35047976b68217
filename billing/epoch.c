/* Reads m1:epoch twice a second and after each connect. */
#include "billing/epoch.h"

#include <stdlib.h>

#include "base/log.h"
#include "billing/layout.h"
#include "billing/nano.h"

enum { LOOK_MS = 500, RUN_ID_MAX = 64, RUNS_MAX = 64 };

struct epoch {
    struct loop *loop;
    struct redis *redis;
    void (*changed)(void *arg);
    void *arg;
    struct loop_timer timer;
    char runs[RUNS_MAX][RUN_ID_MAX + 1]; /* servers that the ledger has restored */
    size_t run_count;
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

/* Servers that the ledger's projection is whole on: run_id, and run:<run_id> of each further
 * primary.
 */
static void runs_note(struct epoch *e, struct span field, struct span value)
{
    struct span id = span_is(field, "run_id")           ? value
                     : span_starts(field, SPAN("run:")) ? span_from(field, 4)
                                                        : SPAN("");

    if (id.len > 0 && e->run_count < RUNS_MAX &&
        span_cstr(id, e->runs[e->run_count], RUN_ID_MAX + 1) == 0)
        e->run_count++;
}

static bool runs_have(const struct epoch *e, const char *run_id)
{
    for (size_t i = 0; run_id && i < e->run_count; i++)
        if (strcmp(e->runs[i], run_id) == 0)
            return true;
    return false;
}

bool epoch_covers(const struct epoch *e, const char *key)
{
    return e->state == EPOCH_OPEN && runs_have(e, redis_run_id(e->redis, span_str(key)));
}

/* A hash: n, state, and the servers. */
static void judge(struct epoch *e, const struct redisReply *reply)
{
    struct span state = {0};
    int64_t n = 0;

    e->run_count = 0;
    for (size_t i = 0; i + 1 < redis_reply_count(reply); i += 2) {
        struct span field = redis_reply_text(redis_reply_at(reply, i));
        struct span value = redis_reply_text(redis_reply_at(reply, i + 1));
        if (span_is(field, "n") && nano_parse(value, &n) < 0)
            n = 0;
        if (span_is(field, "state"))
            state = value;
        runs_note(e, field, value);
    }
    if (n == 0 || !runs_have(e, redis_run_id(e->redis, SPAN(LAYOUT_EPOCH))))
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
    static const struct span argv[] = {SPAN("HGETALL"), SPAN(LAYOUT_EPOCH)};
    struct epoch *e = arg;

    loop_timer_set(e->loop, &e->timer, LOOK_MS, look, e);
    if (!e->asking && redis_run_id(e->redis, argv[1]))
        e->asking = redis_command(e->redis, argv[1], argv, 2, told, e) == 0;
}

void epoch_connected(struct epoch *e)
{
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
