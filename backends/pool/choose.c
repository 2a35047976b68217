/* Who takes a call: the eligible workers, and the one expected to finish it first (pool.md §2, §3;
 * every one is scored). */
#include "backends/pool/pool_impl.h"
#include "base/random.h"

enum { BLOCK_MAX_MS = 60000 };
/* Where nothing is known yet: tokens a second of one worker, and of it the weight of a new
 * observation. */
static const double speed_unknown = 50.0, weight_new = 0.2;

static bool is_full(const struct pool_worker *w)
{
    if (tunnel_streams(w->tunnel) >= CALL_STREAMS_MAX)
        return true;
    return w->load.max > 0 && w->load_others + w->in_flight >= w->load.max;
}

static bool was_tried(const struct pool_query *q, const struct pool_worker *w)
{
    for (size_t i = 0; i < q->tried_count; i++)
        if (q->tried[i] == w)
            return true;
    return false;
}

/* Counts the one condition that keeps w out; true when nothing does. */
static bool eligible(const struct pool_worker *w, const struct pool_query *q,
                     struct pool_excluded *why)
{
    const struct pool_model *m = pool_worker_model(w, q->model);

    why->total++;
    if (w->state != POOL_READY || w->skewed)
        why->not_ready++;
    else if (!m)
        why->model++;
    else if (!(m->endpoints & (1u << q->endpoint)))
        why->endpoint++;
    else if (!w->about.accepting || !tunnel_is_open(w->tunnel))
        why->draining++;
    else if (was_tried(q, w))
        why->tried++;
    else if (is_full(w))
        why->full++;
    else
        return true;
    return false;
}

/* Seconds until this request would be done: what is in flight, what others run there, and the
 * request itself. */
static double score(const struct pool_worker *w, const struct pool_query *q)
{
    double speed = w->tokens_per_s > 0 ? w->tokens_per_s : speed_unknown;
    double others = (double)w->load_others * (double)q->expected_tokens;
    double tokens = (double)w->tokens_in_flight + others + (double)q->expected_tokens;

    return tokens / speed + (double)tunnel_rtt_ms(w->tunnel) / 1000.0;
}

/* Panic rule: a worker that fails is the last choice, not none. */
static bool better(const struct pool_worker *w, double s, const struct pool_worker *best,
                   double best_score, uint64_t now)
{
    bool blocked = w->blocked_until_ms > now, best_blocked = best && best->blocked_until_ms > now;

    if (!best || blocked != best_blocked)
        return !best || best_blocked;
    return s < best_score;
}

struct pool_worker *pool_choose(struct pool *p, const struct pool_query *q,
                                struct pool_excluded *why)
{
    struct pool_worker *best = NULL;
    double best_score = 0;
    uint64_t now = loop_now(p->loop);
    unsigned ties = 1;

    *why = (struct pool_excluded){0};
    LIST_FOREACH(it, &p->workers) {
        struct pool_worker *w = CONTAINER(it, struct pool_worker, link);
        if (!eligible(w, q, why))
            continue;
        double s = score(w, q);
        bool tie = best && s <= best_score && s >= best_score && random_below(++ties) == 0;
        if (tie || better(w, s, best, best_score, now)) {
            ties = tie ? ties : 1;
            best = w;
            best_score = s;
        }
        why->failing += w->blocked_until_ms > now ? 1 : 0;
    }
    return best;
}

/* ---- Marks ---- */

void worker_took(struct pool_worker *w, int64_t tokens)
{
    w->in_flight++;
    w->tokens_in_flight += tokens;
}

void worker_freed(struct pool_worker *w, int64_t tokens)
{
    w->in_flight--;
    w->tokens_in_flight -= tokens;
    link_capacity(w->pool);
}

/* Backs off 1 s, 2 s … 60 s with jitter: an error never attracts. */
void worker_failed(struct pool_worker *w)
{
    uint64_t wait = w->failures_in_row < 6 ? 1000u << w->failures_in_row : BLOCK_MAX_MS;

    w->failures++;
    w->failures_in_row++;
    w->blocked_until_ms = loop_now(w->pool->loop) + wait / 2 + random_below(wait / 2);
}

static double average(double old, double new)
{
    return old > 0 ? old + weight_new * (new - old) : new;
}

void worker_served(struct pool_worker *w, double first_token_ms, double tokens_per_s)
{
    w->served++;
    w->failures_in_row = 0;
    w->blocked_until_ms = 0;
    if (first_token_ms > 0)
        w->first_token_ms = average(w->first_token_ms, first_token_ms);
    if (tokens_per_s > 0)
        w->tokens_per_s = average(w->tokens_per_s, tokens_per_s);
}
