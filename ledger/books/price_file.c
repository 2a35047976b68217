/* Walks the small tree that config/config_tree.h makes. */
#include "ledger/books/price_file.h"

#include <jansson.h>

#include "base/clock.h"
#include "config/config_tree.h"
#include "ledger/books/fields.h"
#include "ledger/books/record.h"

enum { COMMISSION_MAX = 10000, MULTIPLIER_MAX = 1000000000 };
#define PRICE_MAX   INT64_C(1000000000000000) /* nano per million tokens: 1 TON a token */
#define PER_MILLION 1000000

struct reading {
    struct buf *why;
};

static int refuse(struct reading *r, struct config_place at, const char *what)
{
    buf_printf(r->why, "%zu:%zu: %s", at.line, at.column, what);
    return E_INVALID;
}

static const struct config_node *child(const struct config_node *map, const char *name)
{
    const struct config_node *it = map->children;

    while (it && strcmp(it->key, name) != 0)
        it = it->next;
    return it;
}

static int read_number(struct reading *r, const struct config_node *n, uint64_t max, uint64_t *out)
{
    if (n->kind != CONFIG_SCALAR || span_u64(span_str(n->text), max, out) < 0)
        return refuse(r, n->at, "must be a whole number, and not so large");
    return 0;
}

static int required(struct reading *r, const struct config_node *map, const char *name,
                    uint64_t max, uint64_t *out)
{
    const struct config_node *n = child(map, name);

    if (n)
        return read_number(r, n, max, out);
    buf_printf(r->why, "%zu:%zu: %s is missing", map->at.line, map->at.column, name);
    return E_INVALID;
}

static int optional(struct reading *r, const struct config_node *map, const char *name,
                    uint64_t max, uint64_t *out)
{
    const struct config_node *n = child(map, name);

    return n ? read_number(r, n, max, out) : 0;
}

static int check_names(struct reading *r, const struct config_node *map, const char *const *known)
{
    for (const struct config_node *n = map->children; n; n = n->next) {
        size_t i = 0;
        while (known[i] && strcmp(known[i], n->key) != 0)
            i++;
        if (!known[i])
            return refuse(r, n->key_at, "is not known here");
    }
    return 0;
}

// ---- A model's prices ---------------------------------------------------------------------------

/* nano per million tokens */
struct classes {
    uint64_t prompt, cached, completion, reasoning;
};

static int read_direct(struct reading *r, const struct config_node *m, struct classes *c)
{
    TRY(required(r, m, "prompt", PRICE_MAX, &c->prompt));
    TRY(required(r, m, "completion", PRICE_MAX, &c->completion));
    c->cached = c->prompt;
    c->reasoning = c->completion;
    TRY(optional(r, m, "cached", PRICE_MAX, &c->cached));
    return optional(r, m, "reasoning", PRICE_MAX, &c->reasoning);
}

// base nano a token × multiplier / 10000 × 10^6 tokens; exact, or refused.
static int multiply(struct reading *r, const struct config_node *m, uint64_t base, const char *name,
                    uint64_t fallback, uint64_t *price)
{
    uint64_t multiplier = fallback;

    TRY(optional(r, m, name, MULTIPLIER_MAX, &multiplier));
    const unsigned __int128 whole = (unsigned __int128)base * multiplier * (PER_MILLION / 10000);
    if (whole > (unsigned __int128)PRICE_MAX)
        return refuse(r, m->at, "base and multiplier make a price that is too large");
    *price = (uint64_t)whole;
    return 0;
}

static int read_multiplied(struct reading *r, const struct config_node *m, struct classes *c)
{
    uint64_t base, prompt = 10000, completion = 10000;

    TRY(required(r, m, "base", PRICE_MAX, &base));
    TRY(optional(r, m, "prompt_multiplier", MULTIPLIER_MAX, &prompt));
    TRY(optional(r, m, "completion_multiplier", MULTIPLIER_MAX, &completion));
    TRY(multiply(r, m, base, "prompt_multiplier", 10000, &c->prompt));
    TRY(multiply(r, m, base, "cached_multiplier", prompt, &c->cached));
    TRY(multiply(r, m, base, "completion_multiplier", 10000, &c->completion));
    return multiply(r, m, base, "reasoning_multiplier", completion, &c->reasoning);
}

static const char *const direct_names[] = {"prompt",      "cached",  "completion", "reasoning",
                                           "per_request", "minimum", NULL};
