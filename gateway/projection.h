/* What this instance knows, written to Redis for the others and for display (pool.md §1): never on
 * the path of a request. */
#ifndef GATEWAY_PROJECTION_H
#define GATEWAY_PROJECTION_H

#include "backends/pool/pool.h"
#include "net/redis.h"

struct projection;
struct peers;

/* Every 5 s and once Redis has come back: gw:{instance} and load:{instance}, with a life of 15 s;
 * within 250 ms of a change the rows of load and the worker:{iid} that changed, and standing:{wid}.
 * Of a worker that does not change its first gateway (peers_rank) writes every 5 s, the next every
 * 10 s, then 20 s and so on, up to 85 min: hardly more in all for many gateways than for two, and
 * who takes over from one that has died, or has no tunnel to it, needs not be found out. All
 * outlives it. capacity: clients' connections at a time. */
struct projection *projection_new(struct loop *l, struct redis *r, struct pool *p,
                                  const struct peers *peers, const char *instance,
                                  const char *tunnel, int64_t capacity);
/* Something changed: written within 250 ms, together with what else changes until then. */
void projection_changed(struct projection *p);
/* Redis is usable again, and may have lost all: everything is written anew, evidence first. */
void projection_redis_back(struct projection *p);
/* Of each proof. Keeps the keyset and, as the worker's first gateway (peers_rank), the document,
 * `evidence:{sha256}`, for the records that name them: two days, unless Redis has taken
 * them before; what it refused, the next proof tells again. For longer: archive.h. The worker's
 * entry names that document, not those of later proofs. */
void projection_evidence(struct projection *p, const struct pool_evidence *e);
/* The same the other way: fn is called once, later; E_UNAVAILABLE, E_BUSY: it is not. The caller
 * checks the digest. */
MUST_CHECK int projection_find(struct projection *p, const uint8_t sha256[static SHA256_LEN],
                               pool_kept_fn *fn, void *arg);
/* Who still waits for something is told at once that it is not there, and nobody waits from now on:
 * for a pool that ends, as workers live as long as somebody waits for their records' signers. */
void projection_find_no_more(struct projection *p);
/* This instance serves nobody new: its keys are removed, or left to the successor of the same name.
 */
void projection_leave(struct projection *p, bool successor);
/* Leaves, hands the last counters of standing over, and looks at the pool no more. */
void projection_stop(struct projection *p);
/* Nobody waits for something any more (projection_find_no_more). */
void projection_free(struct projection *p);

#endif
