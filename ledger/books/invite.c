/* A use is counted in the transaction that makes the account. */
#include "ledger/books/invite.h"

#include "base/encode.h"
#include "base/random.h"
#include "crypto/hash.h"
#include "ledger/books/account.h"
#include "ledger/books/fields.h"
#include "ledger/books/record.h"

enum { ID_BYTES = 6, CODE_BYTES = 16, USES_MAX = 1000000, CODE_MAX = 64 };

static const struct field fields[] = {
    {.name = "uses", .type = FIELD_INT, .min = 1, .max = USES_MAX},
    {.name = "expires", .type = FIELD_INT, .max = INT64_C(253402300799)},
    {.name = "credit", .type = FIELD_MONEY, .max = FIELD_MONEY_MAX},
};

static json_t *invite_json(const struct rows *rows)
{
    json_t *it = record_object();
    AUTO_JSON json_t *settings = NULL;

    record_set_text(it, "id", rows_bytes(rows, 0));
    record_set_text(it, "state", rows_bytes(rows, 1));
    record_set_int(it, "created", rows_int(rows, 2));
    record_set_int(it, "expires", rows_int(rows, 3));
    record_set_int(it, "uses", rows_int(rows, 4));
    record_set_int(it, "used", rows_int(rows, 5));
    record_set_money(it, "credit", rows_int(rows, 6));
    if (record_read(rows_bytes(rows, 7), &settings) == 0)
        record_set(it, "account", json_incref(settings));
    return it;
}

#define SELECT_INVITES                                                                             \
    "SELECT id, state, created, expires, uses, used, credit, settings FROM invites "

static int find(struct books *b, const char *sql, const char *what, json_t **out)
{
    AUTO(rows_free) struct rows *rows = NULL;

    *out = NULL;
    TRY(DB_SELECT(&rows, b->db, sql, value_str(what)));
    return record_one(rows, invite_json, out);
}

int invites_list(struct books *b, const char *account, const char *after, size_t limit,
                 json_t **out)
{
    AUTO(rows_free) struct rows *rows = NULL;

    (void)account;
    *out = NULL;
    TRY(DB_SELECT(&rows, b->db, SELECT_INVITES "WHERE id > $1 ORDER BY id LIMIT $2",
                  value_str(after), value_int((int64_t)limit + 1)));
    return record_page(rows, limit, invite_json, out);
}

static void hash_code(char hex[static 2 * SHA256_LEN + 1], struct span code)
{
    uint8_t hash[SHA256_LEN];

    sha256(hash, code);
    hex_encode(hex, SPAN_OF(hash));
}

static void draw(char id[static 2 * ID_BYTES + 1], struct buf *code)
{
    uint8_t bytes[ID_BYTES + CODE_BYTES];

    random_bytes(bytes, sizeof(bytes));
    hex_encode(id, span_of(bytes, ID_BYTES));
    buf_append_str(code, INVITE_PREFIX);
    base62_encode(code, span_of(bytes + ID_BYTES, CODE_BYTES));
    crypto_wipe(bytes, sizeof(bytes));
}

static int insert(struct books *b, const char *id, struct span code, const json_t *terms,
                  const json_t *settings)
{
    AUTO(buf_fini) struct buf text = {0};
    char hash[2 * SHA256_LEN + 1];

    record_write(&text, settings);
    hash_code(hash, code);
    return DB_RUN(b->db, NULL,
                  "INSERT INTO invites (id, code_sha256, state, created, expires, uses, used, "
                  "credit, settings) VALUES ($1, $2, 'active', $3, $4, $5, 0, $6, $7)",
                  value_str(id), value_str(hash), value_int((int64_t)b->now_s),
                  value_int(record_int(terms, "expires", 0)),
                  value_int(record_int(terms, "uses", 1)), value_int(record_money(terms, "credit")),
                  value_text(buf_span(&text)));
}

int invite_create(struct books *b, const struct actor *a, const json_t *body, struct buf *code,
                  json_t **out)
{
    AUTO_JSON json_t *copy = json_deep_copy(body);
    AUTO_JSON json_t *terms = record_object();
    AUTO_JSON json_t *settings = json_incref(json_object_get(copy, "account"));
    AUTO(buf_wipe) struct buf made = {0};
    char id[2 * ID_BYTES + 1];

    *out = NULL;
    if (!settings)
        settings = record_object();
    json_object_del(copy, "account");
    TRY(fields_take(fields, sizeof(fields) / sizeof(fields[0]), copy, terms));
    TRY(account_settings_check(settings));
    draw(id, &made);
    TRY(insert(b, id, buf_span(&made), terms, settings));
    TRY(find(b, SELECT_INVITES "WHERE id = $1", id, out));
    TRY(audit_note(b, a, "invite.create", id, NULL, *out));
    buf_append(code, buf_span(&made));
    return 0;
}

int invite_revoke(struct books *b, const struct actor *a, const char *id, json_t **out)
{
    AUTO_JSON json_t *before = NULL;

    *out = NULL;
    TRY(find(b, SELECT_INVITES "WHERE id = $1", id, &before));
    TRY(DB_RUN(b->db, NULL, "UPDATE invites SET state = 'revoked' WHERE id = $1", value_str(id)));
    TRY(find(b, SELECT_INVITES "WHERE id = $1", id, out));
    return audit_note(b, a, "invite.revoke", id, before, *out);
}

static int find_usable(struct books *b, const json_t *body, json_t **invite)
{
    char hash[2 * SHA256_LEN + 1];
    struct span code;

    if (json_obj_string(body, "code", &code) < 0 || code.len > CODE_MAX) {
        books_why("code must be an invitation's code");
        return E_INVALID;
    }
    hash_code(hash, code);
    const int error = find(b, SELECT_INVITES "WHERE code_sha256 = $1", hash, invite);
    if (error < 0 && error != E_NOT_FOUND)
        return error;
    const int64_t expires = record_int(*invite, "expires", 0);
    if (error == 0 && strcmp(record_text(*invite, "state", ""), "active") == 0 &&
        (expires == 0 || (uint64_t)expires > b->now_s) &&
        record_int(*invite, "used", 0) < record_int(*invite, "uses", 0))
        return 0;
    books_why("the code is not known, or has ended");
    return E_DENIED;
}

static int make_account(struct books *b, const struct actor *a, const json_t *invite,
                        const json_t *body, json_t **out)
{
    AUTO_JSON json_t *settings = json_deep_copy(json_object_get(invite, "account"));
    const int64_t credit = record_money(invite, "credit");
    const char *id = record_text(body, "id", "");
    bool fresh;

    record_set(settings, "id", json_string(id));
    if (json_object_get(body, "name"))
        record_set(settings, "name", json_deep_copy(json_object_get(body, "name")));
    TRY(account_create(b, a, settings, NULL));
    if (credit > 0)
        TRY(account_credit(b, a, id, credit, record_text(invite, "id", ""), SPAN("invitation"),
                           &fresh, NULL));
    return account_find(b, id, out);
}

int invite_redeem(struct books *b, const struct actor *a, const json_t *body, json_t **out)
{
    AUTO_JSON json_t *invite = NULL;

    *out = NULL;
    TRY(find_usable(b, body, &invite));
    TRY(make_account(b, a, invite, body, out));
    const char *id = record_text(invite, "id", "");
    TRY(DB_RUN(b->db, NULL, "UPDATE invites SET used = used + 1 WHERE id = $1", value_str(id)));
    return audit_note(b, a, "invite.redeem", id, invite, *out);
}
