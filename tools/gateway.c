/* cocoonctl gateway: what a gateway's admin listener shows. */
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

const struct command gateway_commands[] = {
    {"gateway", "status", "", "What a gateway does.", gateway_status},
    {NULL, NULL, NULL, NULL, NULL},
};
