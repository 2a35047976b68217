/* An HTTP/1.1 answer read from bytes however they are split: status, framing, then the body's
 * bytes. */
#ifndef TESTS_BENCH_REPLY_H
#define TESTS_BENCH_REPLY_H

#include "base/buf.h"

enum reply_state {
    REPLY_HEAD, /* {0} begins here */
    REPLY_SIZED,
    REPLY_CHUNK_LINE,
    REPLY_CHUNK,
    REPLY_CHUNK_END,
    REPLY_TRAILERS,
    REPLY_TO_CLOSE, /* neither length nor chunks: ends with the connection */
    REPLY_DONE
};

/* Embedded; {0} waits for an answer. */
struct reply {
    enum reply_state state;
    struct buf line;     /* a line not yet whole */
    unsigned status;     /* 0: no status line yet */
    bool closes, events; /* Connection: close; a text/event-stream */
    bool chunked, sized;
    uint64_t left; /* bytes of the body or of the chunk */
};

/* Return < 0 to stop. */
typedef int reply_body_fn(void *arg, struct span bytes);
/* 0; E_PROTOCOL, or what fn returned. Bytes behind the answer's end are E_PROTOCOL too. */
MUST_CHECK int reply_feed(struct reply *r, struct span bytes, reply_body_fn *fn, void *arg);
/* Ready for the next answer of the connection; memory is kept. */
void reply_reset(struct reply *r);
void reply_fini(struct reply *r);

#endif
