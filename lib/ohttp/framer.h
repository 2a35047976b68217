/* Splits a body of chunked OHTTP into its sealed chunks, however the bytes arrive (wire.md §3, §4).
 * Inside lib/ohttp. */
#ifndef OHTTP_FRAMER_H
#define OHTTP_FRAMER_H

#include "base/buf.h"
#include "ohttp/varint.h"

/* Why a length is out of bounds is the same to every caller: the message is broken. */
struct framer {
    size_t chunk_max; /* plaintext bytes that a chunk may have; more is refused before it is
                         collected */
    enum { FRAMER_LENGTH, FRAMER_CHUNK, FRAMER_FINAL, FRAMER_ENDED } state;
    uint8_t length[VARINT_MAX_LEN]; /* of the next chunk, as far as it has come */
    size_t length_have;
    size_t need;     /* FRAMER_CHUNK: sealed bytes of this chunk */
    struct buf part; /* a chunk cut by the arrival of its bytes; never more than one */
    bool part_spent; /* part was handed out by the last call */
};

/* {0} with chunk_max set is a new framer. */
void framer_fini(struct framer *f);
AUTO_FINI(struct framer, framer_fini)
/* Takes bytes off the front of *in: 0 with the next non-final chunk in *sealed (valid until the
 * next call, and as long as in's bytes), E_AGAIN when all of in is taken, E_INVALID when the
 * lengths cannot be those of a message. */
MUST_CHECK int framer_next(struct framer *f, struct span *in, struct span *sealed);
/* The body has ended: 0 with the final chunk in *sealed, E_INVALID when it was cut short. */
MUST_CHECK int framer_end(struct framer *f, struct span *sealed);

/* Appends the length (0 for the final chunk) that stands before a sealed chunk of that much
 * plaintext. */
void framer_prefix(struct buf *out, size_t plain_len, bool final);

#endif
