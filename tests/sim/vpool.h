/* A pool in virtual time: engines (model.h), requests of a trace, and a policy that says who takes
 * which. One gateway's view; what is between gateway and engine takes no time. */
#ifndef TESTS_SIM_VPOOL_H
#define TESTS_SIM_VPOOL_H

#include "tests/bench/samples.h"
#include "tests/sim/model.h"
#include "tests/sim/trace.h"

#define VPOOL_NOBODY UINT32_MAX

struct vrequest {
    struct model_call call;
    const struct arrival *arrival;
    struct vpool *pool;
    uint32_t worker;
    uint64_t at_ns, first_ns; /* arrived; first token */
    struct list link;         /* the queue */
    void *policy;             /* the policy's own */
};

struct vworker {
    struct model *model;
    struct vpool *pool;
    double speed;
    unsigned in_flight, max; /* requests; max: more than that it turns away */
    uint32_t heap;           /* where it stands in the heap of events */
    uint64_t next_ns, taken;
    int64_t tokens; /* made, of requests that ended in the time measured */
};

/* All run inside vpool_run. */
struct vpolicy {
    const char *name;
    void *(*make)(struct vpool *p);
    void (*free)(void *self);
    /* Who takes it, or VPOOL_NOBODY: it waits, and is asked for again once a slot is free. */
    uint32_t (*choose)(void *self, struct vrequest *r);
    /* The rest may be NULL. */
    void (*started)(void *self, struct vrequest *r);
    void (*first)(void *self, struct vrequest *r);
    void (*ended)(void *self, struct vrequest *r);
    void (*second)(void *self); /* once a second */
    /* A queue of its own: put is called in place of waiting, take gives the next that can start
     * (with its worker chosen), leave takes out one whose time is over. put: false refuses it. */
    bool (*put)(void *self, struct vrequest *r);
    struct vrequest *(*take)(void *self, uint32_t *worker);
    void (*leave)(void *self, struct vrequest *r);
};

struct vfigures {
    struct samples first, over; /* ns from the arrival; sorted when they are printed */
    struct samples *account_first;
    double *account_tokens;                 /* served */
    uint64_t served, refused, moves, turns; /* turns: of a conversation, after its first; moves:
                                               those that another worker took than the one before */
    int64_t tokens, prompt, cached;
    uint64_t choices, choice_ns; /* CPU time */
    double s;                    /* virtual, of the time measured */
};

struct vpool {
    struct vworker *workers;
    uint32_t count;
    const struct trace *trace;
    uint32_t accounts;
    uint64_t now_ns, queue_ns; /* queue_ns: the longest wait */
    const struct vpolicy *policy;
    void *self;
    struct list queue;
    uint32_t *heap;
    size_t arrived, waiting, open;
    bool freed; /* a slot, since the queue was last looked at */
    struct vfigures figures;
    struct map *last; /* conversation -> 1 + worker */
};

struct vpool_options {
    const struct model_spec *spec;
    const double *speeds; /* of worker i: speeds[i % speed_count] */
    size_t speed_count;
    uint32_t workers, accounts;
    unsigned max; /* requests of a worker at a time; 0: its batch */
    double queue_s;
};

/* Runs the whole trace; figures are those of requests that arrived behind the first tenth. */
void vpool_run(struct vpool *p, const struct vpool_options *o, const struct trace *t,
               const struct vpolicy *policy);
void vpool_fini(struct vpool *p);

/* Requests a second of one worker with speed 1 that always has more to do. */
double vpool_capacity(const struct model_spec *spec, const struct trace *t);

#endif
