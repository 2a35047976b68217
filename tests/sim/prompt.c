/* Words whose letters follow from a block's hash. */
#include "tests/sim/prompt.h"

#include "tests/sim/rng.h"

static void put_words(uint64_t seed, int64_t bytes, struct buf *out)
{
    uint8_t *to = buf_reserve(out, (size_t)bytes);
    uint64_t letters = 0;
    struct rng rng = {seed};

    for (int64_t i = 0; i < bytes; i++, letters >>= 4) {
        if (i % 16 == 0)
            letters = rng_next(&rng);
        to[i] = i % 8 == 7 ? ' ' : (uint8_t)('a' + (letters & 15));
    }
    out->len += (size_t)bytes;
}

void prompt_put(const struct trace *t, const struct arrival *a, uint64_t serial, struct buf *out)
{
    const int64_t known = (int64_t)a->block_count * t->block_tokens;

    for (size_t i = 0; i < a->block_count; i++)
        put_words(a->blocks[i], t->block_tokens * TOKEN_BYTES, out);
    if (a->prompt > known)
        put_words(rng_mix(serial + 1), (a->prompt - known) * TOKEN_BYTES, out);
}
