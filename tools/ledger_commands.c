/* cocoonctl ledger and audit: how the books are, and what to do after a loss. */
#include <stdio.h>
#include <stdlib.h>

#include "ledger/books/journal.h"
#include "tools/ledger.h"
#include "tools/output.h"

static int status(const struct command *c, int argc, char **argv)
{
    return ledger_command(c, argc, argv, "GET", "/v1/status", NULL);
}

// ---- Verify -------------------------------------------------------------------------------------

static void add_line(void *arg, const struct verify_line *line)
{
    const char *detail = span_utf8(span_str(line->detail)) ? line->detail : "(no text)";

    json_array_append_new(arg, json_pack("{s:s, s:s, s:b, s:I, s:I, s:s}", "check", line->name,
                                         "what", line->what, "good", line->good, "looked_at",
                                         (json_int_t)line->looked_at, "difference",
                                         (json_int_t)line->difference, "detail", detail));
}

static int check_all(struct books *b, const struct option_texts *journals, json_t *lines,
                     bool *good)
{
    TRY(books_verify(b, add_line, lines, good));
    for (size_t i = 0; i < journals->count; i++)
        TRY(journal_verify(b, journals->items[i], add_line, lines, good));
    return 0;
}

// A copy of the books, which nobody writes: without Redis, so without I11.
static int verify_copy(const struct command *c, const char *where,
                       const struct option_texts *journals, json_t **doc)
{
    AUTO(buf_fini) struct buf why = {0};
    AUTO(books_close) struct books *b = NULL;
    AUTO_JSON json_t *lines = json_array();
    bool good = false;

    if (books_open(&b, where, false, &why) < 0)
        return failure(c, "%s", buf_cstr(&why));
    books_why("%s", "");
    int error = books_begin(b);
    if (error == 0)
        error = books_end(b, check_all(b, journals, lines, &good));
    if (error == E_INVALID)
        return failure(c, "--journal: %s", books_reason());
    if (error < 0)
        return failure(c, "%s cannot be read: %s", where, error_name(error));
    *doc = json_pack("{s:b, s:O}", "good", good, "checks", lines);
    return -1;
}

static void print_check(const json_t *line)
{
    const char *detail = json_string_value(json_object_get(line, "detail"));

    printf("%-4s %-4s %8lld  %s", json_is_true(json_object_get(line, "good")) ? "ok" : "BAD",
           json_string_value(json_object_get(line, "check")),
           (long long)json_integer_value(json_object_get(line, "looked_at")),
           json_string_value(json_object_get(line, "what")));
    if (!json_is_true(json_object_get(line, "good")))
        printf(": difference %lld",
               (long long)json_integer_value(json_object_get(line, "difference")));
    printf("%s%s\n", detail && *detail ? ": " : "", detail ? detail : "");
}

static int verify(const struct command *c, int argc, char **argv)
{
    struct ledger_flags f = ledger_flags_default();
    const char *books = "";
    struct option_texts journals = {.count = 0};
    const struct option options[] = {
        {"books", OPTION_TEXT, &books, "a copy of the books, in place of the running ledger"},
        {"journal", OPTION_TEXTS, &journals, "a gateway's, whose charges must be in that copy"},
        LEDGER_FLAGS(f)};
    AUTO_JSON json_t *doc = NULL;
    struct operands operands;
    int code = options_parse(c, options, COUNT(options), argc, argv, 0, 0, &operands);

    if (code < 0 && journals.count > 0 && !*books)
        return usage_error(c, "--journal needs --books");
    if (code < 0)
        code = *books ? verify_copy(c, books, &journals, &doc)
                      : ledger_ask(c, &f, "GET", "/v1/verify", NULL, &doc);
    if (code >= 0)
        return code;
    const json_t *checks = json_object_get(doc, "checks");
    if (f.json)
        json_print(doc);
    for (size_t i = 0; !f.json && i < json_array_size(checks); i++)
        print_check(json_array_get(checks, i));
    return json_is_true(json_object_get(doc, "good")) ? EXIT_DONE : EXIT_FAILED;
}

// ---- After a loss -------------------------------------------------------------------------------

static int recover(const struct command *c, int argc, char **argv)
{
    struct ledger_flags f = ledger_flags_default();
    const char *without = "";
    const struct option options[] = {{"without", OPTION_TEXT, &without,
                                      "do not wait for this gateway, which will not come back"},
                                     LEDGER_FLAGS(f)};
    struct operands operands;
    const int code = options_parse(c, options, COUNT(options), argc, argv, 0, 0, &operands);

    if (code >= 0)
        return code;
    AUTO_JSON json_t *body = *without ? json_pack("{s:s}", "without", without) : NULL;
    return ledger_show(c, &f, "POST", "/v1/recover", body);
}

static int restore(const struct command *c, int argc, char **argv)
{
    return ledger_command(c, argc, argv, "POST", "/v1/restore", NULL);
}

