/* A key's row holds what was set on it; its record adds the bounds of its project and account, so
 * that a gateway looks at one record only. */
#include "ledger/books/key.h"

#include <stdlib.h>

#include "base/encode.h"
#include "ledger/books/account.h"
#include "ledger/books/fields.h"
#include "ledger/books/record.h"

enum { GRACE_MAX_S = 90 * 86400 };

static const struct field fields[] = {
    {.name = "name", .type = FIELD_TEXT, .max = 64},
    {.name = "scopes.models", .type = FIELD_MODELS},
    {.name = "scopes.endpoints", .type = FIELD_ENDPOINTS},
    {.name = "scopes.ranges", .type = FIELD_RANGES},
    {.name = "privacy", .type = FIELD_CHOICE, .words = "any end-to-end"},
    {.name = "require", .type = FIELD_REQUIRE},
    {.name = "strict", .type = FIELD_BOOL},
    {.name = "receipts", .type = FIELD_BOOL},
    {.name = "class", .type = FIELD_CHOICE, .words = "interactive batch internal"},
    {.name = "expires", .type = FIELD_INT, .max = INT64_C(253402300799)}, /* year 9999 */
    {.name = "limits.max_output", .type = FIELD_INT, .max = INT32_MAX},
    {.name = "max_coefficient", .type = FIELD_INT, .max = 1000000},
    FIELDS_LIMITS,
};
enum { FIELDS = sizeof(fields) / sizeof(fields[0]) };

// ---- Reading ------------------------------------------------------------------------------------

#define SELECT_KEYS                                                                                \
    "SELECT k.id, k.account, k.project, k.version, k.state, k.created, k.settings, "               \
    "(SELECT COUNT(*) FROM secrets s WHERE s.key = k.id AND (s.expires = 0 OR s.expires > $1)) "   \
    "FROM keys k "

static json_t *key_json(const struct rows *rows)
{
    json_t *it = record_object();
    AUTO_JSON json_t *settings = NULL;

    record_set_text(it, "id", rows_bytes(rows, 0));
    record_set_text(it, "account", rows_bytes(rows, 1));
    record_set_text(it, "project", rows_bytes(rows, 2));
    record_set_int(it, "version", rows_int(rows, 3));
    record_set_text(it, "state", rows_bytes(rows, 4));
    record_set_int(it, "created", rows_int(rows, 5));
    record_set_int(it, "live_secrets", rows_int(rows, 7));
    if (record_read(rows_bytes(rows, 6), &settings) == 0 && json_is_object(settings))
        record_merge(it, settings);
    return it;
}

static bool has_ended(const struct books *b, const json_t *key)
{
    const int64_t expires = record_int(key, "expires", 0);

    return expires != 0 && (uint64_t)expires <= b->now_s;
}

// A key that is past its end, or revoked, has no live secret.
static void mend_live(const struct books *b, json_t *key)
{
    if (has_ended(b, key) || strcmp(record_text(key, "state", ""), "active") != 0)
        record_set_int(key, "live_secrets", 0);
}

static int find_by(struct books *b, const char *sql, const char *which, json_t **out)
{
    AUTO(rows_free) struct rows *rows = NULL;

    TRY(DB_SELECT(&rows, b->db, sql, value_int((int64_t)b->now_s), value_str(which)));
    TRY(record_one(rows, key_json, out));
    mend_live(b, *out);
    const int second = rows_next(rows);
    if (second <= 0)
        return second;
    books_why("several keys have this name: use the id");
    json_decref(*out);
    *out = NULL;
    return E_EXISTS;
}

int key_find(struct books *b, const char *which, json_t **out)
{
    *out = NULL;
    const int error = find_by(b, SELECT_KEYS "WHERE k.id = $2", which, out);
    if (error != E_NOT_FOUND || !span_utf8(span_str(which)))
        return error;
    return find_by(b, SELECT_KEYS "WHERE k.name = $2 ORDER BY k.id LIMIT 2", which, out);
}

int keys_list(struct books *b, const char *account, const char *after, size_t limit, json_t **out)
{
    AUTO(rows_free) struct rows *rows = NULL;

    *out = NULL;
    TRY(DB_SELECT(&rows, b->db,
                  SELECT_KEYS "WHERE ($2 = '' OR k.account = $2) AND k.id > $3 "
                              "ORDER BY k.id LIMIT $4",
                  value_int((int64_t)b->now_s), value_str(account), value_str(after),
                  value_int((int64_t)limit + 1)));
    TRY(record_page(rows, limit, key_json, out));
    const json_t *data = json_object_get(*out, "data");
    for (size_t i = 0; i < json_array_size(data); i++)
        mend_live(b, json_array_get(data, i));
    return 0;
}

