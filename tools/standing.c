/* cocoonctl standing: what is known of the machines in the long term. */
#include <stdio.h>

#include "tools/output.h"
#include "tools/registry.h"

static const char *const standing_fields[] = {
    "completed",        "failed",      "refused",   "attestation_failures",
    "usage_mismatches", "canary_good", "canary_bad"};

static void on_standing(void *arg, const struct redisReply *reply)
{
    json_t *row = arg;
    uint64_t count;

    for (size_t i = 0; i < redis_reply_count(reply) && i < COUNT(standing_fields); i++)
        if (span_u64(redis_reply_text(redis_reply_at(reply, i)), INT64_MAX, &count) == 0)
            json_object_set_new(row, standing_fields[i], json_integer((json_int_t)count));
}

static void ask_standing(struct pool_store *s, json_t *rows, const json_t *worker)
{
    struct span argv[2 + COUNT(standing_fields)] = {SPAN("HMGET")};
    const char *wid = shown_text(worker, "wid");
    char key[64];

    if (!*wid || json_object_get(rows, wid))
        return;
    json_t *row = json_pack("{s:s, s:s}", "wid", wid, "label", shown_text(worker, "label"));
    for (size_t i = 0; i < COUNT(standing_fields); i++) {
        argv[2 + i] = span_str(standing_fields[i]);
        json_object_set_new(row, standing_fields[i], json_integer(0));
    }
    json_object_set_new(rows, wid, row);
    snprintf(key, sizeof(key), "standing:%.32s", wid);
    argv[1] = span_str(key);
    pool_store_send(s, argv, COUNT(argv), on_standing, row);
}

static void print_standing(json_t *rows)
{
    const char *columns[2 + COUNT(standing_fields)] = {"wid", "label"}, *wid;
    struct table t = {0};
    json_t *row;

    for (size_t i = 0; i < COUNT(standing_fields); i++)
        columns[2 + i] = standing_fields[i];
    table_row(&t, COUNT(columns), columns);
    json_object_foreach(rows, wid, row) {
        char numbers[COUNT(standing_fields)][24];
        const char *cells[COUNT(columns)] = {wid, shown_text(row, "label")};
        for (size_t i = 0; i < COUNT(standing_fields); i++) {
            snprintf(numbers[i], sizeof(numbers[i]), "%.0f", shown_number(row, standing_fields[i]));
            cells[2 + i] = numbers[i];
        }
        table_row(&t, COUNT(columns), cells);
    }
    table_print(&t);
    table_free(&t);
}

static int standing(const struct command *c, int argc, char **argv)
{
    AUTO(registry_view_fini) struct registry_view v = {0};
    AUTO_JSON json_t *rows = json_object();
    const int code = registry_view_begin(&v, c, argc, argv);

    if (code >= 0)
        return code;
    const json_t *list = json_object_get(v.registry, "workers");
    for (size_t i = 0; i < json_array_size(list); i++)
        ask_standing(v.store, rows, json_array_get(list, i));
    const int error = pool_store_settle(v.store, 0);
    if (error < 0)
        return pool_store_failure(c, error);
    if (v.json)
        json_print(rows);
    else
        print_standing(rows);
    return EXIT_DONE;
}

const struct command standing_commands[] = {
    {"standing", "", "", "Completed, failed and refused work of each machine that is here.",
     standing},
    {NULL, NULL, NULL, NULL, NULL},
};
