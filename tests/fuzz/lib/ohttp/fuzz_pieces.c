/* Any bytes as a sealed answer that passes by: as many chunks as the framer finds, however they are
 * cut. First byte: how. */
#include "ohttp/framer.h"
#include "ohttp/pieces.h"

enum { NONCE_LEN = 32 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t count(struct span in, size_t step)
{
    struct ohttp_pieces p = {0};

    for (; in.len > 0; in = span_from(in, step))
        ohttp_pieces_feed(&p, span_cut(in, 0, step));
    return ohttp_pieces_count(&p);
}

static uint64_t framed(struct span in)
{
    AUTO(framer_fini) struct framer f = {.chunk_max = 1 << 14};
    struct span sealed;
    uint64_t chunks = 0;

    in = span_from(in, NONCE_LEN);
    while (framer_next(&f, &in, &sealed) == 0)
        chunks++;
    return chunks;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const struct span in = span_from(span_of(data, size), 1);
    const uint64_t whole = count(in, size), found = framed(in);

    CHECK(count(in, 1 + data[0] % 31) == whole);
    CHECK(whole == found || whole == found + 1); /* one that is not there to its end */
    return 0;
}
