/* Changes to keys in the keys file, and the records that Redis gets of them. */
#include "auth/keys_file.h"

#include <stdlib.h>

#include "auth/keys_file_impl.h"
#include "base/clock.h"
#include "base/encode.h"

static uint64_t now_s(void)
{
    return clock_wall_ms() / 1000;
}

// A JSON value of our own making; memory is all that it can lack.
static json_t *made(json_t *value)
{
    CHECK(value);
    return value;
}

static void set(json_t *object, const char *name, json_t *take)
{
    CHECK(json_object_set_new(object, name, made(take)) == 0);
}

static uint64_t seconds_of(const json_t *object, const char *name)
{
    const json_int_t v = json_integer_value(json_object_get(object, name));

    return v > 0 ? (uint64_t)v : 0;
}

static bool is_revoked(const json_t *key)
{
    return strcmp(json_string_value(json_object_get(key, "state")), "active") != 0;
}

bool key_entry_live(const json_t *key)
{
    const uint64_t expires = seconds_of(key, "expires");

    return !is_revoked(key) && (expires == 0 || now_s() < expires);
}

// ---- Finding ------------------------------------------------------------------------------------

static bool has(const json_t *key, const char *member, const char *text)
{
    const char *value = json_string_value(json_object_get(key, member));

    return value && strcmp(value, text) == 0;
}

int keys_file_find(const struct keys_file *f, const char *which, json_t **key)
{
    size_t named = 0;

    for (size_t i = 0; i < json_array_size(f->keys); i++) {
        json_t *k = json_array_get(f->keys, i);
        if (has(k, "id", which)) {
            *key = k;
            return 0;
        }
        if (has(k, "name", which)) {
            *key = k;
            named++;
        }
    }
    if (named == 0)
        return E_NOT_FOUND;
    return named == 1 ? 0 : E_EXISTS;
}

// ---- Changing -----------------------------------------------------------------------------------

static json_t *list_of(const char *const *items)
{
    if (!items)
        return json_null();
    json_t *list = made(json_array());
    for (; *items; items++)
        CHECK(json_array_append_new(list, made(json_string(*items))) == 0);
    return list;
}

// Notes the hash of a fresh secret and forgets the oldest of too many ended ones.
static void add_secret(json_t *secrets, const struct api_key *key)
{
    uint8_t hash[SHA256_LEN];
    char hex[2 * SHA256_LEN + 1];

    sha256(hash, SPAN_OF(key->secret));
    hex_encode(hex, SPAN_OF(hash));
    json_t *secret = made(
        json_pack("{s:s, s:I, s:i}", "sha256", hex, "created", (json_int_t)now_s(), "expires", 0));
    if (json_array_size(secrets) >= KEYS_NOTED_SECRETS)
        json_array_remove(secrets, 0);
    CHECK(json_array_append_new(secrets, secret) == 0);
}

static json_t *entry_of(const struct key_spec *s, const struct api_key *key, const char *id)
{
    json_t *secrets = made(json_array());

    add_secret(secrets, key);
    json_t *scopes = made(json_pack("{s:o, s:o, s:o}", "models", list_of(s->models), "endpoints",
                                    list_of(s->endpoints), "ranges", list_of(s->ranges)));
    /* a text that is not UTF-8 makes no entry */
    return json_pack("{s:s, s:s, s:s, s:s, s:i, s:s, s:I, s:I, s:o, s:s, s:s, s:b, s:b, s:{s:I}, "
                     "s:I, s:I, s:s, s:o}",
                     "id", id, "account", s->account, "project", s->project, "name", s->name,
                     "version", 1, "state", "active", "created", (json_int_t)now_s(), "expires",
                     (json_int_t)s->expires_s, "scopes", scopes, "privacy",
                     s->end_to_end_only ? "end-to-end" : "any", "require",
                     s->require ? s->require : "", "strict", s->strict, "receipts", s->receipts,
                     "limits", "max_output", (json_int_t)s->max_output, "max_coefficient",
                     (json_int_t)(s->max_coefficient > 0 ? s->max_coefficient : 1000), "weight",
                     (json_int_t)(s->weight > 0 ? s->weight : KEY_WEIGHT), "class", s->class,
                     "secrets", secrets);
}

