/* The event loop: one thread, epoll, timers, steps of a turn in a fixed order, deferred free.
 * Everything in lib/net hangs on it. */
#ifndef NET_LOOP_H
#define NET_LOOP_H

#include <sys/epoll.h>

#include "base/error.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/span.h"

struct loop;

MUST_CHECK int loop_new(struct loop **out);
/* Runs what was deferred, then frees. Watches and timers must be gone. */
void loop_free(struct loop *l);
/* Turns until loop_stop; may be called again afterwards (shutdown does). */
void loop_run(struct loop *l);
/* One turn; waits at most max_wait_ms (-1: no bound). For tests and shutdown; never from inside a
 * callback of the loop. */
void loop_turn(struct loop *l, int max_wait_ms);
void loop_stop(struct loop *l);
/* Monotonic ms, read once at the start of each turn. */
uint64_t loop_now(const struct loop *l);

/* ---- Descriptors ---- */

typedef void loop_fd_fn(void *arg, uint32_t epoll_events);

/* Embedded by the owner; {0} is not watched. */
struct loop_fd {
    int fd;
    uint32_t wanted, applied; /* epoll masks; written to epoll once a turn */
    loop_fd_fn *fn;
    void *arg;
    struct list dirty;
};

/* Level-triggered unless events say EPOLLET; a mask of 0 rests without any event, EPOLLHUP neither.
 * E_IO. */
MUST_CHECK int loop_fd_add(struct loop *l, struct loop_fd *w, int fd, uint32_t events,
                           loop_fd_fn *fn, void *arg);
/* Changes the mask; the system call is made before the next wait. */
void loop_fd_want(struct loop *l, struct loop_fd *w, uint32_t events);
/* Stops watching at once; an event of this turn that was not yet delivered is dropped. Does not
 * close. Twice is harmless. */
void loop_fd_del(struct loop *l, struct loop_fd *w);

/* ---- Timers ---- */

typedef void loop_timer_fn(void *arg);

/* Embedded by the owner; {0} is not set. */
struct loop_timer {
    struct heap_link link;
    uint64_t due_ms;
    uint64_t seq; /* timers due at the same ms fire in the order they were set */
    loop_timer_fn *fn;
    void *arg;
};

/* Fires once at loop_now() + after_ms, after the descriptors of that turn. Setting again moves it.
 * What a timer sets fires in the next turn at the earliest, also with 0 ms. */
void loop_timer_set(struct loop *l, struct loop_timer *t, uint64_t after_ms, loop_timer_fn *fn,
                    void *arg);
void loop_timer_cancel(struct loop *l, struct loop_timer *t);
static inline bool loop_timer_is_set(const struct loop_timer *t)
{
    return t->link.slot != 0;
}

/* ---- Steps of a turn (libraries.md §0): ① wait ② descriptors ③ timers, then these hooks ---- */

enum loop_step {
    LOOP_REAP,  /* ④ finished curl transfers */
    LOOP_WAKE,  /* ⑤ calls that were woken */
    LOOP_SERVE, /* ⑥ HTTP daemons that have something to do */
    LOOP_FLUSH, /* ⑦ tunnels and Redis write what was queued */
    LOOP_STEPS
};

/* Embedded by the owner. before_wait (may be NULL) returns the most ms the coming wait may last, -1
 * for any. */
struct loop_hook {
    enum loop_step step;
    void (*run)(void *arg);
    int (*before_wait)(void *arg);
    void *arg;
    struct list link;
};

void loop_hook_add(struct loop *l, struct loop_hook *h);
void loop_hook_del(struct loop *l, struct loop_hook *h);
/* The coming wait is zero: a step after the present one left work behind. */
void loop_again(struct loop *l);
/* free_fn(obj) at the end of this turn, for objects that callbacks may still name. */
void loop_defer_free(struct loop *l, void *obj, void (*free_fn)(void *obj));

/* SIGTERM, SIGINT, SIGHUP … as an event of the loop (signalfd); the signals are blocked for the
 * whole process, so call it before threads are started; once a loop. */
typedef void loop_signal_fn(void *arg, int signo);
MUST_CHECK int loop_signals(struct loop *l, const int *signos, size_t count, loop_signal_fn *fn,
                            void *arg);
/* Signals are told to nobody any more, and stay blocked: for the way down, before parts go that
 * their callback names. */
void loop_signals_end(struct loop *l);

#endif
