/* The gateway's answers: standard headers (api.md §3.1, §3.2), CORS, faults. */
#ifndef GATEWAY_REPLY_H
#define GATEWAY_REPLY_H

#include "gateway/call.h"

/* The headers of one answer; values live in the call's arena. */
struct reply_headers {
    struct http_field fields[32];
    size_t count;
};

void reply_add(struct reply_headers *h, const char *name, const char *value);
/* All headers of c's answer but what only some have: ids, cache, CORS, timing, attestation, ignored
 * members. */
void reply_headers_make(struct call *c, const char *content_type, struct reply_headers *h);
/* A whole answer; takes the body. */
void reply_whole(struct call *c, unsigned status, const char *content_type, struct buf *body);
/* Starts the event stream. */
void reply_stream(struct call *c);
/* Starts the stream of ciphertext. */
void reply_sealed_stream(struct call *c);
/* Answers c->fault: as a whole answer, or as an error event when the head of a stream is out;
 * closes the connection where the request was not read to its end. */
void reply_fault(struct call *c);
/* OPTIONS: 204 with what a browser asked for. */
void reply_preflight(struct call *c);
/* The bytes of the answer for connections above the limit, which no call is made for. */
void reply_full(struct buf *out);

#endif
