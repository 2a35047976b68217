/* cocoonctl gateway and workers: what a gateway's admin listener shows. */
#include <stdio.h>
#include <stdlib.h>

#include "tools/admin.h"
#include "tools/command.h"
#include "tools/output.h"

static int ask(const struct command *c, int argc, char **argv, bool *json, json_t **doc)
{
    const char *from = getenv("GATEWAY_ADMIN_URL");
    const char *admin = from && *from ? from : "http://127.0.0.1:9090";
    const struct option options[] = {
        {"admin", OPTION_TEXT, &admin, "the gateway's admin listener ($GATEWAY_ADMIN_URL)"},
        {"json", OPTION_FLAG, json, "print JSON"}};
    struct operands operands;
    int code = options_parse(c, options, COUNT(options), argc, argv, 0, 0, &operands);

    if (code < 0)
        code = admin_ask(c, admin, "--admin", "GET", "/status.json", NULL, doc);
    if (code < 0 && !*doc)
        return failure(c, "%s shows no status", admin);
    return code;
}

static int gateway_status(const struct command *c, int argc, char **argv)
{
    AUTO_JSON json_t *doc = NULL;
    bool json = false;
    const int code = ask(c, argc, argv, &json, &doc);

    if (code >= 0)
        return code;
    if (json) {
        json_print(doc);
        return EXIT_DONE;
    }
    json_object_del(doc, "workers"); /* `cocoonctl workers` has them */
    json_print_flat(doc);
    return EXIT_DONE;
}

// A member as a cell: texts as they are, lists joined by commas.
static void append_cell(struct buf *out, const json_t *value)
{
    if (json_is_string(value)) {
        buf_append_str(out, json_string_value(value));
    } else if (json_is_array(value)) {
        for (size_t i = 0; i < json_array_size(value); i++) {
            buf_append_str(out, i ? "," : "");
            append_cell(out, json_array_get(value, i));
        }
    } else if (value && !json_is_object(value)) {
        char *text = json_dumps(value, JSON_ENCODE_ANY);
        buf_append_str(out, text ? text : "");
        free(text);
    }
}

static const char *const columns[] = {"iid",     "worker_id", "state", "models",  "attestation",
                                      "running", "waiting",   "max",   "streams", "rtt_ms"};

static void worker_row(struct table *t, const json_t *worker)
{
    struct buf cells[COUNT(columns)] = {0};
    const char *texts[COUNT(columns)];

    for (size_t i = 0; i < COUNT(columns); i++) {
        append_cell(&cells[i], json_object_get(worker, columns[i]));
        texts[i] = buf_cstr(&cells[i]);
    }
    table_row(t, COUNT(columns), texts);
    for (size_t i = 0; i < COUNT(columns); i++)
        buf_fini(&cells[i]);
}

static int workers(const struct command *c, int argc, char **argv)
{
    AUTO_JSON json_t *doc = NULL;
    struct table t = {0};
    bool json = false;
    const int code = ask(c, argc, argv, &json, &doc);

    if (code >= 0)
        return code;
    const json_t *list = json_object_get(doc, "workers");
    if (json) {
        json_print(list);
        return EXIT_DONE;
    }
    table_row(&t, COUNT(columns), columns);
    for (size_t i = 0; i < json_array_size(list); i++)
        worker_row(&t, json_array_get(list, i));
    table_print(&t);
    table_free(&t);
    return EXIT_DONE;
}

const struct command gateway_commands[] = {
    {"gateway", "status", "", "What a gateway does.", gateway_status},
    {"workers", "", "", "The workers of a gateway.", workers},
    {NULL, NULL, NULL, NULL, NULL},
};
