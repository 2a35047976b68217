/* The usage record of an answer whose trailer was lost on the way: asked for at the gateway, a few
 * times (wire.md §9). */
#ifndef CLIENT_CORE_RECORD_H
#define CLIENT_CORE_RECORD_H

#include "client/core/client.h"

/* Embedded by the owner; {0} is none. */
struct record_search {
    struct client *client;
    const char *authorization; /* a whole header line, borrowed; NULL: none */
    const char *call;          /* borrowed */
    void (*done)(void *arg);   /* `jws` is there, or empty: it cannot be had */
    void *arg;

    struct buf jws;
    struct http_whole answer;
    struct loop_timer again;
    unsigned tries;
};

/* client to arg are set. `done` is called once, now or later. */
void record_search_begin(struct record_search *s);
/* Without `done`. */
void record_search_stop(struct record_search *s);

#endif