int keys_each(struct books *b, const char *account, record_item_fn *fn, void *arg)
{
    return record_each(b, keys_list, account, "", fn, arg);
}

// ---- The record that gateways read --------------------------------------------------------------

// What both lists allow; NULL allows all.
static json_t *both(const json_t *a, const json_t *b)
{
    if (!json_is_array(a) || !json_is_array(b))
        return json_is_array(a) ? json_deep_copy(a) : json_is_array(b) ? json_deep_copy(b) : NULL;
    json_t *out = json_array();
    for (size_t i = 0; i < json_array_size(a); i++) {
        for (size_t j = 0; j < json_array_size(b); j++) {
            if (json_equal(json_array_get(a, i), json_array_get(b, j)))
                CHECK(json_array_append(out, json_array_get(a, i)) == 0);
        }
    }
    return out;
}

static void narrow_models(json_t *record, const json_t *owner)
{
    json_t *scopes = json_object_get(record, "scopes");
    json_t *models = both(record_at(record, "scopes.models"), record_at(owner, "models"));

    if (!models)
        return;
    if (!scopes)
        record_set(record, "scopes", scopes = record_object());
    record_set(scopes, "models", models);
}

static int64_t least(int64_t a, int64_t b)
{
    return a == 0 || (b != 0 && b < a) ? b : a;
}

static void narrow(json_t *record, const json_t *owner)
{
    const int64_t most = record_int(owner, "max_output", 0);

    narrow_models(record, owner);
    if (json_is_true(json_object_get(owner, "end_to_end_only")))
        record_set(record, "privacy", json_string("end-to-end"));
    if (!json_object_get(record, "max_coefficient") && json_object_get(owner, "max_coefficient"))
        record_set(record, "max_coefficient", json_copy(json_object_get(owner, "max_coefficient")));
    if (most > 0) {
        if (!json_object_get(record, "limits"))
            record_set(record, "limits", record_object());
        record_set_int(json_object_get(record, "limits"), "max_output",
                       least(record_int(record, "limits.max_output", 0), most));
    }
}

// Reads the key's project (when it has one) and account, inner bounds first.
static int narrow_all(struct books *b, const json_t *key, json_t *record)
{
    AUTO_JSON json_t *account = NULL;
    AUTO_JSON json_t *project = NULL;
    const char *owner = record_text(key, "account", ""), *part = record_text(key, "project", "");

    TRY(account_find(b, owner, &account));
    if (*part) {
        TRY(project_find(b, owner, part, &project));
        narrow(record, project);
    }
    narrow(record, account);
    if (json_object_get(account, "weight"))
        record_set(record, "weight", json_copy(json_object_get(account, "weight")));
    if (strcmp(record_text(record, "class", ""), "internal") == 0 &&
        !json_is_true(json_object_get(account, "internal")))
        record_set(record, "class", json_string("batch")); /* the grant was taken back */
    if (json_is_true(json_object_get(account, "replay_answers")))
        record_set(record, "replay_answers", json_true());
    return 0;
}

// The earlier of two ends; 0 is never.
static int64_t earlier(int64_t a, int64_t b)
{
    return least(a, b);
}

static void project_secret(const json_t *record, struct span sha256, int64_t expires,
                           key_projected_fn *fn, void *arg)
{
    AUTO_JSON json_t *copy = json_copy((json_t *)(uintptr_t)record);
    AUTO(buf_fini) struct buf text = {0};
    char lookup[2 * KEY_LOOKUP_LEN + 1] = "";

    CHECK(copy);
    record_set_int(copy, "expires", earlier(record_int(record, "expires", 0), expires));
    record_set_text(copy, "secret_sha256", sha256);
    record_write(&text, copy);
    (void)!span_cstr(span_cut(sha256, 0, 2 * KEY_LOOKUP_LEN), lookup, sizeof(lookup));
    fn(arg, lookup, buf_span(&text));
}

int key_project(struct books *b, const json_t *key, key_projected_fn *fn, void *arg)
{
    AUTO(rows_free) struct rows *rows = NULL;
    AUTO_JSON json_t *record = json_deep_copy(key);
    int row;

    CHECK(record);
    json_object_del(record, "created");
    json_object_del(record, "live_secrets");
    record_set(record, "format", json_string("cgw/key/v1"));
    record_set(record, "metering", json_string("on"));
    TRY(narrow_all(b, key, record));
    TRY(DB_SELECT(&rows, b->db, "SELECT sha256, expires FROM secrets WHERE key = $1 ORDER BY n",
                  value_str(record_text(key, "id", ""))));
    while ((row = rows_next(rows)) > 0)
        project_secret(record, rows_bytes(rows, 0), rows_int(rows, 1), fn, arg);
    return row;
}

