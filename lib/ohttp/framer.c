/* Chunk framing: varint(length) ‖ chunk, again and again; length 0, then the final chunk up to the
 * end of the body. */
#include "ohttp/framer.h"

#include "crypto/aead.h"

void framer_fini(struct framer *f)
{
    buf_fini(&f->part);
}

static int broken(struct framer *f)
{
    f->state = FRAMER_ENDED;
    return E_INVALID;
}

static struct span take(struct span *in, size_t len)
{
    struct span taken = span_cut(*in, 0, len);

    *in = span_from(*in, taken.len);
    return taken;
}

/* One byte at a time: at most eight of them, and they may be cut anywhere. */
static int length_next(struct framer *f, struct span *in)
{
    uint64_t value;

    while (f->length_have == 0 || f->length_have < varint_len(f->length[0])) {
        if (in->len == 0)
            return E_AGAIN;
        f->length[f->length_have++] = take(in, 1).data[0];
    }
    varint_read(span_of(f->length, f->length_have), &value);
    f->length_have = 0;
    if (value == 0) {
        f->state = FRAMER_FINAL;
        return 0;
    }
    /* A chunk that is not the final one has at least one byte of plaintext. */
    if (value <= AEAD_TAG_LEN || value > f->chunk_max + AEAD_TAG_LEN)
        return broken(f);
    f->need = (size_t)value;
    f->state = FRAMER_CHUNK;
    return 0;
}

/* Straight from `in` when the chunk lies there whole; otherwise its parts are put together first.
 */
static int chunk_next(struct framer *f, struct span *in, struct span *sealed)
{
    if (f->part.len == 0 && in->len >= f->need) {
        *sealed = take(in, f->need);
    } else {
        buf_append(&f->part, take(in, f->need - f->part.len));
        if (f->part.len < f->need)
            return E_AGAIN;
        *sealed = buf_span(&f->part);
        f->part_spent = true;
    }
    f->state = FRAMER_LENGTH;
    return 0;
}

static int final_collect(struct framer *f, struct span *in)
{
    if (in->len > f->chunk_max + AEAD_TAG_LEN - f->part.len)
        return broken(f);
    buf_append(&f->part, take(in, in->len));
    return E_AGAIN;
}

int framer_next(struct framer *f, struct span *in, struct span *sealed)
{
    if (f->part_spent) {
        buf_clear(&f->part);
        f->part_spent = false;
    }
    if (f->state == FRAMER_LENGTH)
        TRY(length_next(f, in));
    if (f->state == FRAMER_CHUNK)
        return chunk_next(f, in, sealed);
    if (f->state == FRAMER_FINAL)
        return final_collect(f, in);
    return E_INVALID;
}

int framer_end(struct framer *f, struct span *sealed)
{
    if (f->state != FRAMER_FINAL || f->part.len < AEAD_TAG_LEN)
        return broken(f);
    *sealed = buf_span(&f->part);
    f->part_spent = true;
    f->state = FRAMER_ENDED;
    return 0;
}

void framer_prefix(struct buf *out, size_t plain_len, bool final)
{
    varint_append(out, final ? 0 : plain_len + AEAD_TAG_LEN);
}
