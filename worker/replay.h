/* The requests a key has seen: a set of 16-byte hashes that lives as long as the key (wire.md
 * §7.2). */
#ifndef WORKER_REPLAY_H
#define WORKER_REPLAY_H

#include "base/error.h"
#include "base/span.h"

enum { REPLAY_LEN = 16 };

/* Embedded; {0} is empty. Open addressing, 16 bytes a slot: a million requests take 32 MiB. */
struct replay_set {
    uint8_t (*slots)[REPLAY_LEN]; /* all zero: free */
    size_t cap, len;              /* cap: a power of two */
    uint64_t seed;                /* where a hash goes is not for its maker to choose */
};

bool replay_has(const struct replay_set *s, const uint8_t hash[static REPLAY_LEN]);
/* E_EXISTS when it is there already. */
MUST_CHECK int replay_insert(struct replay_set *s, const uint8_t hash[static REPLAY_LEN]);
void replay_fini(struct replay_set *s);

#endif
