/* cocoonctl credit, prices, usage, statements and receipts, kept by the ledger. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/encode.h"
#include "base/file.h"
#include "base/random.h"
#include "tools/ledger.h"
#include "tools/output.h"
#include "tools/settings.h"

enum { PRICES_MAX = 1 << 20, CREDIT_ID_BYTES = 8, BY_MAX = 5 };

// ---- Credit -------------------------------------------------------------------------------------

static int credit(const struct command *c, int argc, char **argv)
{
    struct ledger_flags f = ledger_flags_default();
    int64_t nano = 0;
    const char *id = NULL, *reference = "";
    const struct option options[] = {
        {"ton", OPTION_COINS, &nano, "how much"},
        {"id", OPTION_TEXT, &id, "names the payment: the same again gives nothing more (drawn)"},
        {"reference", OPTION_TEXT, &reference, "a text for people"},
        LEDGER_FLAGS(f)};
    AUTO_JSON json_t *body = json_object();
    char drawn[2 * CREDIT_ID_BYTES + 1];
    uint8_t bytes[CREDIT_ID_BYTES];
    struct operands operands;
    const int code = options_parse(c, options, COUNT(options), argc, argv, 1, 1, &operands);

    if (code >= 0)
        return code;
    if (nano == 0)
        return usage_error(c, "--ton is missing");
    if (id && !*id) /* such as of a variable that is not set: the same again would give more */
        return usage_error(c, "--id is empty");
    random_bytes(bytes, sizeof(bytes));
    hex_encode(drawn, SPAN_OF(bytes));
    json_object_set_new(body, "account", json_string(operands.items[0]));
    json_object_set_new(body, "id", json_string(id ? id : drawn));
    json_object_set_new(body, "reference", json_string(reference));
    settings_money(body, "amount", nano);
    return ledger_show(c, &f, "POST", "/v1/credit", body);
}

// ---- Prices -------------------------------------------------------------------------------------

static const char *const price_columns[] = {"version", "applied", "who", "sha256"};

static void print_changes(const json_t *doc)
{
    json_t *before = json_object_get(doc, "before"), *after = json_object_get(doc, "after");

    if (json_is_object(before)) {
        printf("Before:\n");
        json_print_flat(before);
        printf("\nAfter:\n");
    }
    json_print_flat(after);
    printf("\nVersion %d, SHA-256 %s%s\n", (int)json_integer_value(json_object_get(doc, "version")),
           json_string_value(json_object_get(doc, "sha256")),
           json_is_true(json_object_get(doc, "fresh")) ? ""
                                                       : ": it was there already, nothing changes");
}

static int prices_apply(const struct command *c, int argc, char **argv)
{
    struct ledger_flags f = ledger_flags_default();
    bool dry = false;
    const struct option options[] = {{"dry-run", OPTION_FLAG, &dry, "only show what would change"},
                                     LEDGER_FLAGS(f)};
    AUTO(buf_fini) struct buf yaml = {0};
    AUTO(buf_fini) struct buf answer = {0};
    AUTO_JSON json_t *doc = NULL;
    struct operands operands;
    int code = options_parse(c, options, COUNT(options), argc, argv, 1, 1, &operands);

    if (code >= 0)
        return code;
    if (file_read(operands.items[0], PRICES_MAX, &yaml) < 0)
        return failure(c, "%s cannot be read: %m", operands.items[0]);
    code = ledger_send(c, &f, "POST", dry ? "/v1/prices?dry_run=true" : "/v1/prices",
                       "application/yaml", buf_span(&yaml), &answer);
    if (code >= 0)
        return code;
    if (json_read(buf_span(&answer), &doc) < 0)
        return failure(c, "%s answers something else than a ledger", f.where);
    if (f.json)
        json_print(doc);
    else
        print_changes(doc);
    return EXIT_DONE;
}

static int prices_list(const struct command *c, int argc, char **argv)
{
    static const struct ledger_listing prices = {
        .path = "/v1/prices", .columns = price_columns, .count = COUNT(price_columns)};

    return ledger_list(c, argc, argv, &prices);
}

