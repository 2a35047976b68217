/* The operator's live gateways, as workers and clients are told of them (wire.md §1). */
#ifndef BACKENDS_POOL_GATEWAYS_H
#define BACKENDS_POOL_GATEWAYS_H

#include "backends/pool/pool.h"

/* What a worker takes of one operator. */
enum { POOL_GATEWAYS_MAX = 256 };

/* From now on: addresses (host:port) of all live instances, this one's too. Ready workers are told
 * when the list is another one (PUT /v1/gateways). At most POOL_GATEWAYS_MAX; copied. */
void pool_set_gateways(struct pool *p, const char *const *addresses, size_t count);
/* {"gateways":["host:port",…]}. Borrowed until the list changes. */
struct span pool_gateways(const struct pool *p);
/* Another process listens at this gateway's address: workers dial it beside their tunnels here,
 * which stay until they are closed. */
void pool_dial_again(struct pool *p);

#endif
