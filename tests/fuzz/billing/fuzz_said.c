/* Any bytes as what a worker answers: counted the same however they are cut. First byte: how. */
#include "base/error.h"
#include "billing/said.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct said said_in(struct span in, size_t step)
{
    struct said s = {0};

    for (; in.len > 0; in = span_from(in, step))
        said_feed(&s, span_cut(in, 0, step));
    return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const struct span in = span_from(span_of(data, size), 1);
    const struct said whole = said_in(in, size), cut = said_in(in, 1 + data[0] % 31);

    CHECK(whole.bytes == cut.bytes && whole.pieces == cut.pieces && whole.tools == cut.tools);
    CHECK(whole.bytes <= 4 * in.len && whole.pieces <= in.len && whole.tools <= whole.pieces);
    CHECK(whole.reasoning <= whole.bytes);
    CHECK(whole.symbols + whole.digits + whole.two + whole.wide <= whole.bytes);
    CHECK(said_kind(&whole) == said_kind(&cut) && said_kind(&whole) < SAID_SEALED);
    return 0;
}