static int prices_show(const struct command *c, int argc, char **argv)
{
    struct ledger_flags f = ledger_flags_default();
    const struct option options[] = {LEDGER_FLAGS(f)};
    AUTO(buf_fini) struct buf path = {0};
    struct operands operands;
    const int code = options_parse(c, options, COUNT(options), argc, argv, 0, 1, &operands);

    if (code >= 0)
        return code;
    ledger_path(&path, operands.count ? "/v1/prices/%s" : "/v1/prices/current", operands.items);
    return ledger_show(c, &f, "GET", buf_cstr(&path), NULL);
}

// ---- Usage and statements -----------------------------------------------------------------------

struct usage_flags {
    const char *account, *project, *key, *model, *by;
    uint64_t from, to;
    bool csv;
};

static void put_time(struct buf *path, const char *name, uint64_t seconds)
{
    char text[24];

    snprintf(text, sizeof(text), "%llu", (unsigned long long)seconds);
    ledger_query(path, name, seconds ? text : "");
}

static void usage_path(struct buf *path, const struct usage_flags *u)
{
    buf_append_str(path, "/v1/usage");
    ledger_query(path, "account", u->account);
    ledger_query(path, "project", u->project);
    ledger_query(path, "key", u->key);
    ledger_query(path, "model", u->model);
    ledger_query(path, "by", u->by);
    put_time(path, "from", u->from);
    put_time(path, "to", u->to);
    ledger_query(path, "format", u->csv ? "csv" : "");
}

// The columns that were asked for, then the sums.
static int print_usage(const struct ledger_flags *f, const json_t *rows, const char *by)
{
    static const char *const sums[] = {"requests",  "in",     "cached", "out",
                                       "reasoning", "amount", "fee"};
    const char *columns[TABLE_COLUMNS];
    struct span rest = span_str(by);
    char words[BY_MAX][16];
    size_t count = 0;

    while (rest.len > 0 && count < BY_MAX) {
        const struct span word = span_split(&rest, ',');
        const bool time = span_is(word, "hour") || span_is(word, "day");
        if (time || span_cstr(word, words[count], sizeof(words[0])) == 0)
            columns[count] = time ? "time" : words[count];
        count++;
    }
    for (size_t i = 0; i < COUNT(sums); i++)
        columns[count++] = sums[i];
    return ledger_print_rows(f, rows, columns, count);
}

static int ask_usage(const struct command *c, const struct ledger_flags *f,
                     const struct usage_flags *u)
{
    AUTO(buf_fini) struct buf path = {0};
    AUTO(buf_fini) struct buf answer = {0};
    AUTO_JSON json_t *doc = NULL;

    usage_path(&path, u);
    const int code = ledger_send(c, f, "GET", buf_cstr(&path), NULL, span_of(NULL, 0), &answer);
    if (code >= 0)
        return code;
    if (u->csv) {
        fwrite(answer.data, 1, answer.len, stdout);
        return EXIT_DONE;
    }
    doc = json_loadb((const char *)answer.data, answer.len, 0, NULL);
    if (!doc)
        return failure(c, "%s answers something else than a ledger", f->where);
    return print_usage(f, json_object_get(doc, "data"), u->by);
}

static int usage(const struct command *c, int argc, char **argv)
{
    struct ledger_flags f = ledger_flags_default();
    struct usage_flags u = {"", "", "", "", "", 0, 0, false};
    const struct option options[] = {
        {"account", OPTION_TEXT, &u.account, "only of this account"},
        {"project", OPTION_TEXT, &u.project, "only of this project"},
        {"key", OPTION_TEXT, &u.key, "only of this key (id)"},
        {"model", OPTION_TEXT, &u.model, "only of this model"},
        {"by", OPTION_TEXT, &u.by, "of account,project,key,model and hour or day"},
        {"from", OPTION_SINCE, &u.from, "from then, or so long ago, on"},
        {"to", OPTION_SINCE, &u.to, "until then, or so long ago"},
        {"csv", OPTION_FLAG, &u.csv, "print CSV"},
        LEDGER_FLAGS(f)};
    struct operands operands;
    const int code = options_parse(c, options, COUNT(options), argc, argv, 0, 0, &operands);

    return code >= 0 ? code : ask_usage(c, &f, &u);
}

