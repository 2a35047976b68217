/* What calls for one model share: the queue of those that wait, and how many may be tried again. */
#ifndef GATEWAY_LANE_H
#define GATEWAY_LANE_H

#include "backends/pool/budget.h"
#include "backends/pool/queue.h"

struct lane {
    struct list link;
    char *model;
    struct queue *queue;
    struct budget budget;
    bool room;                 /* somebody may have some: a round is due */
    bool trying;               /* a round is under way */
    uint64_t crowded_until_ms; /* a worker has turned an end-to-end call away */
};

struct lanes {
    struct map by_model; /* name → struct lane */
    struct list all;     /* struct lane.link */
};

void lanes_init(struct lanes *l);
/* Nobody waits or runs any more. */
void lanes_fini(struct lanes *l);
/* The lane of a model that is known; made when there is none. */
struct lane *lane_of(struct lanes *l, struct span model);
/* Forgets those in which nobody waits or runs, when there are many. */
void lanes_sweep(struct lanes *l);
/* That wait, over all lanes. */
size_t lanes_waiting(const struct lanes *l);

#endif
