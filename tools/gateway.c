/* cocoonctl gateway: what a gateway's admin listener shows. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/admin.h"
#include "tools/command.h"
#include "tools/output.h"
#include "tools/registry.h"

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

static size_t workers_at(const json_t *registry, const char *instance)
{
    const json_t *workers = json_object_get(registry, "workers");
    size_t count = 0;

    for (size_t i = 0; i < json_array_size(workers); i++) {
        const json_t *at = json_object_get(json_array_get(workers, i), "gateways");
        for (size_t k = 0; k < json_array_size(at); k++)
            count += strcmp(json_string_value(json_array_get(at, k)), instance) == 0 ? 1 : 0;
    }
    return count;
}

static void print_gateways(const json_t *registry)
{
    const json_t *list = json_object_get(registry, "gateways");
    struct table t = {0};
    char seen[TIME_TEXT_LEN], workers[24];

    table_row(&t, 5,
              (const char *const[]){"instance", "tunnel", "version", "workers", "last written"});
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *g = json_array_get(list, i);
        time_text(seen, shown_time(g, "seen"));
        snprintf(workers, sizeof(workers), "%zu", workers_at(registry, shown_text(g, "instance")));
        table_row(&t, 5,
                  (const char *const[]){shown_text(g, "instance"), shown_text(g, "address"),
                                        shown_text(g, "version"), workers, seen});
    }
    table_print(&t);
    table_free(&t);
}

static int gateways(const struct command *c, int argc, char **argv)
{
    AUTO(registry_view_fini) struct registry_view v = {0};
    const int code = registry_view_begin(&v, c, argc, argv);

    if (code >= 0)
        return code;
    if (v.json)
        json_print(json_object_get(v.registry, "gateways"));
    else
        print_gateways(v.registry);
    return EXIT_DONE;
}

const struct command gateway_commands[] = {
    {"gateways", "", "", "All gateways that live, by what Redis holds.", gateways},
    {"gateway", "status", "", "What a gateway does.", gateway_status},
    {NULL, NULL, NULL, NULL, NULL},
};
