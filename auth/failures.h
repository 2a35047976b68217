/* Counts failed credentials by client address, so that one that guesses is slowed down. Bounded. */
#ifndef AUTH_FAILURES_H
#define AUTH_FAILURES_H

#include "base/list.h"
#include "base/map.h"

/* Embedded by the owner. */
struct failures {
    struct map by_peer;
    struct list oldest; /* by the time of the first failure of their window */
    unsigned per_minute;
};

enum { FAILURES_MAX_PEERS = 10000 };

void failures_init(struct failures *f, unsigned per_minute);
void failures_fini(struct failures *f);
/* Notes a failure; true when the address has failed per_minute times within a minute before. IPv6
 * addresses count by /64; what is no address counts by its text. */
bool failures_add(struct failures *f, struct span peer, uint64_t now_ms);

#endif
