/* The operator's other gateways: who lives, where workers dial them, and what they know of a worker
 * that is new here (pool.md §1). */
#ifndef GATEWAY_PEERS_H
#define GATEWAY_PEERS_H

#include "config/gateway_config.h"
#include "net/redis.h"

struct gateway;
struct peers;

/* What workers are told to dial; "" where no address can be told: a listener on any address without
 * tunnel.public. */
const char *peers_own_address(const struct gateway_config *s);

/* From now on this instance is among the live ones (in Redis: `gateways`), and the pool is told of
 * all of them, at most a second after a change; and of each worker's standing when it comes and
 * every scheduler.standing_s. address lives as long as it does. */
struct peers *peers_new(const struct gateway *g, const char *address);
/* Now, instead of within a second: Redis has come up. */
void peers_renew(struct peers *p);
/* This instance is no longer to be dialled, or its successor is, under the same name and address.
 */
void peers_leave(struct peers *p, bool successor);
size_t peers_count(const struct peers *p); /* live ones, this one too */
/* How many of the live ones come before this one for a worker: by hashes of their names with its
 * own, so each of them finds the same order, and one that comes or goes moves few (rendezvous
 * hashing: Thaler, Ravishankar 1998). 0: this one is the first. */
size_t peers_rank(const struct peers *p, const char *iid);
/* The pool ends. */
void peers_stop(struct peers *p);
/* After Redis' connection, which names it. */
void peers_free(struct peers *p);

#endif
