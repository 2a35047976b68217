/* Two hashes, name → decision. What counts is the name: a decision that a newer program wrote is
 * obeyed too. Each hash has a field `epoch`, which stays when the last decision is taken back: a
 * hash without it was lost by Redis, and is written anew from what is known here. */
#include "gateway/decisions.h"

#include <stdlib.h>

#include "backends/pool/decisions.h"
#include "base/map.h"
#include "base/log.h"

enum { EVERY_MS = 5000, NAMES_MAX = 100000 };

/* One hash as it was read last. */
struct kept {
    struct decisions *all;
    const char *key;
    struct map values; /* name → struct buf, the decision's text; `epoch` too */
    bool reading, again;
};

struct decisions {
    struct loop *loop;
    struct redis *redis;
    struct pool *pool;
    struct loop_timer timer;
    struct kept drain, ban;
};

static const struct span epoch = {(const uint8_t *)"epoch", 5};

/* ---- What is known ---- */

static void kept_clear(struct kept *k)
{
    struct span name;
    void *value;
    size_t at = 0;

    while (map_next(&k->values, &at, &name, &value)) {
        buf_fini(value);
        free(value);
    }
    map_fini(&k->values);
    k->values = (struct map){0};
}

static void kept_put(struct kept *k, struct span name, struct span text)
{
    struct buf *value = map_get(&k->values, name);

    if (!value && k->values.len < NAMES_MAX) {
        value = mem_zero(sizeof(*value));
        (void)map_put(&k->values, name, value);
    }
    if (!value)
        return;
    buf_clear(value);
    buf_append(value, text);
}

static size_t kept_count(const struct kept *k)
{
    return k->values.len - (map_get(&k->values, epoch) ? 1 : 0);
}

/* Borrowed names, to be freed as a list. */
static struct span *kept_names(const struct kept *k, size_t *count)
{
    struct span *names = mem_zero((k->values.len + 1) * sizeof(*names)), name;
    void *value;
    size_t at = 0;

    *count = 0;
    while (map_next(&k->values, &at, &name, &value))
        if (!span_eq(name, epoch))
            names[(*count)++] = name;
    return names;
}

static void apply(const struct decisions *d)
{
    struct pool_decisions told;
    struct span *drained = kept_names(&d->drain, &told.drained_count);
    struct span *banned = kept_names(&d->ban, &told.banned_count);

    told.drained = drained;
    told.banned = banned;
    pool_set_decisions(d->pool, &told);
    free(drained);
    free(banned);
}

/* ---- Redis ---- */

static void read_kept(struct kept *k);

/* Another gateway, or the operator, may have written since: nothing is overwritten. */
static void write_back(const struct kept *k)
{
    struct span name;
    void *value;
    size_t at = 0;

    log_event(LOG_WARN, "decisions_lost", "key=%s kept=%zu", k->key, kept_count(k));
    while (map_next(&k->values, &at, &name, &value)) {
        const struct span argv[] = {SPAN("HSETNX"), span_str(k->key), name, buf_span(value)};
        if (redis_command(k->all->redis, argv[1], argv, 4, NULL, NULL) < 0)
            return; /* seen again by the next round */
    }
}

static void take(struct kept *k, const struct redisReply *reply)
{
    const size_t count = redis_reply_count(reply) / 2;
    bool whole = false;

    for (size_t i = 0; i < count; i++)
        whole = whole || span_eq(redis_reply_text(redis_reply_at(reply, 2 * i)), epoch);
    if (!whole && map_get(&k->values, epoch)) {
        write_back(k);
        return;
    }
    kept_clear(k);
    for (size_t i = 0; i < count; i++)
        kept_put(k, redis_reply_text(redis_reply_at(reply, 2 * i)),
                 redis_reply_text(redis_reply_at(reply, 2 * i + 1)));
    apply(k->all);
}

static void on_hash(void *arg, int error, const struct redisReply *reply)
{
    struct kept *k = arg;

    k->reading = false;
    if (!k->all->pool)
        return;
    if (error == 0 && redis_reply_type(reply) == REDIS_LIST)
        take(k, reply); /* else: what was decided stays */
    if (k->again)
        read_kept(k);
}

static void read_kept(struct kept *k)
{
    const struct span argv[] = {SPAN("HGETALL"), span_str(k->key)};

    k->again = k->reading;
    if (!k->reading)
        k->reading = redis_command(k->all->redis, argv[1], argv, 2, on_hash, k) == 0;
}

void decisions_read(struct decisions *d)
{
    if (!d->pool)
        return;
    read_kept(&d->drain);
    read_kept(&d->ban);
}

static void read_again(void *arg)
{
    struct decisions *d = arg;

    decisions_read(d);
    loop_timer_set(d->loop, &d->timer, EVERY_MS, read_again, d);
}

static void on_changed(void *arg, struct span channel, struct span payload)
{
    (void)channel;
    (void)payload;
    decisions_read(arg);
}

int decisions_new(struct decisions **out, struct loop *l, struct redis *r, struct pool *p)
{
    struct decisions *d = mem_zero(sizeof(*d));

    d->loop = l;
    d->redis = r;
    d->pool = p;
    d->drain = (struct kept){.all = d, .key = "drain"};
    d->ban = (struct kept){.all = d, .key = "ban"};
    const int error = redis_subscribe(r, "pool:changed", on_changed, d);
    if (error < 0) {
        free(d);
        return error;
    }
    loop_timer_set(l, &d->timer, 0, read_again, d);
    *out = d;
    return 0;
}

size_t decisions_drains(const struct decisions *d)
{
    return kept_count(&d->drain);
}

size_t decisions_bans(const struct decisions *d)
{
    return kept_count(&d->ban);
}

void decisions_stop(struct decisions *d)
{
    loop_timer_cancel(d->loop, &d->timer);
    d->pool = NULL;
}

void decisions_free(struct decisions *d)
{
    if (!d)
        return;
    kept_clear(&d->drain);
    kept_clear(&d->ban);
    free(d);
}
