/* Nonce, then varint(length) ‖ chunk, again and again, up to length 0; nothing is collected. */
#include "ohttp/pieces.h"

#include "crypto/aead.h"

/* Of the suites that key configurations offer (key_config.c): max(Nn, Nk). */
enum { NONCE_LEN = AEAD_KEY_MAX };
/* A chunk's plaintext at most (wire.md §4). */
enum { CHUNK_MAX = 1 << 14 };

static uint64_t skip(struct span *in, uint64_t most)
{
    const size_t len = in->len < most ? in->len : (size_t)most;

    *in = span_from(*in, len);
    return len;
}

static void length_read(struct ohttp_pieces *p, uint8_t b)
{
    uint64_t value;

    p->length[p->length_have++] = b;
    if (p->length_have < varint_len(p->length[0]))
        return;
    (void)varint_read(span_of(p->length, p->length_have), &value);
    p->length_have = 0;
    p->over = value <= AEAD_TAG_LEN || value > CHUNK_MAX + AEAD_TAG_LEN;
    p->skip = value;
    p->count += p->over ? 0 : 1;
}

void ohttp_pieces_feed(struct ohttp_pieces *p, struct span bytes)
{
    p->nonce_have += skip(&bytes, NONCE_LEN - p->nonce_have);
    while (bytes.len > 0 && !p->over) {
        if (p->skip > 0) {
            p->skip -= skip(&bytes, p->skip);
        } else {
            length_read(p, bytes.data[0]);
            bytes = span_from(bytes, 1);
        }
    }
}

uint64_t ohttp_pieces_count(const struct ohttp_pieces *p)
{
    return p->count;
}
