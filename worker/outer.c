/* Reads the outer fields, each bounded. */
#include "worker/outer.h"

#include "base/encode.h"

enum { TOKENS_MAX = 1 << 30, ATTEMPT_MAX = 1000000, COEFFICIENT_MAX = 999999999 };

static int read_call(struct outer *o, struct span text)
{
    uint8_t raw[16];
    char again[33];

    TRY(hex_decode(raw, sizeof(raw), text));
    hex_encode(again, SPAN_OF(raw));
    memcpy(o->call, again, sizeof(again));
    return span_is(text, again) ? 0 : E_INVALID; /* lower case only */
}

static int read_count(struct span text, uint64_t max, int64_t *out)
{
    uint64_t n = 0;

    TRY(span_u64(text, max, &n));
    *out = (int64_t)n;
    return 0;
}

static int copy_visible(char *out, size_t size, struct span text)
{
    if (!span_visible(text, size - 1))
        return E_INVALID;
    memcpy(out, text.data, text.len);
    out[text.len] = '\0';
    return 0;
}

int outer_price(struct span text, int64_t *coefficient)
{
    int64_t version = 0;
    const struct span first = span_split(&text, ';');

    TRY(read_count(first, INT64_MAX, &version));
    return read_count(text, COEFFICIENT_MAX, coefficient);
}

int outer_read(struct outer *out, outer_field_fn *field, const void *arg)
{
    const struct span price = field(arg, "cocoon-price");
    int64_t attempt = 0;

    *out = (struct outer){0};
    if (!span_is(field(arg, "content-type"), "message/ohttp-chunked-req"))
        return E_INVALID;
    TRY(read_call(out, field(arg, "cocoon-call")));
    TRY(read_count(field(arg, "cocoon-attempt"), ATTEMPT_MAX, &attempt));
    out->attempt = (uint32_t)attempt;
    TRY(hex_decode(out->kfp, KFP_LEN, field(arg, "cocoon-key")));
    TRY(copy_visible(out->model, sizeof(out->model), field(arg, "cocoon-model")));
    TRY(read_count(field(arg, "cocoon-max-tokens"), TOKENS_MAX, &out->max_tokens));
    TRY(read_count(field(arg, "cocoon-max-input"), TOKENS_MAX, &out->max_input));
    trace_context_pass(out->traceparent, field(arg, "traceparent"));
    TRY(copy_visible(out->price, sizeof(out->price), price));
    return outer_price(price, &out->coefficient);
}