// How many: the member of a bill that is also called taken is a time.
static void print_counts(const json_t *doc)
{
    static const char *const names[] = {"taken", "known", "refused"};
    struct table t = {0};
    char count[24];

    table_row(
        &t, 2,
        (const char *const[]){"instance", json_string_value(json_object_get(doc, "instance"))});
    for (size_t i = 0; i < COUNT(names); i++) {
        snprintf(count, sizeof(count), "%" JSON_INTEGER_FORMAT,
                 json_integer_value(json_object_get(doc, names[i])));
        table_row(&t, 2, (const char *const[]){names[i], count});
    }
    table_print(&t);
    table_free(&t);
}

static int intake(const struct command *c, int argc, char **argv)
{
    struct ledger_flags f = ledger_flags_default();
    bool revoked = false;
    const struct option options[] = {{"revoked", OPTION_FLAG, &revoked,
                                      "its bills were looked through: take those of a revoked key"},
                                     LEDGER_FLAGS(f)};
    struct operands operands;
    int code = options_parse(c, options, COUNT(options), argc, argv, 1, 1, &operands);

    if (code >= 0)
        return code;
    AUTO(buf_fini) struct buf path = {0};
    char *full = realpath(operands.items[0], NULL);
    buf_append_str(&path, full ? full : operands.items[0]);
    free(full);
    AUTO_JSON json_t *body = json_pack("{s:s, s:b}", "path", buf_cstr(&path), "revoked", revoked);
    AUTO_JSON json_t *doc = NULL;
    code = ledger_ask(c, &f, "POST", "/v1/intake", body, &doc);
    if (code >= 0)
        return code;
    if (f.json)
        json_print(doc);
    else
        print_counts(doc);
    return EXIT_DONE;
}

// ---- Whose bills --------------------------------------------------------------------------------

static int bill_keys(const struct command *c, int argc, char **argv)
{
    static const char *const columns[] = {"kid", "ed25519", "since", "revoked"};
    static const struct ledger_listing listing = {
        .path = "/v1/bill-keys", .id = "kid", .columns = columns, .count = COUNT(columns)};

    return ledger_list(c, argc, argv, &listing);
}

static int revoke_key(const struct command *c, int argc, char **argv)
{
    return ledger_command(c, argc, argv, "POST", "/v1/bill-keys/%s/revoke", NULL);
}

static int reinstate_key(const struct command *c, int argc, char **argv)
{
    return ledger_command(c, argc, argv, "POST", "/v1/bill-keys/%s/reinstate", NULL);
}

// ---- Looking ------------------------------------------------------------------------------------

static int purses(const struct command *c, int argc, char **argv)
{
    static const char *const columns[] = {"name", "currency", "debits", "credits", "balance"};
    static const struct ledger_listing listing = {
        .path = "/v1/purses", .columns = columns, .count = COUNT(columns)};

    return ledger_list(c, argc, argv, &listing);
}

static int transfers(const struct command *c, int argc, char **argv)
{
    static const char *const columns[] = {"seq",  "time",   "debit",    "credit",
                                          "code", "amount", "reference"};
    static const struct ledger_listing listing = {.path = "/v1/transfers?limit=100",
                                                  .filter = "purse",
                                                  .filter_help = "only of this purse",
                                                  .columns = columns,
                                                  .count = COUNT(columns)};

    return ledger_list(c, argc, argv, &listing);
}

static int days(const struct command *c, int argc, char **argv)
{
    static const char *const columns[] = {"day", "leaves", "root", "closed"};
    static const struct ledger_listing listing = {
        .path = "/v1/days", .columns = columns, .count = COUNT(columns)};

    return ledger_list(c, argc, argv, &listing);
}

static int audit(const struct command *c, int argc, char **argv)
{
    static const char *const columns[] = {"seq", "time", "who", "role", "action", "object"};
    static const struct ledger_listing listing = {.path = "/v1/audit?limit=100",
                                                  .filter = "object",
                                                  .filter_help =
                                                      "only of this account, key, project …",
                                                  .columns = columns,
                                                  .count = COUNT(columns)};

    return ledger_list(c, argc, argv, &listing);
}

const struct command ledger_commands[] = {
    {"ledger", "status", "", "What the ledger does, and what it waits for.", status},
    {"ledger", "verify", "", "Check every invariant of the books and of Redis.", verify},
    {"ledger", "restore", "", "Bring everything to Redis anew.", restore},
    {"ledger", "recover", "", "Write balances anew once all gateways have put back theirs.",
     recover},
    {"ledger", "intake", "JOURNAL", "Take a gateway's journal into the books.", intake},
    {"ledger", "bill-keys", "", "The keys that gateways sign their bills with.", bill_keys},
    {"ledger", "revoke-key", "KID", "Take no bill of that key from now on.", revoke_key},
    {"ledger", "reinstate-key", "KID", "Take its bills again.", reinstate_key},
    {"ledger", "purses", "", "The books' accounts and their sums.", purses},
    {"ledger", "transfers", "", "Transfers, newest first.", transfers},
    {"ledger", "days", "", "The days' trees of bills.", days},
    {"audit", "", "", "Who changed what.", audit},
    {NULL, NULL, NULL, NULL, NULL},
};