static const char *const multiplied_names[] = {
    "base",        "prompt_multiplier", "cached_multiplier",    "completion_multiplier",
    "per_request", "minimum",           "reasoning_multiplier", NULL};

static int read_model(struct reading *r, const struct config_node *m, json_t *models)
{
    struct classes c;
    uint64_t per_request = 0, minimum = 0;

    if (!span_visible(span_str(m->key), 256))
        return refuse(r, m->key_at, "must be a model's name");
    if (m->kind != CONFIG_MAP)
        return refuse(r, m->at, "must be a map of prices");
    const bool multiplied = child(m, "base") != NULL;
    TRY(check_names(r, m, multiplied ? multiplied_names : direct_names));
    TRY(multiplied ? read_multiplied(r, m, &c) : read_direct(r, m, &c));
    TRY(optional(r, m, "per_request", PRICE_MAX, &per_request));
    TRY(optional(r, m, "minimum", PRICE_MAX, &minimum));
    json_t *model = record_object();
    record_set_money(model, "prompt", (int64_t)c.prompt);
    record_set_money(model, "cached", (int64_t)c.cached);
    record_set_money(model, "completion", (int64_t)c.completion);
    record_set_money(model, "reasoning", (int64_t)c.reasoning);
    record_set_money(model, "per_request", (int64_t)per_request);
    record_set_money(model, "minimum", (int64_t)minimum);
    record_set(models, m->key, model);
    return 0;
}

// ---- The book -----------------------------------------------------------------------------------

static int read_models(struct reading *r, const struct config_node *root, json_t *book)
{
    const struct config_node *models = child(root, "models");

    if (!models)
        return refuse(r, root->at, "models is missing");
    if (models->kind != CONFIG_MAP || models->count == 0 || models->count > PRICE_FILE_MODELS_MAX)
        return refuse(r, models->at, "must be a map of 1 to 1000 models");
    json_t *out = record_object();
    record_set(book, "models", out);
    for (const struct config_node *m = models->children; m; m = m->next)
        TRY(read_model(r, m, out));
    return 0;
}

static int read_valid_from(struct reading *r, const struct config_node *root, json_t *book)
{
    const struct config_node *n = child(root, "valid_from");
    uint64_t at;

    if (!n)
        return 0;
    if (n->kind != CONFIG_SCALAR || clock_date_parse(span_str(n->text), &at) < 0)
        return refuse(r, n->at, "must be a date: 2027-01-31 or 2027-01-31T12:00:00Z");
    record_set_int(book, "valid_from", (int64_t)at);
    return 0;
}

static int read_book(struct reading *r, const struct config_node *root, json_t *book)
{
    static const char *const known[] = {"version", "commission_bps", "valid_from", "models", NULL};
    uint64_t version, commission = 0;

    TRY(check_names(r, root, known));
    TRY(required(r, root, "version", INT32_MAX, &version));
    if (version == 0)
        return refuse(r, child(root, "version")->at, "must be 1 or more");
    TRY(optional(r, root, "commission_bps", COMMISSION_MAX, &commission));
    record_set(book, "format", json_string("cgw/prices/v1"));
    record_set(book, "currency", json_string("TON"));
    record_set_int(book, "version", (int64_t)version);
    record_set_int(book, "commission_bps", (int64_t)commission);
    TRY(read_valid_from(r, root, book));
    return read_models(r, root, book);
}

static int read_tree(struct reading *r, struct arena *arena, struct span yaml, json_t *book)
{
    struct config_problem problem;
    struct config_node *root;

    if (yaml.len > PRICE_FILE_MAX)
        return refuse(r, (struct config_place){1, 1}, "is too long");
    if (config_tree_parse(arena, yaml, &root, &problem) < 0)
        return refuse(r, problem.at, problem.what);
    if (!root || root->kind != CONFIG_MAP)
        return refuse(r, (struct config_place){1, 1}, "must be a map: version, models, …");
    return read_book(r, root, book);
}

int price_file_read(struct span yaml, struct buf *json, struct buf *why)
{
    AUTO_JSON json_t *book = record_object();
    struct reading r = {why};
    struct arena arena = {0};

    const int error = read_tree(&r, &arena, yaml, book);
    arena_fini(&arena);
    TRY(error);
    record_write(json, book);
    return 0;
}
