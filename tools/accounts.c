/* cocoonctl accounts, projects, invites and webhooks, kept by the ledger. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "tools/ledger.h"
#include "tools/output.h"
#include "tools/settings.h"

static const char *const account_columns[] = {"id",
                                              "name",
                                              "state",
                                              "balance",
                                              "granted",
                                              "charged",
                                              "limits.requests_per_minute",
                                              "limits.tokens_per_minute",
                                              "budgets.month"};
static const char *const project_columns[] = {
    "account", "id", "name", "state", "limits.requests_per_minute", "budgets.month"};
static const char *const invite_columns[] = {"id", "state", "uses", "used", "credit", "expires"};
static const char *const hook_columns[] = {"id", "account", "state", "url", "events"};
static const char *const delivery_columns[] = {"id", "type", "state", "tries", "status"};

// A list with no options but an account.
static int list(const struct command *c, int argc, char **argv, const char *path, const char *id,
                const char *const *columns, size_t count)
{
    struct ledger_flags f = ledger_flags_default();
    const char *account = "";
    const struct option options[] = {{"account", OPTION_TEXT, &account, "only of this account"},
                                     LEDGER_FLAGS(f)};
    AUTO(buf_fini) struct buf where = {0};
    AUTO_JSON json_t *rows = NULL;
    struct operands operands;
    int code = options_parse(c, options, COUNT(options), argc, argv, 0, 0, &operands);

    buf_append_str(&where, path);
    ledger_query(&where, "account", account);
    if (code < 0)
        code = ledger_list(c, &f, buf_cstr(&where), id, &rows);
    return code >= 0 ? code : ledger_print_rows(&f, rows, columns, count);
}

// One request about one thing that the operand names: "/v1/accounts/%s".
static int about(const struct command *c, int argc, char **argv, const char *method,
                 const char *fmt, json_t *take_body)
{
    struct ledger_flags f = ledger_flags_default();
    const struct option options[] = {LEDGER_FLAGS(f)};
    AUTO_JSON json_t *body = take_body;
    AUTO_JSON json_t *doc = NULL;
    struct arena arena = {0};
    struct operands operands;
    int code = options_parse(c, options, COUNT(options), argc, argv, 1, 1, &operands);

    if (code < 0)
        code = ledger_ask(c, &f, method, ledger_path(&arena, fmt, operands.items[0]), body, &doc);
    arena_fini(&arena);
    return code >= 0 ? code : ledger_print(&f, doc);
}

// ---- Accounts -----------------------------------------------------------------------------------

static int accounts_list(const struct command *c, int argc, char **argv)
{
    return list(c, argc, argv, "/v1/accounts", "id", account_columns, COUNT(account_columns));
}

static int accounts_show(const struct command *c, int argc, char **argv)
{
    return about(c, argc, argv, "GET", "/v1/accounts/%s", NULL);
}

static int accounts_write(const struct command *c, int argc, char **argv, bool create)
{
    struct ledger_flags f = ledger_flags_default();
    struct settings s = SETTINGS_NONE;
    int64_t low = -1;
    bool internal = false, end_to_end = false;
    const struct option options[] = {
        SETTINGS_OPTIONS(s),
        {"low-balance", OPTION_COINS, &low, "tell webhooks when the balance falls below"},
        {"internal", OPTION_FLAG, &internal, "its keys may be of class internal"},
        {"end-to-end-only", OPTION_FLAG, &end_to_end, "refuse what the gateway could read"},
        LEDGER_FLAGS(f)};
    AUTO_JSON json_t *body = json_object();
    AUTO_JSON json_t *doc = NULL;
    struct arena arena = {0};
    struct operands operands;
    int code = options_parse(c, options, COUNT(options), argc, argv, 1, 1, &operands);

    if (code >= 0)
        return code;
    settings_put(&s, body, false);
    settings_money(body, "low_balance", low);
    if (internal)
        json_object_set_new(body, "internal", json_true());
    if (end_to_end)
        json_object_set_new(body, "end_to_end_only", json_true());
    if (create)
        json_object_set_new(body, "id", json_string(operands.items[0]));
    code = ledger_ask(c, &f, create ? "POST" : "PATCH",
                      create ? "/v1/accounts"
                             : ledger_path(&arena, "/v1/accounts/%s", operands.items[0]),
                      body, &doc);
    arena_fini(&arena);
    return code >= 0 ? code : ledger_print(&f, doc);
}

static int accounts_create(const struct command *c, int argc, char **argv)
{
    return accounts_write(c, argc, argv, true);
}

static int accounts_set(const struct command *c, int argc, char **argv)
{
    return accounts_write(c, argc, argv, false);
}

static int accounts_suspend(const struct command *c, int argc, char **argv)
{
    return about(c, argc, argv, "PATCH", "/v1/accounts/%s",
                 json_pack("{s:s}", "state", "suspended"));
}

static int accounts_resume(const struct command *c, int argc, char **argv)
{
    return about(c, argc, argv, "PATCH", "/v1/accounts/%s", json_pack("{s:s}", "state", "active"));
}

// ---- Projects -----------------------------------------------------------------------------------

static int projects_list(const struct command *c, int argc, char **argv)
{
    return list(c, argc, argv, "/v1/projects", "account/id", project_columns,
                COUNT(project_columns));
}

static int projects_write(const struct command *c, int argc, char **argv, bool create)
{
    struct ledger_flags f = ledger_flags_default();
    struct settings s = SETTINGS_NONE;
    const char *state = "";
    const struct option options[] = {SETTINGS_OPTIONS(s),
                                     {"state", OPTION_TEXT, &state, "active or suspended"},
                                     LEDGER_FLAGS(f)};
    AUTO_JSON json_t *body = json_object();
    AUTO_JSON json_t *doc = NULL;
    struct arena arena = {0};
    struct operands operands;
    int code = options_parse(c, options, COUNT(options), argc, argv, 2, 2, &operands);

    if (code >= 0)
        return code;
    settings_put(&s, body, false);
    if (*state)
        json_object_set_new(body, "state", json_string(state));
    if (create) {
        json_object_set_new(body, "account", json_string(operands.items[0]));
        json_object_set_new(body, "id", json_string(operands.items[1]));
    }
    code = ledger_ask(
        c, &f, create ? "POST" : "PATCH",
        create ? "/v1/projects"
               : ledger_path(&arena, "/v1/projects/%s/%s", operands.items[0], operands.items[1]),
        body, &doc);
    arena_fini(&arena);
    return code >= 0 ? code : ledger_print(&f, doc);
}

static int projects_show(const struct command *c, int argc, char **argv)
{
    struct ledger_flags f = ledger_flags_default();
    const struct option options[] = {LEDGER_FLAGS(f)};
    AUTO_JSON json_t *doc = NULL;
    struct arena arena = {0};
    struct operands operands;
    int code = options_parse(c, options, COUNT(options), argc, argv, 2, 2, &operands);

    if (code < 0)
        code = ledger_ask(
            c, &f, "GET",
            ledger_path(&arena, "/v1/projects/%s/%s", operands.items[0], operands.items[1]), NULL,
            &doc);
    arena_fini(&arena);
    return code >= 0 ? code : ledger_print(&f, doc);
}

static int projects_create(const struct command *c, int argc, char **argv)
{
    return projects_write(c, argc, argv, true);
}

static int projects_set(const struct command *c, int argc, char **argv)
{
    return projects_write(c, argc, argv, false);
}

// ---- Invitations --------------------------------------------------------------------------------

static int invites_list(const struct command *c, int argc, char **argv)
{
    return list(c, argc, argv, "/v1/invites", "id", invite_columns, COUNT(invite_columns));
}

static int invites_create(const struct command *c, int argc, char **argv)
{
    struct ledger_flags f = ledger_flags_default();
    struct settings s = SETTINGS_NONE;
    int64_t uses = 1, credit = -1;
    uint64_t expires = 0;
    bool quiet = false;
    const struct option options[] = {
        {"uses", OPTION_NUMBER, &uses, "how many accounts may be made with it (1)"},
        {"credit", OPTION_COINS, &credit, "TON that each starts with (none)"},
        {"expires", OPTION_TIME, &expires, "good until then (for ever)"},
        {"quiet", OPTION_FLAG, &quiet, "print only the code"},
        SETTINGS_OPTIONS(s),
        LEDGER_FLAGS(f)};
    AUTO_JSON json_t *body = json_object();
    AUTO_JSON json_t *doc = NULL;
    json_t *account = json_object();
    struct operands operands;
    int code = options_parse(c, options, COUNT(options), argc, argv, 0, 0, &operands);

    json_object_set_new(body, "account", account);
    if (code >= 0)
        return code;
    settings_put(&s, account, false);
    settings_number(body, "uses", uses);
    settings_number(body, "expires", (int64_t)expires);
    settings_money(body, "credit", credit);
    code = ledger_ask(c, &f, "POST", "/v1/invites", body, &doc);
    return code >= 0 ? code : ledger_print_secret(&f, doc, "code", "Invitation", quiet);
}

static int invites_revoke(const struct command *c, int argc, char **argv)
{
    return about(c, argc, argv, "POST", "/v1/invites/%s/revoke", NULL);
}

static int invites_redeem(const struct command *c, int argc, char **argv)
{
    struct ledger_flags f = ledger_flags_default();
    const char *name = "";
    const struct option options[] = {{"name", OPTION_TEXT, &name, "a name for people"},
                                     LEDGER_FLAGS(f)};
    AUTO_JSON json_t *body = json_object();
    AUTO_JSON json_t *doc = NULL;
    struct operands operands;
    int code = options_parse(c, options, COUNT(options), argc, argv, 2, 2, &operands);

    if (code >= 0)
        return code;
    json_object_set_new(body, "code", json_string(operands.items[0]));
    json_object_set_new(body, "id", json_string(operands.items[1]));
    if (*name)
        json_object_set_new(body, "name", json_string(name));
    code = ledger_ask(c, &f, "POST", "/v1/invites/redeem", body, &doc);
    return code >= 0 ? code : ledger_print(&f, doc);
}

// ---- Webhooks -----------------------------------------------------------------------------------

static int hooks_list(const struct command *c, int argc, char **argv)
{
    return list(c, argc, argv, "/v1/webhooks", "id", hook_columns, COUNT(hook_columns));
}

static int hooks_create(const struct command *c, int argc, char **argv)
{
    struct ledger_flags f = ledger_flags_default();
    struct option_texts events = {0};
    bool quiet = false;
    const struct option options[] = {
        {"event", OPTION_TEXTS, &events, "balance.low, budget.reached, key.revoked (all)"},
        {"quiet", OPTION_FLAG, &quiet, "print only the secret"},
        LEDGER_FLAGS(f)};
    AUTO_JSON json_t *body = json_object();
    AUTO_JSON json_t *doc = NULL;
    struct operands operands;
    int code = options_parse(c, options, COUNT(options), argc, argv, 2, 2, &operands);

    if (code >= 0)
        return code;
    if (events.count == 0)
        events = (struct option_texts){{"balance.low", "budget.reached", "key.revoked"}, 3};
    json_object_set_new(body, "account", json_string(operands.items[0]));
    json_object_set_new(body, "url", json_string(operands.items[1]));
    json_object_set_new(body, "events", settings_list(&events));
    code = ledger_ask(c, &f, "POST", "/v1/webhooks", body, &doc);
    return code >= 0 ? code : ledger_print_secret(&f, doc, "secret", "Webhook", quiet);
}

static int hooks_remove(const struct command *c, int argc, char **argv)
{
    return about(c, argc, argv, "DELETE", "/v1/webhooks/%s", NULL);
}

static int hooks_deliveries(const struct command *c, int argc, char **argv)
{
    struct ledger_flags f = ledger_flags_default();
    const struct option options[] = {LEDGER_FLAGS(f)};
    AUTO_JSON json_t *doc = NULL;
    struct arena arena = {0};
    struct operands operands;
    int code = options_parse(c, options, COUNT(options), argc, argv, 1, 1, &operands);

    if (code < 0)
        code = ledger_ask(c, &f, "GET",
                          ledger_path(&arena, "/v1/webhooks/%s/deliveries", operands.items[0]),
                          NULL, &doc);
    arena_fini(&arena);
    return code >= 0 ? code
                     : ledger_print_rows(&f, json_object_get(doc, "data"), delivery_columns,
                                         COUNT(delivery_columns));
}

const struct command account_commands[] = {
    {"accounts", "list", "", "Accounts and their balances.", accounts_list},
    {"accounts", "create", "ACCOUNT", "Make an account.", accounts_create},
    {"accounts", "show", "ACCOUNT", "One account.", accounts_show},
    {"accounts", "set", "ACCOUNT", "Change limits, budgets, models.", accounts_set},
    {"accounts", "suspend", "ACCOUNT", "Admit nothing more of an account.", accounts_suspend},
    {"accounts", "resume", "ACCOUNT", "Admit its requests again.", accounts_resume},
    {"projects", "list", "", "Projects.", projects_list},
    {"projects", "create", "ACCOUNT PROJECT", "Make a project of an account.", projects_create},
    {"projects", "show", "ACCOUNT PROJECT", "One project.", projects_show},
    {"projects", "set", "ACCOUNT PROJECT", "Change limits, budgets, models, state.", projects_set},
    {"invites", "create", "", "Make an invitation; its code is printed once.", invites_create},
    {"invites", "list", "", "Invitations.", invites_list},
    {"invites", "revoke", "INVITE", "End an invitation.", invites_revoke},
    {"invites", "redeem", "CODE ACCOUNT", "Make the account that a code allows.", invites_redeem},
    {"webhooks", "create", "ACCOUNT URL", "Tell a URL what happens; its secret is printed once.",
     hooks_create},
    {"webhooks", "list", "", "Webhooks.", hooks_list},
    {"webhooks", "remove", "WEBHOOK", "Tell a URL nothing more.", hooks_remove},
    {"webhooks", "deliveries", "WEBHOOK", "What was told, and what is to be.", hooks_deliveries},
    {NULL, NULL, NULL, NULL, NULL},
};
