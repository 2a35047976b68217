/* An exchange's members, for its parts. Inside client/core. */
#ifndef CLIENT_CORE_EXCHANGE_IMPL_H
#define CLIENT_CORE_EXCHANGE_IMPL_H

#include "base/trace_context.h"
#include "client/core/exchange.h"
#include "client/core/outer.h"
#include "client/core/prices.h"
#include "client/core/record.h"
#include "client/core/saving.h"
#include "client/core/sealed_answer.h"

enum { RID_MAX = 64 };

enum exchange_state {
    EXCHANGE_FINDING,
    EXCHANGE_SENT,    /* no head yet */
    EXCHANGE_OPEN,    /* ciphertext comes */
    EXCHANGE_REFUSED, /* a refusal in clear comes */
    EXCHANGE_RECORD,  /* the answer is whole; its usage record is asked for */
    EXCHANGE_OVER
};

struct exchange {
    struct client *client;
    struct exchange_ask ask;
    const struct exchange_events *events;
    void *arg;
    enum exchange_state state;
    char *authorization; /* a whole header line; NULL: none */
    char *require_line;
    char traceparent[TRACEPARENT_LEN + 1]; /* "": none */
    char rid[RID_MAX + 1];
    char affinity[TAG_LEN + 1];
    char conversation[TAG_LEN + 1 + MODEL_LEN + 1]; /* its tag and the model */

    struct search *search;
    struct directory_ask wish;
    struct verified *verified;
    char served[MODEL_LEN + 1];
    struct inner_bounds bounds;
    unsigned retries;
    bool refetched, paused, counted; /* counted: in verified->errands */
    bool may_have_run;               /* it failed, and a worker may be paid for it */
    struct loop_timer silence, total;
    uint64_t last_ms; /* of the last authenticated byte */

    struct http_transfer *transfer;
    uint64_t sent_ms;
    uint8_t request[SHA256_LEN], body[SHA256_LEN];
    struct sealed_answer answer;

    struct shown shown;
    struct buf refusal; /* an answer in clear */
    struct buf ignored; /* of the last answer, once it is over */
    unsigned status;    /* of the outer answer */

    bool priced;                  /* the answer names a price book */
    int64_t version, coefficient; /* of it */
    struct usage used;            /* what the answer shows, and the receipt says */
    bool has_used;
    int64_t cost_nano; /* -1: not known */
    unsigned price_looks;
    struct loop_timer price_timer;

    struct record_search record; /* its jws: the usage record, wherever it came from */
    struct saving saving;
    struct api_fault fault;
};

/* exchange_seal.c: the body for the worker that was found, sealed into *sealed; the lines that
 * stand outside into *l; what its answer is held against into x. content: as of
 * sealed_answer_begin. */
MUST_CHECK int exchange_seal(struct exchange *x, struct buf *sealed, struct outer_lines *l,
                             void (*content)(void *arg, struct span bytes));
/* exchange_judge.c: of a whole answer. NULL when receipt and record fit it, else what does not, as
 * a sentence for the user. */
const char *exchange_judge(struct exchange *x);
/* exchange_cost.c: begins to fetch the prices that the answer's head names. */
void exchange_price(struct exchange *x);
/* Whether its cost can be known a moment later: then `again` is called, a few times at the most. */
bool exchange_cost_awaited(struct exchange *x, void (*again)(void *arg));
/* Puts the cost, where it is known, into the closing bytes of a verified answer. */
void exchange_cost_splice(struct exchange *x);
/* Keeps what proves it, where the user asked for that. Before what is kept is handed out. */
void exchange_save(struct exchange *x);

#endif
