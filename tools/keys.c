/* cocoonctl keys: API keys in the keys file and in Redis; or, where $COCOON_LEDGER names one, in
 * the ledger (ledger_keys.c). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attest/require.h"
#include "auth/cidr.h"
#include "tools/command.h"
#include "tools/ledger.h"
#include "tools/ledger_keys.h"
#include "tools/output.h"
#include "tools/project.h"
#include "tools/redis_flags.h"

#define DEFAULT_FILE "./keys.json"

struct common {
    const char *file;
    struct redis_flags redis;
    bool json;
};

#define COMMON_OPTIONS(c)                                                                          \
    {"keys-file", OPTION_TEXT, &(c).file, "the keys file ($COCOON_KEYS_FILE, else ./keys.json)"},  \
        REDIS_FLAGS((c).redis){"json", OPTION_FLAG, &(c).json, "print JSON"},

static struct common common_defaults(void)
{
    const char *file = getenv("COCOON_KEYS_FILE");

    return (struct common){.file = file && *file ? file : DEFAULT_FILE,
                           .redis = redis_flags_default()};
}

static struct keys_file *open_file(const struct command *c, const struct common *o, bool change)
{
    AUTO(buf_fini) struct buf why = {0};
    struct keys_file *f;

    if (keys_file_open(&f, o->file, change, &why) == 0)
        return f;
    failure(c, "%s", buf_cstr(&why));
    return NULL;
}

static json_t *find_key(const struct command *c, const struct keys_file *f, const char *which)
{
    json_t *key = NULL;
    const int error = keys_file_find(f, which, &key);

    if (error == 0)
        return key;
    failure(c,
            error == E_EXISTS ? "several keys are named \"%s\": use the id (cocoonctl keys list)"
                              : "no key has the id or name \"%s\" (cocoonctl keys list)",
            which);
    return NULL;
}

static int project(const struct common *o, struct keys_file *f, json_t *key, size_t *written,
                   struct buf *why)
{
    AUTO(redis_flags_fini) struct redis_flags flags = o->redis;

    *written = 0;
    TRY(redis_flags_finish(&flags, why));
    return project_keys(f, key, &flags.at, written, why);
}

// Brings the saved change to Redis; what was recorded stays, also when Redis is away.
static int commit(const struct command *c, const struct common *o, struct keys_file *f, json_t *key)
{
    AUTO(buf_fini) struct buf why = {0};
    size_t written;

    if (project(o, f, key, &written, &why) == 0)
        return EXIT_DONE;
    return failure(c,
                   "recorded in %s, but the gateways do not know yet: %s.\nOnce Redis is back: "
                   "cocoonctl keys restore",
                   o->file, buf_cstr(&why));
}

// ---- Showing ------------------------------------------------------------------------------------

static const char *text_of(const json_t *key, const char *name)
{
    const char *text = json_string_value(json_object_get(key, name));

    return text ? text : "";
}

static uint64_t number_of(const json_t *key, const char *name)
{
    return (uint64_t)json_integer_value(json_object_get(key, name));
}

static const char *state_of(const json_t *key)
{
    if (strcmp(text_of(key, "state"), "active") != 0)
        return "revoked";
    return key_entry_live(key) ? "active" : "expired";
}

static void note_live(void *arg, const char *lookup, struct span record)
{
    size_t *live = arg;
    AUTO(key_record_unref) struct key_record *r = NULL;

    (void)lookup;
    if (key_record_parse(&r, record) == 0 && key_record_live(r))
        ++*live;
}

// What is shown of a key: no hashes.
static json_t *shown(json_t *key)
{
    json_t *copy = json_copy(key);
    size_t live = 0;

    CHECK(copy);
    keys_file_project(key, note_live, &live);
    json_object_del(copy, "secrets");
    json_object_set_new(copy, "state", json_string(state_of(key)));
    json_object_set_new(copy, "live_secrets", json_integer((json_int_t)live));
    return copy;
}

static void list_row(struct table *t, const json_t *key)
{
    char created[TIME_TEXT_LEN], expires[TIME_TEXT_LEN];

    time_text(created, number_of(key, "created"));
    time_text(expires, number_of(key, "expires"));
    table_row(t, 8,
              (const char *const[]){text_of(key, "id"), text_of(key, "name"),
                                    text_of(key, "account"), text_of(key, "project"),
                                    text_of(key, "class"), state_of(key), created, expires});
}

static void print_list(const struct keys_file *f)
{
    const json_t *keys = keys_file_list(f);
    struct table t = {0};

    table_row(&t, 8,
              (const char *const[]){"ID", "NAME", "ACCOUNT", "PROJECT", "CLASS", "STATE", "CREATED",
                                    "EXPIRES"});
    for (size_t i = 0; i < json_array_size(keys); i++)
        list_row(&t, json_array_get(keys, i));
    table_print(&t);
    table_free(&t);
}

static void print_list_json(const struct keys_file *f)
{
    AUTO_JSON json_t *out = json_array();
    const json_t *keys = keys_file_list(f);

    for (size_t i = 0; i < json_array_size(keys); i++)
        json_array_append_new(out, shown(json_array_get(keys, i)));
    json_print(out);
}

static int file_list(const struct command *c, int argc, char **argv)
{
    struct common o = common_defaults();
    const struct option options[] = {COMMON_OPTIONS(o)};
    struct operands operands;
    const int code = options_parse(c, options, COUNT(options), argc, argv, 0, 0, &operands);

    if (code >= 0)
        return code;
    AUTO(keys_file_free) struct keys_file *f = open_file(c, &o, false);
    if (!f)
        return EXIT_FAILED;
    if (o.json)
        print_list_json(f);
    else
        print_list(f);
    return EXIT_DONE;
}

static int file_show(const struct command *c, int argc, char **argv)
{
    struct common o = common_defaults();
    const struct option options[] = {COMMON_OPTIONS(o)};
    struct operands operands;
    const int code = options_parse(c, options, COUNT(options), argc, argv, 1, 1, &operands);

    if (code >= 0)
        return code;
    AUTO(keys_file_free) struct keys_file *f = open_file(c, &o, false);
    json_t *key = f ? find_key(c, f, operands.items[0]) : NULL;
    if (!key)
        return EXIT_FAILED;
    AUTO_JSON json_t *out = shown(key);
    if (o.json)
        json_print(out);
    else
        json_print_flat(out);
    return EXIT_DONE;
}

// ---- Changing -----------------------------------------------------------------------------------

// The one time that a secret is shown.
static void print_secret(json_t *key, struct buf *text, bool json, bool quiet)
{
    if (json) {
        AUTO_JSON json_t *out = shown(key);
        json_object_set_new(out, "key", json_stringn((const char *)text->data, text->len));
        json_print(out);
        return;
    }
    if (!quiet)
        printf("Key %s (%s, account %s). This is shown only once:\n", text_of(key, "id"),
               text_of(key, "name"), text_of(key, "account"));
    printf("%s\n", buf_cstr(text));
}

static int check_words(const struct command *c, const struct option_texts *endpoints,
                       const struct option_texts *ranges, const struct key_spec *s)
{
    struct attest_require require;
    struct cidr range;
    char why[120];

    if (s->require && attest_require_read(&require, span_str(s->require), why) < 0)
        return usage_error(c, "--require must be a list of tee=tdx, gpu=nvidia-cc, "
                              "tcb=up-to-date, measurement=HEX");

    for (size_t i = 0; i < endpoints->count; i++) {
        if (!key_endpoint_known(span_str(endpoints->items[i])))
            return usage_error(c, "--endpoint must be chat, completions, embeddings or models");
    }
    for (size_t i = 0; i < ranges->count; i++) {
        if (cidr_parse(&range, span_str(ranges->items[i])) < 0)
            return usage_error(c, "--range must be an address or a range such as 10.0.0.0/8");
    }
    if (strcmp(s->class, "interactive") != 0 && strcmp(s->class, "batch") != 0 &&
        strcmp(s->class, "internal") != 0)
        return usage_error(c, "--class must be interactive, batch or internal");
    return -1;
}

static const char *const *list_or_all(const struct option_texts *texts)
{
    return texts->count ? (const char *const *)texts->items : NULL;
}

static int create(const struct command *c, const struct common *o, const struct key_spec *spec,
                  bool quiet)
{
    AUTO(buf_wipe) struct buf text = {0};
    AUTO(keys_file_free) struct keys_file *f = open_file(c, o, true);
    char id[2 * KEY_ID_LEN + 1];
    json_t *key;

    if (!f)
        return EXIT_FAILED;
    if (keys_file_create(f, spec, &text, id) < 0)
        return usage_error(c, "--account, --project (words of at most 64 characters), --name (64 "
                              "bytes), --model (256 characters), --max-coefficient (1000000) or "
                              "--weight (1 to 1000) is not usable");
    if (keys_file_save(f) < 0 || keys_file_find(f, id, &key) < 0)
        return failure(c, "%s cannot be written: %m", o->file);
    print_secret(key, &text, o->json, quiet);
    return commit(c, o, f, key);
}

static int file_create(const struct command *c, int argc, char **argv)
{
    struct common o = common_defaults();
    struct key_spec s = {
        .name = "key", .account = "default", .project = "", .class = "interactive"};
    struct option_texts models = {0}, endpoints = {0}, ranges = {0};
    bool quiet = false;
    const struct option options[] = {
        {"name", OPTION_TEXT, &s.name, "a name for people (key)"},
        {"account", OPTION_TEXT, &s.account, "who pays (default)"},
        {"project", OPTION_TEXT, &s.project, "a part of the account"},
        {"model", OPTION_TEXTS, &models, "only these models (all)"},
        {"endpoint", OPTION_TEXTS, &endpoints, "only chat, completions, embeddings, models (all)"},
        {"range", OPTION_TEXTS, &ranges, "only from these addresses (any)"},
        {"expires", OPTION_TIME, &s.expires_s, "good until then (for ever)"},
        {"max-output", OPTION_NUMBER, &s.max_output, "most tokens of an answer (the gateway's)"},
        {"max-coefficient", OPTION_NUMBER, &s.max_coefficient,
         "most to pay, in 1/1000 of the list price, where a request does not say (1000)"},
        {"weight", OPTION_NUMBER, &s.weight,
         "share of its account where calls wait, 1 to 1000 (100)"},
        {"strict", OPTION_FLAG, &s.strict, "refuse parameters that are not known"},
        {"end-to-end-only", OPTION_FLAG, &s.end_to_end_only, "refuse what the gateway could read"},
        {"receipts", OPTION_FLAG, &s.receipts, "keep workers' content receipts for a day"},
        {"require", OPTION_TEXT, &s.require, "evidence that workers must have, as Cocoon-Require"},
        {"class", OPTION_TEXT, &s.class, "interactive, batch or internal (interactive)"},
        {"quiet", OPTION_FLAG, &quiet, "print only the key"},
        COMMON_OPTIONS(o)};
    struct operands operands;
    int code = options_parse(c, options, COUNT(options), argc, argv, 0, 0, &operands);

    if (code < 0)
        code = check_words(c, &endpoints, &ranges, &s);
    if (code >= 0)
        return code;
    s.models = list_or_all(&models);
    s.endpoints = list_or_all(&endpoints);
    s.ranges = list_or_all(&ranges);
    return create(c, &o, &s, quiet);
}

static int file_revoke(const struct command *c, int argc, char **argv)
{
    struct common o = common_defaults();
    const struct option options[] = {COMMON_OPTIONS(o)};
    struct operands operands;
    int code = options_parse(c, options, COUNT(options), argc, argv, 1, 1, &operands);

    if (code >= 0)
        return code;
    AUTO(keys_file_free) struct keys_file *f = open_file(c, &o, true);
    json_t *key = f ? find_key(c, f, operands.items[0]) : NULL;
    if (!key)
        return EXIT_FAILED;
    if (keys_file_revoke(f, key) == 0 && keys_file_save(f) < 0)
        return failure(c, "%s cannot be written: %m", o.file);
    code =
        commit(c, &o, f, key); /* again for a key that is revoked already: gateways may not know */
    AUTO_JSON json_t *out = shown(key);
    if (o.json)
        json_print(out);
    else if (code == EXIT_DONE)
        printf("Key %s (%s) is revoked.\n", text_of(key, "id"), text_of(key, "name"));
    return code;
}

