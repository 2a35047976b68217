/* What is sealed: the inner message of a request, by the allowlist of wire.md §5, and the numbers
 * and tags that stand outside as well. Pure. */
#ifndef CLIENT_CORE_INNER_H
#define CLIENT_CORE_INNER_H

#include <time.h>

#include "crypto/hash.h"
#include "openai/request.h"

enum { CLIENT_KEY_LEN = 32, TAG_LEN = 22, INNER_PADDED_TO = 512 };

/* The bounds that are declared outside and bound inside (money.md §3). */
struct inner_bounds {
    int64_t max_tokens, max_input;
};

/* default_output: completion tokens a choice where the request says nothing; allowance: prompt
 * tokens added to the body's bytes for the chat template. */
struct inner_bounds inner_bounds_of(const struct request *rq, size_t body_len,
                                    int64_t default_output, int64_t allowance);

/* First 16 bytes of HMAC-SHA-256(client key, label ‖ conversation) as base64url with NUL (wire.md
 * §10); label is "route" or "salt". */
void inner_tag(char out[static TAG_LEN + 1], struct span client_key, const char *label,
               struct span conversation);

struct inner_ask {
    const struct request *rq;
    struct span served_model;
    struct span body; /* made by request_forward for that model */
    struct span rid;
    struct inner_bounds bounds;
    const char *padding; /* "none", "pow2", "64" */
    uint64_t ping_ms;
    struct span client_key;
    const char *affinity; /* inner_tag of "route", which stands outside */
    time_t date;
};
/* Appends the Binary HTTP request with zero bytes behind it, to a multiple of INNER_PADDED_TO. */
void inner_write(const struct inner_ask *ask, struct buf *out);

#endif
