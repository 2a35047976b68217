/* The prompt's four forms and what else only /v1/completions has (api.md §1.3). */
#include "openai/check.h"

enum { MOST_TOKEN_ID = 2147483647 };

/* Bounds prompts × max(n, best_of): each sequence costs an engine's slot and our memory. */
enum { MOST_SEQUENCES = 2048 };

static int check_token(struct check *c, const struct at *at, json_t *value)
{
    static const struct rule token = {.kind = K_INTEGER, .max = MOST_TOKEN_ID};

    return check_value(c, at, &token, value);
}

static int check_tokens(struct check *c, const struct at *at, json_t *list,
                        const struct rule *length)
{
    TRY(check_value(c, at, length, list));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const struct at here = {.up = at, .index = i};
        TRY(check_token(c, &here, json_array_get(list, i)));
    }
    return 0;
}

/* One element of an array of prompts must be like the first: a string, or an array of tokens. */
static int check_item(struct check *c, const struct at *at, const struct text_rules *t,
                      json_t *first, json_t *value)
{
    if (json_is_string(first))
        return check_value(c, at, &t->text, value);
    return check_tokens(c, at, value, &t->tokens);
}

int check_texts(struct check *c, const struct at *at, const struct text_rules *t, json_t *value,
                int64_t *count)
{
    json_t *first = json_array_get(value, 0);

    *count = 1;
    if (json_is_string(value))
        return check_value(c, at, &t->text, value);
    if (!json_is_array(value))
        return fault_type(c, at, "a string or an array", value);
    if (json_is_integer(first))
        return check_tokens(c, at, value, &t->tokens);
    TRY(check_value(c, at, &t->list, value));
    *count = (int64_t)json_array_size(value);
    if (!json_is_string(first) && !json_is_array(first)) {
        const struct at here = {.up = at};
        return fault_type(c, &here, "a string, an integer or an array of integers", first);
    }
    for (size_t i = 0; i < json_array_size(value); i++) {
        const struct at here = {.up = at, .index = i};
        TRY(check_item(c, &here, t, first, json_array_get(value, i)));
    }
    return 0;
}

int check_prompt(struct check *c, const struct at *at, json_t *value)
{
    static const struct text_rules prompt = {
        .text = {.kind = K_STRING},
        .tokens = {.kind = K_ARRAY, .min = 1, .max = INT64_MAX},
        .list = {.kind = K_ARRAY, .min = 1, .max = MOST_SEQUENCES},
    };

    return check_texts(c, at, &prompt, value, &c->rq->prompts);
}

int check_completions_combination(struct check *c)
{
    const int64_t best_of = json_integer_value(json_object_get(c->doc, "best_of"));
    const struct request *rq = c->rq;

    if (best_of > 0 && best_of < rq->choices)
        return api_fault_text(c->fault, &ERR_INVALID_VALUE, "best_of",
                              "Invalid value for 'best_of': it must not be below 'n'.");
    if (best_of > rq->choices && rq->stream)
        return api_fault_text(c->fault, &ERR_INVALID_VALUE, "best_of",
                              "Invalid value for 'best_of': with 'stream' it must equal 'n'.");
    if (rq->sequences > MOST_SEQUENCES)
        return api_fault_text(c->fault, &ERR_INVALID_VALUE, "prompt",
                              "Invalid value for 'prompt': more than %d answers in all.",
                              MOST_SEQUENCES);
    return 0;
}
