/* cocoonctl workers: the pool as its operator sees it, over all gateways, by what Redis holds. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "tools/admin.h"
#include "tools/output.h"
#include "tools/registry.h"

enum { SHOWN_IID = 12 };

/* One word for what a request would meet. */
static void write_state(struct buf *out, const json_t *w)
{
    const char *state = shown_text(w, "state"), *reason = shown_text(w, "reason");

    if (json_is_true(json_object_get(w, "drained")))
        buf_append_str(out, "drained");
    else if (strcmp(state, "ready") != 0)
        buf_append_str(out, state);
    else if (json_is_false(json_object_get(w, "accepting")))
        buf_printf(out, "closed:%s", *reason ? reason : "-");
    else if (strcmp(shown_text(w, "breaker"), "open") == 0)
        buf_append_str(out, "failing");
    else
        buf_append_str(out, "ready");
}

static void write_models(struct buf *out, const json_t *w)
{
    const json_t *models = json_object_get(w, "models");
    const char *first = json_string_value(json_array_get(models, 0));

    buf_append_str(out, first ? first : "-");
    if (json_array_size(models) > 1)
        buf_printf(out, "+%zu", json_array_size(models) - 1);
}

/* The same every day, or that it is not. */
static void write_hours(struct buf *out, const json_t *w)
{
    json_t *hours = json_object_get(w, "hours"), *day;
    const char *name, *same = NULL;

    json_object_foreach(hours, name, day) {
        const char *text = json_string_value(day);
        if (same && text && strcmp(text, same) != 0) {
            buf_append_str(out, "varies");
            return;
        }
        same = text;
    }
    buf_append_str(out, same ? same : "-");
}

static void write_figure(struct buf *out, double value)
{
    if (value > 0)
        buf_printf(out, "%.*f", value < 10 ? 1 : 0, value);
    else
        buf_append_str(out, "-");
}

static const char *const worker_columns[] = {
    "iid",      "label",        "state",  "models", "attestation", "load",  "waiting", "kv",
    "first_ms", "tokens_per_s", "served", "errors", "ask",         "hours", "gateways"};
enum { WORKER_COLUMNS = COUNT(worker_columns) };

static void write_cell(struct buf *out, size_t column, const json_t *w)
{
    switch (column) {
    case 0:
        buf_printf(out, "%.*s", SHOWN_IID, shown_text(w, "iid"));
        return;
    case 1:
        buf_append_str(out, shown_text(w, *shown_text(w, "label") ? "label" : "worker_id"));
        return;
    case 2:
        write_state(out, w);
        return;
    case 3:
        write_models(out, w);
        return;
    case 4:
        buf_append_str(out, shown_text(w, "attestation"));
        return;
    case 5:
        buf_printf(out, "%.0f/%.0f", shown_number(w, "running"), shown_number(w, "max"));
        return;
    case 6:
        buf_printf(out, "%.0f", shown_number(w, "waiting"));
        return;
    case 7:
        buf_printf(out, "%.2f", shown_number(w, "kv"));
        return;
    case 8:
        write_figure(out, shown_number(w, "first_token_ms"));
        return;
    case 9:
        write_figure(out, shown_number(w, "tokens_per_s"));
        return;
    case 10:
        buf_printf(out, "%.0f", shown_number(w, "served"));
        return;
    case 11:
        buf_printf(out, "%.0f", shown_number(w, "failures"));
        return;
    case 12:
        buf_printf(out, "%.0f", shown_number(w, "ask"));
        return;
    case 13:
        write_hours(out, w);
        return;
    default:
        buf_printf(out, "%zu", json_array_size(json_object_get(w, "gateways")));
    }
}

static void worker_row(struct table *t, const json_t *w)
{
    struct buf cells[WORKER_COLUMNS] = {0};
    const char *texts[WORKER_COLUMNS];

    for (size_t i = 0; i < WORKER_COLUMNS; i++) {
        write_cell(&cells[i], i, w);
        texts[i] = buf_cstr(&cells[i]);
    }
    table_row(t, WORKER_COLUMNS, texts);
    for (size_t i = 0; i < WORKER_COLUMNS; i++)
        buf_fini(&cells[i]);
}

