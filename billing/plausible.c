/* Bounds on a worker's claim, each by something that passed through the gateway. */
#include "billing/plausible.h"

enum { GRACE_MS = 1000 }; /* clocks' grain, and what an engine has made before it is told to stop */

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Tokens that the fastest machine could have made in the time that passed. */
static int64_t speed_bound(const struct plausible_bounds *b)
{
    if (b->top_speed <= 0 || b->ran_ms == 0)
        return PRICE_TOKENS_MAX;
    unsigned __int128 most = (unsigned __int128)(b->ran_ms + GRACE_MS) * (uint64_t)b->top_speed *
                             (uint64_t)b->sequences / 1000;
    return most < (uint64_t)PRICE_TOKENS_MAX ? (int64_t)most : PRICE_TOKENS_MAX;
}

/* Each token that is answered is at least a byte of the answer; reasoning may stay unsaid. */
static int64_t said_bound(const struct plausible_bounds *b)
{
    return b->answer_bytes > 0 && b->answer_bytes < (uint64_t)PRICE_TOKENS_MAX
               ? (int64_t)b->answer_bytes
               : PRICE_TOKENS_MAX;
}

static int64_t usual_bound_of(int64_t most)
{
    return most > 0 ? most : PRICE_TOKENS_MAX;
}

bool plausible_bound(const struct price_tokens *claim, const struct plausible_bounds *b,
                     struct price_tokens *charged)
{
    int64_t said = least(claim->out - claim->reasoning, said_bound(b));
    const int64_t most = least(usual_bound_of(b->usual.out), speed_bound(b));

    said = least(said, usual_bound_of(b->usual.said));
    charged->in = least(claim->in, b->max_input);
    charged->cached = least(claim->cached, charged->in);
    charged->out = least(least(said + claim->reasoning, b->max_tokens), most);
    charged->reasoning = least(claim->reasoning, charged->out);
    return charged->in != claim->in || charged->out != claim->out;
}
