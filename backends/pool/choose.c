/* Who takes a call: the eligible workers, and the one expected to finish it first (pool.md §2, §3;
 * every one is scored). */
#include "backends/pool/pool_impl.h"
#include "base/clock.h"
#include "base/random.h"

enum { BLOCK_MAX_MS = 60000 };
/* Where nothing is known yet: tokens a second of one worker, and of it the weight of a new
 * observation. */
static const double speed_unknown = 50.0, weight_new = 0.2;

static bool is_full(const struct pool_worker *w)
{
    if (w->in_flight >= CALL_STREAMS_MAX || tunnel_room(w->tunnel) == 0 || w->turned_away)
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

/* What it asks for, or more than it has just refused. */
static bool is_too_dear(const struct pool_worker *w, const struct pool_query *q)
{
    return w->about.ask > q->coefficient || w->refused_coefficient >= q->coefficient;
}

static void note_price(const struct pool_worker *w, const struct pool_query *q,
                       struct pool_excluded *why)
{
    int64_t ask = w->about.ask > q->coefficient ? w->about.ask : w->refused_coefficient + 1;

    why->price++;
    if (why->lowest_ask == 0 || ask < why->lowest_ask)
        why->lowest_ask = ask;
}

/* Its verdict has ended: nothing new before it was verified again. */
static bool is_outdated(const struct pool_worker *w)
{
    return w->verdict.valid_until > 0 && clock_wall_ms() / 1000 >= w->verdict.valid_until;
}

static bool lacks_evidence(const struct pool_worker *w, const struct pool_query *q,
                           struct pool_excluded *why)
{
    const char *unmet = q->require ? attest_require_unmet(q->require, &w->verdict) : NULL;

    if (!unmet && q->end_to_end && w->verdict.env == ATTEST_UNATTESTED)
        unmet = "attestation";
    if (unmet)
        why->unmet = unmet;
    return unmet != NULL;
}

/* Counts the one condition that keeps w out; true when nothing does. */
static bool eligible(const struct pool_worker *w, const struct pool_query *q,
                     struct pool_excluded *why)
{
    const struct pool_model *m = pool_worker_model(w, q->model);

    why->total++;
    if (w->state != POOL_READY || w->skewed || is_outdated(w))
        why->not_ready++;
    else if (!m)
        why->model++;
    else if (!q->end_to_end && !(m->endpoints & (1u << q->endpoint)))
        why->endpoint++;
    else if (lacks_evidence(w, q, why))
        why->evidence++;
    else if (!w->about.accepting || !tunnel_is_open(w->tunnel))
        why->draining++;
    else if (is_too_dear(w, q))
        note_price(w, q, why);
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

/* A candidate, ordered by whether it fails, then by its score. */
struct candidate {
    struct pool_worker *worker;
    bool failing;
    double score;
    unsigned ties; /* how many were as good as this one */
};

/* Takes c when it is better; among equals each is as likely. Panic rule: a worker that fails is the
 * last choice, not none. */
static void consider(struct candidate *best, struct candidate c)
{
    bool same = best->worker && c.failing == best->failing;

    c.ties = 1;
    if (same && c.score >= best->score && c.score <= best->score) {
        c.ties = ++best->ties;
        if (random_below(c.ties) == 0)
            *best = c;
    } else if (!best->worker || (same ? c.score < best->score : best->failing)) {
        *best = c;
    }
}

struct pool_worker *pool_choose(struct pool *p, const struct pool_query *q,
                                struct pool_excluded *why)
{
    struct candidate best = {0};
    uint64_t now = loop_now(p->loop);

    *why = (struct pool_excluded){0};
    LIST_FOREACH(it, &p->workers) {
        struct pool_worker *w = CONTAINER(it, struct pool_worker, link);
        if (!eligible(w, q, why))
            continue;
        bool failing = w->blocked_until_ms > now;
        consider(&best, (struct candidate){w, failing, score(w, q), 0});
        why->failing += failing ? 1 : 0;
    }
    return best.worker;
}

bool pool_worker_eligible(const struct pool_worker *w, const struct pool_query *q,
                          struct pool_excluded *why)
{
    *why = (struct pool_excluded){0};
    return eligible(w, q, why);
}

/* ---- Ranks ---- */

enum { RANK_MAX = 16 };

struct rank {
    struct pool_worker *worker;
    bool full, failing;
    double score;
};

/* Equals come in any order, so that not all clients go to the same one. */
static bool goes_before(const struct rank *a, const struct rank *b)
{
    if (a->full != b->full)
        return b->full;
    if (a->failing != b->failing)
        return b->failing;
    if (a->score < b->score || a->score > b->score)
        return a->score < b->score;
    return random_below(2) == 0;
}

static void rank_insert(struct rank *ranks, size_t *count, size_t max, struct rank r)
{
    size_t at = *count;

    while (at > 0 && goes_before(&r, &ranks[at - 1]))
        at--;
    if (at >= max)
        return;
    if (*count < max)
        (*count)++;
    memmove(&ranks[at + 1], &ranks[at], (*count - at - 1) * sizeof(*ranks));
    ranks[at] = r;
}

size_t pool_rank(struct pool *p, const struct pool_query *q, bool full_too,
                 struct pool_worker **out, size_t max)
{
    struct rank ranks[RANK_MAX];
    struct pool_excluded why = {0};
    uint64_t now = loop_now(p->loop);
    size_t count = 0;

    max = max < RANK_MAX ? max : RANK_MAX;
    LIST_FOREACH(it, &p->workers) {
        struct pool_worker *w = CONTAINER(it, struct pool_worker, link);
        const size_t full = why.full;
        if (eligible(w, q, &why) || (full_too && why.full > full))
            rank_insert(ranks, &count, max,
                        (struct rank){w, why.full > full, w->blocked_until_ms > now, score(w, q)});
    }
    for (size_t i = 0; i < count; i++)
        out[i] = ranks[i].worker;
    return count;
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
