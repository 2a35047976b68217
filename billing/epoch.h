/* Whether the money in this Redis can be believed (money.md §6): the ledger says for which server
 * (run_id) its projection is whole; after a fail-over or a loss it says so again, under a higher
 * number. Until then nothing is admitted. */
#ifndef BILLING_EPOCH_H
#define BILLING_EPOCH_H

#include <stdbool.h>

#include "net/redis.h"

struct epoch;

enum epoch_state {
    EPOCH_UNKNOWN,    /* not read yet, Redis away, or another server than the ledger knows */
    EPOCH_RECOVERING, /* gateways put back what they hold */
    EPOCH_OPEN
};

/* changed: the state or the number is another one (in the loop). */
struct epoch *epoch_new(struct loop *l, struct redis *r, void (*changed)(void *arg), void *arg);
/* Asks nothing more. Then free Redis, turn the loop once, and free this. */
void epoch_stop(struct epoch *e);
void epoch_free(struct epoch *e);
/* A server came up or went away: the epoch is read again. */
void epoch_connected(struct epoch *e);
enum epoch_state epoch_state(const struct epoch *e);
/* Open, and so for the server that has this key now. */
bool epoch_covers(const struct epoch *e, const char *key);
/* The number in force, of RECOVERING the coming one; 0: unknown. */
int64_t epoch_number(const struct epoch *e);

#endif
