/* The marker tells that Redis holds all key records: without one Redis was emptied and knows
 * nothing of any key; with an older one it was set back. A stand-alone Redis has one, `keys:epoch`.
 * A Cluster, of which one primary may lose its data alone, has one more in every slot,
 * `keys:epoch:{tag}`, as of the last change of a key there; it is the one that counts for keys. */
#ifndef AUTH_MARKER_H
#define AUTH_MARKER_H

#include "net/redis.h"

#define MARKER_FIRST "keys:epoch" /* what tools look at before they write */
enum { MARKER_KEY_LEN = 24 };     /* of its name, with its NUL */

/* How many there are that count for keys, and the name of the i-th. */
size_t marker_count(const struct redis *r);
void marker_key(const struct redis *r, size_t i, char out[static MARKER_KEY_LEN]);
/* Which of them stands for a key. */
size_t marker_of(const struct redis *r, struct span key);

/* The markers seen so far: "<epoch>:<serial>", whose serial grows with every change of the keys.
 * {0} has seen none. */
struct markers {
    char epoch[64];
    uint64_t *serials; /* the highest seen of each */
    size_t count;
};
/* The i-th of `count` as Redis told it. E_UNAVAILABLE: none (data NULL), or older than one that was
 * seen before: what Redis says of keys is not to be believed. */
MUST_CHECK int marker_judge(struct markers *m, size_t count, size_t i, struct span text);
void markers_fini(struct markers *m);

#endif
