/* Reads traceparent strictly, so that what is passed on is hex digits and nothing else. */
#include "base/trace_context.h"

#include "base/encode.h"

enum {
    TRACE_AT = 3, /* 00-TRACE-SPAN-FLAGS */
    SPAN_AT = TRACE_AT + 2 * TRACE_ID_LEN + 1,
    FLAGS_AT = SPAN_AT + 2 * TRACE_SPAN_LEN + 1,
    FLAG_SAMPLED = 1
};

/* Lower-case digits only. */
static int read_hex(uint8_t *out, size_t len, struct span text, size_t at)
{
    const struct span digits = span_cut(text, at, 2 * len);

    for (size_t i = 0; i < digits.len; i++)
        if (digits.data[i] >= 'A' && digits.data[i] <= 'F')
            return E_INVALID;
    return hex_decode(out, len, digits);
}

static bool is_zero(struct span id)
{
    for (size_t i = 0; i < id.len; i++)
        if (id.data[i] != 0)
            return false;
    return true;
}

/* Of a later version more may follow, behind another dash. */
static bool has_form(struct span text, uint8_t version)
{
    if (version == 0xff || text.data[TRACE_AT - 1] != '-' || text.data[SPAN_AT - 1] != '-' ||
        text.data[FLAGS_AT - 1] != '-')
        return false;
    return text.len == TRACEPARENT_LEN || (version > 0 && text.data[TRACEPARENT_LEN] == '-');
}

int trace_context_parse(struct trace_context *out, struct span text)
{
    uint8_t version, flags;

    if (text.len < TRACEPARENT_LEN)
        return E_INVALID;
    TRY(read_hex(&version, 1, text, 0));
    if (!has_form(text, version))
        return E_INVALID;
    TRY(read_hex(out->trace, sizeof(out->trace), text, TRACE_AT));
    TRY(read_hex(out->span, sizeof(out->span), text, SPAN_AT));
    TRY(read_hex(&flags, 1, text, FLAGS_AT));
    out->sampled = (flags & FLAG_SAMPLED) != 0;
    return is_zero(SPAN_OF(out->trace)) || is_zero(SPAN_OF(out->span)) ? E_INVALID : 0;
}

void trace_context_write(const struct trace_context *t, char out[static TRACEPARENT_LEN + 1])
{
    memcpy(out, "00-", TRACE_AT);
    hex_encode(out + TRACE_AT, SPAN_OF(t->trace));
    out[SPAN_AT - 1] = '-';
    hex_encode(out + SPAN_AT, SPAN_OF(t->span));
    memcpy(out + FLAGS_AT - 1, t->sampled ? "-01" : "-00", sizeof("-00"));
}

void trace_context_pass(char out[static TRACEPARENT_LEN + 1], struct span text)
{
    struct trace_context t;

    out[0] = '\0';
    if (trace_context_parse(&t, text) == 0)
        trace_context_write(&t, out);
}
