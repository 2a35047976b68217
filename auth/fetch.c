/* Asks Redis for one key's record and for the marker, in one command. */
#include "auth/auth_impl.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"

struct auth_fetch {
    struct auth *auth; /* NULL: auth is gone */
    struct auth_entry *entry;
    struct list link;
    uint64_t seq;
    size_t marker; /* which one stands for the key */
};

void fetch_orphan_all(struct auth *a)
{
    LIST_FOREACH_SAFE(it, &a->fetches) {
        struct auth_fetch *f = CONTAINER(it, struct auth_fetch, link);
        f->auth = NULL;
        list_del(it);
    }
}

static int take_record(const struct redisReply *reply, struct key_record **out)
{
    if (redis_reply_type(reply) == REDIS_NULL)
        return 0;
    if (redis_reply_type(reply) != REDIS_BULK)
        return E_UNAVAILABLE;
    if (key_record_parse(out, redis_reply_text(reply)) == 0)
        return 0;
    log_event(LOG_ERROR, "key_record_invalid", "format=cgw/key/v1");
    return E_INVALID;
}

// Without the marker Redis was emptied: what is absent there is not unknown (auth.md).
static int take(struct auth_fetch *f, const struct redisReply *reply, struct key_record **out)
{
    struct auth *a = f->auth;

    if (redis_reply_count(reply) != 2)
        return E_UNAVAILABLE;
    TRY(marker_judge(&a->markers, marker_count(a->redis), f->marker,
                     redis_reply_text(redis_reply_at(reply, 1))));
    return take_record(redis_reply_at(reply, 0), out);
}

static void got_both(void *arg, int error, const struct redisReply *reply)
{
    struct auth_fetch *f = arg;
    struct key_record *record = NULL;

    if (f->auth) {
        if (error == 0)
            error = take(f, reply, &record);
        list_del(&f->link);
        f->entry->fetch = NULL;
        auth_fetched(f->auth, f->entry, error, record, f->seq);
    }
    free(f);
}

// Both at one moment: with no record and a marker there is no key.
static int ask(struct auth *a, struct auth_fetch *f)
{
    char key[sizeof("key:{}") + 2 * KEY_LOOKUP_LEN], marker[MARKER_KEY_LEN];

    snprintf(key, sizeof(key), "key:{%s}", f->entry->lookup);
    f->marker = marker_of(a->redis, span_str(key));
    marker_key(a->redis, f->marker, marker);
    const struct span argv[] = {SPAN("MGET"), span_str(key), span_str(marker)};
    return redis_command(a->redis, argv[1], argv, 3, got_both, f);
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
