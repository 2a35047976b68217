/* One connection in a loop of its own. */
#include "tools/pool_store.h"

#include <stdlib.h>

#include "base/clock.h"
#include "net/offload.h"

enum { UP_MS = 3000, STEP_MS = 10000, FLIGHT_MAX = 1000 };

struct pool_store {
    struct loop *loop;
    struct offload *offload;
    struct redis *redis;
    size_t pending;
    int error; /* the first one */
};

struct sent {
    struct pool_store *store;
    pool_store_reply_fn *fn;
    void *arg;
};

static void ignore_state(void *arg, bool up, const char *run_id)
{
    (void)arg, (void)up, (void)run_id;
}

static int await_up(const struct pool_store *s)
{
    const uint64_t end = clock_mono_ms() + UP_MS;

    while (!redis_whole(s->redis) && clock_mono_ms() < end)
        loop_turn(s->loop, 50);
    return redis_whole(s->redis) ? 0 : E_UNAVAILABLE;
}

static int connect_to(struct pool_store *s, const struct redis_access *at)
{
    const struct redis_options o = {.at = *at,
                                    .offload = s->offload,
                                    .command_ms = 5000,
                                    .dead_ms = 5000,
                                    .queue_max = 2 * FLIGHT_MAX};
    const int error = redis_new(&s->redis, s->loop, &o, ignore_state, NULL);

    if (error < 0)
        return error == E_DENIED ? E_AUTH : error;
    return await_up(s);
}

int pool_store_open(struct pool_store **out, const struct redis_access *at)
{
    AUTO(pool_store_close) struct pool_store *s = mem_zero(sizeof(*s));

    TRY(loop_new(&s->loop));
    TRY(offload_new(&s->offload, s->loop, 1));
    TRY(connect_to(s, at));
    *out = s;
    s = NULL;
    return 0;
}

void pool_store_close(struct pool_store *s)
{
    if (!s)
        return;
    redis_free(s->redis);
    if (s->loop)
        loop_turn(s->loop, 0); /* last answers */
    offload_free(s->offload);
    if (s->loop)
        loop_free(s->loop);
    free(s);
}

const struct redis *pool_store_redis(const struct pool_store *s)
{
    return s->redis;
}

static void on_reply(void *arg, int error, const struct redisReply *reply)
{
    struct sent *at = arg;

    at->store->pending--;
    if (error == 0 && redis_reply_type(reply) == REDIS_FAILURE)
        error = E_DENIED;
    if (error < 0 && at->store->error == 0)
        at->store->error = error;
    if (error == 0 && at->fn)
        at->fn(at->arg, reply);
    free(at);
}

void pool_store_send(struct pool_store *s, const struct span *argv, size_t argc,
                     pool_store_reply_fn *fn, void *arg)
{
    struct sent *at = mem_zero(sizeof(*at));

    *at = (struct sent){s, fn, arg};
    if (s->pending >= FLIGHT_MAX && pool_store_settle(s, FLIGHT_MAX / 2) < 0 && s->error == 0)
        s->error = E_TIMEOUT;
    const int error = redis_command(s->redis, argv[1], argv, argc, on_reply, at);
    if (error == 0) {
        s->pending++;
        return;
    }
    free(at);
    if (s->error == 0)
        s->error = error;
}

int pool_store_settle(struct pool_store *s, size_t most)
{
    const uint64_t end = clock_mono_ms() + STEP_MS;

    while (s->pending > most && clock_mono_ms() < end)
        loop_turn(s->loop, 50);
    if (s->pending > most)
        return E_TIMEOUT;
    return s->error;
}

void pool_store_explain(int error, struct buf *why)
{
    switch (error) {
    case E_INVALID:
        buf_append_str(why, "the URL of Redis, or a file that belongs to it, is not usable "
                            "(--redis, or REDIS_URL; --redis-ca)");
        return;
    case E_IO:
    case E_AUTH:
    case E_TOO_LARGE:
        buf_append_str(why, "the password of Redis cannot be had: --redis-password-file must be a "
                            "file that only you may read");
        return;
    case E_DENIED:
        buf_append_str(why, "Redis refuses: is it read-only, or out of memory?");
        return;
    default:
        buf_append_str(why, "Redis does not answer, or asks for a password (--redis, or "
                            "REDIS_URL)");
    }
}

int pool_store_failure(const struct command *c, int error)
{
    AUTO(buf_fini) struct buf why = {0};

    pool_store_explain(error, &why);
    return failure(c, "%s", buf_cstr(&why));
}

int pool_store_begin(const struct command *c, struct redis_flags *flags, struct pool_store **out)
{
    AUTO(buf_fini) struct buf why = {0};

    if (redis_flags_finish(flags, &why) < 0)
        return failure(c, "%s", buf_cstr(&why));
    const int error = pool_store_open(out, &flags->at);
    return error < 0 ? pool_store_failure(c, error) : -1;
}

const char *shown_text(const json_t *o, const char *name)
{
    const char *text = json_string_value(json_object_get(o, name));

    return text ? text : "";
}

double shown_number(const json_t *o, const char *name)
{
    return json_number_value(json_object_get(o, name));
}

uint64_t shown_time(const json_t *o, const char *name)
{
    int64_t at = 0;

    return json_obj_int(o, name, 0, INT64_MAX, &at) < 0 ? 0 : (uint64_t)at;
}
