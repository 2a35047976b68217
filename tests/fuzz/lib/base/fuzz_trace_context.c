/* traceparent: what is taken goes on as version 00, and is read again as the same. */
#include "base/trace_context.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct trace_context t, again;
    char text[TRACEPARENT_LEN + 1];

    if (trace_context_parse(&t, span_of(data, len)) < 0)
        return 0;
    trace_context_write(&t, text);
    CHECK(strlen(text) == TRACEPARENT_LEN);
    CHECK(trace_context_parse(&again, span_str(text)) == 0);
    CHECK(memcmp(t.trace, again.trace, sizeof(t.trace)) == 0);
    CHECK(memcmp(t.span, again.span, sizeof(t.span)) == 0);
    CHECK(t.sampled == again.sampled);
    CHECK(memcmp(text + 2, data + 2, TRACEPARENT_LEN - 4) == 0);
    return 0;
}
