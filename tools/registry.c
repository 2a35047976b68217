/* Reads in three waves: who lives; what each says; what is known of the workers they name. */
#include "tools/registry.h"

#include <string.h>

#include "base/arena.h"

enum { NAME_LEN = 160, PREFIX_MIN = 4, PREFIX_MAX = 64 };

/* Two of them can be added. */
#define COUNT_MAX (INT64_MAX / 2)

struct reading {
    struct pool_store *store;
    json_t *out, *gateways, *workers; /* workers: an object by iid until the end */
    struct arena arena;
};

/* A reply that belongs to a name. */
struct named {
    struct reading *reading;
    char name[NAME_LEN];
};

static void ask(struct reading *r, const char *command, const char *prefix, const char *name,
                pool_store_reply_fn *fn)
{
    struct named *n = arena_zero(&r->arena, sizeof(*n));
    char key[2 * NAME_LEN];

    n->reading = r;
    snprintf(n->name, sizeof(n->name), "%s", name);
    snprintf(key, sizeof(key), "%s%s", prefix, name);
    pool_store_send(r->store, (struct span[]){span_str(command), span_str(key)}, 2, fn, n);
}

/* An object of that format; NULL: another one, or none. */
static json_t *entry_read(const struct redisReply *reply, const char *format)
{
    json_t *doc = NULL;
    struct span text = redis_reply_text(reply), said;

    if (redis_reply_type(reply) != REDIS_BULK || json_read(text, &doc) < 0)
        return NULL;
    if (format && (json_obj_string(doc, "format", &said) < 0 || !span_is(said, format))) {
        json_decref(doc);
        return NULL;
    }
    return doc;
}

/* ---- Gateways ---- */

static void on_gateways(void *arg, const struct redisReply *reply)
{
    struct reading *r = arg;

    for (size_t i = 0; i < redis_reply_count(reply); i++) {
        struct span address = redis_reply_text(redis_reply_at(reply, i));
        const struct span instance = span_split(&address, ' ');
        if (!span_visible(instance, NAME_LEN - 1) || !span_visible(address, NAME_LEN - 1))
            continue;
        json_array_append_new(r->gateways,
                              json_pack("{s:s%, s:s%}", "instance", (const char *)instance.data,
                                        instance.len, "address", (const char *)address.data,
                                        address.len));
    }
}

static json_t *gateway_of(const struct reading *r, const char *instance)
{
    json_t *g;
    size_t i;

    json_array_foreach(r->gateways, i, g)
        if (strcmp(json_string_value(json_object_get(g, "instance")), instance) == 0)
            return g;
    return NULL;
}

static void on_gateway(void *arg, const struct redisReply *reply)
{
    struct named *n = arg;
    AUTO_JSON json_t *entry = entry_read(reply, "cgw/gateway-entry/v1");

    if (entry)
        json_object_update_missing(gateway_of(n->reading, n->name), entry);
}

/* ---- What gateways have measured ---- */

static double number(const json_t *o, const char *name)
{
    return json_number_value(json_object_get(o, name));
}

/* What somebody wrote as a count; anything else is 0. */
static int64_t count(const json_t *o, const char *name)
{
    int64_t n = 0;

    return json_obj_int(o, name, 0, COUNT_MAX, &n) < 0 ? 0 : n;
}

static void add(json_t *into, const json_t *row, const char *name)
{
    const int64_t sum = count(into, name) + count(row, name);

    json_object_set_new(into, name, json_integer(sum < COUNT_MAX ? sum : COUNT_MAX));
}

static void raise(json_t *into, const json_t *row, const char *name)
{
    if (!json_object_get(into, name) || number(row, name) > number(into, name))
        json_object_set(into, name, json_object_get(row, name));
}

/* The mean, weighted by what each has served; call it before `served` is added. */
static void mean(json_t *into, const json_t *row, const char *name)
{
    const double old = number(into, "served"), more = number(row, "served");
    const double value = number(row, name);

    if (value <= 0)
        return;
    if (number(into, name) <= 0 || old + more <= 0)
        json_object_set_new(into, name, json_real(value));
    else
        json_object_set_new(into, name,
                            json_real((number(into, name) * old + value * more) / (old + more)));
}

/* A worker that any gateway can use is ready. */
static void merge_state(json_t *into, const json_t *row)
{
    const char *state = json_string_value(json_object_get(row, "state"));
    const char *known = json_string_value(json_object_get(into, "state"));

    if (state && (!known || strcmp(known, "ready") != 0))
        json_object_set(into, "state", json_object_get(row, "state"));
}

static void merge(struct reading *r, const char *instance, const char *iid, const json_t *row)
{
    json_t *w = json_object_get(r->workers, iid);

    if (!w) {
        w = json_pack("{s:s, s:[]}", "iid", iid, "gateways");
        json_object_set_new(r->workers, iid, w);
    }
    json_array_append_new(json_object_get(w, "gateways"), json_string(instance));
    merge_state(w, row);
    mean(w, row, "first_token_ms");
    mean(w, row, "tokens_per_s");
    add(w, row, "in_flight");
    add(w, row, "served");
    add(w, row, "failures");
    raise(w, row, "running"); /* each says what the worker told of all */
    raise(w, row, "waiting");
    raise(w, row, "max");
    raise(w, row, "kv");
    if (json_object_get(row, "breaker"))
        json_object_set(w, "breaker", json_object_get(row, "breaker"));
}

