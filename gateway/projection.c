/* The registry in Redis: this instance, the workers it has seen, and its first-hand load of each.
 * Lost with Redis, rebuilt in 5 s. */
#include <stdio.h>
#include <stdlib.h>

#include "gateway/projection.h"
#include "base/clock.h"
#include "base/encode.h"
#include "base/version.h"

enum {
    WRITE_MS = 5000,
    CHANGE_MS = 250,
    LIFE_S = 15,
    WORKER_LIFE_S = 7 * 86400,
    EVIDENCE_LIFE_S = 7 * 86400 /* a record lives for 26 h */
};

struct projection {
    struct loop *loop;
    struct redis *redis;
    struct pool *pool;
    struct loop_timer timer;
    char gw_key[160], load_key[160];
    const char *tunnel;
    int64_t capacity;
    bool soon;
};

static void nothing(void *arg, int error, const struct redisReply *reply)
{
    (void)arg;
    (void)error; /* written again in 5 s */
    (void)reply;
}

static void set_with_life(struct projection *p, const char *key, struct span value, int life_s)
{
    char life[12];

    snprintf(life, sizeof(life), "%d", life_s);
    const struct span argv[] = {SPAN("SET"), span_str(key), value, SPAN("EX"), span_str(life)};
    if (redis_command(p->redis, span_str(key), argv, 5, nothing, NULL) < 0)
        return; /* away: the next round writes it */
}

enum { EVIDENCE_KEY_LEN = sizeof("evidence:") + 2 * SHA256_LEN };

static const char *evidence_key(char out[static EVIDENCE_KEY_LEN],
                                const uint8_t sha256[static SHA256_LEN])
{
    char hex[2 * SHA256_LEN + 1];

    hex_encode(hex, span_of(sha256, SHA256_LEN));
    snprintf(out, EVIDENCE_KEY_LEN, "evidence:%s", hex);
    return out;
}

void projection_evidence(struct projection *p, const uint8_t sha256[static SHA256_LEN],
                         struct span bytes)
{
    char key[EVIDENCE_KEY_LEN];

    set_with_life(p, evidence_key(key, sha256), bytes, EVIDENCE_LIFE_S);
}

/* Outlives the projection: Redis answers until its own end. */
struct finding {
    pool_kept_fn *fn;
    void *arg;
};

static void found(void *arg, int error, const struct redisReply *reply)
{
    const struct finding f = *(struct finding *)arg;
    const struct span bytes = error == 0 ? redis_reply_text(reply) : (struct span){0};

    free(arg);
    f.fn(f.arg, error == 0 && redis_reply_type(reply) == REDIS_BULK ? bytes : SPAN(""));
}

int projection_find(struct projection *p, const uint8_t sha256[static SHA256_LEN], pool_kept_fn *fn,
                    void *arg)
{
    char key[EVIDENCE_KEY_LEN];
    const struct span argv[] = {SPAN("GET"), span_str(evidence_key(key, sha256))};
    struct finding *f = mem_zero(sizeof(*f));

    *f = (struct finding){fn, arg};
    const int error = redis_command(p->redis, argv[1], argv, 2, found, f);
    if (error < 0)
        free(f);
    return error;
}

static void models_write(const struct pool_view *v, struct buf *out)
{
    for (size_t i = 0; i < v->model_count; i++) {
        buf_append_str(out, i ? ",\"" : "\"");
        buf_json_escape(out, span_str(v->models[i].name));
        buf_append_str(out, "\"");
    }
}

static void hours_write(const struct pool_view *v, struct buf *out)
{
    buf_append_str(out, v->hours ? "\"hours\":{" : "\"hours\":null");
    for (size_t day = 0; v->hours && day < POOL_DAYS; day++) {
        buf_printf(out, "%s\"%s\":\"", day ? "," : "", pool_days[day]);
        buf_json_escape(out, span_str(v->hours[day]));
        buf_append_str(out, "\"");
    }
    buf_append_str(out, v->hours ? "}" : "");
}

/* Any gateway may have seen it first: what the entry says of that stays. */
static const char keep_first[] =
    "local old = redis.call('GET', KEYS[1]) "
    "local first = old and string.match(old, '\"first_seen\":(%d+)}$') or ARGV[2] "
    "return redis.call('SET', KEYS[1], ARGV[1] .. first .. '}', 'EX', ARGV[3])";

/* json lacks its end: the second of the first sight, and the brace. */
static void set_worker(struct projection *p, const char *key, struct span json, uint64_t now_s)
{
    char now[24], life[12];

    snprintf(now, sizeof(now), "%llu", (unsigned long long)now_s);
    snprintf(life, sizeof(life), "%d", WORKER_LIFE_S);
    const struct span argv[] = {SPAN("EVAL"), span_str(keep_first), SPAN("1"),     span_str(key),
                                json,         span_str(now),        span_str(life)};
    if (redis_command(p->redis, argv[3], argv, 7, nothing, NULL) < 0)
        return; /* away: the next round writes it */
}

