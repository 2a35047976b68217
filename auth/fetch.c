/* Asks Redis for one key's record and for the marker, in one flight. */
#include "auth/auth_impl.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"

struct auth_fetch {
    struct auth *auth; /* NULL: auth is gone */
    struct auth_entry *entry;
    struct list link;
    uint64_t seq;
    unsigned pending;
    int error;
    struct key_record *record;
};

void fetch_orphan_all(struct auth *a)
{
    LIST_FOREACH_SAFE(it, &a->fetches) {
        struct auth_fetch *f = CONTAINER(it, struct auth_fetch, link);
        f->auth = NULL;
        list_del(it);
    }
}

static void fail(struct auth_fetch *f, int error)
{
    if (f->error == 0)
        f->error = error;
}

// One question is answered or given up; the last one ends the fetch.
static void settle(struct auth_fetch *f)
{
    struct key_record *record = f->error == 0 ? f->record : NULL;

    if (--f->pending > 0)
        return;
    if (f->error != 0 || !f->auth)
        key_record_unref(f->record);
    if (f->auth) {
        list_del(&f->link);
        f->entry->fetch = NULL;
        auth_fetched(f->auth, f->entry, f->error, record, f->seq);
    }
    free(f);
}

// Without the marker Redis was emptied: what is absent there is not unknown (auth.md).
static void got_marker(void *arg, int error, const struct redisReply *reply)
{
    struct auth_fetch *f = arg;

    if (error < 0)
        fail(f, error);
    else if (redis_reply_type(reply) != REDIS_BULK)
        fail(f, E_UNAVAILABLE);
    settle(f);
}

static void got_record(void *arg, int error, const struct redisReply *reply)
{
    struct auth_fetch *f = arg;
    const enum redis_type type = error < 0 ? REDIS_FAILURE : redis_reply_type(reply);

    if (error < 0)
        fail(f, error);
    else if (type != REDIS_BULK && type != REDIS_NULL)
        fail(f, E_UNAVAILABLE);
    else if (type == REDIS_BULK && key_record_parse(&f->record, redis_reply_text(reply)) < 0) {
        log_event(LOG_ERROR, "key_record_invalid", "format=cgw/key/v1");
        fail(f, E_INVALID);
    }
    settle(f);
}

static int get(struct auth *a, struct span key, redis_reply_fn *fn, struct auth_fetch *f)
{
    const struct span argv[] = {SPAN("GET"), key};

    TRY(redis_command(a->redis, key, argv, 2, fn, f));
    f->pending++;
    return 0;
}

// The marker comes second, as a restore writes it last: with no record and a marker there is no
// key.
static int ask(struct auth *a, struct auth_fetch *f)
{
    char key[sizeof("key:{}") + 2 * KEY_LOOKUP_LEN];

    snprintf(key, sizeof(key), "key:{%s}", f->entry->lookup);
    TRY(get(a, span_str(key), got_record, f));
    const int error = get(a, SPAN("keys:epoch"), got_marker, f);
    if (error < 0)
        fail(f, error); /* the first reply ends it */
    return 0;
}

int fetch_start(struct auth *a, struct auth_entry *e)
{
    if (e->fetch)
        return 0;
    struct auth_fetch *f = mem_zero(sizeof(*f));
    f->auth = a;
    f->entry = e;
    f->seq = a->seq;
    if (ask(a, f) < 0) {
        free(f);
        return E_UNAVAILABLE;
    }
    e->fetch = f;
    list_push(&a->fetches, &f->link);
    return 0;
}
