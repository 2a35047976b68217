/* The response's half of chunked OHTTP: its keys, sealing and opening its chunks, for any AEAD
 * (wire.md §4). Inside lib/ohttp. */
#ifndef OHTTP_RESPONSE_H
#define OHTTP_RESPONSE_H

#include "crypto/hpke.h"
#include "ohttp/framer.h"

/* max(Nn, Nk): bytes of the response nonce and of the exported secret. */
size_t response_nonce_len(enum aead_id id);

/* Numbers and seals or opens the chunks of one response. */
struct response_keys {
    struct aead *aead;
    uint8_t base_nonce[AEAD_NONCE_LEN];
    uint64_t count; /* chunks so far; 2^32 at most */
};

/* Derives the keys from the request's context and the response's nonce. */
MUST_CHECK int response_keys_init(struct response_keys *k, const struct hpke_ctx *request,
                                  struct span nonce, bool sealing);
void response_keys_fini(struct response_keys *k);
AUTO_FINI(struct response_keys, response_keys_fini)
/* Appends prefix and sealed chunk. */
MUST_CHECK int response_seal(struct response_keys *k, struct span plain, bool final,
                             struct buf *out);
MUST_CHECK int response_open(struct response_keys *k, struct span sealed, bool final,
                             struct buf *plain);

typedef void response_chunk_fn(void *arg, struct span plain, bool final);

/* Opens a response from its first byte (the nonce) on, however its bytes arrive. */
struct response_reader {
    const struct hpke_ctx *request; /* borrowed */
    enum { RESPONSE_NONCE, RESPONSE_CHUNKS, RESPONSE_WHOLE, RESPONSE_BROKEN } state;
    uint8_t nonce[AEAD_KEY_MAX];
    size_t nonce_have;
    struct response_keys keys;
    struct framer framer;
    struct buf plain; /* one chunk's, reused */
};

void response_reader_init(struct response_reader *r, const struct hpke_ctx *request,
                          size_t chunk_max);
void response_reader_fini(struct response_reader *r); /* wipes */
AUTO_FINI(struct response_reader, response_reader_fini)
/* Contracts of ohttp_client_open and ohttp_client_end. */
MUST_CHECK int response_reader_feed(struct response_reader *r, struct span bytes,
                                    response_chunk_fn *on_chunk, void *arg);
MUST_CHECK int response_reader_end(struct response_reader *r, response_chunk_fn *on_chunk,
                                   void *arg);

#endif
