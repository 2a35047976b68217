/* Fetches an answer whole: kept within a bound, told once. */
#ifndef NET_HTTP_WHOLE_H
#define NET_HTTP_WHOLE_H

#include "net/http_client.h"

/* Embedded by the owner, who sets max, done and arg; the rest is {0} before the first start. */
struct http_whole {
    size_t max; /* bytes of a body; a longer one is cut off at once: E_TOO_LARGE */
    /* As the transfer's own. status and body are the owner's then, who may start again. */
    void (*done)(void *arg, struct http_transfer *t, int error);
    void *arg;

    struct http_transfer *transfer; /* NULL: none runs */
    unsigned status;                /* of the answer; 0: none came */
    struct buf body;
};

/* Begins anew, when none runs; what was fetched before is wiped. Errors of http_client_start. */
MUST_CHECK int http_whole_start(struct http_whole *w, struct http_client *c,
                                const struct http_fetch *f);
/* Ends what runs, without `done`, and wipes what came. */
void http_whole_cancel(struct http_whole *w);

#endif
