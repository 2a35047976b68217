/* Price books as the ledger puts them into Redis: the one in force, and those that older holds were
 * placed with. */
#ifndef BILLING_PRICES_H
#define BILLING_PRICES_H

#include "billing/price_book.h"
#include "net/redis.h"

struct prices;

struct prices *prices_new(struct loop *l, struct redis *r);
/* Asks nothing more. Then free Redis, turn the loop once, and free this. */
void prices_stop(struct prices *p);
void prices_free(struct prices *p);
/* Reads again now: after a connect. */
void prices_read(struct prices *p);
/* In force now; NULL: nothing is for sale yet. Borrowed: take a reference to keep it. It stays
 * known while Redis is away. */
struct price_book *prices_current(const struct prices *p);
/* A book by its version, as far as this process has it; else it is asked for, and fn called once,
 * in the loop, with a borrowed book (NULL: Redis has none, or is away). */
typedef void prices_fn(void *arg, struct price_book *book);
void prices_get(struct prices *p, int64_t version, prices_fn *fn, void *arg);

#endif
