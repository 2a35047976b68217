/* One sealed request: received, opened, run at the engine, answered under the same key, recorded
 * (wire.md §6–§12). */
#ifndef WORKER_CALL_H
#define WORKER_CALL_H

#include "backends/engine/engine_count.h"
#include "backends/engine/engine_run.h"
#include "worker/exchange.h"
#include "worker/opened.h"

enum call_state {
    CALL_BODY,    /* ciphertext comes in */
    CALL_OPENING, /* decrypted and checked, maybe in the pool */
    CALL_RUNNING, /* at the engine */
    CALL_OVER     /* the record is signed; the stream drains */
};

struct call {
    struct list link;
    struct worker *worker;
    struct config_snapshot *config; /* of its beginning */
    struct tunnel_stream *stream;   /* NULL: gone */
    enum call_state state;
    struct outer outer;
    uint8_t op[SHA256_LEN];
    unsigned slots; /* of the engine */
    bool cancelled; /* asked while it was being opened */

    struct buf sealed; /* the encapsulated request */
    uint8_t req[SHA256_LEN], kfp[SHA256_LEN], keyset[SHA256_LEN];
    struct ohttp_server *server;
    struct opened opened;
    struct offload_job job;
    int open_error;

    struct engine_count *counting; /* before the run, where the prompt may be too long */
    struct engine_run *run;
    bool paused;

    /* The answer. */
    bool head_sent;       /* the outer head */
    bool inner_head_sent; /* the inner one */
    struct buf out;       /* sealed, to be written in one piece */
    struct buf unsent;    /* written and perhaps still queued: hashed once it is on its way */
    struct sha256_ctx *resp_hash, *content_hash;
    uint64_t bytes_out, chunks, last_ms; /* when the engine said something last */
    struct loop_timer timer; /* body's deadline, then the hold of the head, then pings */

    uint64_t t0_ms, begun_us, first_us;
    struct usage usage;
};

endpoint_fn call_begin;        /* POST /ohttp */
endpoint_fn call_cancel_asked; /* DELETE /ohttp/{call}/{attempt} */

/* Ends every call with an error: the drain's deadline has passed. */
void call_end_all(struct worker *w);

/* ---- call_answer.c ---- */

/* Refuses inside the channel: before the inner head an HTTP error, after it an error event. */
void call_answer_fault(struct call *c, const struct api_fault *fault, enum usage_outcome outcome);
void call_answer_date(struct call *c);
/* Client bytes of one read of the engine: one chunk. */
void call_answer_bytes(struct call *c, struct span bytes);
/* The engine is silent for too long, or for the time between pings. */
void call_answer_timer(struct call *c, uint64_t ms);
/* The whole end of a complete answer. */
void call_answer_finish(struct call *c, struct answer *answer);
/* Cancelled: no final chunk (wire.md §11). */
void call_answer_abort(struct call *c);

/* ---- call_record.c ---- */

/* The record is signed: keeps it, logs, gives back what is left. jws: appended. */
void call_record(struct call *c, enum usage_outcome outcome, bool final,
                 const uint8_t resp[static SHA256_LEN], struct buf *jws);
/* The members that record and receipt share. */
void call_usage_record(const struct call *c, enum usage_outcome outcome, struct usage_record *u);
/* All slots of the call but so many are free again. */
void call_give_back(struct call *c, unsigned keep);

#endif
