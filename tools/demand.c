/* cocoonctl demand: what was asked for, model by model and hour by hour; what an owner looks at
 * when he chooses a model and a price. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/arena.h"
#include "base/clock.h"
#include "tools/output.h"
#include "tools/registry.h"

enum { HOURS_MAX = 35 * 24, HOUR_S = 3600, NAME_LEN = 256 };

static const char *const fields[] = {"requests",  "prompt",  "cached",           "completion",
                                     "reasoning", "refused", "refused_capacity", "refused_bid"};
enum { FIELDS = COUNT(fields) };

/* A model, or one hour of it. */
struct row {
    struct demand *all;
    char model[NAME_LEN], hour[16]; /* "2026011807"; "" for the sum */
    int64_t sum[FIELDS];
};

struct demand {
    struct pool_store *store;
    struct arena arena;
    const char *model; /* the only one; NULL: all */
    int64_t hours;
    bool by_hour;
    struct row **rows;
    size_t count;
};

static void on_row(void *arg, const struct redisReply *reply)
{
    struct row *r = arg;
    uint64_t number;

    for (size_t i = 0; i < redis_reply_count(reply) && i < FIELDS; i++)
        if (span_u64(redis_reply_text(redis_reply_at(reply, i)), INT64_MAX, &number) == 0)
            r->sum[i] += (int64_t)number;
}

static struct row *row_new(struct demand *d, const char *model, const char *hour)
{
    struct row *r = arena_zero(&d->arena, sizeof(*r));

    r->all = d;
    snprintf(r->model, sizeof(r->model), "%s", model);
    snprintf(r->hour, sizeof(r->hour), "%s", hour);
    d->rows = mem_grow(d->rows, (d->count + 1) * sizeof(struct row *));
    d->rows[d->count++] = r;
    return r;
}

static void ask_model(struct demand *d, const char *model)
{
    struct span argv[2 + FIELDS] = {SPAN("HMGET")};
    struct row *sum = d->by_hour ? NULL : row_new(d, model, "");
    char hour[16], key[NAME_LEN + 32];
    struct tm tm;

    for (size_t i = 0; i < FIELDS; i++)
        argv[2 + i] = span_str(fields[i]);
    for (int64_t back = d->hours - 1; back >= 0; back--) {
        const time_t at = (time_t)(clock_wall_ms() / 1000) - back * HOUR_S;
        gmtime_r(&at, &tm);
        strftime(hour, sizeof(hour), "%Y%m%d%H", &tm);
        snprintf(key, sizeof(key), "demand:%s:%s", model, hour);
        argv[1] = span_str(key);
        pool_store_send(d->store, argv, COUNT(argv), on_row, sum ? sum : row_new(d, model, hour));
    }
}

/* Only names: the rows are asked for once all are known. */
static void on_models(void *arg, const struct redisReply *reply)
{
    json_t *names = arg;
    char name[NAME_LEN];

    for (size_t i = 0; i < redis_reply_count(reply); i++)
        if (span_cstr(redis_reply_text(redis_reply_at(reply, i)), name, sizeof(name)) == 0)
            json_object_set_new(names, name, json_true());
}

static int read_demand(struct demand *d)
{
    AUTO_JSON json_t *names = json_object();
    const char *name;
    json_t *value;

    pool_store_send(d->store, (struct span[]){SPAN("SMEMBERS"), SPAN("demand:models")}, 2,
                    on_models, names);
    TRY(pool_store_settle(d->store, 0));
    json_object_foreach(names, name, value)
        if (!d->model || strcmp(d->model, name) == 0)
            ask_model(d, name);
    return pool_store_settle(d->store, 0);
}

static json_t *row_json(const struct row *r)
{
    json_t *o = json_pack("{s:s}", "model", r->model);

    if (r->hour[0])
        json_object_set_new(o, "hour", json_string(r->hour));
    for (size_t i = 0; i < FIELDS; i++)
        json_object_set_new(o, fields[i], json_integer(r->sum[i]));
    return o;
}

static void print_json(const struct demand *d)
{
    AUTO_JSON json_t *list = json_array();

    for (size_t i = 0; i < d->count; i++)
        if (d->rows[i]->sum[0] > 0)
            json_array_append_new(list, row_json(d->rows[i]));
    json_print(list);
}

static void print_table(const struct demand *d)
{
    struct table t = {0};
    char cells[FIELDS][24];

    table_row(&t, 2 + FIELDS,
              (const char *const[]){"model", "hour (UTC)", "requests", "prompt", "cached",
                                    "completion", "reasoning", "refused", "for capacity",
                                    "for the bid"});
    for (size_t i = 0; i < d->count; i++) {
        const struct row *r = d->rows[i];
        const char *texts[2 + FIELDS] = {r->model, r->hour[0] ? r->hour : "all"};
        if (r->sum[0] == 0)
            continue; /* nobody asked */
        for (size_t f = 0; f < FIELDS; f++) {
            snprintf(cells[f], sizeof(cells[f]), "%lld", (long long)r->sum[f]);
            texts[2 + f] = cells[f];
        }
        table_row(&t, 2 + FIELDS, texts);
    }
    table_print(&t);
    table_free(&t);
}

static int show(const struct command *c, struct demand *d, struct redis_flags *flags, bool json)
{
    const int code = pool_store_begin(c, flags, &d->store);

    if (code >= 0)
        return code;
    const int error = read_demand(d);
    if (error < 0)
        return pool_store_failure(c, error);
    if (json)
        print_json(d);
    else
        print_table(d);
    return EXIT_DONE;
}

static int demand(const struct command *c, int argc, char **argv)
{
    AUTO(redis_flags_fini) struct redis_flags flags = redis_flags_default();
    struct demand d = {.hours = 24};
    bool json = false;
    const struct option options[] = {
        REDIS_FLAGS(flags){"hours", OPTION_NUMBER, &d.hours, "how far back, at most 840 (24)"},
        {"model", OPTION_TEXT, &d.model, "only this one"},
        {"by-hour", OPTION_FLAG, &d.by_hour, "a row for each hour"},
        {"json", OPTION_FLAG, &json, "print JSON"}};
    struct operands operands;
    int code = options_parse(c, options, COUNT(options), argc, argv, 0, 0, &operands);

    if (code >= 0)
        return code;
    if (d.hours < 1 || d.hours > HOURS_MAX)
        return usage_error(c, "--hours must be from 1 to %d", HOURS_MAX);
    code = show(c, &d, &flags, json);
    pool_store_close(d.store);
    free(d.rows);
    arena_fini(&d.arena);
    return code;
}

const struct command demand_commands[] = {
    {"demand", "", "", "Requests, tokens and refusals by model and hour.", demand},
    {NULL, NULL, NULL, NULL, NULL},
};
