/* A worker's sealed answer, opened as it comes (wire.md §4, §5): what the application may have at
 * once, what waits until the end is authenticated, and what receipt and record are held against.
 * Nothing of it is verified by that yet (client/core/evidence.h). Pure. */
#ifndef CLIENT_CORE_SEALED_ANSWER_H
#define CLIENT_CORE_SEALED_ANSWER_H

#include "crypto/hash.h"
#include "ohttp/bhttp.h"
#include "ohttp/ohttp.h"
#include "openai/error.h"

#define SEALED_ANSWER_CUT                                                                          \
    "The encrypted answer was cut short or changed on the way: it does not end as its worker "     \
    "ended it."

/* {0} is none. What is behind `arg` may be read; `kept` may be taken. */
struct sealed_answer {
    struct ohttp_client *ohttp;
    struct bhttp_reader *reader;
    struct sha256_ctx *sealed_hash, *content_hash;
    const char *rid;
    bool stream;
    void (*content)(void *arg, struct span bytes);
    void *arg;

    uint64_t chunks;   /* authenticated so far */
    unsigned status;   /* of the inner answer; 0: it has not come */
    bool whole;        /* it is no stream: all of it is kept */
    bool broken, told; /* an error event of the worker was in the stream; and was handed out */
    struct buf kept;   /* a whole answer, or the closing events of a stream */
    struct buf usage;  /* the usage event of a stream */
    struct buf receipt;
    struct buf ignored; /* members of the request that its worker dropped, as it lists them */
    uint8_t sealed[SHA256_LEN], opened[SHA256_LEN]; /* of the answer as it came, of its content; at
                                                     * the end */
    struct api_fault fault;                         /* why it cannot be used */
};

/* Takes the context that sealed the request. rid: the request's, borrowed. stream: one was asked
 * for. content: authenticated bytes of a stream, all but its closing events; it must not end the
 * answer. */
void sealed_answer_begin(struct sealed_answer *a, struct ohttp_client *take, const char *rid,
                         bool stream, void (*content)(void *arg, struct span bytes), void *arg);
/* The next bytes. E_INVALID with a fault: nothing more may be taken from it. */
MUST_CHECK int sealed_answer_feed(struct sealed_answer *a, struct span bytes);
/* No more bytes. 0: its worker ended it here, and it is a whole answer with status 200. E_INVALID
 * with a fault otherwise, the worker's own refusal included. */
MUST_CHECK int sealed_answer_end(struct sealed_answer *a);
/* Wipes. */
void sealed_answer_fini(struct sealed_answer *a);

#endif
