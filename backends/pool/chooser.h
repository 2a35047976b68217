/* Which worker takes a request (pool.md §2, §3): an index of workers by model, kept up to date as
 * they change, so that a choice costs the same with ten of them and with ten thousand. Pure: no
 * sockets; time and chance are arguments. */
#ifndef BACKENDS_POOL_CHOOSER_H
#define BACKENDS_POOL_CHOOSER_H

#include "backends/pool/breaker.h"
#include "backends/pool/service_class.h"
#include "base/list.h"
#include "base/map.h"

struct chooser;
struct chooser_model;
struct chooser_seat;

enum {
    CHOOSER_SCORE_ALL = 16, /* up to so many candidates all are scored; beyond, two draws */
    CHOOSER_RANK_MAX = 16
};

struct chooser_options {
    uint64_t slow_start_ms;    /* a newcomer's share grows for so long; 60,000 */
    uint64_t failed_ms;        /* what an error counts as: the longest a call may be silent */
    unsigned affinity_percent; /* of its slots: how many more requests than at the best a
                                  conversation's own worker may have (bounded load) */
    unsigned prefill;          /* tokens of input that cost as much as one of output */
    unsigned price_percent;    /* how much of a difference in price counts as one in time */
    unsigned reserve_percent[CLASSES]; /* of a model's slots, kept free for the class */
};
extern const struct chooser_options chooser_defaults;

/* A worker, embedded by whoever knows it. The fields of the first part are the owner's: after
 * changing any, and once a second, chooser_update. The second part is to be read only. */
struct chooser_worker {
    uint64_t id;                 /* the same at each gateway, evenly spread */
    bool ready;                  /* proven and described */
    bool accepting;              /* not draining, its tunnel open */
    bool full;                   /* it has just said so */
    int64_t ask;                 /* 1/1000 */
    int64_t refused_coefficient; /* it has just refused so much as too little; 0: nothing */
    int64_t max;                 /* requests at a time; 0: not known */
    int64_t others;              /* running and waiting there that this chooser has not sent */
    int64_t promised;            /* slots kept for who was told to come */
    double kv;                   /* of its cache, 0 … 1 */
    uint64_t rtt_ms;
    double standing; /* 1: good … 0: as bad as can be */

    struct chooser *chooser; /* NULL: it has not joined */
    struct list link;
    struct chooser_seat **seats; /* one a model */
    size_t seat_count;
    uint64_t joined_ms;
    uint64_t room_since_ms;            /* when it came to have room; none: the last look */
    int64_t in_flight, work_in_flight; /* own requests, and their work in tokens of output */
    double started_ms;                 /* of own requests, summed: how far they must be by now */
    int64_t unheard[2];                /* own batch requests that run and began after the last
                                          report that counts, and between it and the one before */
    uint64_t heard_ms;                 /* when it came */
    uint64_t reports;                  /* that counted, so far */
    uint64_t served, failures;
    bool had_room; /* at the last look */
    bool opened;   /* there is room that nobody was told of yet */
};

/* A model as a worker offers it. */
struct chooser_offer {
    struct span name;
    unsigned endpoints; /* bits */
    int64_t context;
};

/* Conditions beyond those here, of the owner's knowledge; called for each candidate. */
enum chooser_fit {
    CHOOSER_FITS,
    CHOOSER_NOT_READY,
    CHOOSER_NO_EVIDENCE,
    CHOOSER_DRAINING,
    CHOOSER_FULL
};
typedef enum chooser_fit chooser_fit_fn(void *arg, const struct chooser_worker *w);

enum { CHOOSER_TRIED_MAX = 8 };

struct chooser_query {
    struct span model;
    unsigned endpoints;  /* it must offer all of these bits; 0: any will do */
    int64_t coefficient; /* the bid: no worker that asks for more */
    enum service_class class;
    int64_t input, output; /* tokens that are expected, a guess */
    uint64_t affinity;     /* tag of the conversation; 0: none */
    chooser_fit_fn *fit;   /* NULL: no more conditions */
    void *fit_arg;
    const struct chooser_worker *tried[CHOOSER_TRIED_MAX]; /* not these again */
    size_t tried_count;
};

/* Which condition excluded how many: each worker is counted once. */
struct chooser_excluded {
    size_t total, model, endpoint, context, evidence, not_ready, draining, price, tried, full,
        failing;
    bool reserved;      /* free slots are kept for other classes */
    int64_t lowest_ask; /* of those that only the price kept out; 0: there are none */
};

/* dice and options are copied. */
struct chooser *chooser_new(const struct chooser_options *o, const struct dice *dice);
/* Every worker has left. */
void chooser_free(struct chooser *c);
/* From now on. */
void chooser_set_options(struct chooser *c, const struct chooser_options *o);
/* How many choose among the same workers, this one too; 1 at first. What the others send is seen
 * late: batch takes but its part of what is free until then, or all at once would take what is kept
 * for other classes. */
void chooser_set_gateways(struct chooser *c, size_t count);

