/* Init data of a Mini App: fields read strictly, sorted, and compared with what signs them. */
#include "auth/telegram.h"

#include <stdlib.h>

#include "base/encode.h"
#include "base/json.h"

enum { FIELDS_MAX = 32, NAME_MAX_LEN = 64, BOT_TOKEN_MAX = 128 };
#define ID_MAX ((UINT64_C(1) << 52) - 1) /* "at most 52 significant bits" */

struct field {
    struct span name, value; /* in fields.text */
};

struct fields {
    uint8_t text[TELEGRAM_DATA_MAX]; /* decoded */
    size_t len, count;
    struct field at[FIELDS_MAX];
};

int telegram_bot_key(struct telegram_bot *bot, struct span token)
{
    struct span rest = token;
    uint64_t id;

    if (!span_visible(token, BOT_TOKEN_MAX))
        return E_INVALID;
    TRY(span_u64(span_split(&rest, ':'), ID_MAX, &id));
    if (rest.len == 0 || id != bot->id)
        return E_INVALID;
    hmac_sha256(bot->data_key, SPAN("WebAppData"), token);
    bot->has_token = true;
    return 0;
}

// ---- Fields -------------------------------------------------------------------------------------

/* A line's end inside a value would let it pass for another field: form_decode refuses controls,
 * JSON escapes them. */
static int decode(struct fields *f, struct span in, struct span *out)
{
    uint8_t *text = f->text + f->len;
    size_t len;

    for (size_t i = 0; i < in.len; i++) {
        if (in.data[i] >= 0x7F)
            return E_INVALID;
    }
    TRY(form_decode(text, sizeof(f->text) - f->len, &len, in));
    f->len += len;
    *out = span_of(text, len);
    return 0;
}

static bool name_good(struct span name)
{
    for (size_t i = 0; i < name.len; i++) {
        const uint8_t c = name.data[i];
        if (!(c == '_' || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')))
            return false;
    }
    return name.len > 0 && name.len <= NAME_MAX_LEN;
}

static int by_name(const void *a, const void *b)
{
    const struct span x = ((const struct field *)a)->name, y = ((const struct field *)b)->name;
    const int order = memcmp(x.data, y.data, x.len < y.len ? x.len : y.len);

    return order ? order : (x.len > y.len) - (x.len < y.len);
}

static int field_add(struct fields *f, struct span pair)
{
    const ptrdiff_t at = span_find(pair, SPAN("="));

    if (at < 0 || f->count == FIELDS_MAX)
        return E_INVALID;
    struct field *new = &f->at[f->count++];
    TRY(decode(f, span_cut(pair, 0, (size_t)at), &new->name));
    TRY(decode(f, span_from(pair, (size_t)at + 1), &new->value));
    return name_good(new->name) ? 0 : E_INVALID;
}

/* Sorted, each name once. */
static int fields_read(struct fields *f, struct span data)
{
    f->len = f->count = 0;
    if (data.len == 0 || data.len > TELEGRAM_DATA_MAX || data.data[data.len - 1] == '&')
        return E_INVALID;
    while (data.len > 0)
        TRY(field_add(f, span_split(&data, '&')));
    qsort(f->at, f->count, sizeof(*f->at), by_name);
    for (size_t i = 1; i < f->count; i++) {
        if (span_eq(f->at[i - 1].name, f->at[i].name))
            return E_INVALID;
    }
    return 0;
}

static int field_find(const struct fields *f, const char *name, struct span *out)
{
    for (size_t i = 0; i < f->count; i++) {
        if (span_is(f->at[i].name, name)) {
            *out = f->at[i].value;
            return 0;
        }
    }
    return E_INVALID;
}

// ---- Signatures ---------------------------------------------------------------------------------

/* The data-check-string: a line a field, but for what is said not to be signed. */
static void lines_append(const struct fields *f, bool third_party, struct buf *out)
{
    bool first = true;

    for (size_t i = 0; i < f->count; i++) {
        const struct field *it = &f->at[i];
        if (span_is(it->name, "hash") || (third_party && span_is(it->name, "signature")))
            continue;
        if (!first)
            buf_byte(out, '\n');
        first = false;
        buf_append(out, it->name);
        buf_byte(out, '=');
        buf_append(out, it->value);
    }
}

static int hash_check(const struct telegram_bot *bot, const struct fields *f)
{
    AUTO(buf_wipe) struct buf lines = {0};
    uint8_t said[SHA256_LEN], is[SHA256_LEN];
    struct span hex;

    TRY(field_find(f, "hash", &hex));
    TRY(hex_decode(said, sizeof(said), hex));
    lines_append(f, false, &lines);
    hmac_sha256(is, SPAN_OF(bot->data_key), buf_span(&lines));
    return crypto_equal(SPAN_OF(said), SPAN_OF(is)) ? 0 : E_AUTH;
}

static int signature_check(const struct telegram_bot *bot, const struct fields *f)
{
    AUTO(buf_wipe) struct buf lines = {0};
    AUTO(buf_fini) struct buf signature = {0};
    struct span text;

    TRY(field_find(f, "signature", &text));
    TRY(base64url_decode(&signature, text));
    if (signature.len != ED25519_SIG_LEN)
        return E_INVALID;
    buf_printf(&lines, "%llu:WebAppData\n", (unsigned long long)bot->id);
    lines_append(f, true, &lines);
    return ed25519_verify(bot->telegram, buf_span(&lines), buf_span(&signature));
}

// ---- What is signed -----------------------------------------------------------------------------

static int date_check(const struct fields *f, uint64_t now_s)
{
    struct span text;
    uint64_t at;

    TRY(field_find(f, "auth_date", &text));
    TRY(span_u64(text, INT64_MAX, &at));
    return at > now_s + TELEGRAM_SKEW_S || at + TELEGRAM_DATA_AGE_S < now_s ? E_EXPIRED : 0;
}

static int user_read(const struct fields *f, uint64_t *user)
{
    AUTO_JSON json_t *doc = NULL;
    struct span text;
    int64_t id;

    TRY(field_find(f, "user", &text));
    if (json_read(text, &doc) < 0 || json_obj_int(doc, "id", 1, (int64_t)ID_MAX, &id) < 0)
        return E_INVALID;
    *user = (uint64_t)id;
    return 0;
}

static int check(const struct telegram_bot *bot, const struct fields *f, uint64_t now_s,
                 uint64_t *user)
{
    TRY(bot->has_token ? hash_check(bot, f) : signature_check(bot, f));
    TRY(date_check(f, now_s));
    return user_read(f, user);
}

int telegram_data_check(const struct telegram_bot *bot, struct span init_data, uint64_t now_s,
                        uint64_t *user)
{
    struct fields f;
    int error = fields_read(&f, init_data);

    if (error == 0)
        error = check(bot, &f, now_s, user);
    crypto_wipe(&f, sizeof(f));
    return error;
}
