/* Money in the gateway: admission of metered calls (admission.c), their settlement (settlement.c,
 * stray.c), and what keeps both true over crashes: journal, feed of the books, sweeper, epochs
 * (money.md). */
#ifndef GATEWAY_MONEY_H
#define GATEWAY_MONEY_H

#include "billing/feed.h"
#include "billing/plausible.h"
#include "billing/prices.h"
#include "billing/sweep.h"
#include "gateway/charge.h"

struct published;
struct strays;

struct money {
    struct gateway *gateway;
    struct billing_scripts scripts;
    struct epoch *epoch;
    struct prices *prices;
    struct holds *holds;
    struct journal *journal; /* NULL: metered keys are refused */
    struct feed *feed;       /* NULL without a journal */
    struct sweep *sweep;
    struct strays *strays;
    struct published *published;  /* what is published of all this */
    struct ed25519 *key;          /* signs the bills */
    struct bill_claim claim;      /* its public half, since when, and this instance's name */
    struct ed25519 *operator_key; /* vouches for it, and signs what is published; NULL: none */
    struct list settlements;
    size_t settling;
    uint64_t bounded;               /* records that were cut */
    uint64_t settled, late;         /* holds that were charged: in time, after they had expired */
    size_t keeping;                 /* bytes of answers that are being taken down (replay.c) */
    uint64_t answers_kept, replays; /* since the start */
    uint64_t budget_told_ms;        /* when the ledger was last told of a budget that refused */
    int64_t said;                   /* the epoch for whose recovery everything was put back */
    struct loop_timer say;
    bool left;    /* no worker is told anything more */
    bool stopped; /* Redis is told nothing more */
};

/* g's loop, offload pool and Redis are there. E_IO, E_INVALID: the journal or its key is unusable
 * (logged). */
MUST_CHECK int money_start(struct gateway *g);
/* A server of Redis came up, or the last one went away. */
void money_connected(struct money *m, bool up);
/* Every record that came is on disk and acknowledged. */
bool money_idle(const struct money *m);
/* In this order: nobody is acknowledged any more (before the pool ends); nothing is sent any more
 * (before Redis ends); freed (after Redis has given its last answers and the pool's threads have
 * ended). */
void money_leave(struct money *m);
void money_stop(struct money *m);
void money_free(struct money *m);

/* Figures for /metrics. */
void money_metrics_write(const struct money *m, struct buf *out);

/* ---- admission.c ---- */

/* Step admit of a metered call: STEP_WAIT until the account has answered, then NEXT or FAIL. */
enum step_result money_admit(struct call *c);
/* x-ratelimit-…; nothing where there is no limit. */
struct reply_headers;
void money_headers(struct call *c, struct reply_headers *h);

/* ---- billing.c ---- */

/* Appends `,"prices":{…}` of a model that has some. */
void prices_of_model(struct money *m, const char *model, struct buf *out);

/* ---- settlement.c ---- */

/* What a record is charged by. */
struct money_terms {
    struct price_book *book;
    int64_t coefficient, ceiling;
    struct plausible_bounds bounds;
    bool generates; /* no token, no price */
};
/* Whose it is; borrowed. */
struct money_payer {
    const char *account, *project, *key, *endpoint;
};
/* Charges the hold (given away) by a record that was verified and matches: when Redis has charged
 * it and the bill is on disk, w is told its share. ch: may be NULL. */
void settlement_begin(struct money *m, struct charge *ch, struct hold *give,
                      const struct money_payer *payer, const struct money_terms *t,
                      struct pool_worker *w, const struct usage_record *u, struct span jws);
/* The coefficient of "12;1500", if its version is this; E_INVALID. */
MUST_CHECK int price_coefficient(const char *price, int64_t version, int64_t *coefficient);
/* By the record of the attempt that answered: true when it is acknowledged later. */
bool money_settle(struct charge *ch, const struct dispatch_report *r);
/* One of money.settlements: nobody is told of it any more; freed. */
void settlement_leave(struct list *link);
void settlement_free(struct list *link);
bool settlement_is_of(struct list *link, const char *call);
/* The call is being settled, or has a hold here. */
bool money_knows(const struct money *m, const char *call);

/* ---- stray.c: records that no attempt of this process waits for ---- */

struct strays *strays_new(struct money *m);
void strays_stop(struct strays *s);
void strays_free(struct strays *s);
pool_record_fn stray_record; /* arg: struct money */

#endif