static void print_workers(const json_t *registry)
{
    const json_t *workers = json_object_get(registry, "workers");
    const json_t *bans = json_object_get(registry, "ban");
    struct table t = {0};

    table_row(&t, WORKER_COLUMNS, worker_columns);
    for (size_t i = 0; i < json_array_size(workers); i++)
        worker_row(&t, json_array_get(workers, i));
    table_print(&t);
    table_free(&t);
    if (json_object_size(bans) > 0)
        printf("%zu banned: cocoonctl decisions\n", json_object_size(bans));
}

static void print_heading(const json_t *registry)
{
    char now[TIME_TEXT_LEN];

    time_text(now, clock_wall_ms() / 1000);
    if (isatty(STDOUT_FILENO))
        printf("\033[H\033[J");
    printf("%s   %zu gateways, %zu workers\n", now,
           json_array_size(json_object_get(registry, "gateways")),
           json_array_size(json_object_get(registry, "workers")));
}

/* Until it is interrupted, also while Redis is away. */
static int watch(const struct command *c, struct pool_store *s, bool json, unsigned every_s)
{
    for (;;) {
        AUTO_JSON json_t *registry = NULL;
        const int error = registry_read(s, &registry);
        if (error < 0)
            return pool_store_failure(c, error);
        if (json) {
            json_dumpf(json_object_get(registry, "workers"), stdout, JSON_COMPACT);
            putchar('\n');
        } else {
            print_heading(registry);
            print_workers(registry);
        }
        if (fflush(stdout) != 0)
            return EXIT_DONE; /* nobody reads any more */
        sleep(every_s);
    }
}

/* One gateway's own view, which needs no Redis. */
static int workers_of(const struct command *c, const char *admin, bool json)
{
    AUTO_JSON json_t *doc = NULL;
    const int code = admin_ask(c, admin, "--admin", "GET", "/status.json", NULL, &doc);

    if (code >= 0)
        return code;
    if (!doc)
        return failure(c, "%s shows no status", admin);
    if (json)
        json_print(json_object_get(doc, "workers"));
    else
        print_workers(doc);
    return EXIT_DONE;
}

static int workers(const struct command *c, int argc, char **argv)
{
    AUTO(redis_flags_fini) struct redis_flags flags = redis_flags_default();
    AUTO(pool_store_close) struct pool_store *s = NULL;
    AUTO_JSON json_t *registry = NULL;
    const char *admin = NULL;
    bool json = false, live = false;
    int64_t every_s = 1;
    const struct option options[] = {
        REDIS_FLAGS(flags){"admin", OPTION_TEXT, &admin,
                           "ask one gateway's admin listener instead of Redis"},
        {"watch", OPTION_FLAG, &live, "again and again, until it is interrupted"},
        {"every", OPTION_NUMBER, &every_s, "seconds between two looks (1)"},
        {"json", OPTION_FLAG, &json, "print JSON; with --watch a line a look"}};
    struct operands operands;
    int code = options_parse(c, options, COUNT(options), argc, argv, 0, 0, &operands);

    if (code >= 0)
        return code;
    if (every_s < 1)
        return usage_error(c, "--every must be 1 or more");
    if (admin)
        return workers_of(c, admin, json);
    if ((code = pool_store_begin(c, &flags, &s)) >= 0)
        return code;
    if (live)
        return watch(c, s, json, (unsigned)every_s);
    const int error = registry_read(s, &registry);
    if (error < 0)
        return pool_store_failure(c, error);
    if (json)
        json_print(json_object_get(registry, "workers"));
    else
        print_workers(registry);
    return EXIT_DONE;
}

const struct command pool_commands[] = {
    {"workers", "", "", "All workers, over all gateways.", workers},
    {NULL, NULL, NULL, NULL, NULL},
};