// ---- Changing -----------------------------------------------------------------------------------

static int add_secret(struct books *b, const char *id, const struct api_key *key)
{
    uint8_t hash[SHA256_LEN];
    char hex[2 * SHA256_LEN + 1];

    sha256(hash, SPAN_OF(key->secret));
    hex_encode(hex, SPAN_OF(hash));
    TRY(DB_RUN(b->db, NULL,
               "INSERT INTO secrets (key, n, sha256, created, expires) "
               "SELECT $1, COALESCE(MAX(n), 0) + 1, $2, $3, 0 FROM secrets WHERE key = $1",
               value_str(id), value_str(hex), value_int((int64_t)b->now_s)));
    /* the oldest of too many ended ones is forgotten: its record in Redis has ended too */
    return DB_RUN(b->db, NULL,
                  "DELETE FROM secrets WHERE key = $1 AND n <= (SELECT MAX(n) FROM secrets "
                  "WHERE key = $1) - $2",
                  value_str(id), value_int(KEY_NOTED_SECRETS));
}

// Where the key belongs, taken out of the body. E_NOT_FOUND when there is no such account.
static int take_owner(struct books *b, json_t *body, char account[static 65],
                      char project[static 65], json_t **owner)
{
    AUTO_JSON json_t *found = NULL;

    if (span_cstr(span_str(record_text(body, "account", "")), account, 65) < 0 ||
        span_cstr(span_str(record_text(body, "project", "")), project, 65) < 0)
        account[0] = '\0';
    json_object_del(body, "account");
    json_object_del(body, "project");
    int error = *account ? account_find(b, account, owner) : E_NOT_FOUND;
    if (error == 0 && *project)
        error = project_find(b, account, project, &found);
    if (error == E_NOT_FOUND) {
        books_why("account and project must be some that are there");
        return E_INVALID;
    }
    return error;
}

static int check_class(const json_t *settings, const json_t *owner)
{
    if (strcmp(record_text(settings, "class", ""), "internal") != 0 ||
        json_is_true(json_object_get(owner, "internal")))
        return 0;
    books_why("class internal needs the account's grant (internal: true)");
    return E_INVALID;
}

static void parse_one(void *arg, const char *lookup, struct span record)
{
    AUTO(key_record_unref) struct key_record *r = NULL;
    int *error = arg;

    (void)lookup;
    *error = key_record_parse(&r, record);
}

// What gateways would not read is not recorded.
static int check_record(struct books *b, const json_t *key)
{
    int error = E_INVALID;

    TRY(key_project(b, key, parse_one, &error));
    if (error < 0)
        books_why("the key's record would not be one that gateways take");
    return error;
}

static int insert(struct books *b, const char *id, const char *account, const char *project,
                  const json_t *settings)
{
    AUTO(buf_fini) struct buf text = {0};

    record_write(&text, settings);
    return DB_RUN(b->db, NULL,
                  "INSERT INTO keys (id, account, project, name, version, state, created, "
                  "settings) VALUES ($1, $2, $3, $4, 1, 'active', $5, $6)",
                  value_str(id), value_str(account), value_str(project),
                  value_str(record_text(settings, "name", "")), value_int((int64_t)b->now_s),
                  value_text(buf_span(&text)));
}

// What the row says now, noted beside what it said before.
static int changed(struct books *b, const struct actor *a, const char *action, const char *id,
                   const json_t *before, json_t **out)
{
    json_t *after;

    TRY(key_find(b, id, &after));
    int error = check_record(b, after);
    if (error == 0)
        error = audit_note(b, a, action, id, before, after);
    if (error == 0 && out)
        *out = json_incref(after);
    json_decref(after);
    return error;
}

int key_create(struct books *b, const struct actor *a, const json_t *body, struct buf *text,
               json_t **out)
{
    AUTO_JSON json_t *copy = json_deep_copy(body);
    AUTO_JSON json_t *settings = record_object();
    AUTO_JSON json_t *owner = NULL;
    AUTO(buf_wipe) struct buf made = {0};
    char account[65], project[65], id[KEY_ID_TEXT];
    struct api_key key;

    TRY(take_owner(b, copy, account, project, &owner));
    TRY(fields_take(fields, FIELDS, copy, settings));
    TRY(check_class(settings, owner));
    api_key_make(&key, &made);
    hex_encode(id, SPAN_OF(key.id));
    int error = insert(b, id, account, project, settings);
    if (error == 0)
        error = add_secret(b, id, &key);
    crypto_wipe(&key, sizeof(key));
    if (error == 0)
        error = changed(b, a, "key.create", id, NULL, out);
    if (error == 0)
        buf_append(text, buf_span(&made));
    return error;
}

