/* Who waits for a model, and who is next (pool.md §3, §4): classes in order; inside a class a
 * weighted fair share among accounts; of one account the earliest deadline. One queue a model. What
 * runs is counted here too: fairness looks at it, and how long it takes tells how long the others
 * will wait. Pure: the time is an argument. */
#ifndef BACKENDS_POOL_QUEUE_H
#define BACKENDS_POOL_QUEUE_H

#include "backends/pool/service_class.h"
#include "backends/pool/window.h"
#include "base/list.h"
#include "base/map.h"

struct queue;
struct queue_flow;

struct queue_options {
    uint64_t longest_ms; /* that one waits at most; 20,000 */
    bool at_once;        /* somebody has room for it: no estimate speaks against it */
};

/* Embedded by whoever waits or runs; {0} at first. To be read only. */
struct queue_item {
    struct list link;
    struct queue *queue;
    struct queue_flow *flow; /* NULL: neither waits nor runs */
    enum queue_place { QUEUE_NOWHERE, QUEUE_WAITING, QUEUE_RUNNING } place;
    uint64_t deadline_ms; /* it is of no use afterwards */
    uint64_t since_ms;    /* it has been where it is */
    uint64_t round;       /* in which it was passed over */
};

/* Whose request it is. */
struct queue_claim {
    enum service_class class;
    struct span account;
    unsigned weight; /* of the account's share; 0: 1 */
    uint64_t deadline_ms;
};

struct queue *queue_new(void);
/* Nobody waits or runs any more. */
void queue_free(struct queue *q);

enum queue_verdict {
    QUEUE_TAKEN,
    QUEUE_HOPELESS /* its turn would come after its deadline, or after longest_ms */
};
/* To wait from now on; the caller sets a timer for queue_leaves_ms and calls queue_leave then. */
enum queue_verdict queue_enter(struct queue *q, struct queue_item *it,
                               const struct queue_claim *claim, const struct queue_options *o,
                               uint64_t now_ms);
/* Where more than most wait, who has to leave: of the worst class that waits, or of an account that
 * has more than three quarters of the places whatever its class, the newest of the account with the
 * most for its weight; so that nobody's requests keep all others out. NULL: nobody. */
struct queue_item *queue_excess(struct queue *q, size_t most);
/* When a waiting one is to give up. */
uint64_t queue_leaves_ms(const struct queue_item *it, const struct queue_options *o);
/* It waits no longer, or its run is over without a result: neither counts for the estimate.
 * Harmless when it does neither. */
void queue_leave(struct queue_item *it);

/* Whose turn it is. Begin a round whenever somebody may have room; then take queue_best until it is
 * NULL: start it, or pass over it for this round. While it is out it may leave, and others enter.
 */
void queue_round(struct queue *q);
struct queue_item *queue_best(struct queue *q);
void queue_pass(struct queue_item *it);

/* It has got a slot, after waiting or at once. */
void queue_start(struct queue *q, struct queue_item *it, const struct queue_claim *claim,
                 uint64_t now_ms);
/* Its slot is free again. */
void queue_done(struct queue_item *it, uint64_t now_ms);

/* How long a request of this claim would wait if it came now, from how fast slots became free; 0:
 * nobody waits, or nothing is known. */
uint64_t queue_wait_ms(struct queue *q, const struct queue_claim *claim, uint64_t now_ms);
size_t queue_waiting(const struct queue *q, enum service_class class);
size_t queue_length(const struct queue *q);
/* Of this class and of those that go before it. */
size_t queue_before(const struct queue *q, enum service_class class);
size_t queue_running(const struct queue *q);
/* That are remembered. */
size_t queue_accounts(const struct queue *q);

#endif