static void write_worker(struct projection *p, const struct pool_view *v)
{
    char key[64], keyset[2 * SHA256_LEN + 1];
    uint64_t now_s = clock_wall_ms() / 1000;
    struct buf j = {0};

    hex_encode(keyset, SPAN_OF(v->keyset));
    snprintf(key, sizeof(key), "worker:%s", v->iid);
    buf_append_str(&j, "{\"format\":\"cgw/worker-entry/v1\",\"label\":\"");
    buf_json_escape(&j, span_str(v->worker_id));
    buf_printf(&j,
               "\",\"wid\":\"%s\",\"payout\":\"%s\",\"attestation\":\"%s\",\"keyset\":\"%s\","
               "\"ask\":%lld,\"max\":%lld,",
               v->wid, v->payout, v->attestation, keyset, (long long)v->ask, (long long)v->max);
    buf_printf(&j, "\"accepting\":%s,\"last_seen\":%llu,\"models\":[",
               v->accepting ? "true" : "false", (unsigned long long)now_s);
    models_write(v, &j);
    buf_append_str(&j, "],");
    hours_write(v, &j);
    buf_append_str(&j, ",\"first_seen\":");
    set_worker(p, key, buf_span(&j), now_s);
    buf_fini(&j);
}

static void write_load(struct projection *p, const struct pool_view *v)
{
    struct buf j = {0};

    buf_printf(&j,
               "{\"in_flight\":%lld,\"running\":%lld,\"max\":%lld,\"first_token_ms\":%.1f,\"tokens_"
               "per_s\":%.1f,",
               (long long)v->in_flight, (long long)v->running, (long long)v->max, v->first_token_ms,
               v->tokens_per_s);
    buf_printf(&j, "\"failures\":%llu,\"served\":%llu,\"rtt_ms\":%llu}",
               (unsigned long long)v->failures, (unsigned long long)v->served,
               (unsigned long long)v->rtt_ms);
    const struct span argv[] = {SPAN("HSET"), span_str(p->load_key), span_str(v->iid),
                                buf_span(&j)};
    if (redis_command(p->redis, argv[1], argv, 4, nothing, NULL) < 0)
        buf_clear(&j);
    buf_fini(&j);
}

static void write_one(void *arg, const struct pool_view *v)
{
    if (v->state != POOL_READY)
        return;
    write_worker(arg, v);
    write_load(arg, v);
}

static void drop(struct projection *p, const char *key)
{
    const struct span argv[] = {SPAN("DEL"), span_str(key)};

    if (redis_command(p->redis, argv[1], argv, 2, nothing, NULL) < 0)
        return; /* its life ends by itself */
}

void projection_write(struct projection *p)
{
    struct buf j = {0};

    if (!redis_up(p->redis))
        return;
    buf_printf(&j,
               "{\"format\":\"cgw/gateway-entry/"
               "v1\",\"tunnel\":\"%s\",\"version\":\"%s\",\"capacity\":%lld,"
               "\"seen\":%llu}",
               p->tunnel, cocoon_version, (long long)p->capacity,
               (unsigned long long)(clock_wall_ms() / 1000));
    set_with_life(p, p->gw_key, buf_span(&j), LIFE_S);
    buf_fini(&j);
    drop(p, p->load_key);
    pool_each(p->pool, write_one, p);
    const struct span expire[] = {SPAN("EXPIRE"), span_str(p->load_key), SPAN("15")};
    if (redis_command(p->redis, expire[1], expire, 3, nothing, NULL) < 0)
        return;
}

static void write_again(void *arg)
{
    struct projection *p = arg;

    p->soon = false;
    projection_write(p);
    loop_timer_set(p->loop, &p->timer, WRITE_MS, write_again, p);
}

/* The timer's next turn comes sooner; what changes meanwhile goes with it. */
void projection_changed(struct projection *p)
{
    if (p->soon)
        return;
    p->soon = true;
    loop_timer_set(p->loop, &p->timer, CHANGE_MS, write_again, p);
}

struct projection *projection_new(struct loop *l, struct redis *r, struct pool *pool,
                                  const char *instance, const char *tunnel, int64_t capacity)
{
    struct projection *p = mem_zero(sizeof(*p));

    p->loop = l;
    p->redis = r;
    p->pool = pool;
    p->tunnel = tunnel;
    p->capacity = capacity;
    snprintf(p->gw_key, sizeof(p->gw_key), "gw:%s", instance);
    snprintf(p->load_key, sizeof(p->load_key), "load:%s", instance);
    loop_timer_set(l, &p->timer, 0, write_again, p);
    return p;
}

void projection_free(struct projection *p)
{
    if (!p)
        return;
    loop_timer_cancel(p->loop, &p->timer);
    drop(p, p->gw_key);
    drop(p, p->load_key);
    free(p);
}
