/* cocoonctl accounts, projects, invites and webhooks, kept by the ledger. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

// ---- Accounts -----------------------------------------------------------------------------------

static int accounts_list(const struct command *c, int argc, char **argv)
{
    static const struct ledger_listing accounts = {.path = "/v1/accounts",
                                                   .id = "id",
                                                   .columns = account_columns,
                                                   .count = COUNT(account_columns)};

    return ledger_list(c, argc, argv, &accounts);
}

static int accounts_show(const struct command *c, int argc, char **argv)
{
    return ledger_command(c, argc, argv, "GET", "/v1/accounts/%s", NULL);
}

static int put_replay(const struct command *c, json_t *body, const char *replay)
{
    const bool on = strcmp(replay, "on") == 0, off = strcmp(replay, "off") == 0;

    if (*replay && !on && !off)
        return usage_error(c, "--replay-answers is on or off");
    return settings_switch(c, body, "replay_answers", on, off);
}

static int accounts_write(const struct command *c, int argc, char **argv, bool create)
{
    struct ledger_flags f = ledger_flags_default();
    struct settings s = SETTINGS_NONE;
    int64_t low = -1, weight = -1;
    bool internal = false, end_to_end = false, not_internal = false, not_end_to_end = false;
    const char *replay = "";
    const struct option options[] = {
        SETTINGS_OPTIONS(s),
        {"low-balance", OPTION_COINS, &low, "tell webhooks when the balance falls below"},
        {"internal", OPTION_FLAG, &internal, "its keys may be of class internal"},
        {"no-internal", OPTION_FLAG, &not_internal, "take that back: such keys are of class batch"},
        {"weight", OPTION_NUMBER, &weight, "its share where calls wait, 1 to 1000 (100)"},
        {"end-to-end-only", OPTION_FLAG, &end_to_end, "refuse what the gateway could read"},
        {"no-end-to-end-only", OPTION_FLAG, &not_end_to_end, "take that back"},
        {"replay-answers", OPTION_TEXT, &replay,
         "on: answers to requests with an Idempotency-Key are kept, sealed, for a day (off)"},
        LEDGER_FLAGS(f)};
    AUTO(buf_fini) struct buf path = {0};
    AUTO_JSON json_t *body = json_object();
    struct operands operands;
    int code = options_parse(c, options, COUNT(options), argc, argv, 1, 1, &operands);

    if (code < 0)
        code = put_replay(c, body, replay);
    if (code < 0)
        code = settings_switch(c, body, "internal", internal, not_internal);
    if (code < 0)
        code = settings_switch(c, body, "end_to_end_only", end_to_end, not_end_to_end);
    if (code >= 0)
        return code;
    settings_put(&s, body, false);
    settings_money(body, "low_balance", low);
    settings_number(body, "weight", weight);
    if (create)
        json_object_set_new(body, "id", json_string(operands.items[0]));
    ledger_path(&path, create ? "/v1/accounts" : "/v1/accounts/%s", operands.items);
    return ledger_show(c, &f, create ? "POST" : "PATCH", buf_cstr(&path), body);
}

static int accounts_create(const struct command *c, int argc, char **argv)
{
    return accounts_write(c, argc, argv, true);
}

static int accounts_set(const struct command *c, int argc, char **argv)
{
    return accounts_write(c, argc, argv, false);
}

// The limits of all models, in which one is changed: the ledger takes them as a whole.
static json_t *models_with(const json_t *account, const char *model, json_t *limits)
{
    json_t *models = json_deep_copy(json_object_get(account, "per_model"));

    if (!models)
        models = json_object();
    if (json_is_object(json_object_get(models, model)))
        json_object_update(json_object_get(models, model), limits);
    else
        json_object_set_new(models, model, json_deep_copy(limits));
    return models;
}

static int accounts_limit(const struct command *c, int argc, char **argv)
{
    struct ledger_flags f = ledger_flags_default();
    int64_t requests = -1, tokens = -1, streams = -1;
    const struct option options[] = {
        {"requests-per-minute", OPTION_NUMBER, &requests, "most requests a minute (0: any)"},
        {"tokens-per-minute", OPTION_NUMBER, &tokens, "most tokens a minute (0: any)"},
        {"streams", OPTION_NUMBER, &streams, "most requests at a time (0: any)"},
        LEDGER_FLAGS(f)};
    AUTO(buf_fini) struct buf path = {0};
    AUTO_JSON json_t *limits = json_object();
    AUTO_JSON json_t *body = json_object();
    AUTO_JSON json_t *account = NULL;
    struct operands operands;
    int code = options_parse(c, options, COUNT(options), argc, argv, 2, 2, &operands);

    if (code >= 0)
        return code;
    settings_number(limits, "requests_per_minute", requests);
    settings_number(limits, "tokens_per_minute", tokens);
    settings_number(limits, "streams", streams);
    ledger_path(&path, "/v1/accounts/%s", operands.items);
    code = ledger_ask(c, &f, "GET", buf_cstr(&path), NULL, &account);
    if (code >= 0)
        return code;
    json_object_set_new(body, "per_model", models_with(account, operands.items[1], limits));
    return ledger_show(c, &f, "PATCH", buf_cstr(&path), body);
}

static int accounts_suspend(const struct command *c, int argc, char **argv)
{
    return ledger_command(c, argc, argv, "PATCH", "/v1/accounts/%s",
                          json_pack("{s:s}", "state", "suspended"));
}

static int accounts_resume(const struct command *c, int argc, char **argv)
{
    return ledger_command(c, argc, argv, "PATCH", "/v1/accounts/%s",
                          json_pack("{s:s}", "state", "active"));
}

// ---- Projects -----------------------------------------------------------------------------------

static int projects_list(const struct command *c, int argc, char **argv)
{
    static const struct ledger_listing projects = {.path = "/v1/projects",
                                                   .id = "account/id",
                                                   .filter = "account",
                                                   .filter_help = "only of this account",
                                                   .columns = project_columns,
                                                   .count = COUNT(project_columns)};

    return ledger_list(c, argc, argv, &projects);
}

static int projects_write(const struct command *c, int argc, char **argv, bool create)
{
    struct ledger_flags f = ledger_flags_default();
    struct settings s = SETTINGS_NONE;
    const char *state = "";
    const struct option options[] = {SETTINGS_OPTIONS(s),
                                     {"state", OPTION_TEXT, &state, "active or suspended"},
                                     LEDGER_FLAGS(f)};
    AUTO(buf_fini) struct buf path = {0};
    AUTO_JSON json_t *body = json_object();
    struct operands operands;
    const int code = options_parse(c, options, COUNT(options), argc, argv, 2, 2, &operands);

    if (code >= 0)
        return code;
    settings_put(&s, body, false);
    if (*state)
        json_object_set_new(body, "state", json_string(state));
    if (create) {
        json_object_set_new(body, "account", json_string(operands.items[0]));
        json_object_set_new(body, "id", json_string(operands.items[1]));
    }
    ledger_path(&path, create ? "/v1/projects" : "/v1/projects/%s/%s", operands.items);
    return ledger_show(c, &f, create ? "POST" : "PATCH", buf_cstr(&path), body);
}

static int projects_show(const struct command *c, int argc, char **argv)
{
    return ledger_command(c, argc, argv, "GET", "/v1/projects/%s/%s", NULL);
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
    static const struct ledger_listing invites = {.path = "/v1/invites",
                                                  .id = "id",
                                                  .columns = invite_columns,
                                                  .count = COUNT(invite_columns)};

    return ledger_list(c, argc, argv, &invites);
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
    return ledger_command(c, argc, argv, "POST", "/v1/invites/%s/revoke", NULL);
}

static int invites_redeem(const struct command *c, int argc, char **argv)
{
    struct ledger_flags f = ledger_flags_default();
    const char *name = "";
    const struct option options[] = {{"name", OPTION_TEXT, &name, "a name for people"},
                                     LEDGER_FLAGS(f)};
    AUTO_JSON json_t *body = json_object();
    struct operands operands;
    const int code = options_parse(c, options, COUNT(options), argc, argv, 2, 2, &operands);

    if (code >= 0)
        return code;
    json_object_set_new(body, "code", json_string(operands.items[0]));
    json_object_set_new(body, "id", json_string(operands.items[1]));
    if (*name)
        json_object_set_new(body, "name", json_string(name));
    return ledger_show(c, &f, "POST", "/v1/invites/redeem", body);
}

// ---- Webhooks -----------------------------------------------------------------------------------

static int hooks_list(const struct command *c, int argc, char **argv)
{
    static const struct ledger_listing hooks = {.path = "/v1/webhooks",
                                                .id = "id",
                                                .filter = "account",
                                                .filter_help = "only of this account",
                                                .columns = hook_columns,
                                                .count = COUNT(hook_columns)};

    return ledger_list(c, argc, argv, &hooks);
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
    return ledger_command(c, argc, argv, "DELETE", "/v1/webhooks/%s", NULL);
}

static int hooks_deliveries(const struct command *c, int argc, char **argv)
{
    static const struct ledger_listing deliveries = {.path = "/v1/webhooks/%s/deliveries",
                                                     .columns = delivery_columns,
                                                     .count = COUNT(delivery_columns)};

    return ledger_list(c, argc, argv, &deliveries);
}

const struct command account_commands[] = {
    {"accounts", "list", "", "Accounts and their balances.", accounts_list},
    {"accounts", "create", "ACCOUNT", "Make an account.", accounts_create},
    {"accounts", "show", "ACCOUNT", "One account.", accounts_show},
    {"accounts", "set", "ACCOUNT", "Change limits, budgets, models.", accounts_set},
    {"accounts", "limit", "ACCOUNT MODEL", "Change the limits of one model in an account.",
     accounts_limit},
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
