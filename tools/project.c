/* Writes records, marker and message to Redis, one step after the other, within a deadline. */
#include "tools/project.h"

#include <stdio.h>

#include "tools/pool_store.h"

struct projection {
    struct pool_store *store;
    size_t written;
    char marker[KEYS_MARKER_LEN]; /* that Redis had */
};

static void got_marker(void *arg, const struct redisReply *reply)
{
    struct projection *p = arg;

    if (redis_reply_type(reply) == REDIS_BULK &&
        span_cstr(redis_reply_text(reply), p->marker, sizeof(p->marker)) < 0)
        p->marker[0] = '\0'; // not one of ours: the records are written anew
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
    pool_store_send(p->store, (struct span[]){SPAN("GET"), SPAN("keys:epoch")}, 2, got_marker, p);
    return pool_store_settle(p->store, 0);
}

static int write_marker(struct projection *p, const struct keys_file *f)
{
    char marker[KEYS_MARKER_LEN];

    keys_file_marker(f, marker);
    pool_store_send(p->store, (struct span[]){SPAN("SET"), SPAN("keys:epoch"), span_str(marker)}, 3,
                    NULL, NULL);
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
