/* Writes records, markers and message to Redis, one step after the other, within a deadline. */
#include "tools/project.h"

#include <stdio.h>

#include "auth/marker.h"
#include "tools/pool_store.h"

struct projection {
    struct pool_store *store;
    size_t written;
    char before[KEYS_MARKER_LEN], after[KEYS_MARKER_LEN]; /* of this change */
    bool behind;                                          /* Redis does not hold what was before */
};

static void got_marker(void *arg, const struct redisReply *reply)
{
    struct projection *p = arg;

    if (!span_is(redis_reply_text(reply), p->before))
        p->behind = true;
}

static void put_record(void *arg, const char *lookup, struct span record)
{
    struct projection *p = arg;
    char key[sizeof("key:{}") + 2 * KEY_LOOKUP_LEN];

    snprintf(key, sizeof(key), "key:{%s}", lookup);
    pool_store_send(p->store, (struct span[]){SPAN("SET"), span_str(key), record}, 3, NULL, NULL);
    p->written++;
}

static void publish(struct projection *p, const char *what)
{
    pool_store_send(p->store,
                    (struct span[]){SPAN("PUBLISH"), SPAN("keys:changed"), span_str(what)}, 3, NULL,
                    NULL);
}

static void publish_one(void *arg, const char *lookup, struct span record)
{
    (void)record;
    publish(arg, lookup);
}

static int read_marker(struct projection *p)
{
    pool_store_send(p->store, (struct span[]){SPAN("GET"), SPAN(MARKER_FIRST)}, 2, got_marker, p);
    return pool_store_settle(p->store, 0);
}

static void set_marker(struct projection *p, size_t i)
{
    char key[MARKER_KEY_LEN];

    marker_key(pool_store_redis(p->store), i, key);
    const struct span argv[] = {SPAN("SET"), span_str(key), span_str(p->after)};
    pool_store_send(p->store, argv, 3, NULL, NULL);
}

static void set_marker_of(void *arg, const char *lookup, struct span record)
{
    struct projection *p = arg;
    char key[sizeof("key:{}") + 2 * KEY_LOOKUP_LEN];

    (void)record;
    snprintf(key, sizeof(key), "key:{%s}", lookup);
    set_marker(p, marker_of(pool_store_redis(p->store), span_str(key)));
}

/* Those of the key's slots, or all; what the next change will look at comes last. */
static int write_markers(struct projection *p, json_t *key)
{
    if (key)
        keys_file_project(key, set_marker_of, p);
    for (size_t i = 0; !key && i < marker_count(pool_store_redis(p->store)); i++)
        set_marker(p, i);
    TRY(pool_store_settle(p->store, 0));
    const struct span argv[] = {SPAN("SET"), SPAN(MARKER_FIRST), span_str(p->after)};
    pool_store_send(p->store, argv, 3, NULL, NULL);
    return pool_store_settle(p->store, 0);
}

static int write_records(struct projection *p, const struct keys_file *f, json_t *key)
{
    const json_t *all = keys_file_list(f);

    for (size_t i = 0; !key && i < json_array_size(all); i++)
        keys_file_project(json_array_get(all, i), put_record, p);
    if (key)
        keys_file_project(key, put_record, p);
    return pool_store_settle(p->store, 0);
}

static int write_all(struct projection *p, const struct keys_file *f, json_t *key)
{
    keys_file_marker_before(f, p->before);
    keys_file_marker(f, p->after);
    TRY(read_marker(p));
    if (p->behind)
        key = NULL; /* earlier changes are missing there */
    TRY(write_records(p, f, key));
    TRY(write_markers(p, key));
    if (key)
        keys_file_project(key, publish_one, p);
    else
        publish(p, "*");
    return pool_store_settle(p->store, 0);
}

int project_keys(struct keys_file *f, json_t *key, const struct redis_access *at, size_t *written,
                 struct buf *why)
{
    struct projection p = {0};
    int error = pool_store_open(&p.store, at);

    if (error == 0)
        error = write_all(&p, f, key);
    pool_store_close(p.store);
    *written = p.written;
    if (error < 0)
        pool_store_explain(error, why);
    return error;
}
