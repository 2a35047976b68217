/* The plain header fields of POST /ohttp (wire.md §6): what the gateway says about a sealed
 * request. */
#ifndef WORKER_OUTER_H
#define WORKER_OUTER_H

#include "base/buf.h"
#include "base/trace_context.h"
#include "ohttp/key_config.h"

enum { OUTER_MODEL_MAX = 256, OUTER_PRICE_LEN = 40 };

struct outer {
    char call[33]; /* 32 lower-case hex digits */
    uint32_t attempt;
    uint8_t kfp[KFP_LEN];
    char model[OUTER_MODEL_MAX + 1];
    int64_t max_tokens, max_input;
    char price[OUTER_PRICE_LEN];           /* as received */
    int64_t coefficient;                   /* of it, in 1/1000 */
    char traceparent[TRACEPARENT_LEN + 1]; /* for the engine; "": none, or none that is valid */
};

/* The value of a field, data NULL when absent. */
typedef struct span outer_field_fn(const void *arg, const char *name);
/* E_INVALID: a field is missing or malformed. */
MUST_CHECK int outer_read(struct outer *out, outer_field_fn *field, const void *arg);
/* "<version>;<coefficient>", both plain integers. */
MUST_CHECK int outer_price(struct span text, int64_t *coefficient);

#endif
