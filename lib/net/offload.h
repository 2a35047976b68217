/* A small pool of threads for blocking or long work; results come back to the loop as events,
 * through an inbox. */
#ifndef NET_OFFLOAD_H
#define NET_OFFLOAD_H

#include "base/list.h"
#include "net/loop.h"

struct offload;

/* Embedded by the owner, who keeps it alive until `done` has run. There is no cancel: note in your
 * own state that nobody waits. */
struct offload_job {
    void (*work)(struct offload_job *job); /* in a pool thread: touches only what the job owns */
    void (*done)(struct offload_job *job); /* in the loop's thread */
    struct list link;
};

MUST_CHECK int offload_new(struct offload **out, struct loop *l, unsigned threads);
/* Waits until all submitted work is done, what still waits included, and calls every outstanding
 * `done`; from then on no job is taken. Not from a `done`. */
void offload_stop(struct offload *o);
/* Stops it, then frees. */
void offload_free(struct offload *o);
/* E_BUSY when 10,000 jobs wait already, E_CLOSED since offload_stop; then nothing was taken. */
MUST_CHECK int offload_submit(struct offload *o, struct offload_job *job);
/* Jobs that no thread has begun. */
size_t offload_queued(const struct offload *o);

#endif
