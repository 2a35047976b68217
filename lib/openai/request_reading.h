/* A body that is read away from whoever waits for it: what that work owns meanwhile, so that the
 * one who waits may be gone before its end. Pure; whose thread it is, is the caller's matter. */
#ifndef OPENAI_REQUEST_READING_H
#define OPENAI_REQUEST_READING_H

#include "openai/request.h"

/* Longer bodies are not read in a loop's thread. */
enum { REQUEST_LONG = 256 * 1024 };

struct request_reading {
    enum endpoint endpoint;
    struct request_rules rules;
    struct buf body;
    struct request rq;
    struct api_fault fault;
    int error; /* of request_parse */
};

/* Takes the body. */
void request_reading_init(struct request_reading *r, enum endpoint endpoint,
                          const struct request_rules *rules, struct buf *body);
/* Any thread. */
void request_reading_run(struct request_reading *r);
/* Gives what was read, with the body that rq borrows: its bytes have not moved. Once, after the
 * run; the error of request_parse. */
MUST_CHECK int request_reading_take(struct request_reading *r, struct buf *body, struct request *rq,
                                    struct api_fault *fault);
/* Wipes what nobody took, run or not. */
void request_reading_fini(struct request_reading *r);

#endif
