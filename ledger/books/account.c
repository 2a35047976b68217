/* Each change raises the version and is audited with what was there before. */
#include "ledger/books/account.h"

#include <stdio.h>
#include <stdlib.h>

#include "auth/keys.h"
#include "base/encode.h"
#include "crypto/hash.h"
#include "ledger/books/chain.h"
#include "ledger/books/fields.h"
#include "ledger/books/record.h"
#include "ledger/books/transfer.h"

enum { OBJECT_LEN = 160 };

#define FIELDS_COMMON                                                                              \
    {.name = "name", .type = FIELD_TEXT, .max = 64}, FIELDS_LIMITS,                                \
        {.name = "models", .type = FIELD_MODELS},                                                  \
        {.name = "max_coefficient", .type = FIELD_INT, .max = 1000000},                            \
        {.name = "max_output", .type = FIELD_INT, .max = INT32_MAX},                               \
        {.name = "end_to_end_only", .type = FIELD_BOOL},                                           \
    {                                                                                              \
        .name = "state", .type = FIELD_CHOICE, .words = "active suspended"                         \
    }

static const struct field account_fields[] = {
    FIELDS_COMMON,
    {.name = "low_balance", .type = FIELD_MONEY, .max = FIELD_MONEY_MAX},
    {.name = "internal", .type = FIELD_BOOL},
    {.name = "replay_answers", .type = FIELD_BOOL},
    {.name = "weight", .type = FIELD_INT, .min = 1, .max = KEY_WEIGHT_MAX},
    {.name = "per_model", .type = FIELD_PER_MODEL},
};
static const struct field project_fields[] = {FIELDS_COMMON};

/* One of the two tables. */
struct kind {
    const struct field *fields;
    size_t count;
    const char *update;
};
static const struct kind accounts = {
    account_fields, sizeof(account_fields) / sizeof(account_fields[0]),
    "UPDATE accounts SET version = version + 1, state = $2, settings = $3 "
    "WHERE id = $1 AND id = $4"};
static const struct kind projects = {
    project_fields, sizeof(project_fields) / sizeof(project_fields[0]),
    "UPDATE projects SET version = version + 1, state = $2, settings = $3 "
    "WHERE id = $1 AND account = $4"};

// ---- Reading ------------------------------------------------------------------------------------

static json_t *settings_of(struct span text)
{
    json_t *settings = NULL;

    if (record_read(text, &settings) < 0 || !json_is_object(settings)) {
        json_decref(settings);
        settings = record_object();
    }
    return settings;
}

// Columns id, version, state, created, settings, then the two kinds' own.
static json_t *shown(const struct rows *rows)
{
    json_t *it = record_object();
    AUTO_JSON json_t *settings = settings_of(rows_bytes(rows, 4));

    record_set_text(it, "id", rows_bytes(rows, 0));
    record_set_int(it, "version", rows_int(rows, 1));
    record_set_text(it, "state", rows_bytes(rows, 2));
    record_set_int(it, "created", rows_int(rows, 3));
    record_merge(it, settings);
    return it;
}

static json_t *account_json(const struct rows *rows)
{
    json_t *it = shown(rows);
    const struct span head = rows_bytes(rows, 6);
    char hex[2 * SHA256_LEN + 1] = "";

    if (head.len == SHA256_LEN)
        hex_encode(hex, head);
    record_set_int(it, "chain_seq", rows_int(rows, 5));
    record_set_text(it, "chain_head", span_str(hex));
    record_set_money(it, "granted", rows_int(rows, 8));
    record_set_money(it, "charged", rows_int(rows, 7));
    record_set_money(it, "balance", rows_int(rows, 8) - rows_int(rows, 7));
    return it;
}

static json_t *project_json(const struct rows *rows)
{
    json_t *it = shown(rows);

    record_set_text(it, "account", rows_bytes(rows, 5));
    return it;
}

/* What the operator had to cover (bills.c) was neither given nor charged. */
#define SHORTFALL                                                                                  \
    "COALESCE((SELECT CAST(SUM(t.amount) AS BIGINT) FROM transfers t WHERE t.credit = p.name AND " \
    "t.code = 'shortfall'), 0)"
