/* Any bytes split anywhere give the same events as the whole, or the same refusal. The first byte
 * seeds the splits. */
#include "net/sse.h"

enum { MAX_EVENT = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int note_event(void *arg, struct span name, struct span data)
{
    struct buf *out = arg;

    CHECK(data.len <= MAX_EVENT);
    buf_u32be(out, (uint32_t)name.len);
    buf_append(out, name);
    buf_u32be(out, (uint32_t)data.len);
    buf_append(out, data);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sse_parser one = {.max_event = MAX_EVENT}, parts = {.max_event = MAX_EVENT};
    AUTO(buf_fini) struct buf whole = {0};
    AUTO(buf_fini) struct buf split = {0};
    int part_error = 0;

    if (size == 0)
        return 0;
    struct span stream = span_of(data + 1, size - 1);
    int error = sse_feed(&one, stream, note_event, &whole);
    for (uint32_t seed = data[0]; stream.len > 0 && part_error == 0;) {
        seed = seed * 1103515245 + 12345;
        size_t step = 1 + (seed >> 16) % 9;
        part_error = sse_feed(&parts, span_cut(stream, 0, step), note_event, &split);
        stream = span_from(stream, step);
    }
    CHECK(error == part_error);
    CHECK(span_eq(buf_span(&whole), buf_span(&split)));
    sse_fini(&one);
    sse_fini(&parts);
    return 0;
}