static void on_load(void *arg, const struct redisReply *reply)
{
    struct named *n = arg;
    char iid[NAME_LEN];

    for (size_t i = 0; i + 1 < redis_reply_count(reply); i += 2) {
        AUTO_JSON json_t *row = entry_read(redis_reply_at(reply, i + 1), "cgw/load/v1");
        const struct span name = redis_reply_text(redis_reply_at(reply, i));
        if (row && span_visible(name, NAME_LEN - 1) && span_cstr(name, iid, sizeof(iid)) == 0)
            merge(n->reading, n->name, iid, row);
    }
}

/* ---- Workers, decisions ---- */

static void on_worker(void *arg, const struct redisReply *reply)
{
    struct named *n = arg;
    AUTO_JSON json_t *entry = entry_read(reply, "cgw/worker-entry/v1");

    if (entry)
        json_object_update_missing(json_object_get(n->reading->workers, n->name), entry);
}

static void on_decisions(void *arg, const struct redisReply *reply)
{
    struct named *n = arg;
    json_t *all = json_object();
    char name[NAME_LEN];

    for (size_t i = 0; i + 1 < redis_reply_count(reply); i += 2) {
        const struct span subject = redis_reply_text(redis_reply_at(reply, i));
        json_t *said = entry_read(redis_reply_at(reply, i + 1), NULL);
        if (!span_is(subject, "epoch") && span_cstr(subject, name, sizeof(name)) == 0)
            json_object_set(all, name, said ? said : json_null());
        json_decref(said);
    }
    json_object_set_new(n->reading->out, n->name, all);
}

static void ask_instances(struct reading *r)
{
    json_t *g;
    size_t i;

    json_array_foreach(r->gateways, i, g) {
        const char *instance = json_string_value(json_object_get(g, "instance"));
        ask(r, "GET", "gw:", instance, on_gateway);
        ask(r, "HGETALL", "load:", instance, on_load);
    }
}

static int read_all(struct reading *r)
{
    const char *iid;
    json_t *w;

    pool_store_send(r->store,
                    (struct span[]){SPAN("ZRANGE"), SPAN("gateways"), SPAN("0"), SPAN("-1")}, 4,
                    on_gateways, r);
    ask(r, "HGETALL", "", "drain", on_decisions);
    ask(r, "HGETALL", "", "ban", on_decisions);
    TRY(pool_store_settle(r->store, 0));
    ask_instances(r);
    TRY(pool_store_settle(r->store, 0));
    json_object_foreach(r->workers, iid, w)
        ask(r, "GET", "worker:", iid, on_worker);
    return pool_store_settle(r->store, 0);
}

static void finish(struct reading *r)
{
    json_t *list = json_array(), *w;
    const json_t *drained = json_object_get(r->out, "drain");
    const char *iid;

    json_object_foreach(r->workers, iid, w) {
        json_object_set_new(w, "drained", json_boolean(json_object_get(drained, iid) != NULL));
        json_array_append(list, w);
    }
    json_object_set_new(r->out, "workers", list);
}

int registry_read(struct pool_store *s, json_t **out)
{
    AUTO_JSON json_t *workers = json_object();
    struct reading r = {
        .store = s, .out = json_object(), .gateways = json_array(), .workers = workers};

    json_object_set_new(r.out, "gateways", r.gateways);
    const int error = read_all(&r);
    arena_fini(&r.arena);
    if (error < 0) {
        json_decref(r.out);
        return error;
    }
    finish(&r);
    *out = r.out;
    return 0;
}

static void on_one(void *arg, const struct redisReply *reply)
{
    *(json_t **)arg = entry_read(reply, "cgw/worker-entry/v1");
}

int registry_worker(struct pool_store *s, const char *iid, json_t **out)
{
    char key[NAME_LEN];

    *out = NULL;
    snprintf(key, sizeof(key), "worker:%.100s", iid);
    pool_store_send(s, (struct span[]){SPAN("GET"), span_str(key)}, 2, on_one, out);
    return pool_store_settle(s, 0);
}

/* ---- For a command ---- */

bool registry_begins(const char *which, const char *whole)
{
    const size_t n = strlen(which);

    return n >= PREFIX_MIN && n <= PREFIX_MAX && strspn(which, "0123456789abcdef") == n &&
           strncmp(which, whole, n) == 0;
}

const json_t *registry_find(const struct command *c, const json_t *registry, const char *which)
{
    const json_t *list = json_object_get(registry, "workers"), *found = NULL;

    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *w = json_array_get(list, i);
        if (!registry_begins(which, shown_text(w, "iid")) &&
            strcmp(which, shown_text(w, "label")) != 0)
            continue;
        if (found) {
            failure(c, "several workers answer to \"%s\": give more of the iid", which);
            return NULL;
        }
        found = w;
    }
    if (!found)
        failure(c, "no worker here has the iid or label \"%s\" (cocoonctl workers)", which);
    return found;
}

int registry_view_open(struct registry_view *v, const struct command *c)
{
    const int code = pool_store_begin(c, &v->redis, &v->store);

    if (code >= 0)
        return code;
    const int error = registry_read(v->store, &v->registry);
    return error < 0 ? pool_store_failure(c, error) : -1;
}

int registry_view_begin(struct registry_view *v, const struct command *c, int argc, char **argv)
{
    struct operands operands;

    *v = (struct registry_view){.redis = redis_flags_default()};
    const struct option options[] = {
        REDIS_FLAGS(v->redis){"json", OPTION_FLAG, &v->json, "print JSON"}};
    const int code = options_parse(c, options, COUNT(options), argc, argv, 0, 0, &operands);
    return code >= 0 ? code : registry_view_open(v, c);
}

void registry_view_fini(struct registry_view *v)
{
    json_decref(v->registry);
    pool_store_close(v->store);
    redis_flags_fini(&v->redis);
}