#define SELECT_ACCOUNTS                                                                            \
    "SELECT a.id, a.version, a.state, a.created, a.settings, a.chain_seq, a.chain_head, "          \
    "COALESCE(p.debits, 0) - " SHORTFALL ", COALESCE(p.credits, 0) - " SHORTFALL                   \
    " FROM accounts a LEFT JOIN purses p ON "                                                      \
    "p.name = 'client:' || a.id AND p.currency = 'TON' "
#define SELECT_PROJECTS "SELECT id, version, state, created, settings, account FROM projects "

int account_find(struct books *b, const char *id, json_t **out)
{
    AUTO(rows_free) struct rows *rows = NULL;

    *out = NULL;
    TRY(DB_SELECT(&rows, b->db, SELECT_ACCOUNTS "WHERE a.id = $1", value_str(id)));
    return record_one(rows, account_json, out);
}

int accounts_list(struct books *b, const char *account, const char *after, size_t limit,
                  json_t **out)
{
    AUTO(rows_free) struct rows *rows = NULL;

    (void)account;
    *out = NULL;
    TRY(DB_SELECT(&rows, b->db, SELECT_ACCOUNTS "WHERE a.id > $1 ORDER BY a.id LIMIT $2",
                  value_str(after), value_int((int64_t)limit + 1)));
    return record_page(rows, limit, account_json, out);
}

int accounts_each(struct books *b, record_item_fn *fn, void *arg)
{
    return record_each(b, accounts_list, "", "", fn, arg);
}

int project_find(struct books *b, const char *account, const char *id, json_t **out)
{
    AUTO(rows_free) struct rows *rows = NULL;

    *out = NULL;
    TRY(DB_SELECT(&rows, b->db, SELECT_PROJECTS "WHERE account = $1 AND id = $2",
                  value_str(account), value_str(id)));
    return record_one(rows, project_json, out);
}

int projects_list(struct books *b, const char *account, const char *after, size_t limit,
                  json_t **out)
{
    AUTO(rows_free) struct rows *rows = NULL;

    *out = NULL;
    TRY(DB_SELECT(&rows, b->db,
                  SELECT_PROJECTS "WHERE ($1 = '' OR account = $1) AND "
                                  "account || '/' || id > $2 ORDER BY account || '/' || id "
                                  "LIMIT $3",
                  value_str(account), value_str(after), value_int((int64_t)limit + 1)));
    return record_page(rows, limit, project_json, out);
}

int projects_each(struct books *b, const char *account, record_item_fn *fn, void *arg)
{
    char prefix[OBJECT_LEN];

    snprintf(prefix, sizeof(prefix), "%s/", account);
    return record_each(b, projects_list, account, prefix, fn, arg);
}

// ---- Changing -----------------------------------------------------------------------------------

// Takes ids out of a body that names them beside the settings. E_INVALID.
static int take_id(json_t *body, const char *name, char out[static 65])
{
    struct span id;

    if (json_obj_string(body, name, &id) < 0 || !record_id_valid(id)) {
        books_why("%s must be 1 to 64 letters, digits, '.', '_' or '-'", name);
        return E_INVALID;
    }
    CHECK(span_cstr(id, out, 65) == 0);
    json_object_del(body, name);
    return 0;
}

// Settings and the state that stands among them; a new resource is active.
static int take_settings(const struct kind *k, const json_t *body, json_t *settings,
                         char state[static 16])
{
    TRY(fields_take(k->fields, k->count, body, settings));
    const char *said = record_text(settings, "state", "active");
    CHECK(span_cstr(span_str(said), state, 16) == 0);
    json_object_del(settings, "state");
    return 0;
}

int account_settings_check(const json_t *settings)
{
    AUTO_JSON json_t *taken = record_object();
    char state[16];

    return take_settings(&accounts, settings, taken, state);
}

static int exists(int error, const char *what)
{
    if (error == E_EXISTS)
        books_why("%s of this id is there already", what);
    return error;
}

