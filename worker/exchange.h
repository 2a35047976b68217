/* One request on a tunnel and its answer: what every endpoint is given. */
#ifndef WORKER_EXCHANGE_H
#define WORKER_EXCHANGE_H

#include "net/tunnel.h"
#include "worker/gateways.h"
#include "worker/problem.h"
#include "worker/worker.h"

struct exchange {
    struct worker *worker;
    struct link *link;
    struct tunnel_stream *stream;
    struct span rest;  /* of the path, behind a table entry that ends in '/' */
    struct span query; /* without '?' */
    struct buf body;   /* endpoints that take one */
};

typedef void endpoint_fn(struct exchange *x);

/* A request's header block is complete: finds its endpoint (the table is in endpoints.c). */
void endpoints_dispatch(struct worker *w, struct link *link, struct tunnel_stream *s);

/* ---- Answering ---- */

enum { EXCHANGE_FIELDS = 8 };

/* The fields of an answer; date, keyset and load are among them (wire.md §1). */
struct exchange_fields {
    struct tunnel_field list[EXCHANGE_FIELDS];
    size_t count;
    char date[32], keyset[2 * SHA256_LEN + 1], load[80];
};

void exchange_fields_init(struct exchange_fields *f, const struct worker *w);
void exchange_fields_add(struct exchange_fields *f, const char *name, struct span value);

/* content_type NULL: no body. */
void exchange_reply(struct exchange *x, unsigned status, const char *content_type,
                    struct buf *take_body);
void exchange_problem(struct exchange *x, const struct problem *p);
/* The same for a stream without an exchange. */
void exchange_problem_on(struct worker *w, struct tunnel_stream *s, const struct problem *p);

/* The value of a query's parameter; data NULL when absent. Nothing is percent-decoded. */
struct span exchange_query(const struct exchange *x, const char *name);

#endif
