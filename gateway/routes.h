/* What the public API has, and what it says of the rest: the table of paths (api.md §1.1, §1.5). */
#ifndef GATEWAY_ROUTES_H
#define GATEWAY_ROUTES_H

#include "base/arena.h"
#include "openai/request.h"

struct call;

enum route_match { ROUTE_EXACT, ROUTE_UNDER /* what is below the path */ };
enum route_kind {
    ROUTE_INFERENCE,  /* endpoint */
    ROUTE_END_TO_END, /* what a client has encrypted to a worker */
    ROUTE_SERVE,      /* answered by `serve` after auth */
    ROUTE_PUBLIC,     /* answered by `serve` without a key, limited by address */
    ROUTE_SIGN_IN,    /* the same, and `serve` looks at a credential of its own */
    ROUTE_REFUSE      /* always `error` */
};

struct route {
    const char *path; /* without /v1 */
    enum route_match match;
    const char *methods; /* for Allow: "GET", "POST"; NULL: any */
    enum route_kind kind;
    enum endpoint endpoint;
    const char *scope; /* of the key; NULL: any key */
    void (*serve)(struct call *c);
    const struct api_error *error;
};

/* The route of a path as sent (with or without /v1), and what follows it, percent-decoded once into
 * the arena. NULL: no such path. */
const struct route *route_find(struct span path, struct arena *a, struct span *tail);
/* Percent-decoded once, into the arena, with a NUL behind it. */
struct span route_decode(struct span s, struct arena *a);
/* The value of a name in a query, so decoded; data NULL: it is not there. */
struct span route_query(struct span query, const char *name, struct arena *a);
/* True when `method` stands in the route's list. */
bool route_allows(const struct route *r, struct span method);

/* models.c */
void models_list(struct call *c);
void models_get(struct call *c);
/* confidential.c */
void confidential_workers(struct call *c);
void confidential_attestation(struct call *c);
void confidential_status(struct call *c);
/* peers.c */
void peers_list(struct call *c);
/* bots.c */
void telegram_exchange(struct call *c);
/* billing.c */
void receipts_get(struct call *c);
void receipts_list(struct call *c);
void balance_serve(struct call *c);
void prices_serve(struct call *c);
void prices_version_serve(struct call *c);
/* published.c */
void published_serve(struct call *c);
void published_signature_serve(struct call *c);
/* spending.c: a key of a project sees that project only */
void spending_usage(struct call *c);
void spending_costs(struct call *c);

#endif