static int insert_account(struct books *b, const char *id, const char *state,
                          const json_t *settings)
{
    AUTO(buf_fini) struct buf text = {0};
    uint8_t head[SHA256_LEN];

    chain_begin(head, id);
    record_write(&text, settings);
    int64_t added;
    TRY(DB_RUN(b->db, &added,
               "INSERT INTO accounts (id, version, state, created, settings, chain_seq, "
               "chain_head) VALUES ($1, 1, $2, $3, $4, 0, $5) ON CONFLICT DO NOTHING",
               value_str(id), value_str(state), value_int((int64_t)b->now_s),
               value_text(buf_span(&text)), value_blob(SPAN_OF(head))));
    return added > 0 ? 0 : exists(E_EXISTS, "an account");
}

static void give(json_t **out, json_t *take)
{
    if (out)
        *out = take;
    else
        json_decref(take);
}

int account_create(struct books *b, const struct actor *a, const json_t *body, json_t **out)
{
    AUTO_JSON json_t *copy = json_deep_copy(body);
    AUTO_JSON json_t *settings = record_object();
    char id[65], state[16];
    json_t *made;

    TRY(take_id(copy, "id", id));
    TRY(take_settings(&accounts, copy, settings, state));
    TRY(insert_account(b, id, state, settings));
    TRY(account_find(b, id, &made));
    const int error = audit_note(b, a, "account.create", id, NULL, made);
    give(out, made);
    return error;
}

// The stored settings of what is shown: without what the table does not name.
static json_t *settings_only(const struct kind *k, const json_t *it)
{
    json_t *settings = record_object();

    for (size_t i = 0; i < k->count; i++) {
        char name[64];
        struct span rest = span_str(k->fields[i].name);
        CHECK(span_cstr(span_split(&rest, '.'), name, sizeof(name)) == 0);
        json_t *value = json_object_get(it, name);
        if (value && !json_object_get(settings, name))
            record_set(settings, name, json_deep_copy(value));
    }
    return settings;
}

static int update(struct books *b, const struct kind *k, const char *account, const char *id,
                  const json_t *before, const json_t *body)
{
    AUTO_JSON json_t *settings = settings_only(k, before);
    AUTO(buf_fini) struct buf text = {0};
    char state[16];

    TRY(take_settings(k, body, settings, state));
    record_write(&text, settings);
    return DB_RUN(b->db, NULL, k->update, value_str(id), value_str(state),
                  value_text(buf_span(&text)), value_str(account));
}

// A model whose limits are taken away stays, without any: Redis is told so.
static void keep_models(const json_t *before, json_t *body)
{
    const json_t *had = json_object_get(before, "per_model");
    json_t *has = json_object_get(body, "per_model");
    const char *model;
    json_t *limits;

    if (!has || !json_is_object(had))
        return;
    if (json_is_null(has))
        record_set(body, "per_model", has = record_object());
    json_object_foreach((json_t *)(uintptr_t)had, model, limits)
        if (json_is_object(has) && !json_object_get(has, model))
            record_set(has, model, record_object());
}

int account_change(struct books *b, const struct actor *a, const char *id, const json_t *body,
                   json_t **out)
{
    AUTO_JSON json_t *before = NULL;
    json_t *after;

    TRY(account_find(b, id, &before));
    AUTO_JSON json_t *whole = json_deep_copy(body);
    keep_models(before, whole);
    TRY(update(b, &accounts, id, id, before, whole));
    TRY(account_find(b, id, &after));
    const int error = audit_note(b, a, "account.change", id, before, after);
    give(out, after);
    return error;
}

static void project_object(char out[static OBJECT_LEN], const char *account, const char *id)
{
    snprintf(out, OBJECT_LEN, "%s/%s", account, id);
}

static int insert_project(struct books *b, const char *account, const char *id, const char *state,
                          const json_t *settings)
{
    AUTO(buf_fini) struct buf text = {0};
    int64_t added;

    record_write(&text, settings);
    TRY(DB_RUN(b->db, &added,
               "INSERT INTO projects (account, id, version, state, created, settings) VALUES "
               "($1, $2, 1, $3, $4, $5) ON CONFLICT DO NOTHING",
               value_str(account), value_str(id), value_str(state), value_int((int64_t)b->now_s),
               value_text(buf_span(&text))));
    return added > 0 ? 0 : exists(E_EXISTS, "a project");
}