static json_t *settings_only(const json_t *key)
{
    static const char *const not_settings[] = {"id",    "account", "project",     "version",
                                               "state", "created", "live_secrets"};
    json_t *copy = json_deep_copy(key);

    CHECK(copy);
    for (size_t i = 0; i < sizeof(not_settings) / sizeof(not_settings[0]); i++)
        json_object_del(copy, not_settings[i]);
    return copy;
}

static int update(struct books *b, const char *id, const json_t *settings, const char *state)
{
    AUTO(buf_fini) struct buf text = {0};

    record_write(&text, settings);
    return DB_RUN(b->db, NULL,
                  "UPDATE keys SET version = version + 1, name = $2, settings = $3, state = $4 "
                  "WHERE id = $1",
                  value_str(id), value_str(record_text(settings, "name", "")),
                  value_text(buf_span(&text)), value_str(state));
}

int key_change(struct books *b, const struct actor *a, const char *id, const json_t *body,
               json_t **out)
{
    AUTO_JSON json_t *before = NULL;
    AUTO_JSON json_t *owner = NULL;

    TRY(key_find(b, id, &before));
    id = record_text(before, "id", "");
    AUTO_JSON json_t *settings = settings_only(before);
    TRY(fields_take(fields, FIELDS, body, settings));
    TRY(account_find(b, record_text(before, "account", ""), &owner));
    TRY(check_class(settings, owner));
    TRY(update(b, id, settings, record_text(before, "state", "active")));
    return changed(b, a, "key.change", id, before, out);
}

int key_revoke(struct books *b, const struct actor *a, const char *id, json_t **out)
{
    AUTO_JSON json_t *before = NULL;

    TRY(key_find(b, id, &before));
    id = record_text(before, "id", "");
    if (strcmp(record_text(before, "state", ""), "active") != 0) {
        books_why("the key is revoked already");
        return E_EXISTS;
    }
    AUTO_JSON json_t *settings = settings_only(before);
    TRY(update(b, id, settings, "revoked"));
    return changed(b, a, "key.revoke", id, before, out);
}

// The newest secret gets the grace; what is older ends now.
static int end_secrets(struct books *b, const char *id, uint64_t grace_s)
{
    return DB_RUN(b->db, NULL,
                  "UPDATE secrets SET expires = CASE WHEN n = (SELECT MAX(n) FROM secrets WHERE "
                  "key = $1) THEN CAST($2 AS BIGINT) ELSE CAST($3 AS BIGINT) END WHERE key = $1 "
                  "AND (expires = 0 OR expires > "
                  "CASE WHEN n = (SELECT MAX(n) FROM secrets WHERE key = $1) THEN CAST($2 AS "
                  "BIGINT) ELSE CAST($3 AS BIGINT) END)",
                  value_str(id), value_int((int64_t)(b->now_s + grace_s)),
                  value_int((int64_t)b->now_s));
}

static int rotate(struct books *b, const char *id, uint64_t grace_s, struct buf *made)
{
    uint8_t public_id[KEY_ID_LEN];
    struct api_key key;

    TRY(hex_decode(public_id, sizeof(public_id), span_str(id)));
    TRY(end_secrets(b, id, grace_s));
    api_key_remake(&key, public_id, made);
    const int error = add_secret(b, id, &key);
    crypto_wipe(&key, sizeof(key));
    TRY(error);
    return DB_RUN(b->db, NULL, "UPDATE keys SET version = version + 1 WHERE id = $1",
                  value_str(id));
}

int key_rotate(struct books *b, const struct actor *a, const char *id, uint64_t grace_s,
               struct buf *text, json_t **out)
{
    AUTO_JSON json_t *before = NULL;
    AUTO(buf_wipe) struct buf made = {0};

    TRY(key_find(b, id, &before));
    id = record_text(before, "id", "");
    if (strcmp(record_text(before, "state", ""), "active") != 0 || has_ended(b, before)) {
        books_why("the key is revoked or expired");
        return E_DENIED;
    }
    if (grace_s > GRACE_MAX_S) {
        books_why("the grace is at most 90 days");
        return E_INVALID;
    }
    TRY(rotate(b, id, grace_s, &made));
    TRY(changed(b, a, "key.rotate", id, before, out));
    buf_append(text, buf_span(&made));
    return 0;
}
