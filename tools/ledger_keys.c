/* What a key may do is judged by the ledger, which says what is wrong. */
#include "tools/ledger_keys.h"

#include <stdio.h>

#include "tools/ledger.h"
#include "tools/output.h"
#include "tools/settings.h"

static const char *const columns[] = {"id",    "name",         "account", "project", "class",
                                      "state", "live_secrets", "created", "expires"};

struct key_flags {
    struct settings settings;
    const char *account, *project, *class, *require;
    struct option_texts endpoints, ranges;
    uint64_t expires;
    bool strict, end_to_end, receipts;
};

#define KEY_OPTIONS(k)                                                                             \
    SETTINGS_OPTIONS((k).settings),                                                                \
        {"endpoint", OPTION_TEXTS, &(k).endpoints,                                                 \
         "only chat, completions, embeddings, models (all)"},                                      \
        {"range", OPTION_TEXTS, &(k).ranges, "only from these addresses (any)"},                   \
        {"expires", OPTION_TIME, &(k).expires, "good until then (for ever)"},                      \
        {"strict", OPTION_FLAG, &(k).strict, "refuse parameters that are not known"},              \
        {"end-to-end-only", OPTION_FLAG, &(k).end_to_end, "refuse what the gateway could read"},   \
        {"receipts", OPTION_FLAG, &(k).receipts, "keep workers' content receipts for a day"},      \
        {"require", OPTION_TEXT, &(k).require,                                                     \
         "evidence that workers must have, as Cocoon-Require"},                                    \
    {                                                                                              \
        "class", OPTION_TEXT, &(k).class, "interactive, batch or internal (interactive)"           \
    }

static void put_text(json_t *body, const char *name, const char *value)
{
    if (value)
        json_object_set_new(body, name, json_string(value));
}

static void put_list(json_t *scopes, const char *name, const struct option_texts *texts)
{
    if (texts->count > 0)
        json_object_set_new(scopes, name, settings_list(texts));
}

static json_t *body_of(const struct key_flags *k)
{
    json_t *body = json_object(), *scopes = json_object();

    settings_put(&k->settings, body, true);
    put_text(body, "class", k->class);
    put_text(body, "require", k->require);
    put_list(scopes, "models", &k->settings.models);
    put_list(scopes, "endpoints", &k->endpoints);
    put_list(scopes, "ranges", &k->ranges);
    if (json_object_size(scopes) > 0)
        json_object_set(body, "scopes", scopes);
    json_decref(scopes);
    if (k->expires > 0)
        json_object_set_new(body, "expires", json_integer((json_int_t)k->expires));
    if (k->strict)
        json_object_set_new(body, "strict", json_true());
    if (k->receipts)
        json_object_set_new(body, "receipts", json_true());
    if (k->end_to_end)
        json_object_set_new(body, "privacy", json_string("end-to-end"));
    return body;
}

int ledger_keys_create(const struct command *c, int argc, char **argv)
{
    struct ledger_flags f = ledger_flags_default();
    struct key_flags k = {.settings = SETTINGS_NONE, .account = "default", .project = ""};
    bool quiet = false;
    const struct option options[] = {{"account", OPTION_TEXT, &k.account, "who pays (default)"},
                                     {"project", OPTION_TEXT, &k.project, "a part of the account"},
                                     KEY_OPTIONS(k),
                                     {"quiet", OPTION_FLAG, &quiet, "print only the key"},
                                     LEDGER_FLAGS(f)};
    AUTO_JSON json_t *doc = NULL;
    struct operands operands;

    k.settings.name = "key";
    int code = options_parse(c, options, COUNT(options), argc, argv, 0, 0, &operands);
    if (code >= 0)
        return code;
    AUTO_JSON json_t *body = body_of(&k);
    put_text(body, "account", k.account);
    put_text(body, "project", k.project);
    code = ledger_ask(c, &f, "POST", "/v1/keys", body, &doc);
    return code >= 0 ? code : ledger_print_secret(&f, doc, "key", "Key", quiet);
}

int ledger_keys_set(const struct command *c, int argc, char **argv)
{
    struct ledger_flags f = ledger_flags_default();
    struct key_flags k = {.settings = SETTINGS_NONE};
    const struct option options[] = {KEY_OPTIONS(k), LEDGER_FLAGS(f)};
    AUTO(buf_fini) struct buf path = {0};
    struct operands operands;
    const int code = options_parse(c, options, COUNT(options), argc, argv, 1, 1, &operands);

    if (code >= 0)
        return code;
    AUTO_JSON json_t *body = body_of(&k);
    ledger_path(&path, "/v1/keys/%s", operands.items);
    return ledger_show(c, &f, "PATCH", buf_cstr(&path), body);
}

int ledger_keys_list(const struct command *c, int argc, char **argv)
{
    static const struct ledger_listing keys = {.path = "/v1/keys",
                                               .id = "id",
                                               .filter = "account",
                                               .filter_help = "only of this account",
                                               .columns = columns,
                                               .count = COUNT(columns)};

    return ledger_list(c, argc, argv, &keys);
}

int ledger_keys_show(const struct command *c, int argc, char **argv)
{
    return ledger_command(c, argc, argv, "GET", "/v1/keys/%s", NULL);
}

int ledger_keys_revoke(const struct command *c, int argc, char **argv)
{
    return ledger_command(c, argc, argv, "POST", "/v1/keys/%s/revoke", NULL);
}

int ledger_keys_rotate(const struct command *c, int argc, char **argv)
{
    struct ledger_flags f = ledger_flags_default();
    uint64_t grace = 3600;
    bool quiet = false;
    const struct option options[] = {
        {"grace", OPTION_DURATION, &grace, "how long the present secret stays good (1h)"},
        {"quiet", OPTION_FLAG, &quiet, "print only the key"},
        LEDGER_FLAGS(f)};
    AUTO(buf_fini) struct buf path = {0};
    AUTO_JSON json_t *doc = NULL;
    struct operands operands;
    int code = options_parse(c, options, COUNT(options), argc, argv, 1, 1, &operands);

    if (code >= 0)
        return code;
    AUTO_JSON json_t *body = json_pack("{s:I}", "grace_s", (json_int_t)grace);
    ledger_path(&path, "/v1/keys/%s/rotate", operands.items);
    code = ledger_ask(c, &f, "POST", buf_cstr(&path), body, &doc);
    return code >= 0 ? code : ledger_print_secret(&f, doc, "key", "Key", quiet);
}

int ledger_keys_restore(const struct command *c, int argc, char **argv)
{
    return ledger_command(c, argc, argv, "POST", "/v1/restore", NULL);
}
