/* Which workers the gateway wants next for a conversation (Cocoon-Next, wire.md §6): where its
 * prefix is cached. The latest ones are remembered, by model and tag. */
#ifndef CLIENT_CORE_CONVERSATIONS_H
#define CLIENT_CORE_CONVERSATIONS_H

#include "base/list.h"
#include "base/map.h"
#include "client/core/foreign.h"

enum { CONVERSATIONS_MAX = 4096 };

struct conversations {
    struct map by_name; /* name → struct conversation */
    struct list order;  /* the one that was heard of longest ago first */
};

/* Keys, best first. */
struct next_keys {
    uint8_t kfp[NEXT_MAX][KFP_LEN];
    size_t count;
};

void conversations_init(struct conversations *c);
void conversations_fini(struct conversations *c);
/* In place of what was known of it. */
void conversations_note(struct conversations *c, struct span name, const struct next_keys *next);
/* NULL: nothing is known. Borrowed, until the next note. */
const struct next_keys *conversations_find(const struct conversations *c, struct span name);

#endif
