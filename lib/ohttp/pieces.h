/* Counts the sealed chunks of a chunked OHTTP answer that passes by: all that whoever cannot open
 * it sees of its pieces (wire.md §4). */
#ifndef OHTTP_PIECES_H
#define OHTTP_PIECES_H

#include "base/span.h"
#include "ohttp/varint.h"

/* Embedded; {0} before the first byte. */
struct ohttp_pieces {
    uint64_t nonce_have, count;
    uint64_t skip; /* bytes of the present chunk that are still to come */
    uint8_t length[VARINT_MAX_LEN];
    size_t length_have;
    bool over; /* the final chunk has begun, or the lengths cannot be those of an answer */
};

/* Reads on, from the answer's first byte (of the response nonce), cut anywhere. */
void ohttp_pieces_feed(struct ohttp_pieces *p, struct span bytes);
/* Chunks that began and were not the final one. */
uint64_t ohttp_pieces_count(const struct ohttp_pieces *p);

#endif