static void parse_one(void *arg, const char *lookup, struct span record)
{
    struct key_record *r;
    int *error = arg;

    (void)lookup;
    *error = key_record_parse(&r, record);
    key_record_unref(r);
}

int keys_file_create(struct keys_file *f, const struct key_spec *spec, struct buf *text,
                     char id[static 2 * KEY_ID_LEN + 1])
{
    AUTO(buf_wipe) struct buf made_text = {0};
    struct api_key key;
    int error = E_INVALID;

    api_key_make(&key, &made_text);
    hex_encode(id, SPAN_OF(key.id));
    AUTO_JSON json_t *entry = entry_of(spec, &key, id);
    crypto_wipe(&key, sizeof(key));
    if (entry)
        keys_file_project(entry, parse_one, &error);
    if (error < 0)
        return E_INVALID;
    CHECK(json_array_append(f->keys, entry) == 0);
    buf_append(text, buf_span(&made_text));
    return 0;
}

static void count_version(json_t *key)
{
    const json_int_t version = json_integer_value(json_object_get(key, "version"));

    set(key, "version", json_integer(version + 1));
}

int keys_file_revoke(struct keys_file *f, json_t *key)
{
    CHECK(f->lock >= 0);
    if (is_revoked(key))
        return E_EXISTS;
    set(key, "state", json_string("revoked"));
    count_version(key);
    return 0;
}

// The newest secret gets the grace; what is older ends now.
static void end_secrets(json_t *secrets, uint64_t grace_s)
{
    const size_t count = json_array_size(secrets);

    for (size_t i = 0; i < count; i++) {
        json_t *secret = json_array_get(secrets, i);
        const uint64_t end = now_s() + (i + 1 == count ? grace_s : 0);
        const uint64_t had = seconds_of(secret, "expires");
        if (had == 0 || had > end)
            set(secret, "expires", json_integer((json_int_t)end));
    }
}

int keys_file_rotate(struct keys_file *f, json_t *key, uint64_t grace_s, struct buf *text)
{
    AUTO(buf_wipe) struct buf made_text = {0};
    json_t *secrets = json_object_get(key, "secrets");
    uint8_t id[KEY_ID_LEN];
    struct api_key fresh;

    CHECK(f->lock >= 0);
    if (!key_entry_live(key))
        return E_DENIED;
    if (grace_s > UINT32_MAX)
        return E_INVALID;
    end_secrets(secrets, grace_s);
    CHECK(hex_decode(id, sizeof(id), span_str(json_string_value(json_object_get(key, "id")))) == 0);
    api_key_remake(&fresh, id, &made_text);
    add_secret(secrets, &fresh);
    crypto_wipe(&fresh, sizeof(fresh));
    count_version(key);
    buf_append(text, buf_span(&made_text));
    return 0;
}

// ---- Projecting ---------------------------------------------------------------------------------

// The earlier of two ends; 0 is never.
static uint64_t earlier(uint64_t a, uint64_t b)
{
    if (a == 0 || b == 0)
        return a + b;
    return a < b ? a : b;
}

static void project_secret(json_t *key, const json_t *secret, key_projected_fn *fn, void *arg)
{
    const char *hash = json_string_value(json_object_get(secret, "sha256"));
    const uint64_t expires = earlier(seconds_of(key, "expires"), seconds_of(secret, "expires"));
    char lookup[2 * KEY_LOOKUP_LEN + 1] = "";
    AUTO_JSON json_t *record = made(json_copy(key));

    set(record, "format", json_string("cgw/key/v1"));
    set(record, "expires", json_integer((json_int_t)expires));
    set(record, "secret_sha256", json_string(hash));
    json_object_del(record, "secrets");
    json_object_del(record, "created");
    memcpy(lookup, hash, 2 * KEY_LOOKUP_LEN);
    char *text = json_dumps(record, JSON_COMPACT | JSON_SORT_KEYS);
    CHECK(text);
    fn(arg, lookup, span_str(text));
    free(text);
}

void keys_file_project(json_t *key, key_projected_fn *fn, void *arg)
{
    const json_t *secrets = json_object_get(key, "secrets");

    for (size_t i = 0; i < json_array_size(secrets); i++)
        project_secret(key, json_array_get(secrets, i), fn, arg);
}
