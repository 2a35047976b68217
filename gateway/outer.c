/* Step check of a call whose body its client has encrypted: all that is known of it stands in the
 * outer headers (wire.md §6). */
#include "gateway/call.h"
#include "gateway/services.h"
#include "base/encode.h"

enum { TOKENS_MAX = 1 << 30, TIMEOUT_MAX_S = 86400, COEFFICIENT_MAX = 999999999 };

/* The one field of that name; E_INVALID when it stands there twice. Empty: it is absent. */
static int field(struct call *c, const char *name, struct span *out)
{
    *out = http_header_count(c->ex, name) > 0 ? span_trim(http_header(c->ex, name)) : SPAN("");
    return http_header_count(c->ex, name) > 1 ? E_INVALID : 0;
}

static int number(struct call *c, const char *name, uint64_t max, bool needed, uint64_t *out)
{
    struct span text;

    TRY(field(c, name, &text));
    if (text.len == 0)
        return needed ? E_INVALID : E_NOT_FOUND;
    return span_u64(text, max, out);
}

static int read_key(struct call *c)
{
    struct span text;

    TRY(field(c, "cocoon-key", &text));
    return hex_decode(c->kfp, sizeof(c->kfp), text);
}

static int read_model(struct call *c)
{
    struct span text;

    TRY(field(c, "cocoon-model", &text));
    if (!span_visible(text, POOL_NAME_LEN))
        return E_INVALID;
    buf_clear(&c->rq.model);
    buf_append(&c->rq.model, text);
    (void)buf_cstr(&c->rq.model);
    return 0;
}

static int read_max_tokens(struct call *c)
{
    uint64_t n = 0;

    TRY(number(c, "cocoon-max-tokens", TOKENS_MAX, true, &n));
    c->max_tokens = (int64_t)n;
    return 0;
}

static int read_max_input(struct call *c)
{
    uint64_t n = 0;

    TRY(number(c, "cocoon-max-input", TOKENS_MAX, true, &n));
    c->max_input = (int64_t)n;
    return 0;
}

static int read_stream(struct call *c)
{
    struct span text;

    TRY(field(c, "cocoon-stream", &text));
    c->rq.stream = span_is(text, "?1");
    return c->rq.stream || span_is(text, "?0") ? 0 : E_INVALID;
}

static int read_timeout(struct call *c)
{
    uint64_t n = 0;
    int error = number(c, "cocoon-timeout", TIMEOUT_MAX_S, false, &n);

    c->rq.timeout_ms = n * 1000;
    return error == E_NOT_FOUND ? 0 : error;
}

static int read_coefficient(struct call *c)
{
    uint64_t n = 0;
    int error = number(c, "cocoon-max-coefficient", COEFFICIENT_MAX, false, &n);

    c->rq.max_coefficient = error == 0 ? (int64_t)n : -1;
    return error == E_NOT_FOUND ? 0 : error;
}

static int read_affinity(struct call *c)
{
    struct span text;

    TRY(field(c, "cocoon-affinity", &text));
    if (text.len == 0)
        return 0;
    return span_visible(text, AFFINITY_LEN) ? span_cstr(text, c->affinity, sizeof(c->affinity))
                                            : E_INVALID;
}

static const struct {
    const char *name;
    int (*read)(struct call *c);
} fields[] = {
    {"Cocoon-Key", read_key},
    {"Cocoon-Model", read_model},
    {"Cocoon-Max-Tokens", read_max_tokens},
    {"Cocoon-Max-Input", read_max_input},
    {"Cocoon-Stream", read_stream},
    {"Cocoon-Timeout", read_timeout},
    {"Cocoon-Max-Coefficient", read_coefficient},
    {"Cocoon-Affinity", read_affinity},
};

/* Which endpoint it is for is sealed: a key that may not use them all cannot be held to it. */
static bool allows_any_endpoint(const struct call *c)
{
    return call_allows_endpoint(c, "chat") && call_allows_endpoint(c, "completions") &&
           call_allows_endpoint(c, "embeddings");
}

enum step_result outer_check(struct call *c)
{
    c->parsed = true;
    c->rq.cap = -1;
    if (!allows_any_endpoint(c)) {
        api_fault_set(&c->fault, &ERR_ENDPOINT_NOT_ALLOWED, NULL, NULL);
        return STEP_FAIL;
    }
    for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++)
        if (fields[i].read(c) < 0) {
            api_fault_set(&c->fault, &ERR_INVALID_HEADER, NULL, fields[i].name);
            return STEP_FAIL;
        }
    if (check_require(c) == STEP_FAIL)
        return STEP_FAIL;
    return call_check_model(c);
}
