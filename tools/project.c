/* Writes records, marker and message to Redis, one step after the other, within a deadline. */
#include "tools/project.h"

#include <stdio.h>

#include "base/clock.h"

enum { UP_MS = 3000, STEP_MS = 10000, FLIGHT_MAX = 1000 };

struct projection {
    struct loop *loop;
    struct redis *redis;
    size_t pending, written;
    int error;
    char marker[KEYS_MARKER_LEN]; /* that Redis had */
};

static void ignore_state(void *arg, bool up, const char *run_id)
{
    (void)arg, (void)up, (void)run_id;
}

static int settled(struct projection *p, size_t most)
{
    const uint64_t end = clock_mono_ms() + STEP_MS;

    while (p->pending > most && clock_mono_ms() < end)
        loop_turn(p->loop, 50);
    if (p->pending > most)
        return E_TIMEOUT;
    return p->error;
}

static void got_reply(void *arg, int error, const struct redisReply *reply)
{
    struct projection *p = arg;

    p->pending--;
    if (error == 0 && redis_reply_type(reply) == REDIS_FAILURE)
        error = E_DENIED;
    if (error < 0 && p->error == 0)
        p->error = error;
}

static void got_marker(void *arg, int error, const struct redisReply *reply)
{
    struct projection *p = arg;

    if (error == 0 && redis_reply_type(reply) == REDIS_BULK &&
        span_cstr(redis_reply_text(reply), p->marker, sizeof(p->marker)) < 0)
        p->marker[0] = '\0'; // not one of ours: the records are written anew
    got_reply(arg, error, reply);
}

static void send(struct projection *p, const struct span *argv, size_t argc, redis_reply_fn *fn)
{
    const int error = redis_command(p->redis, argv[1], argv, argc, fn, p);

    if (error == 0)
        p->pending++;
    else if (p->error == 0)
        p->error = error;
}

static void put_record(void *arg, const char *lookup, struct span record)
{
    struct projection *p = arg;
    char key[sizeof("key:{}") + 2 * KEY_LOOKUP_LEN];

    snprintf(key, sizeof(key), "key:{%s}", lookup);
    send(p, (struct span[]){SPAN("SET"), span_str(key), record}, 3, got_reply);
    p->written++;
    if (p->pending >= FLIGHT_MAX && settled(p, FLIGHT_MAX / 2) < 0 && p->error == 0)
        p->error = E_TIMEOUT;
}

static void publish(struct projection *p, const char *what)
{
    send(p, (struct span[]){SPAN("PUBLISH"), SPAN("keys:changed"), span_str(what)}, 3, got_reply);
}

static void publish_one(void *arg, const char *lookup, struct span record)
{
    (void)record;
    publish(arg, lookup);
}

static int read_marker(struct projection *p)
{
    send(p, (struct span[]){SPAN("GET"), SPAN("keys:epoch")}, 2, got_marker);
    return settled(p, 0);
}

static int write_marker(struct projection *p, const struct keys_file *f)
{
    char marker[KEYS_MARKER_LEN];

    keys_file_marker(f, marker);
    send(p, (struct span[]){SPAN("SET"), SPAN("keys:epoch"), span_str(marker)}, 3, got_reply);
    return settled(p, 0);
}

static int write_records(struct projection *p, const struct keys_file *f, json_t *key)
{
    const json_t *all = keys_file_list(f);

    for (size_t i = 0; !key && i < json_array_size(all); i++)
        keys_file_project(json_array_get(all, i), put_record, p);
    if (key)
        keys_file_project(key, put_record, p);
    return settled(p, 0);
}

static int write_all(struct projection *p, const struct keys_file *f, json_t *key)
{
    char before[KEYS_MARKER_LEN];

    TRY(read_marker(p));
    keys_file_marker_before(f, before);
    if (strcmp(before, p->marker) != 0)
        key = NULL; /* earlier changes are missing there */
    TRY(write_records(p, f, key));
    TRY(write_marker(p, f));
    if (key)
        keys_file_project(key, publish_one, p);
    else
        publish(p, "*");
    return settled(p, 0);
}

static int await_up(struct projection *p)
{
    const uint64_t end = clock_mono_ms() + UP_MS;

    while (!redis_up(p->redis) && clock_mono_ms() < end)
        loop_turn(p->loop, 50);
    return redis_up(p->redis) ? 0 : E_UNAVAILABLE;
}

static int run(struct projection *p, const struct keys_file *f, json_t *key,
               const struct redis_access *at, struct offload *offload)
{
    const struct redis_options o = {.at = *at,
                                    .offload = offload,
                                    .command_ms = 5000,
                                    .dead_ms = 5000,
                                    .queue_max = 2 * FLIGHT_MAX};

    int error = redis_new(&p->redis, p->loop, &o, ignore_state, NULL);
    if (error < 0)
        return error == E_DENIED ? E_AUTH : error;
    error = await_up(p);
    if (error == 0)
        error = write_all(p, f, key);
    redis_free(p->redis);
    return error;
}

static void explain(int error, struct buf *why)
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

int project_keys(struct keys_file *f, json_t *key, const struct redis_access *at, size_t *written,
                 struct buf *why)
{
    struct projection p = {0};
    struct offload *offload;

    TRY(loop_new(&p.loop));
    int error = offload_new(&offload, p.loop, 1);
    if (error == 0) {
        error = run(&p, f, key, at, offload);
        offload_free(offload);
    }
    loop_free(p.loop);
    *written = p.written;
    if (error < 0)
        explain(error, why);
    return error;
}
