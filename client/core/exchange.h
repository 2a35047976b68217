/* One request, end to end: a verified worker, the sealed message, its answer opened chunk by chunk
 * and held against receipt and record. Fails closed: nothing is ever sent or taken in clear. */
#ifndef CLIENT_CORE_EXCHANGE_H
#define CLIENT_CORE_EXCHANGE_H

#include "client/core/directory.h"
#include "client/core/shown.h"

struct exchange;

struct exchange_ask {
    const struct request *rq;  /* must outlive the exchange, its body too */
    const char *authorization; /* value for the gateway alone; NULL: none */
    struct span rid;           /* ≤ 64 visible ASCII; empty: one is drawn */
    struct span require_text;  /* Cocoon-Require as given; empty: none */
    struct attest_require require;
    struct span traceparent; /* as given, for the gateway; empty or invalid: none */
    const uint8_t *worker;   /* KFP_LEN: this worker or none; NULL: whichever. Copied */
};

/* Called from the loop, never from inside exchange_start. Exactly one of end and failed, last. */
struct exchange_events {
    /* Authenticated bytes for the application: of a stream piece by piece; of an answer in one
     * piece all of it, once it is verified. */
    void (*content)(void *arg, struct span bytes);
    /* Everything has been verified. */
    void (*end)(void *arg);
    /* told: the stream's last event already was an error. */
    void (*failed)(void *arg, const struct api_fault *fault, bool told);
};

MUST_CHECK int exchange_start(struct exchange **out, struct client *c,
                              const struct exchange_ask *ask, const struct exchange_events *ev,
                              void *arg);
/* Ends it if it still runs: the gateway sees the connection close and cancels. Not from inside a
 * callback but `end` and `failed`. */
void exchange_free(struct exchange *x);
/* Back-pressure. */
void exchange_pause(struct exchange *x, bool paused);

/* The head of the gateway's last answer. */
const struct shown *exchange_shown(const struct exchange *x);
/* Its status; 0: none has come. 200: what went wrong after it, or was refused inside of it, is not
 * the gateway's word. */
unsigned exchange_status(const struct exchange *x);
/* Which members of the request its worker says it dropped (foreign); empty: none, or no answer has
 * come. It lives until the exchange goes on. */
struct span exchange_ignored(const struct exchange *x);
/* Nano that the answer cost, once it has ended; -1: not known. */
int64_t exchange_cost(const struct exchange *x);
/* Of one that failed: it was out, and neither refused nor answered when its time was over or the
 * connection to the gateway was lost; or it was answered that its own time was over. A worker may
 * have been at it, and is paid then. */
bool exchange_may_have_run(const struct exchange *x);
/* Of the worker that it is encrypted to; NULL before, and while another is looked for. */
const struct attest_verdict *exchange_verdict(const struct exchange *x);
/* Of one that has ended: the worker that answered it, and the tokens that its signed records count;
 * NULL: a stream that showed none. Both live as long as the exchange. */
const struct verified *exchange_worker(const struct exchange *x);
const struct usage *exchange_used(const struct exchange *x);

#endif
