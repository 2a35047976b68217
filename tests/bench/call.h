/* Requests on kept-alive connections: sends each, reads its stream event by event, and keeps the
 * figures. */
#ifndef TESTS_BENCH_CALL_H
#define TESTS_BENCH_CALL_H

#include "net/addr.h"
#include "tests/bench/samples.h"

/* How a request was lost. */
enum call_loss {
    LOST_CONNECT,
    LOST_CLOSED,   /* the connection ended before the answer did */
    LOST_PROTOCOL, /* no HTTP, or no events */
    LOST_STATUS,   /* not 200 */
    LOST_SHORT,    /* a clean end without all events, [DONE] included; or an error event */
    LOST_TIMEOUT,
    LOST_KINDS
};

struct call_figures {
    uint64_t started, ok, lost[LOST_KINDS];
    uint64_t retried;     /* a kept connection had been closed meanwhile: sent again on a new one */
    uint64_t connections; /* opened */
    uint64_t events;      /* content events */
    uint64_t window_events; /* those while `measuring`, as are the next three */
    uint64_t merged;        /* came in one read with the event before it */
    uint64_t late;          /* took longer than late_ns */
    struct samples delay;   /* from the engine's send to here */
    struct samples first;   /* from the schedule to the first content event */
    struct samples latency; /* from the schedule to the end */
    unsigned bad_status;    /* the last one that was not 200 */
};

/* How one request ended, for who watches each. */
struct call_end {
    bool ok, error_event;
    enum call_loss loss;                      /* where not ok */
    unsigned status;                          /* 0: no answer */
    uint64_t scheduled_ns, first_ns, last_ns; /* of content events; 0: there was none */
    uint64_t end_ns, gap_ns;                  /* gap: the longest between two of them */
    uint64_t events;
    struct span body; /* the beginning of an answer that is no stream */
};

/* user is what calls_send was given. Nothing of the calls may be called here. */
struct call_watch {
    void (*event)(void *user, struct span data);
    void (*over)(void *user, const struct call_end *end);
};

/* Embedded; the owner fills the first part and zeroes the rest. */
struct calls {
    struct loop *loop;
    struct net_addr to;
    struct span request; /* the same for each; lives as long */
    bool stream;
    uint64_t events;                /* content events a stream must have; 0: as many as there are */
    const struct call_watch *watch; /* may be NULL */
    uint64_t late_ns;
    void (*ended)(void *arg); /* one more is over; may be called from calls_start */
    void *arg;

    bool measuring;
    struct call_figures figures;
    struct list idle, busy; /* connections */
    uint8_t *scratch;
};

void calls_init(struct calls *c);
/* Sends one request that was due at that monotonic time. */
void calls_start(struct calls *c, uint64_t scheduled_ns);
/* The same with a request of its own, which lives until it is over. */
void calls_send(struct calls *c, struct span request, uint64_t scheduled_ns, void *user);
/* Ends those still open: a stream that has begun was held long enough, and is fine; others are
 * lost. */
void calls_release(struct calls *c);
/* Ends those still open as lost. */
void calls_give_up(struct calls *c);
/* Requests that are over, well or not. */
uint64_t calls_over(const struct calls *c);
/* Appends the figures as members of a JSON object, without braces. */
void calls_json(struct calls *c, struct buf *out);
void calls_fini(struct calls *c);

#endif
