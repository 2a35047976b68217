/* One attempt of a call on one worker: encapsulates the message and opens the answer, or passes on
 * what a client has encapsulated and what comes back; ends with the usage record. */
#ifndef BACKENDS_POOL_DISPATCH_H
#define BACKENDS_POOL_DISPATCH_H

#include "backends/pool/pool.h"
#include "ohttp/bhttp.h"
#include "receipt/usage_record.h"

struct dispatch;

enum dispatch_failure {
    DISPATCH_BUSY,  /* the worker is at its limit or takes nothing new: no mark against it */
    DISPATCH_PRICE, /* it asks for more than the call's coefficient; not chosen again for that much
                       before it was asked what it asks for: no mark either */
    DISPATCH_KEY,   /* it does not know the key: attested again, the last choice until then */
    DISPATCH_REFUSED, /* bad_message, replay and the like: our fault or its */
    DISPATCH_GONE,    /* tunnel lost, stream reset, timed out */
    DISPATCH_BROKEN   /* the answer does not open, or ended without its authenticated final chunk */
};
const char *dispatch_failure_name(enum dispatch_failure f);

/* None is called after `end` or `failed`, nor after dispatch_cancel; whoever listened lets go of
 * the dispatch then, at the latest when that callback returns. Any of them may cancel this dispatch
 * and start others. */
struct dispatch_events {
    /* Of the inner answer: its status, its type, and which members of the request the worker says
     * it dropped (foreign; empty: none). */
    void (*head)(void *arg, unsigned status, struct span content_type, struct span ignored);
    void (*content)(void *arg, struct span bytes); /* one piece as the worker cut it: one event */
    void (*end)(
        void *arg); /* authenticated end; the usage record may follow. End to end: the end
                       that the worker gave its stream; nobody here can tell if it is whole */
    void (*failed)(void *arg, enum dispatch_failure why);
};

/* How an attempt ended. */
struct dispatch_report {
    struct pool_worker *worker;
    uint32_t attempt;
    const struct usage_record
        *usage;          /* verified and matching what passed through; NULL: no valid record */
    struct span jws;     /* of usage */
    struct span receipt; /* the worker's content receipt as it came, not judged; empty: none */
    bool abandoned;      /* it failed, never ran, or was given up for another: nothing is owed */
    bool cancelled;      /* not all of the answer was made, or came */
    uint64_t ran_ms, answer_bytes; /* from its sending to its end; of sealed answer */
    uint64_t pieces;               /* end to end: sealed chunks that came; else 0 */
    bool *defer; /* set to true: the record is acknowledged later, with pool_acknowledge */
};
/* Exactly once for each started dispatch, when its stream is over and its record judged; then the
 * dispatch is gone. */
typedef void dispatch_over_fn(void *charge, const struct dispatch_report *r);

struct dispatch_message {
    struct span call; /* 32 hex */
    uint32_t attempt;
    struct span model; /* served name */
    int64_t max_tokens, max_input;
    struct span price;                /* Cocoon-Price */
    const char *path;                 /* inner path */
    const struct bhttp_field *fields; /* inner fields (wire.md §5) */
    size_t field_count;
    struct span body;
    int64_t input, output; /* tokens that are expected: for the choice's bookkeeping */
    enum service_class class;
    uint64_t affinity; /* tag of the conversation; 0: none */
    /* As trace_context_write has it, outside of what is sealed; NULL or "": none. */
    const char *traceparent;
    /* End to end: the encapsulated request as it came (taken), for this key of w; path, fields and
     * body are not looked at. `head` tells 200 and nothing else, `content` ciphertext. */
    struct buf *take_sealed;
    const uint8_t *kfp;
};

/* Seals and sends. On success the slot on w is taken until the stream is over, and `over` will be
 * called; otherwise neither. E_CLOSED: w is not ready (any more). E_BUSY. */
MUST_CHECK int dispatch_start(struct dispatch **out, struct pool_worker *w,
                              const struct dispatch_message *m, const struct dispatch_events *ev,
                              void *arg, dispatch_over_fn *over, void *charge);
enum dispatch_cancel {
    CANCEL_CLIENT_GONE, /* what was generated counts: the record settles the call */
    CANCEL_GIVEN_UP,    /* for no fault of the worker's: nothing is owed */
    CANCEL_TIMEOUT,     /* the worker was silent: a mark against it, nothing is owed */
    CANCEL_FAILED       /* it answered that it or its engine failed: the same */
};
const char *dispatch_cancel_name(enum dispatch_cancel why);
/* The caller is not interested any more: DELETE /ohttp/…, the rest is read and discarded; after 2 s
 * the stream is reset and the record fetched. A second time changes nothing. */
void dispatch_cancel(struct dispatch *d, enum dispatch_cancel why);
/* The worker has taken the call: the outer head of its answer is there. */
bool dispatch_answered(const struct dispatch *d);
/* In `end`: the record as the worker's trailer has it, not verified yet; empty: it brought none. In
 * `failed`: the status of the worker's refusal, 0 when there was none. */
struct span dispatch_record(const struct dispatch *d);
unsigned dispatch_status(const struct dispatch *d);
/* Everything given to `content` so far went on to the client: opens the stream's window. */
void dispatch_consumed(struct dispatch *d);
/* Marks for the choice: the first event came, so many ms after dispatch_start. */
void dispatch_first_event(struct dispatch *d);

#endif
