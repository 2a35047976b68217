/* The client: what the URL says, who has a key, and what is told of all of it. Its parts:
 * redis_node.c (a server), redis_request.c (a command's way), redis_sentinel.c, redis_cluster.c,
 * redis_pubsub.c. */
#include "net/redis.h"

#include <stdio.h>
#include <stdlib.h>

#include "net/redis_impl.h"

const struct redis_options redis_defaults = {
    .at.url = "redis://127.0.0.1:6379", .command_ms = 50, .dead_ms = 500, .queue_max = 10000};

/* ---- What it was given ---- */

static const char *text_or_none(const char *text)
{
    return text ? text : "";
}

static int take_text(char *to, size_t size, const char *text)
{
    return span_cstr(span_str(text_or_none(text)), to, size);
}

/* A login stands in the URL or beside it, not in both. */
static int take_login(struct redis_login *login, const char *user, const char *file)
{
    if (*text_or_none(user)) {
        if (login->user[0])
            return E_INVALID;
        TRY(take_text(login->user, sizeof(login->user), user));
    }
    if (*text_or_none(file) && login->password[0])
        return E_INVALID;
    login->file = mem_strdup(text_or_none(file));
    TRY(redis_login_read(login));
    return login->user[0] && !login->password[0] ? E_INVALID : 0;
}

static bool has_name(const struct redis_url *u)
{
    struct net_addr addr;

    for (size_t i = 0; i < u->place_count; i++)
        if (net_addr_parse(&addr, u->places[i]) < 0)
            return true;
    return false;
}

static int take_url(struct redis *r, const struct redis_options *o)
{
    struct redis_login *login = &r->setup.server;

    TRY(redis_url_parse(&r->url, text_or_none(o->at.url)));
    memcpy(login->user, r->url.user, sizeof(login->user));
    memcpy(login->password, r->url.password, sizeof(login->password));
    explicit_bzero(r->url.password, sizeof(r->url.password));
    return has_name(&r->url) && !o->offload ? E_INVALID : 0;
}

static int take_options(struct redis *r, const struct redis_options *o)
{
    struct redis_setup *s = &r->setup;

    s->offload = o->offload;
    s->dead_ms = o->dead_ms;
    s->tls_name = mem_strdup(text_or_none(o->at.tls_name));
    r->command_ms = o->command_ms;
    r->queue_max = o->queue_max;
    r->durable = o->at.durable;
    TRY(take_url(r, o));
    TRY(take_login(&s->server, o->at.user, o->at.password_file));
    TRY(take_login(&s->sentinel, o->at.sentinel_user, o->at.sentinel_password_file));
    if (!r->url.tls)
        return 0;
    return redis_tls_new(&s->tls, text_or_none(o->at.ca_file), text_or_none(o->at.cert_file),
                         text_or_none(o->at.key_file));
}

/* ---- Who has a key ---- */

static const struct redis_node *node_of(const struct redis *r, struct span key)
{
    return r->cluster ? redis_cluster_node(r, redis_slot(key)) : r->only;
}

bool redis_is_cluster(const struct redis *r)
{
    return r->url.kind == REDIS_CLUSTER;
}

size_t redis_in_flight(const struct redis *r)
{
    return r->in_flight;
}

bool redis_up(const struct redis *r)
{
    LIST_FOREACH(it, &r->nodes) {
        if (redis_node_ready(CONTAINER(it, struct redis_node, link)))
            return true;
    }
    return false;
}

const char *redis_run_id(const struct redis *r, struct span slot_key)
{
    const struct redis_node *n = node_of(r, slot_key);

    return n && redis_node_ready(n) ? n->info.run_id : NULL;
}

bool redis_whole(const struct redis *r)
{
    size_t count = 0, slots = 0;

    LIST_FOREACH(it, &r->nodes) {
        const struct redis_node *n = CONTAINER(it, struct redis_node, link);
        if (redis_node_usable(n)) {
            count++;
            slots += n->slots;
        }
    }
    return count > 0 && (!redis_is_cluster(r) || slots == REDIS_SLOTS);
}

size_t redis_run_ids(const struct redis *r, char ids[][REDIS_RUN_ID_LEN + 1], size_t max)
{
    size_t count = 0;

    LIST_FOREACH(it, &r->nodes) {
        const struct redis_node *n = CONTAINER(it, struct redis_node, link);
        if (!redis_node_usable(n))
            continue;
        if (count == max)
            return 0;
        memcpy(ids[count++], n->info.run_id, sizeof(n->info.run_id));
    }
    return redis_whole(r) ? count : 0;
}

int redis_command(struct redis *r, struct span slot_key, const struct span *argv, size_t argc,
                  redis_reply_fn *fn, void *arg)
{
    const struct redis_words words = {.argv = argv, .argc = argc};

    return redis_request_give(r, slot_key, words, fn, arg);
}

void redis_stats(const struct redis *r, struct redis_stats *out)
{
    *out = r->stats;
    LIST_FOREACH(it, &r->nodes) {
        const struct redis_node *n = CONTAINER(it, struct redis_node, link);
        if (!redis_node_usable(n))
            continue;
        out->primaries++;
        out->broken += n->broken;
        out->unsafe += !n->info.noeviction || !n->info.aof;
    }
}

/* ---- Life ---- */

static void free_redis(void *obj)
{
    struct redis *r = obj;
    struct redis_setup *s = &r->setup;

    redis_pubsub_fini(r);
    redis_tls_free(s->tls);
    free(s->tls_name);
    free(s->server.file);
    free(s->sentinel.file);
    explicit_bzero(r, sizeof(*r));
    free(r);
}

static void start(struct redis *r)
{
    r->flush = (struct loop_hook){.step = LOOP_FLUSH, .run = redis_request_flush, .arg = r};
    loop_hook_add(r->loop, &r->flush);
    if (r->url.kind == REDIS_SENTINEL) {
        redis_sentinel_start(r);
    } else if (r->url.kind == REDIS_CLUSTER) {
        redis_cluster_start(r);
    } else {
        r->only = redis_node_new(r, r->url.places[0]);
        redis_node_start(r->only);
    }
}

int redis_new(struct redis **out, struct loop *l, const struct redis_options *o,
              redis_state_fn *state, void *arg)
{
    struct redis *r = mem_zero(sizeof(*r));

    r->loop = r->setup.loop = l;
    r->state = state;
    r->arg = arg;
    list_init(&r->nodes);
    list_init(&r->live);
    list_init(&r->held);
    redis_pubsub_init(r);
    const int error = take_options(r, o);
    if (error < 0) {
        free_redis(r);
        return error;
    }
    r->pubsub.line.backoff_max_ms = o->dead_ms;
    start(r);
    *out = r;
    return 0;
}

void redis_free(struct redis *r)
{
    if (!r || r->freed)
        return;
    r->freed = true;
    redis_setup_close(&r->setup);
    loop_hook_del(r->loop, &r->flush);
    redis_pubsub_stop(r);
    redis_sentinel_free(r);
    for (struct list *link; (link = list_pop(&r->nodes));)
        redis_node_drop(CONTAINER(link, struct redis_node, link));
    redis_request_end_held(r);
    redis_cluster_free(r);
    loop_timer_cancel(r->loop, &r->deadline);
    loop_timer_cancel(r->loop, &r->again);
    loop_defer_free(r->loop, r, free_redis);
}