void chooser_join(struct chooser *c, struct chooser_worker *w, uint64_t now_ms);
/* Jobs may go on; they no longer change anything. */
void chooser_leave(struct chooser_worker *w);
/* What w offers from now on, at most once each name. What is known of a seat that stays is kept. */
void chooser_serve(struct chooser_worker *w, const struct chooser_offer *offers, size_t count,
                   uint64_t now_ms);
/* True, once: since it was last said, w has come to have room, or more of it, for a model. */
bool chooser_update(struct chooser_worker *w, uint64_t now_ms);
/* w has said anew what runs there; chooser_update follows. */
void chooser_heard(struct chooser_worker *w, uint64_t now_ms);
/* It has other keys now: what failed for the old ones' sake is forgiven. */
void chooser_forgive(struct chooser_worker *w, uint64_t now_ms);

/* The seat that should be done first, or NULL. It is taken by chooser_start, not here. */
struct chooser_seat *chooser_pick(struct chooser *c, const struct chooser_query *q,
                                  uint64_t now_ms);
/* After chooser_pick gave nothing: whether somebody may have room later. */
bool chooser_may_wait(struct chooser *c, const struct chooser_query *q, uint64_t now_ms);
/* Why there is none: looks at every worker. */
void chooser_explain(struct chooser *c, const struct chooser_query *q, uint64_t now_ms,
                     struct chooser_excluded *why);
/* Nothing keeps w out, or only its breaker while most are out (panic); else the one condition is
 * counted. */
bool chooser_eligible(const struct chooser_worker *w, const struct chooser_query *q,
                      uint64_t now_ms, struct chooser_excluded *why);
/* Eligible seats, best first and before them the conversation's own, full ones last or left out. Of
 * very many only some, drawn in proportion to their speed. Returns how many, at most max and
 * CHOOSER_RANK_MAX. */
size_t chooser_rank(struct chooser *c, const struct chooser_query *q, bool full_too,
                    uint64_t now_ms, struct chooser_seat **out, size_t max);

struct chooser_worker *chooser_seat_worker(const struct chooser_seat *s);
/* NULL: w does not serve it. */
struct chooser_seat *chooser_seat_of(const struct chooser_worker *w, struct span model);

/* What is known of a seat; moving averages, 0: unknown. */
struct chooser_seat_view {
    double tokens_per_s, first_token_ms;
    enum breaker_state breaker;
};
void chooser_seat_view(const struct chooser_seat *s, uint64_t now_ms,
                       struct chooser_seat_view *out);
/* What somebody else has measured of its worker; taken where nothing is known yet. 0: unknown. */
void chooser_hint(struct chooser_seat *s, double first_token_ms, double tokens_per_s,
                  uint64_t now_ms);

/* One attempt on a seat; embedded by whoever makes it. */
struct chooser_job {
    struct chooser_seat *seat; /* NULL: none */
    int64_t work;
    enum service_class class;
    bool tagged; /* it has an affinity */
    uint64_t started_ms;
    bool holds; /* its slot */
    bool probe, marked;
    uint64_t reports; /* of its worker, when it began */
};
void chooser_start(struct chooser_job *j, struct chooser_seat *s, const struct chooser_query *q,
                   uint64_t now_ms);
/* The slot is free; harmless the second time. */
void chooser_freed(struct chooser_job *j, uint64_t now_ms);
/* Marks, in any order with the above; the first one counts. */
void chooser_failed(struct chooser_job *j, uint64_t now_ms);
struct chooser_served {
    double first_token_ms;         /* since the start; 0: not known */
    int64_t input, cached, output; /* tokens */
    uint64_t took_ms;
};
void chooser_served(struct chooser_job *j, const struct chooser_served *r, uint64_t now_ms);
/* Frees what is still held, and lets go of the seat. True: as chooser_update. */
bool chooser_finish(struct chooser_job *j, uint64_t now_ms);

/* One model over its seats, for display. */
struct chooser_model_view {
    size_t seats, open; /* open: could take something now */
    int64_t slots, busy;
    int64_t running[CLASSES]; /* own requests */
    bool reserved[CLASSES];   /* what is free is kept for other classes */
    double tokens_per_s;      /* median of the seats; 0: unknown */
    double output;            /* tokens that a request makes: moving average, or a guess */
};
/* False: nobody serves it. */
bool chooser_model(struct chooser *c, struct span name, uint64_t now_ms,
                   struct chooser_model_view *out);

/* How many of its breakers are in each state: looks at every seat. */
void chooser_breakers(struct chooser *c, struct span name, uint64_t now_ms,
                      size_t out[static BREAKER_STATES]);

/* How choices were made, so far. */
struct chooser_counts {
    uint64_t scored, drawn, searched; /* all candidates; two draws; all after draws found none */
    uint64_t warm;                    /* to the conversation's own worker */
    uint64_t moved;                   /* not there, since it was too busy, or out */
    uint64_t panic;                   /* although its breaker is open */
    uint64_t none;
    uint64_t opened; /* breakers */
};
const struct chooser_counts *chooser_counts(const struct chooser *c);

#endif
