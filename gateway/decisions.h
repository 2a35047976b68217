/* The operator's drains and bans, which Redis holds and all gateways obey within a second (pool.md
 * §1). */
#ifndef GATEWAY_DECISIONS_H
#define GATEWAY_DECISIONS_H

#include "net/redis.h"

struct decisions;
struct pool;

/* Reads the hashes `drain` and `ban` now, when `pool:changed` is heard, when Redis has come back,
 * and every 5 s; the pool obeys. E_… of the subscription. */
MUST_CHECK int decisions_new(struct decisions **out, struct loop *l, struct redis *r,
                             struct pool *p);
void decisions_read(struct decisions *d);
size_t decisions_drains(const struct decisions *d);
size_t decisions_bans(const struct decisions *d);
/* The pool ends. */
void decisions_stop(struct decisions *d);
/* After Redis' connection, which names it. */
void decisions_free(struct decisions *d);

#endif
