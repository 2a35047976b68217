/* What a worker says of itself: GET /v1/worker and Cocoon-Load, read as a stranger's bytes. */
#include "backends/pool/pool_impl.h"
#include "base/json.h"

/* A string member of at most max bytes of visible ASCII and spaces, copied with its NUL. */
static int text_member(const json_t *obj, const char *name, char *out, size_t max)
{
    const json_t *v = json_object_get(obj, name);
    size_t len = json_string_length(v);
    const char *text = json_string_value(v);

    if (!text || len > max)
        return E_INVALID;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < 0x20 || (unsigned char)text[i] > 0x7E)
            return E_INVALID;
    memcpy(out, text, len);
    out[len] = 0;
    return 0;
}

static int count_member(const json_t *obj, const char *name, int64_t min, int64_t max, int64_t *out)
{
    const json_t *v = json_object_get(obj, name);

    if (!json_is_integer(v) || json_integer_value(v) < min || json_integer_value(v) > max)
        return E_INVALID;
    *out = json_integer_value(v);
    return 0;
}

static unsigned endpoint_bit(const char *name)
{
    static const char *const names[] = {
        [EP_CHAT] = "chat", [EP_COMPLETIONS] = "completions", [EP_EMBEDDINGS] = "embeddings"};

    for (unsigned e = 0; e < sizeof(names) / sizeof(*names); e++)
        if (strcmp(names[e], name) == 0)
            return 1u << e;
    return 0;
}

static unsigned endpoints_member(const json_t *model)
{
    const json_t *list = json_object_get(model, "endpoints"), *v;
    unsigned bits = 0;
    size_t i;

    json_array_foreach(list, i, v)
        if (json_is_string(v))
            bits |= endpoint_bit(json_string_value(v));
    return bits ? bits : (1u << EP_CHAT | 1u << EP_COMPLETIONS);
}

static int model_parse(struct pool_model *out, const json_t *v)
{
    TRY(text_member(v, "name", out->name, POOL_NAME_LEN));
    TRY(count_member(v, "context", 1, INT32_MAX, &out->context));
    TRY(count_member(v, "max_output", 0, INT32_MAX, &out->max_output));
    out->endpoints = endpoints_member(v);
    return out->name[0] ? 0 : E_INVALID;
}

const char *const pool_days[POOL_DAYS] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};

/* For display only; a worker may keep them to itself. */
static int hours_parse(struct description *out, const json_t *v)
{
    if (!v || json_is_null(v))
        return 0;
    for (size_t day = 0; day < POOL_DAYS; day++)
        TRY(text_member(v, pool_days[day], out->hours[day], POOL_HOURS_LEN));
    out->has_hours = true;
    return 0;
}

int description_parse(struct description *out, struct span body)
{
    AUTO_JSON json_t *doc = NULL;
    const json_t *models, *v, *reason;
    size_t i;

    memset(out, 0, sizeof(*out));
    TRY(json_read(body, &doc));
    char format[17];
    TRY(text_member(doc, "format", format, sizeof(format) - 1));
    if (strcmp(format, "cgw/worker/v1") != 0)
        return E_INVALID;
    TRY(text_member(doc, "worker_id", out->worker_id, sizeof(out->worker_id) - 1));
    TRY(text_member(doc, "version", out->version, sizeof(out->version) - 1));
    TRY(count_member(doc, "max_requests", 0, 10000, &out->max_requests));
    TRY(count_member(doc, "ask", 0, 999999999, &out->ask));
    out->accepting = json_is_true(json_object_get(doc, "accepting"));
    reason = json_object_get(doc, "reason");
    if (reason && !json_is_null(reason))
        TRY(text_member(doc, "reason", out->reason, sizeof(out->reason) - 1));
    TRY(hours_parse(out, json_object_get(doc, "hours")));
    models = json_object_get(doc, "models");
    if (!json_is_array(models) || json_array_size(models) > POOL_MAX_MODELS)
        return E_INVALID;
    json_array_foreach(models, i, v)
        TRY(model_parse(&out->models[out->model_count++], v));
    return 0;
}

/* 0, 1, or either with a point and digits: no sign, no exponent, nothing else that strtod takes. */
static int share_parse(double *out, struct span text)
{
    double value = 0, place = 1;

    if (text.len == 0 || text.len > 15 || (text.len > 1 && text.data[1] != '.') || text.len == 2)
        return E_INVALID;
    for (size_t i = 0; i < text.len; i++) {
        if (i == 1)
            continue;
        if (text.data[i] < '0' || text.data[i] > '9')
            return E_INVALID;
        value += (double)(text.data[i] - '0') * place;
        place /= 10;
    }
    *out = value;
    return value <= 1 ? 0 : E_INVALID;
}

static int load_item(struct load *out, struct span name, struct span value)
{
    uint64_t n;

    if (span_is(name, "kv"))
        return share_parse(&out->kv, value);
    if (!span_is(name, "running") && !span_is(name, "waiting") && !span_is(name, "max"))
        return 0; /* a later version may say more */
    TRY(span_u64(value, 1000000, &n));
    *(span_is(name, "running")   ? &out->running
      : span_is(name, "waiting") ? &out->waiting
                                 : &out->max) = (int64_t)n;
    return 0;
}

int load_parse(struct load *out, struct span value)
{
    struct load l = {0};

    if (value.len == 0 || value.len > 256)
        return E_INVALID;
    while (value.len > 0) {
        struct span item = span_split(&value, ',');
        struct span name = span_split(&item, '=');
        TRY(load_item(&l, span_trim(name), span_trim(item)));
    }
    *out = l;
    return 0;
}
