/* The pool's side of the choice: what it knows of its workers told to the chooser, and what only it
 * can judge: evidence, tunnels, the ends of verdicts. */
#include "backends/pool/pool_impl.h"
#include "base/clock.h"
#include "base/random.h"

enum { MODELS_MAX = POOL_MAX_MODELS };

static uint64_t chance(void *arg, uint64_t below)
{
    (void)arg;
    return random_below(below);
}

struct chooser *choose_new(void)
{
    const struct dice dice = {.below = chance};

    return chooser_new(&chooser_defaults, &dice);
}

void pool_set_scheduling(struct pool *p, const struct chooser_options *o)
{
    chooser_set_options(p->chooser, o);
    link_capacity(p); /* a reserve may be smaller now */
}

/* ---- What workers say ---- */

void worker_changed(struct pool_worker *w)
{
    struct chooser_worker *e = &w->entry;
    const struct chooser_worker before = *e;

    e->ready = w->state == POOL_READY && !w->skewed;
    e->accepting = w->about.accepting && !w->held_back && w->tunnel && tunnel_is_open(w->tunnel);
    e->full = w->turned_away;
    e->ask = w->about.ask;
    e->refused_coefficient = w->refused_coefficient;
    e->max = w->load.max;
    e->kv = w->load.kv;
    e->rtt_ms = w->tunnel ? tunnel_rtt_ms(w->tunnel) : 0;
    const bool opened = chooser_update(e, loop_now(w->pool->loop));
    const bool changed =
        e->ready != before.ready || e->accepting != before.accepting || e->ask != before.ask;
    if (changed)
        w->pool->changes++;
    if (opened || changed) /* who waits may do so in vain now */
        link_capacity(w->pool);
}

void worker_offers(struct pool_worker *w)
{
    struct chooser_offer offers[MODELS_MAX];

    for (size_t i = 0; i < w->about.model_count; i++) {
        const struct pool_model *m = &w->about.models[i];
        offers[i] = (struct chooser_offer){span_str(m->name), m->endpoints, m->context};
    }
    chooser_serve(&w->entry, offers, w->about.model_count, loop_now(w->pool->loop));
    w->pool->changes++;
}

/* ---- What only the pool can judge ---- */

static const struct pool_worker *worker_of(const struct chooser_worker *e)
{
    return (const struct pool_worker *)((const char *)e - offsetof(struct pool_worker, entry));
}

/* Its verdict has ended: nothing new before it was verified again. */
static bool is_outdated(const struct pool_worker *w)
{
    return w->verdict.valid_until > 0 && clock_wall_ms() / 1000 >= w->verdict.valid_until;
}

static const char *unmet_by(const struct pool_worker *w, const struct pool_query *q)
{
    const char *unmet = q->require ? attest_require_unmet(q->require, &w->verdict) : NULL;

    if (!unmet && q->end_to_end && w->verdict.env == ATTEST_UNATTESTED)
        unmet = "attestation";
    return unmet;
}

/* One choice: what is asked for, and which demand was not met by one that lacks evidence. */
struct asked {
    struct chooser_query query;
    const struct pool_query *of;
    const char *unmet;
};

static enum chooser_fit fit(void *arg, const struct chooser_worker *e)
{
    struct asked *a = arg;
    const struct pool_worker *w = worker_of(e);
    const char *unmet = unmet_by(w, a->of);

    if (is_outdated(w))
        return CHOOSER_NOT_READY;
    if (unmet) {
        a->unmet = unmet;
        return CHOOSER_NO_EVIDENCE;
    }
    if (!w->tunnel || !tunnel_is_open(w->tunnel))
        return CHOOSER_DRAINING;
    if (loop_now(w->pool->loop) - e->room_since_ms < a->of->roomy_ms)
        return CHOOSER_FULL;
    const bool room = w->entry.in_flight < pool_calls_max(w->pool) && tunnel_room(w->tunnel) > 0;
    return room ? CHOOSER_FITS : CHOOSER_FULL;
}

static struct asked *asked(struct asked *a, const struct pool_query *q)
{
    *a = (struct asked){.of = q};
    a->query = (struct chooser_query){
        .model = q->model,
        .endpoints = q->end_to_end ? 0 : 1u << q->endpoint,
        .coefficient = q->coefficient,
        .class = q->class,
        .input = q->input,
        .output = q->output,
        .affinity = q->affinity,
        .fit = fit,
        .fit_arg = a,
        .tried_count = q->tried_count,
    };
    for (size_t i = 0; i < q->tried_count; i++)
        a->query.tried[i] = &q->tried[i]->entry;
    return a;
}

/* ---- The choice ---- */

static struct pool_worker *holder(struct chooser_seat *s)
{
    return s ? CONTAINER(chooser_seat_worker(s), struct pool_worker, entry) : NULL;
}

struct pool_worker *pool_choose(struct pool *p, const struct pool_query *q)
{
    struct asked a;

    return holder(chooser_pick(p->chooser, &asked(&a, q)->query, loop_now(p->loop)));
}

bool pool_may_wait(struct pool *p, const struct pool_query *q)
{
    struct asked a;

    return chooser_may_wait(p->chooser, &asked(&a, q)->query, loop_now(p->loop));
}

void pool_explain(struct pool *p, const struct pool_query *q, struct pool_excluded *why)
{
    struct asked a;

    chooser_explain(p->chooser, &asked(&a, q)->query, loop_now(p->loop), &why->by);
    why->unmet = a.unmet;
}

bool pool_worker_eligible(const struct pool_worker *w, const struct pool_query *q,
                          struct pool_excluded *why)
{
    struct asked a;
    const bool yes =
        chooser_eligible(&w->entry, &asked(&a, q)->query, loop_now(w->pool->loop), &why->by);

    why->unmet = a.unmet;
    return yes;
}

size_t pool_rank(struct pool *p, const struct pool_query *q, bool full_too,
                 struct pool_worker **out, size_t max)
{
    struct chooser_seat *seats[CHOOSER_RANK_MAX];
    struct asked a;
    const size_t count =
        chooser_rank(p->chooser, &asked(&a, q)->query, full_too, loop_now(p->loop), seats, max);

    for (size_t i = 0; i < count; i++)
        out[i] = holder(seats[i]);
    return count;
}

const struct chooser_counts *pool_choices(const struct pool *p)
{
    return chooser_counts(p->chooser);
}

bool pool_model_load(struct pool *p, struct span model, struct chooser_model_view *out)
{
    return chooser_model(p->chooser, model, loop_now(p->loop), out);
}

void pool_breakers(struct pool *p, struct span model, size_t out[static BREAKER_STATES])
{
    chooser_breakers(p->chooser, model, loop_now(p->loop), out);
}