static int file_rotate(const struct command *c, int argc, char **argv)
{
    struct common o = common_defaults();
    AUTO(buf_wipe) struct buf text = {0};
    uint64_t grace_s = 3600;
    bool quiet = false;
    const struct option options[] = {
        {"grace", OPTION_DURATION, &grace_s, "how long the present secret stays good (1h)"},
        {"quiet", OPTION_FLAG, &quiet, "print only the key"},
        COMMON_OPTIONS(o)};
    struct operands operands;
    const int code = options_parse(c, options, COUNT(options), argc, argv, 1, 1, &operands);

    if (code >= 0)
        return code;
    AUTO(keys_file_free) struct keys_file *f = open_file(c, &o, true);
    json_t *key = f ? find_key(c, f, operands.items[0]) : NULL;
    if (!key)
        return EXIT_FAILED;
    if (keys_file_rotate(f, key, grace_s, &text) < 0)
        return failure(c, "key %s is %s", text_of(key, "id"), state_of(key));
    if (keys_file_save(f) < 0)
        return failure(c, "%s cannot be written: %m", o.file);
    print_secret(key, &text, o.json, quiet);
    return commit(c, &o, f, key);
}

static int file_restore(const struct command *c, int argc, char **argv)
{
    struct common o = common_defaults();
    const struct option options[] = {COMMON_OPTIONS(o)};
    AUTO(buf_fini) struct buf why = {0};
    struct operands operands;
    size_t written;
    const int code = options_parse(c, options, COUNT(options), argc, argv, 0, 0, &operands);

    if (code >= 0)
        return code;
    AUTO(keys_file_free) struct keys_file *f = open_file(c, &o, true);
    if (!f)
        return EXIT_FAILED;
    /* An empty file gets its epoch written too, so that the marker can be found again. */
    if (json_array_size(keys_file_list(f)) == 0 && keys_file_save(f) < 0)
        return failure(c, "%s cannot be written: %m", o.file);
    if (project(&o, f, NULL, &written, &why) < 0)
        return failure(c, "%s", buf_cstr(&why));
    if (o.json)
        printf("{\"keys\":%zu,\"records\":%zu}\n", json_array_size(keys_file_list(f)), written);
    else
        printf("%zu keys restored.\n", json_array_size(keys_file_list(f)));
    return EXIT_DONE;
}

// ---- One of the two records ---------------------------------------------------------------------

#define BY_RECORD(name)                                                                            \
    static int keys_##name(const struct command *c, int argc, char **argv)                         \
    {                                                                                              \
        return ledger_is_named() ? ledger_keys_##name(c, argc, argv) : file_##name(c, argc, argv); \
    }

BY_RECORD(create)
BY_RECORD(list)
BY_RECORD(show)
BY_RECORD(revoke)
BY_RECORD(rotate)
BY_RECORD(restore)

const struct command key_commands[] = {
    {"keys", "create", "", "Make a key; its secret is printed once.", keys_create},
    {"keys", "list", "", "All keys.", keys_list},
    {"keys", "show", "KEY", "One key, by id or name.", keys_show},
    {"keys", "set", "KEY", "Change what a key may do (ledger only).", ledger_keys_set},
    {"keys", "revoke", "KEY", "End a key for good, at once.", keys_revoke},
    {"keys", "rotate", "KEY", "Give a key a new secret; the present one stays good for the grace.",
     keys_rotate},
    {"keys", "restore", "", "Bring all keys to Redis anew.", keys_restore},
    {NULL, NULL, NULL, NULL, NULL},
};
