/* Counters by key and day, demand by model and hour: a small table in memory, emptied into Redis in
 * batches. While Redis is away it keeps what it has, up to a bound. For display: money is not
 * computed from them. */
#include <stdio.h>
#include <stdlib.h>

#include "gateway/counters.h"
#include "base/clock.h"
#include "base/map.h"

enum { FLUSH_MS = 250, ROWS_MAX = 50000, FIELDS = 8, DAY_S = 86400 };

static const char *const field_names[FIELDS] = {"requests",         "prompt",     "cached",
                                                "completion",       "reasoning",  "refused",
                                                "refused_capacity", "refused_bid"};
enum {
    F_REQUESTS,
    F_PROMPT,
    F_CACHED,
    F_COMPLETION,
    F_REASONING,
    F_REFUSED,
    F_REFUSED_CAPACITY,
    F_REFUSED_BID
};

struct row {
    int64_t add[FIELDS];
    unsigned ttl_s;
};

struct counters {
    struct loop *loop;
    struct redis *redis;
    struct map rows;   /* Redis key → struct row */
    struct map models; /* that Redis was told of: `demand:models` */
    struct loop_timer timer;
    size_t unanswered; /* commands */
};

static void answered(void *arg, int error, const struct redisReply *reply)
{
    struct counters *c = arg;

    (void)error; /* unknown outcome: not written again, so nothing counts twice */
    (void)reply;
    c->unanswered--;
}

static int command(struct counters *c, struct span key, const struct span *argv, size_t argc)
{
    TRY(redis_command(c->redis, key, argv, argc, answered, c));
    c->unanswered++;
    return 0;
}

/* What was handed over is no longer in the row: one that goes in part is not counted twice. */
static bool row_write(struct counters *c, struct span key, struct row *r)
{
    char number[24], ttl[12];

    for (unsigned i = 0; i < FIELDS; i++) {
        if (r->add[i] == 0)
            continue;
        snprintf(number, sizeof(number), "%lld", (long long)r->add[i]);
        const struct span argv[] = {SPAN("HINCRBY"), key, span_str(field_names[i]),
                                    span_str(number)};
        if (command(c, key, argv, 4) < 0)
            return false;
        r->add[i] = 0;
    }
    snprintf(ttl, sizeof(ttl), "%u", r->ttl_s);
    const struct span expire[] = {SPAN("EXPIRE"), key, span_str(ttl)};
    return command(c, key, expire, 3) == 0;
}

static void flush(void *arg)
{
    struct counters *c = arg;
    struct span key;
    void *value;
    size_t at = 0;

    while (redis_up(c->redis) && map_next(&c->rows, &at, &key, &value)) {
        if (!row_write(c, key, value))
            continue; /* its server is away; in a Cluster others are not */
        map_del(&c->rows, key);
        free(value);
    }
    if (c->rows.len > 0)
        loop_timer_set(c->loop, &c->timer, FLUSH_MS, flush, c);
}

struct counters *counters_new(struct loop *l, struct redis *r)
{
    struct counters *c = mem_zero(sizeof(*c));

    c->loop = l;
    c->redis = r;
    return c;
}

void counters_redis_back(struct counters *c)
{
    map_fini(&c->models);
    c->models = (struct map){0};
}

void counters_flush(struct counters *c)
{
    flush(c);
}

bool counters_flushed(const struct counters *c)
{
    return !redis_up(c->redis) || (c->rows.len == 0 && c->unanswered == 0);
}

void counters_free(struct counters *c)
{
    struct span key;
    void *value;
    size_t at = 0;

    if (!c)
        return;
    CHECK(c->unanswered == 0);
    loop_timer_cancel(c->loop, &c->timer);
    while (map_next(&c->rows, &at, &key, &value))
        free(value);
    map_fini(&c->rows);
    map_fini(&c->models);
    free(c);
}

/* The row of a key at this time; NULL when the table is full. */
static struct row *row_of(struct counters *c, const char *kind, const char *name, bool hourly,
                          unsigned ttl_s)
{
    time_t now = (time_t)(clock_wall_ms() / 1000);
    struct tm tm;
    char when[16], key[256];

    gmtime_r(&now, &tm);
    strftime(when, sizeof(when), hourly ? "%Y%m%d%H" : "%Y%m%d", &tm);
    snprintf(key, sizeof(key), "%s:%s:%s", kind, name, when);
    struct row *r = map_get(&c->rows, span_str(key));
    if (!r && c->rows.len < ROWS_MAX) {
        r = mem_zero(sizeof(*r));
        r->ttl_s = ttl_s;
        map_put(&c->rows, span_str(key), r);
    }
    if (!loop_timer_is_set(&c->timer))
        loop_timer_set(c->loop, &c->timer, FLUSH_MS, flush, c);
    return r;
}

static void row_add(struct row *r, const struct usage_record *u)
{
    if (!r)
        return;
    r->add[F_PROMPT] += u->in;
    r->add[F_CACHED] += u->cached;
    r->add[F_COMPLETION] += u->out;
    r->add[F_REASONING] += u->reasoning;
}

void counters_usage(struct counters *c, const char *key, const char *model,
                    const struct usage_record *u)
{
    row_add(row_of(c, "usage", key, false, 400 * DAY_S), u);
    row_add(row_of(c, "demand", model, true, 35 * DAY_S), u);
}

/* So that whoever shows demand knows the names. */
static void note_model(struct counters *c, struct span model)
{
    const struct span argv[] = {SPAN("SADD"), SPAN("demand:models"), model};

    if (!map_get(&c->models, model) && command(c, argv[1], argv, 3) == 0)
        (void)map_put(&c->models, model, c);
}

void counters_request(struct counters *c, const char *key, const char *model,
                      enum refused_for refused)
{
    struct row *r;

    if (!c)
        return;
    r = row_of(c, "usage", key, false, 400 * DAY_S);
    if (r)
        r->add[F_REQUESTS]++;
    if (!model[0])
        return;
    note_model(c, span_str(model));
    r = row_of(c, "demand", model, true, 35 * DAY_S);
    if (!r)
        return;
    r->add[F_REQUESTS]++;
    r->add[F_REFUSED] += refused != REFUSED_NOT ? 1 : 0;
    r->add[F_REFUSED_CAPACITY] += refused == REFUSED_FOR_CAPACITY ? 1 : 0;
    r->add[F_REFUSED_BID] += refused == REFUSED_FOR_BID ? 1 : 0;
}
