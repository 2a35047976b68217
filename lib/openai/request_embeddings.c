/* The input of /v1/embeddings (api.md §1.3). */
#include "openai/check.h"

int check_input(struct check *c, const struct at *at, json_t *value)
{
    enum { MOST = 2048 };
    static const struct text_rules input = {
        .text = {.kind = K_STRING, .min = 1, .max = INT64_MAX},
        .tokens = {.kind = K_ARRAY, .min = 1, .max = MOST},
        .list = {.kind = K_ARRAY, .min = 1, .max = MOST},
    };

    return check_texts(c, at, &input, value, &c->rq->prompts);
}
