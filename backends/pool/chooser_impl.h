/* Inside of the chooser, shared by its files only. */
#ifndef BACKENDS_POOL_CHOOSER_IMPL_H
#define BACKENDS_POOL_CHOOSER_IMPL_H

#include "backends/pool/chooser.h"

struct chooser {
    struct chooser_options options;
    struct dice dice;
    struct map models;   /* name → struct chooser_model */
    struct list workers; /* struct chooser_worker.link */
    size_t worker_count;
    int64_t other_gateways;
    struct map grudges; /* id, model → struct breaker: open when its worker left */
    struct chooser_counts counts;
};

/* A model and its seats, in arrays side by side: a choice walks few cache lines. */
struct chooser_model {
    struct chooser *chooser;
    char *name;
    struct chooser_seat **seats;
    uint64_t *ids;     /* of the workers */
    float *shares;     /* of conversations: 1 for a worker of usual speed */
    uint32_t *weights; /* of a draw: 0 where nothing can be taken now */
    uint64_t *tree;    /* sums of weights (Fenwick 1994), from 1 */
    size_t count, cap;
    size_t open, out;     /* seats with a weight; those that breaker or health keep out */
    int64_t context_most; /* of its seats */
    bool context_stale;
    int64_t slots, busy, promised, unheard, running[CLASSES];
    double median; /* tokens a second of the seats that are known */
    uint64_t median_due_ms;
    double output, work; /* moving averages of a request: tokens made; all its work */
    double warm; /* and of those of conversations: the share of input that was cached; 1 at first */
};

/* A worker for one model. */
struct chooser_seat {
    struct chooser_worker *worker;
    struct chooser_model *model; /* NULL: it is not offered any more */
    size_t at;                   /* in the model's arrays */
    size_t refs;                 /* jobs, and one while it is offered */
    bool offered;
    unsigned endpoints;
    int64_t context;
    struct breaker breaker;
    double tokens_per_s, first_token_ms; /* moving averages; 0: unknown */
    double done_work, done_s;            /* that tokens_per_s is made of, the newest counts most */
    int64_t slots, busy, promised;       /* as counted in the model, as the next three are */
    int64_t unheard;
    int64_t running[CLASSES];
    bool out;
};

/* chooser.c */
void seat_unref(struct chooser_seat *s);
/* Weight and sums as they should be now. */
void seat_refresh(struct chooser_seat *s, uint64_t now_ms);
void worker_refresh(struct chooser_worker *w, uint64_t now_ms);
/* Whether it has got room that nobody was told of. */
bool worker_opened(struct chooser_worker *w);
/* As reported, as the model's median where it is not known, and less for a newcomer. */
double seat_speed(const struct chooser_seat *s, uint64_t now_ms);
bool worker_has_room(const struct chooser_worker *w);
int64_t model_context(struct chooser_model *m);
/* chooser_pick.c */
/* What is free is kept for other classes; then also from those that go after this one. */
bool model_reserved(const struct chooser_model *m, enum service_class class);
/* chooser_index.c */
void index_add(struct chooser_model *m, struct chooser_seat *s);
void index_remove(struct chooser_model *m, struct chooser_seat *s);
void index_weigh(struct chooser_model *m, size_t at, uint32_t weight);
/* A seat drawn in proportion to the weights; NULL when all are 0. */
struct chooser_seat *index_draw(const struct chooser_model *m, const struct dice *dice);
void index_free(struct chooser_model *m);

/* In tokens of output. */
int64_t chooser_work(const struct chooser *c, int64_t input, int64_t output);

static inline double moving_average(double old, double new, double weight)
{
    return old > 0 ? old + weight * (new - old) : new;
}

#endif