int project_create(struct books *b, const struct actor *a, const json_t *body, json_t **out)
{
    AUTO_JSON json_t *copy = json_deep_copy(body);
    AUTO_JSON json_t *settings = record_object();
    AUTO_JSON json_t *owner = NULL;
    char account[65], id[65], state[16], object[OBJECT_LEN];
    json_t *made;

    TRY(take_id(copy, "account", account));
    TRY(take_id(copy, "id", id));
    TRY(take_settings(&projects, copy, settings, state));
    TRY(account_find(b, account, &owner));
    TRY(insert_project(b, account, id, state, settings));
    TRY(project_find(b, account, id, &made));
    project_object(object, account, id);
    const int error = audit_note(b, a, "project.create", object, NULL, made);
    give(out, made);
    return error;
}

int project_change(struct books *b, const struct actor *a, const char *account, const char *id,
                   const json_t *body, json_t **out)
{
    AUTO_JSON json_t *before = NULL;
    char object[OBJECT_LEN];
    json_t *after;

    TRY(project_find(b, account, id, &before));
    TRY(update(b, &projects, account, id, before, body));
    TRY(project_find(b, account, id, &after));
    project_object(object, account, id);
    const int error = audit_note(b, a, "project.change", object, before, after);
    give(out, after);
    return error;
}

// ---- Credit -------------------------------------------------------------------------------------

static int check_credit(struct books *b, const char *account, int64_t amount, const char *id)
{
    char purse[PURSE_LEN];
    struct purse_sums sums;

    if (amount <= 0 || amount > FIELD_MONEY_MAX || !record_id_valid(span_str(id))) {
        books_why("amount must be 1 to 2^53-1 nano, and id 1 to 64 letters, digits, '.', '_', '-'");
        return E_INVALID;
    }
    purse_client(purse, account);
    TRY(purse_read(b, purse, CURRENCY_TON, &sums));
    if (sums.credits <= FIELD_MONEY_MAX - amount)
        return 0;
    books_why("an account is given at most 2^53-1 nano over its life");
    return E_TOO_LARGE;
}

static json_t *transfer_shown(const struct transfer *t)
{
    json_t *it = record_object();
    char id[2 * TRANSFER_ID_LEN + 1];

    hex_encode(id, SPAN_OF(t->id));
    record_set_text(it, "id", span_str(id));
    record_set_text(it, "debit", span_str(t->debit));
    record_set_text(it, "credit", span_str(t->credit));
    record_set_text(it, "currency", span_str(t->currency));
    record_set_money(it, "amount", t->amount);
    record_set_text(it, "reference", t->reference);
    return it;
}

int account_credit(struct books *b, const struct actor *a, const char *account, int64_t amount,
                   const char *id, struct span reference, bool *fresh, json_t **out)
{
    AUTO_JSON json_t *owner = NULL;
    char purse[PURSE_LEN];
    struct transfer t = {.debit = "world",
                         .credit = purse,
                         .currency = CURRENCY_TON,
                         .amount = amount,
                         .code = "credit",
                         .reference = reference};
    const struct span parts[] = {span_str(account), span_str(id)};

    *fresh = false;
    TRY(account_find(b, account, &owner));
    purse_client(purse, account);
    transfer_id(t.id, "credit", parts, 2);
    const int allowed = check_credit(b, account, amount, id);
    if (allowed == E_INVALID)
        return allowed;
    TRY(transfer_post(b, &t, fresh));
    if (*fresh) { /* the same credit told again is no further one */
        TRY(allowed);
        TRY(DB_RUN(b->db, NULL, "UPDATE accounts SET version = version + 1 WHERE id = $1",
                   value_str(account)));
    }
    json_t *made = transfer_shown(&t);
    const int error = *fresh ? audit_note(b, a, "credit", account, NULL, made) : 0;
    give(out, made);
    return error;
}
