/* A price book's bytes into prices, strictly. */
#include "billing/price_book.h"

#include <stdlib.h>

#include "base/json.h"

enum { NAME_MAX_LEN = 128 };

struct price_book *price_book_ref(struct price_book *b)
{
    b->refs++;
    return b;
}

void price_book_unref(struct price_book *b)
{
    struct span name;
    void *price;
    size_t at = 0;

    if (!b || --b->refs > 0)
        return;
    while (map_next(&b->models, &at, &name, &price))
        free(price);
    map_fini(&b->models);
    buf_fini(&b->json);
    free(b);
}

const struct price *price_book_find(const struct price_book *b, struct span model)
{
    return map_get(&b->models, model);
}

static int money_read(const json_t *obj, const char *name, int64_t *out)
{
    struct span text;

    TRY(json_obj_string(obj, name, &text));
    return nano_parse(text, out);
}

static int optional(int error)
{
    return error == E_NOT_FOUND ? 0 : error;
}

/* Every member is known: those of `names`, of which `optionals` (at the end) may be missing. */
static int members_check(const json_t *obj, const char *const *names, size_t count,
                         size_t optionals)
{
    size_t found = 0;

    for (size_t i = 0; i < count; i++) {
        if (json_object_get(obj, names[i]))
            found++;
        else if (i < count - optionals)
            return E_INVALID;
    }
    return json_object_size(obj) == found ? 0 : E_INVALID;
}

static int price_read(const json_t *obj, struct price *p)
{
    static const char *const names[] = {"cached", "completion", "minimum", "per_request",
                                        "prompt", "reasoning",  "context"};

    TRY(members_check(obj, names, sizeof(names) / sizeof(*names), 1));
    TRY(money_read(obj, "prompt", &p->prompt));
    TRY(money_read(obj, "cached", &p->cached));
    TRY(money_read(obj, "completion", &p->completion));
    TRY(money_read(obj, "reasoning", &p->reasoning));
    TRY(money_read(obj, "per_request", &p->per_request));
    TRY(money_read(obj, "minimum", &p->minimum));
    return optional(json_obj_int(obj, "context", 1, PRICE_TOKENS_MAX, &p->context));
}

static int models_read(struct price_book *b, json_t *models)
{
    const char *name;
    const json_t *obj;

    if (!json_is_object(models) || json_object_size(models) > PRICE_MODELS_MAX)
        return E_INVALID;
    json_object_foreach(models, name, obj) {
        struct price p = {0};
        if (!span_visible(span_str(name), NAME_MAX_LEN) || price_read(obj, &p) < 0)
            return E_INVALID;
        struct price *kept = mem_alloc(sizeof(*kept));
        *kept = p;
        free(map_put(&b->models, span_str(name), kept));
    }
    return 0;
}

static int book_read(struct price_book *b, const json_t *doc)
{
    static const char *const names[] = {"commission_bps", "currency", "format",
                                        "models",         "version",  "valid_from"};
    struct span format, currency;
    int64_t from = 0;

    TRY(members_check(doc, names, sizeof(names) / sizeof(*names), 1));
    TRY(json_obj_string(doc, "format", &format));
    TRY(json_obj_string(doc, "currency", &currency));
    if (!span_is(format, "cgw/prices/v1") || !span_visible(currency, 16))
        return E_INVALID;
    TRY(json_obj_int(doc, "commission_bps", 0, PRICE_BPS, &b->commission_bps));
    TRY(json_obj_int(doc, "version", 1, INT32_MAX, &b->version));
    TRY(optional(json_obj_int(doc, "valid_from", 0, INT64_MAX, &from)));
    b->valid_from_s = (uint64_t)from;
    return models_read(b, json_object_get(doc, "models"));
}

int price_book_parse(struct price_book **out, struct span json)
{
    AUTO_JSON json_t *doc = NULL;
    AUTO(price_book_unref) struct price_book *b = NULL;

    *out = NULL;
    if (json.len > PRICE_BOOK_MAX)
        return E_TOO_LARGE;
    TRY(json_read(json, &doc) < 0 ? E_INVALID : 0);
    b = mem_zero(sizeof(*b));
    b->refs = 1;
    if (book_read(b, doc) < 0)
        return E_INVALID;
    sha256(b->sha256, json);
    buf_append(&b->json, json);
    *out = price_book_ref(b);
    return 0;
}
