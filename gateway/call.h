/* A call: one request to the public API on its journey through the table of steps in call.c. */
#ifndef GATEWAY_CALL_H
#define GATEWAY_CALL_H

#include "backends/pool/dispatch.h"
#include "base/arena.h"
#include "gateway/gateway.h"
#include "gateway/routes.h"
#include "gateway/trace.h"
#include "openai/answer.h"
#include "openai/request.h"

enum { CALL_ID_LEN = 32, AFFINITY_LEN = 64 };

enum step_result {
    STEP_NEXT, /* on to the next step */
    STEP_WAIT, /* call_resume when there is more to do */
    STEP_FAIL, /* call.fault says why: answered at once */
    STEP_OVER  /* answered; what is left happens when the exchange is done */
};

enum call_step {
    CALL_HEAD,
    CALL_AUTH,
    CALL_RECV,
    CALL_CHECK,
    CALL_ADMIT,
    CALL_ROUTE,
    CALL_SEAL,
    CALL_SEND,
    CALL_RELAY,
    CALL_SETTLE,
    CALL_FINISH,
    CALL_STEPS
};

struct check_job;
struct charge;
struct hold_answer;
struct billing_ask;
struct idempotency;
struct replay;
struct service;
struct spending;

struct call {
    struct gateway *gateway;
    struct http_exchange *ex;
    struct config_snapshot *config;
    struct list link;
    struct arena arena; /* what lives as long as the call */
    enum call_step step;
    bool running, rerun;
    bool internal; /* it came on the internal listener: its connection says whose it is */
    char id[CALL_ID_LEN + 1];
    struct api_fault fault;

    /* head */
    const struct route *route;
    struct span tail; /* what follows the route's path, decoded: a model's id */
    char client[64];  /* address without port, from a trusted proxy's header where there is one */
    struct loop_timer deadline;
    uint64_t begun_us, received_us, admitted_us, routed_us, head_us;
    uint64_t auth_us, queue_us, sent_us, first_us, event_us, events;

    /* auth */
    struct auth_wait *auth_wait;
    struct loop_timer slow; /* a refusal that is held back */
    struct key_record *key;
    struct span end_user;    /* "bot:user" of Telegram; empty: the key's owner calls */
    struct service *service; /* which one calls; in the arena; NULL: none */
    struct span payer_key;   /* the key that answers for one of these; in the arena */
    struct call_trace trace;

    /* recv, check */
    struct buf body;
    size_t body_len;     /* as received, also once it is forgotten */
    size_t body_counted; /* of gateway.bodies_in_flight */
    bool body_whole;
    struct request rq;
    bool parsed;
    struct check_job *check_job;
    struct pool_model_view model;
    struct attest_require require; /* Cocoon-Require and the key's */

    /* admit */
    struct charge *charge;
    int64_t cap, max_tokens, max_input;
    int64_t price_version;               /* pinned; 0: not metered */
    const struct hold_answer *admission; /* in the arena; NULL: not asked, or not answered yet */
    struct idempotency *idempotency;     /* NULL: no such header, or not metered */
    struct replay *replay; /* its answer is to be kept, or was one that is; NULL: neither */
    bool rekeyed;          /* the key's record was read again */
    struct loop_timer cost_timer;
    struct billing_ask *billing_ask; /* what a question about money waits for */
    struct spending *spending;       /* what Redis is asked for it; NULL: nothing */
    bool cost_late;                  /* the answer does not wait for its cost any more */

    /* end to end */
    uint8_t kfp[KFP_LEN];            /* which key the client has encrypted to */
    char affinity[AFFINITY_LEN + 1]; /* Cocoon-Affinity */
    struct pool_worker *next; /* another that takes it, if the client encrypts again; NULL: none */
    bool may_wait; /* nobody has room, but may have later: the client encrypts again, and waits */
    bool stays;    /* it had better wait for the same worker */
    char *record;  /* the worker's usage record, as its trailer has it; in the arena */

    /* route */
    struct queue_item place; /* in its model's lane: waits or runs */
    bool turn;               /* it is its turn, or nobody waits before it */
    int64_t lowest_ask;      /* where only what workers ask for kept it from running; else 0 */
    struct loop_timer queue_timer;
    uint64_t queue_until_ms; /* it gives up */
    struct pool_query query;
    struct pool_worker *worker;
    const void *refused_by; /* the last worker that refused for the price: to be compared only */
    int64_t coefficient;    /* 1/1000: what the worker asked for when it was chosen */

    /* seal, send, relay */
    struct buf sealed_body;
    uint32_t attempt;
    struct dispatch *dispatch;
    struct loop_timer silence;
    uint64_t last_byte_ms, last_event_ms, last_drain_ms;
    unsigned inner_status;
    bool inner_json;
    struct buf ignored; /* which members the worker says it dropped */
    struct buf inner;   /* collected: a non-streamed answer, or an inner error */
    struct buf held;    /* usage event and what follows, until the authenticated end */
    bool streaming;     /* the head of a stream is out */
    bool ended;         /* the authenticated end of the answer came */
    bool broken;        /* the worker's last event said that its engine failed */
    bool event_sent; /* something but a comment reached the caller: no other worker may take over */
    bool answered;   /* http_reply, or the end of the stream, was called */
    bool gone;       /* the client left */
    bool timed_out;  /* by the caller's own limit, while a worker was at it */
    unsigned status; /* of the answer; 499: the client left first */
    char attestation; /* enum attest_env of the worker that answers, -1: none yet */
    struct usage usage;
};

