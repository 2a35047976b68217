/* A charge: made at admission, settled exactly once (settle.c); where the account is metered it
 * owns the hold of its money (money.c). Outlives its call: the record may come later. */
#ifndef GATEWAY_CHARGE_H
#define GATEWAY_CHARGE_H

#include "billing/hold.h"
#include "billing/price_book.h"
#include "billing/usual.h"
#include "gateway/call.h"

enum charge_cost {
    COST_NONE,    /* not metered, or nothing is owed */
    COST_OPEN,    /* the record is still to come */
    COST_PENDING, /* known, but Redis has not confirmed it: `charged` is what it will be */
    COST_SETTLED
};

struct charge {
    unsigned refs;
    struct gateway *gateway;
    char call[CALL_ID_LEN + 1], key[2 * KEY_ID_LEN + 1], model[POOL_NAME_LEN + 1];
    bool settled, end_to_end, keeps_receipt;
    struct call *waiting; /* its answer waits for the cost */
    struct replay *kept;  /* its answer, until it has been charged; NULL: it is not kept */

    /* What this attempt has answered, where it was not sealed by the client (seen.c). */
    struct said said;
    bool streamed;
    int64_t choices; /* that are answered; 0: not what is made is to be seen */

    /* Metered. */
    struct hold *hold;       /* NULL: none, or given away */
    struct price_book *book; /* pinned at admission; NULL: not metered */
    char account[LAYOUT_NAME_MAX + 1], project[LAYOUT_NAME_MAX + 1];
    const char *endpoint;
    int64_t bid, max_input, max_tokens, sequences;
    bool generates; /* no token, no price; of what is sealed: whether it may make any */
    bool judged;    /* the record of the attempt that answered came, or none will */
    enum charge_cost cost;
    int64_t charged; /* nano */

    struct buf span; /* of the call that is over, but for its tokens (trace.c); empty: none */
    bool counted;    /* these are known, by a record */
    int64_t in, out;
};

/* The cost has changed: the answer that waits for it looks again. */
void charge_tell(struct charge *ch);

/* ---- seen.c ---- */

/* The attempt begins: nothing is answered yet. */
void seen_begin(struct charge *ch);
/* What the worker answers, in clear: an event of a stream, or a part of an answer in one piece. */
void seen_note(struct charge *ch, bool streamed, struct span bytes);
/* The most that is usual for the answer of the attempt that r reports. */
struct usual_bounds seen_bound(const struct charge *ch, const struct dispatch_report *r);
/* Its record counts for what is usual from now on. */
void seen_learn(const struct charge *ch, const struct dispatch_report *r);

#endif
