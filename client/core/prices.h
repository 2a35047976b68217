/* The operator's price books, fetched by version when an answer names one, so that its cost can be
 * shown (money.md §2). What the gateway says here is not authenticated: a book only explains. */
#ifndef CLIENT_CORE_PRICES_H
#define CLIENT_CORE_PRICES_H

#include "client/core/client.h"
#include "openai/answer.h"

struct prices;
struct prices *prices_new(struct client *c);
void prices_free(struct prices *p);

/* Cocoon-Price: "<version>;<coefficient>". E_INVALID; version 0 is no price. */
MUST_CHECK int price_tag_read(struct span text, int64_t *version, int64_t *coefficient);
/* Begins to fetch that book, unless it is here, under way, or failed lately. */
void prices_want(struct prices *p, int64_t version);
/* Whether it is on its way. */
bool prices_pending(const struct prices *p, int64_t version);
/* What these tokens of the model cost. E_NOT_FOUND: there is no such book or price; E_INVALID,
 * E_TOO_LARGE. */
MUST_CHECK int prices_cost(const struct prices *p, int64_t version, int64_t coefficient,
                           struct span model, const struct usage *used, int64_t *nano);

#endif
