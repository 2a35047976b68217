/* The record of a key as Redis stores it: JSON, read strictly, so that a mistake never widens a
 * scope. */
#include "auth/keys.h"

#include <stdlib.h>

#include "auth/cidr.h"
#include "base/clock.h"
#include "base/encode.h"
#include "base/json.h"

enum { RECORD_MAX = 64 * 1024, LIST_MAX = 1000, ITEM_MAX = 256 };
#define LIMIT_MAX INT64_C(1000000000000)

struct key_record *key_record_ref(struct key_record *r)
{
    r->refs++;
    return r;
}

bool key_record_live(const struct key_record *r)
{
    return !r->revoked && (r->expires_s == 0 || clock_wall_ms() / 1000 < r->expires_s);
}

static void free_list(char **list)
{
    for (size_t i = 0; list && list[i]; i++)
        free(list[i]);
    free(list);
}

void key_record_unref(struct key_record *r)
{
    while (r && --r->refs == 0) {
        struct key_record *newer = r->newer;
        free_list(r->models);
        free_list(r->endpoints);
        free_list(r->ranges);
        free(r);
        r = newer;
    }
}

// Optional: an absent member leaves what *out holds.
static int optional(int error)
{
    return error == E_NOT_FOUND ? 0 : error;
}

// One word without characters that mean something in keys of Redis, logs or JSON.
static int read_word(const json_t *doc, const char *name, char *out, size_t size)
{
    struct span s;

    TRY(json_obj_string(doc, name, &s));
    if (!span_visible(s, size - 1))
        return E_INVALID;
    for (size_t i = 0; i < s.len; i++) {
        if (strchr("{}\"\\", s.data[i]))
            return E_INVALID;
    }
    return span_cstr(s, out, size);
}

static int read_project(const json_t *doc, struct key_record *r)
{
    struct span s;

    TRY(json_obj_string(doc, "project", &s));
    return s.len == 0 ? 0 : read_word(doc, "project", r->project, sizeof(r->project));
}

// A text: UTF-8 without control characters.
static int read_name(const json_t *doc, const char *name, char *out, size_t size)
{
    struct span s;

    TRY(json_obj_string(doc, name, &s));
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] < 0x20 || s.data[i] == 0x7F)
            return E_INVALID;
    }
    return span_cstr(s, out, size);
}

bool key_endpoint_known(struct span s)
{
    return span_is(s, "chat") || span_is(s, "completions") || span_is(s, "embeddings") ||
           span_is(s, "models");
}

static bool model_valid(struct span s)
{
    return span_visible(s, ITEM_MAX);
}

static bool range_valid(struct span s)
{
    struct cidr range;

    return cidr_parse(&range, s) == 0;
}

static int read_items(const json_t *array, bool (*valid)(struct span), char **items)
{
    for (size_t i = 0; i < json_array_size(array); i++) {
        const json_t *item = json_array_get(array, i);
        const struct span s = span_of(json_string_value(item), json_string_length(item));
        if (!json_is_string(item) || !valid(s))
            return E_INVALID;
        items[i] = mem_strdup((const char *)s.data);
    }
    return 0;
}

static int read_list(const json_t *scopes, const char *name, bool (*valid)(struct span),
                     char ***out)
{
    const json_t *array = json_object_get(scopes, name);

    if (!array || json_is_null(array))
        return 0;
    if (!json_is_array(array) || json_array_size(array) > LIST_MAX)
        return E_INVALID;
    *out = mem_zero((json_array_size(array) + 1) * sizeof(**out));
    return read_items(array, valid, *out);
}

static int read_scopes(const json_t *doc, struct key_record *r)
{
    const json_t *scopes = json_object_get(doc, "scopes");

    if (!scopes || json_is_null(scopes))
        return 0;
    if (!json_is_object(scopes))
        return E_INVALID;
    TRY(read_list(scopes, "models", model_valid, &r->models));
    TRY(read_list(scopes, "endpoints", key_endpoint_known, &r->endpoints));
    return read_list(scopes, "ranges", range_valid, &r->ranges);
}

static int read_limits(const json_t *doc, struct key_record *r)
{
    const json_t *limits = json_object_get(doc, "limits");

    if (!limits || json_is_null(limits))
        return 0;
    TRY(optional(json_obj_int(limits, "max_output", 0, INT32_MAX, &r->max_output)));
    TRY(optional(
        json_obj_int(limits, "requests_per_minute", 0, LIMIT_MAX, &r->requests_per_minute)));
    TRY(optional(json_obj_int(limits, "tokens_per_minute", 0, LIMIT_MAX, &r->tokens_per_minute)));
    return optional(json_obj_int(limits, "streams", 0, LIMIT_MAX, &r->streams));
}