// "2027-01", or "" for the present month, as its first and the next one's first second (UTC).
static bool month_bounds(const char *month, uint64_t *from, uint64_t *to)
{
    const time_t now = (time_t)(clock_wall_ms() / 1000);
    struct tm tm = {0};

    if (!*month) {
        gmtime_r(&now, &tm);
    } else {
        const char *end = strptime(month, "%Y-%m", &tm);
        if (!end || *end)
            return false;
    }
    struct tm first = {.tm_year = tm.tm_year, .tm_mon = tm.tm_mon, .tm_mday = 1};
    struct tm next = {.tm_year = tm.tm_year, .tm_mon = tm.tm_mon + 1, .tm_mday = 1};
    *from = (uint64_t)timegm(&first);
    *to = (uint64_t)timegm(&next);
    return true;
}

static int statements(const struct command *c, int argc, char **argv)
{
    struct ledger_flags f = ledger_flags_default();
    struct usage_flags u = {"", "", "", "", "day,project,key,model", 0, 0, false};
    const char *month = "";
    const struct option options[] = {{"month", OPTION_TEXT, &month, "2027-01 (the present one)"},
                                     {"by", OPTION_TEXT, &u.by, "columns (day,project,key,model)"},
                                     {"csv", OPTION_FLAG, &u.csv, "print CSV"},
                                     LEDGER_FLAGS(f)};
    struct operands operands;
    const int code = options_parse(c, options, COUNT(options), argc, argv, 1, 1, &operands);

    if (code >= 0)
        return code;
    if (!month_bounds(month, &u.from, &u.to))
        return usage_error(c, "--month must be as 2027-01");
    u.account = operands.items[0];
    return ask_usage(c, &f, &u);
}

// ---- Receipts -----------------------------------------------------------------------------------

static const char *const bill_columns[] = {"seq",    "call", "model",     "key",    "in",
                                           "cached", "out",  "reasoning", "amount", "fee"};

static int receipts_list(const struct command *c, int argc, char **argv)
{
    struct ledger_flags f = ledger_flags_default();
    int64_t limit = 100, before = 0;
    const struct option options[] = {
        {"limit", OPTION_NUMBER, &limit, "how many (100), at most 1000"},
        {"before", OPTION_NUMBER, &before, "only those before this seq, the next page"},
        LEDGER_FLAGS(f)};
    AUTO(buf_fini) struct buf path = {0};
    AUTO_JSON json_t *doc = NULL;
    struct operands operands;
    char text[24];
    int code = options_parse(c, options, COUNT(options), argc, argv, 1, 1, &operands);

    if (code >= 0)
        return code;
    snprintf(text, sizeof(text), "%lld", (long long)limit);
    ledger_path(&path, "/v1/accounts/%s/bills", operands.items);
    ledger_query(&path, "limit", text);
    snprintf(text, sizeof(text), "%lld", (long long)before);
    ledger_query(&path, "before", text);
    code = ledger_ask(c, &f, "GET", buf_cstr(&path), NULL, &doc);
    return code >= 0 ? code
                     : ledger_print_rows(&f, json_object_get(doc, "data"), bill_columns,
                                         COUNT(bill_columns));
}

static int receipts_show(const struct command *c, int argc, char **argv)
{
    return ledger_command(c, argc, argv, "GET", "/v1/receipts/%s", NULL);
}

const struct command money_commands[] = {
    {"credit", "", "ACCOUNT", "Give an account money, once for each id.", credit},
    {"prices", "apply", "FILE", "Put a price book in force.", prices_apply},
    {"prices", "list", "", "The price books.", prices_list},
    {"prices", "show", "[VERSION]", "A price book (the newest).", prices_show},
    {"usage", "", "", "What was used and what it cost.", usage},
    {"statements", "", "ACCOUNT", "An account's month, a line a day, project, key and model.",
     statements},
    {"receipts", "list", "ACCOUNT", "An account's bills, newest first.", receipts_list},
    {"receipts", "show", "CALL", "A call's bill with its usage record and proof.", receipts_show},
    {NULL, NULL, NULL, NULL, NULL},
};
