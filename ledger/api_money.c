/* Credit, transfers, prices, bills and statements. */
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "ledger/api.h"
#include "ledger/books/account.h"
#include "ledger/books/fields.h"
#include "ledger/books/prices.h"
#include "ledger/books/transfer.h"
#include "ledger/books/usage.h"

enum { HOUR_S = 3600, CALL_LEN = 32 };

int api_credit(struct request *r)
{
    static const struct field fields[] = {
        {.name = "account", .type = FIELD_ID},
        {.name = "id", .type = FIELD_ID},
        {.name = "amount", .type = FIELD_MONEY, .max = FIELD_MONEY_MAX},
        {.name = "reference", .type = FIELD_TEXT, .max = 256},
    };
    AUTO_JSON json_t *credit = record_object();
    bool fresh;

    TRY(api_body(r));
    TRY(fields_take(fields, sizeof(fields) / sizeof(fields[0]), r->json, credit));
    const char *account = record_text(credit, "account", "");
    TRY(account_credit(r->ledger->books, &r->actor, account, record_money(credit, "amount"),
                       record_text(credit, "id", ""),
                       span_str(record_text(credit, "reference", "")), &fresh, &r->out));
    record_set(r->out, "fresh", json_boolean(fresh));
    projection_account(r->ledger->projection, account);
    return 0;
}

int api_purses(struct request *r)
{
    json_t *list;

    TRY(purses_list(r->ledger->books, &list));
    r->out = record_object();
    record_set(r->out, "data", list);
    return 0;
}

int api_transfers(struct request *r)
{
    char purse[REQUEST_WORD];
    int64_t before;
    size_t limit;

    TRY(request_word(r, "purse", purse));
    TRY(request_number(r, "before", 0, INT64_MAX, 0, &before));
    TRY(api_limit(r, &limit));
    return transfers_list(r->ledger->books, purse, before, limit, &r->out);
}

// ---- Prices -------------------------------------------------------------------------------------

int api_prices_list(struct request *r)
{
    return prices_list(r->ledger->books, &r->out);
}

int api_prices_show(struct request *r)
{
    uint64_t version = 0;

    if (strcmp(r->params[0], "current") != 0 &&
        (span_u64(span_str(r->params[0]), INT32_MAX, &version) < 0 || version == 0))
        return E_NOT_FOUND;
    return prices_find(r->ledger->books, (int64_t)version, &r->out);
}

// The body is the YAML of price_file.h.
int api_prices_apply(struct request *r)
{
    char dry[REQUEST_WORD];

    TRY(request_word(r, "dry_run", dry));
    TRY(prices_apply(r->ledger->books, &r->actor, buf_span(&r->body), strcmp(dry, "true") == 0,
                     &r->out));
    if (strcmp(dry, "true") != 0)
        projection_prices(r->ledger->projection);
    return 0;
}

// ---- Statements ---------------------------------------------------------------------------------

static int read_time(const struct request *r, const char *name, int64_t absent, int64_t *hour)
{
    int64_t seconds;

    TRY(request_number(r, name, 0, INT64_C(253402300799), absent, &seconds));
    *hour = seconds / HOUR_S;
    return 0;
}

static int read_filter(const struct request *r, struct usage_filter *f,
                       char words[static 5][REQUEST_WORD])
{
    const int64_t now = (int64_t)(clock_wall_ms() / 1000);
    static const char *const names[] = {"account", "project", "key", "model", "by"};

    for (size_t i = 0; i < 5; i++)
        TRY(request_word(r, names[i], words[i]));
    *f = (struct usage_filter){words[0], words[1], words[2], words[3], 0, 0, 0};
    if (usage_by_read(span_str(words[4]), &f->by) < 0) {
        books_why("by must be of account, project, key, model and hour or day, with commas");
        return E_INVALID;
    }
    TRY(read_time(r, "from", 0, &f->from_hour));
    return read_time(r, "to", now + HOUR_S, &f->to_hour);
}

int api_usage(struct request *r)
{
    char words[5][REQUEST_WORD], format[REQUEST_WORD];
    AUTO_JSON json_t *owner = NULL, *rows = NULL;
    struct usage_filter f;

    TRY(request_word(r, "format", format));
    TRY(read_filter(r, &f, words));
    if (*f.account)
        TRY(account_find(r->ledger->books, f.account, &owner));
    TRY(usage_read(r->ledger->books, &f, &rows));
    if (strcmp(format, "csv") == 0) {
        usage_csv(&r->text, rows, f.by);
        r->type = "text/csv; charset=utf-8";
        return 0;
    }
    r->out = record_object();
    record_set(r->out, "data", json_incref(rows));
    return 0;
}

int api_bills(struct request *r)
{
    AUTO_JSON json_t *owner = NULL;
    int64_t before;
    size_t limit;

    TRY(request_number(r, "before", 0, INT64_MAX, 0, &before));
    TRY(api_limit(r, &limit));
    TRY(account_find(r->ledger->books, r->params[0], &owner));
    return bills_list(r->ledger->books, r->params[0], before, limit, &r->out);
}

// /v1/receipts/{call}, or /v1/accounts/{account}/receipts/{call} of that account only.
int api_receipt(struct request *r)
{
    const bool of_account = r->params[1][0] != '\0';

    return bill_find(r->ledger->books, of_account ? r->params[0] : "",
                     r->params[of_account ? 1 : 0], &r->out);
}

int api_days(struct request *r)
{
    size_t limit;

    TRY(api_limit(r, &limit));
    return bill_days_list(r->ledger->books, limit, &r->out);
}