// Money is text: a JSON number of some other program may be a double.
static int read_money(const json_t *budgets, const char *name, int64_t *out)
{
    struct span s;
    uint64_t nano;

    TRY(json_obj_string(budgets, name, &s));
    TRY(span_u64(s, INT64_MAX, &nano));
    *out = (int64_t)nano;
    return 0;
}

static int read_budgets(const json_t *doc, struct key_record *r)
{
    const json_t *budgets = json_object_get(doc, "budgets");

    if (!budgets || json_is_null(budgets))
        return 0;
    if (!json_is_object(budgets))
        return E_INVALID;
    TRY(optional(read_money(budgets, "day", &r->budget_day)));
    TRY(optional(read_money(budgets, "month", &r->budget_month)));
    return optional(read_money(budgets, "total", &r->budget_total));
}

// Sets *out to the index of the member's word in `words`; an absent member leaves it.
static int read_choice(const json_t *doc, const char *name, const char *const *words, size_t *out)
{
    struct span s;

    TRY(json_obj_string(doc, name, &s));
    for (size_t i = 0; words[i]; i++) {
        if (span_is(s, words[i])) {
            *out = i;
            return 0;
        }
    }
    return E_INVALID;
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static int read_choices(const json_t *doc, struct key_record *r)
{
    const char *const *classes = WORDS("interactive", "batch", "internal");
    size_t format, state, privacy = 0, class = 0, metering = 0;

    TRY(read_choice(doc, "format", WORDS("cgw/key/v1"), &format));
    TRY(read_choice(doc, "state", WORDS("active", "revoked"), &state));
    TRY(optional(read_choice(doc, "privacy", WORDS("any", "end-to-end"), &privacy)));
    TRY(optional(read_choice(doc, "class", classes, &class)));
    TRY(optional(read_choice(doc, "metering", WORDS("off", "on"), &metering)));
    r->metered = metering == 1;
    r->revoked = state == 1;
    r->end_to_end_only = privacy == 1;
    return span_cstr(span_str(classes[class]), r->class, sizeof(r->class));
}

static int read_hex(const json_t *doc, const char *name, uint8_t *out, size_t len)
{
    struct span s;

    TRY(json_obj_string(doc, name, &s));
    return hex_decode(out, len, s);
}

static int read_identity(const json_t *doc, struct key_record *r)
{
    uint8_t id[KEY_ID_LEN];
    int64_t version;

    TRY(read_hex(doc, "id", id, sizeof(id)));
    hex_encode(r->id, SPAN_OF(id));
    TRY(read_hex(doc, "secret_sha256", r->secret_sha256, sizeof(r->secret_sha256)));
    TRY(read_word(doc, "account", r->account, sizeof(r->account)));
    TRY(json_obj_int(doc, "version", 1, INT64_MAX, &version));
    r->version = (uint64_t)version;
    return 0;
}

static int read_record(const json_t *doc, struct key_record *r)
{
    int64_t expires = 0;

    TRY(read_choices(doc, r));
    TRY(read_identity(doc, r));
    TRY(optional(read_project(doc, r)));
    TRY(optional(read_name(doc, "name", r->name, sizeof(r->name))));
    TRY(optional(json_obj_int(doc, "expires", 0, INT64_MAX, &expires)));
    r->expires_s = (uint64_t)expires;
    TRY(optional(json_obj_bool(doc, "strict", &r->strict)));
    TRY(optional(json_obj_bool(doc, "receipts", &r->receipts)));
    TRY(optional(json_obj_bool(doc, "replay_answers", &r->replay_answers)));
    TRY(optional(read_name(doc, "require", r->require, sizeof(r->require))));
    r->max_coefficient = 1000;
    TRY(optional(json_obj_int(doc, "max_coefficient", 0, 1000000, &r->max_coefficient)));
    r->weight = KEY_WEIGHT;
    TRY(optional(json_obj_int(doc, "weight", 1, KEY_WEIGHT_MAX, &r->weight)));
    TRY(read_scopes(doc, r));
    TRY(read_limits(doc, r));
    return read_budgets(doc, r);
}

int key_record_parse(struct key_record **out, struct span json)
{
    AUTO_JSON json_t *doc = NULL;

    *out = NULL;
    if (json.len > RECORD_MAX || json_read(json, &doc) < 0)
        return E_INVALID;
    struct key_record *r = mem_zero(sizeof(*r));
    r->refs = 1;
    sha256(r->json_sha256, json);
    if (read_record(doc, r) < 0) {
        key_record_unref(r);
        return E_INVALID;
    }
    *out = r;
    return 0;
}