/* Takes a new exchange, of the internal listener or the public one; the call dies with it. */
void call_begin(struct gateway *g, struct http_exchange *ex, bool internal);
/* Goes on from the present step: from a callback, never from inside a step. */
void call_resume(struct call *c);
/* Sets the fault and answers: for what happens outside a step (a deadline, a lost worker). */
void call_fail(struct call *c, const struct api_error *e);
/* The same when c->fault is set already. */
void call_fault(struct call *c);
/* Ends whatever of the call still runs at a worker. */
void call_stop_attempt(struct call *c, enum dispatch_cancel why);
extern const struct http_handler call_handler;

static inline bool call_is_end_to_end(const struct call *c)
{
    return c->route && c->route->kind == ROUTE_END_TO_END;
}

/* One function a step, each in the file of its name. */
enum step_result call_head(struct call *c);
enum step_result call_auth(struct call *c);
enum step_result call_recv(struct call *c);
enum step_result call_check(struct call *c);
enum step_result call_admit(struct call *c);
enum step_result call_route(struct call *c);
enum step_result call_seal(struct call *c);
enum step_result call_send(struct call *c);
enum step_result call_relay(struct call *c);
enum step_result call_settle(struct call *c);
enum step_result call_finish(struct call *c);

/* auth.c: the text of the key that answers for the call; scratch: as api_key_credential. */
struct span call_credential(const struct call *c, struct buf *scratch);
/* recv.c */
void recv_part(struct call *c, struct span part);
/* Frees the request's text: no other attempt will need it. */
void recv_forget(struct call *c);
/* check.c: nobody waits for a running job any more. */
void check_forget(struct call *c);
/* The key may use c->rq.model, and it is there; where an answer that was kept may come, admit looks
 * whether it is, with the second. */
enum step_result call_check_model(struct call *c);
enum step_result call_check_served(struct call *c);
/* Reads what key and request demand of the evidence; STEP_NEXT. */
enum step_result check_require(struct call *c);
/* Cocoon-Price of this call. */
const char *call_price(struct call *c);
/* outer.c: what check does when the body is sealed by the client: the outer headers. */
enum step_result outer_check(struct call *c);
/* pass.c: send, relay and settle of it. */
enum step_result pass_send(struct call *c);
enum step_result pass_settle(struct call *c);
/* This worker cannot take it, or failed: c->fault says whether the client shall try the next, which
 * keeps it a slot where this one had none. */
enum step_result pass_elsewhere(struct call *c, bool was_full);
/* The same after a failure, as far as the model's budget goes. */
enum step_result pass_retry(struct call *c);
/* Cocoon-Next; NULL: there is none. */
const char *pass_next(struct call *c);
/* route.c */
/* 1/1000 of the price book: what this call pays at most, the request's bid or the key's. */
int64_t call_bid(const struct call *c);
/* Says in c->fault why nobody takes it, and when to try again. */
void route_no_capacity(struct call *c);
/* Its time is over: answered, as one that has waited or as one that was not done; a whole answer
 * that waits for nothing but its cost is given without it. */
void route_late(struct call *c);
bool route_waits(const struct call *c);
void route_unqueue(struct call *c);
/* End to end: its worker had no room after all. True: the same has happened a moment ago. */
bool route_turned_away(struct call *c);
/* The worker's answer has ended, or the call is over: its place is free, before those who wait are
 * asked whose turn it is. Twice is once. */
void route_done(struct call *c);
/* Those who wait are tried. room: somebody may have some (again); else a round that is under way
 * goes on. */
void route_wake(struct gateway *g, bool room);
/* The request may be tried on another worker: counted in its model's budget. */
bool route_may_retry(struct call *c);
/* relay.c */
extern const struct dispatch_events relay_events;
void relay_drained(struct call *c);
void relay_tried(struct call *c);
/* From now on the client must read, and in a stream the worker must write. */
void relay_watch(struct call *c);
/* The stream's end is given: what is still queued must leave within stalled_ms. */
void relay_watch_end(struct call *c);
/* The stream ends with what is held; broken: so that nobody takes it for a whole one. */
void relay_finish(struct call *c);
/* The attempt failed before anything reached the caller, or could not be sent: to another worker,
 * or c->fault. */
enum step_result relay_retry(struct call *c, const struct api_error *e);
/* billing.c: nobody waits for that answer any more. */
void billing_forget(struct call *c);
/* settle.c: a charge is made at admission and settled exactly once: by the record of the attempt
 * that answered, or by the last reference to go. */
struct charge *charge_new(struct call *c);
struct charge *charge_ref(struct charge *ch);
void charge_unref(struct charge *ch);
/* The same of the call itself, which does not wait for anything of it any more. */
void charge_leave(struct charge *ch);
/* So many attempts have been made before the one that begins. */
void charge_attempt(struct charge *ch, uint32_t attempt);
dispatch_over_fn settle_attempt;

#endif
