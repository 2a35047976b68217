/* Brings the journal's bills to the books: into this instance's stream in Redis, in order, again
 * from where the books are whenever that is in doubt. */
#ifndef BILLING_FEED_H
#define BILLING_FEED_H

#include "billing/bill_claim.h"
#include "billing/journal.h"
#include "net/redis.h"

struct feed;

/* All outlive it, but key, the public half of what signs the journal's bills: published for the
 * books and for /.well-known/cocoon.json, with the operator's word where operator_key (may be NULL,
 * used only here) is there to give it. */
struct feed *feed_new(struct loop *l, struct redis *r, struct journal *j,
                      const struct bill_claim *key, const struct ed25519 *operator_key);
/* Asks nothing more. Then free Redis, turn the loop once, and free this. */
void feed_stop(struct feed *f);
void feed_free(struct feed *f);
/* Something was written, or Redis is back. */
void feed_wake(struct feed *f);
/* This Redis may not have what was sent before: from the books' own mark on, once more. */
void feed_again(struct feed *f);
/* The books' mark was read once: rows have their numbers. */
bool feed_ready(const struct feed *f);
/* Everything in the journal stands in the stream, or in the books. */
bool feed_idle(const struct feed *f);
/* Rows that the books have not confirmed. */
int64_t feed_lag(const struct feed *f);

#endif
