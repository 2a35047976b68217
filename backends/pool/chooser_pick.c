/* The choice: who is eligible (pool.md §2), and who of them should be done first (§3). */
#include <string.h>

#include "backends/pool/chooser_impl.h"

enum { DRAWS_MAX = 24, WARM_MAX = 3, NORMAL = 1000, SLOTS_UNKNOWN = 16 };
/* Of conversations' input, cached: from then on they stay where they are as long as they may. */
static const double warm_enough = 0.1;
/* Of its cache, from where on a worker slows down; and of the work in flight, what is never thought
 * done before it is. */
static const double kv_crowded = 0.8, least_left = 0.25;
/* Bounds of the factor that prices and standing make. */
static const double factor_least = 0.25, factor_most = 8.0;

/* ---- Who may ---- */

static bool was_tried(const struct chooser_query *q, const struct chooser_worker *w)
{
    for (size_t i = 0; i < q->tried_count; i++)
        if (q->tried[i] == w)
            return true;
    return false;
}

static bool is_too_dear(const struct chooser_worker *w, const struct chooser_query *q)
{
    return w->ask > q->coefficient || w->refused_coefficient >= q->coefficient;
}

/* It has refused what it said that it asks for: until it was asked again nobody knows. */
static bool is_unpriced(const struct chooser_worker *w)
{
    return w->refused_coefficient > 0 && w->refused_coefficient >= w->ask;
}

/* Its context is too short, and another's is not; where all are, an engine tells the caller so. */
static bool is_too_short(const struct chooser_seat *s, const struct chooser_query *q)
{
    const int64_t need = q->input + q->output;

    return s->context < need && model_context(s->model) >= need;
}

enum exclusion {
    NOT_EXCLUDED,
    EX_NOT_READY,
    EX_ENDPOINT,
    EX_EVIDENCE,
    EX_CONTEXT,
    EX_DRAINING,
    EX_PRICE,
    EX_TRIED,
    EX_FULL,
    EX_FAILING
};

/* The first condition that keeps it out, those that pass by themselves last. */
static enum exclusion exclusion_of(const struct chooser_seat *s, const struct chooser_query *q,
                                   uint64_t now_ms)
{
    const struct chooser_worker *w = s->worker;
    const enum chooser_fit fit = q->fit ? q->fit(q->fit_arg, w) : CHOOSER_FITS;

    if (!w->ready || fit == CHOOSER_NOT_READY)
        return EX_NOT_READY;
    if ((s->endpoints & q->endpoints) != q->endpoints)
        return EX_ENDPOINT;
    if (fit == CHOOSER_NO_EVIDENCE)
        return EX_EVIDENCE;
    if (is_too_short(s, q))
        return EX_CONTEXT;
    if (!w->accepting || fit == CHOOSER_DRAINING)
        return EX_DRAINING;
    if (is_too_dear(w, q))
        return EX_PRICE;
    if (was_tried(q, w))
        return EX_TRIED;
    if (fit == CHOOSER_FULL || !worker_has_room(w) || is_unpriced(w))
        return EX_FULL;
    return breaker_allows(&s->breaker, now_ms) ? NOT_EXCLUDED : EX_FAILING;
}

static void note_price(const struct chooser_worker *w, const struct chooser_query *q,
                       struct chooser_excluded *why)
{
    const int64_t ask = w->ask > q->coefficient ? w->ask : w->refused_coefficient + 1;

    why->price++;
    if (why->lowest_ask == 0 || ask < why->lowest_ask)
        why->lowest_ask = ask;
}

static void note(enum exclusion e, const struct chooser_worker *w, const struct chooser_query *q,
                 struct chooser_excluded *why)
{
    size_t *const counts[] = {[EX_NOT_READY] = &why->not_ready, [EX_ENDPOINT] = &why->endpoint,
                              [EX_EVIDENCE] = &why->evidence,   [EX_CONTEXT] = &why->context,
                              [EX_DRAINING] = &why->draining,   [EX_TRIED] = &why->tried,
                              [EX_FULL] = &why->full,           [EX_FAILING] = &why->failing};

    if (e == EX_PRICE)
        note_price(w, q, why);
    else if (e != NOT_EXCLUDED)
        ++*counts[e];
}

/* ---- Reserves ---- */

/* Slots that better classes have a right to and do not use. */
static int64_t reserved_for_others(const struct chooser_model *m, enum service_class class)
{
    int64_t slots = 0;

    for (size_t i = 0; i < (size_t) class; i++) {
        const int64_t own = m->slots * m->chooser->options.reserve_percent[i] / 100;
        slots += own > m->running[i] ? own - m->running[i] : 0;
    }
    return slots;
}

/* Workers that do not say how much they take have nothing that could be kept free. Each other
 * gateway may have begun as many batch requests of late as this one, of which nothing is known yet.
 */
bool model_reserved(const struct chooser_model *m, enum service_class class)
{
    const int64_t kept = reserved_for_others(m, class);
    const int64_t unseen = class == CLASS_BATCH ? m->unheard * m->chooser->other_gateways : 0;

    return kept > 0 && m->slots - m->busy - m->promised - unseen <= kept;
}

/* ---- How good ---- */

static double bounded(double factor)
{
    return factor < factor_least ? factor_least : factor > factor_most ? factor_most : factor;
}

/* Who asks for twice the price must be so much faster. */
static double price_weight(const struct chooser_worker *w, const struct chooser_options *o)
{
    const double over = (double)w->ask / NORMAL - 1;

    return bounded(1 + over * o->price_percent / 100);
}

/* Of one request, as they were; before any was, as this one. */
static double usual_work(const struct chooser_model *m, const struct chooser_query *q)
{
    return m->work > 0 ? m->work : (double)chooser_work(m->chooser, q->input, q->output);
}

/* What is in flight there, less what should be done by now; what others run is guessed. */
static double work_left(const struct chooser_seat *s, const struct chooser_query *q, double speed,
                        uint64_t now_ms)
{
    const struct chooser_worker *w = s->worker;
    const double own = (double)w->work_in_flight;
    const double waited_ms = (double)w->in_flight * (double)now_ms - w->started_ms;
    const double left = own - waited_ms * speed / 1000;

    return (left > own * least_left ? left : own * least_left) +
           (double)w->others * usual_work(s->model, q);
}

/* Seconds until the request would be done. */
static double score_of(const struct chooser_seat *s, const struct chooser_query *q, uint64_t now_ms)
{
    const struct chooser_worker *w = s->worker;
    const struct chooser *c = s->model->chooser;
    const double speed = seat_speed(s, now_ms);
    const double own = (double)chooser_work(c, q->input, q->output) / speed;
    const double crowd = w->kv > kv_crowded ? (w->kv - kv_crowded) / (1 - kv_crowded) : 0;
    const double standing = bounded(2 - w->standing);
    const double wait = work_left(s, q, speed, now_ms) / speed;

    return (wait + own) * price_weight(w, &c->options) * standing + (double)w->rtt_ms / 1000 +
           own * crowd * crowd * 2;
}

/* What a warm cache would save: the input that it need not read again, as much as was cached of
 * late. */
static double warm_saving(const struct chooser_seat *s, const struct chooser_query *q,
                          uint64_t now_ms)
{
    return s->model->warm * (double)q->input / s->model->chooser->options.prefill /
           seat_speed(s, now_ms);
}

/* ---- The best of several ---- */

struct best {
    struct chooser_seat *seat;
    double score;
    unsigned ties;
};

/* Among equals each is as likely. */
static void consider(struct best *b, struct chooser_seat *s, const struct chooser_query *q,
                     const struct dice *dice, uint64_t now_ms)
{
    const double score = score_of(s, q, now_ms);

    if (b->seat && score > b->score)
        return;
    b->ties = b->seat && score >= b->score ? b->ties + 1 : 1;
    if (b->ties > 1 && dice_below(dice, b->ties) != 0)
        return;
    b->seat = s;
    b->score = score;
}

/* A breaker whose time is over is not in the weights yet: of few seats all are looked at. */
static void score_all(struct chooser_model *m, const struct chooser_query *q, struct best *b,
                      uint64_t now_ms)
{
    for (size_t i = 0; i < m->count; i++)
        if ((m->count <= CHOOSER_SCORE_ALL || m->weights[i] > 0) &&
            exclusion_of(m->seats[i], q, now_ms) == NOT_EXCLUDED)
            consider(b, m->seats[i], q, &m->chooser->dice, now_ms);
}

static void draw_two(struct chooser_model *m, const struct chooser_query *q, struct best *b,
                     uint64_t now_ms)
{
    const struct chooser_seat *first = NULL;

    for (size_t i = 0; i < DRAWS_MAX; i++) {
        struct chooser_seat *s = index_draw(m, &m->chooser->dice);
        if (s == first || exclusion_of(s, q, now_ms) != NOT_EXCLUDED)
            continue;
        consider(b, s, q, &m->chooser->dice, now_ms);
        if (first)
            return;
        first = s;
    }
}

/* The counters of m's chooser tell how. */
static void find_best(struct chooser_model *m, const struct chooser_query *q, struct best *b,
                      uint64_t now_ms)
{
    struct chooser_counts *n = &m->chooser->counts;

    if (m->open <= CHOOSER_SCORE_ALL) {
        n->scored++;
        score_all(m, q, b, now_ms);
        return;
    }
    n->drawn++;
    draw_two(m, q, b, now_ms);
    if (!b->seat) { /* a narrow request: few of many may take it */
        n->searched++;
        score_all(m, q, b, now_ms);
    }
}

/* ---- Affinity ---- */

/* splitmix64's finalizer: every bit of both counts. */
static uint64_t mix(uint64_t tag, uint64_t id)
{
    uint64_t x = tag ^ (id * 0x9e3779b97f4a7c15u);

    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* -log2 of the hash as a number below 1; by its highest bits and the line between powers of two,
 * which is near enough. */
static float depth_of_hash(uint64_t hash)
{
    const int zeros = __builtin_clzll(hash | 1);
    const uint32_t rest = (uint32_t)((hash << zeros) >> 40) & 0x7fffff;

    return (float)(zeros + 1) - (float)rest / (float)(1 << 23);
}

struct home {
    size_t at;
    float rank;
};

/* The conversation's own workers, best first: by hashes of its tag with theirs, weighted by their
 * speed (weighted rendezvous hashing: Thaler, Ravishankar 1998; Schindelhauer, Schomaker 2005). The
 * same at each gateway; when a worker comes or goes only its own conversations move. */
static size_t find_homes(const struct chooser_model *m, uint64_t tag,
                         struct home homes[static WARM_MAX])
{
    size_t count = 0;

    for (size_t i = 0; i < m->count; i++) {
        const struct home h = {i, m->shares[i] / depth_of_hash(mix(tag, m->ids[i]))};
        if (count == WARM_MAX && h.rank <= homes[count - 1].rank)
            continue;
        size_t at = count < WARM_MAX ? count++ : count - 1;
        for (; at > 0 && homes[at - 1].rank < h.rank; at--)
            homes[at] = homes[at - 1];
        homes[at] = h;
    }
    return count;
}

/* How far behind the best it may be, in seconds: requests, as many as fit into a part of its slots.
 * Where caches hardly ever help, it is less. */
static double depth_of(const struct chooser_seat *s, const struct chooser_query *q,
                       const struct chooser_seat *best, uint64_t now_ms)
{
    const int64_t slots = s->worker->max > 0 ? s->worker->max : SLOTS_UNKNOWN;
    const double requests = (double)slots * s->model->chooser->options.affinity_percent / 100;
    const double use = s->model->warm / warm_enough;

    return requests * (use < 1 ? use : 1) * usual_work(s->model, q) / seat_speed(best, now_ms);
}

/* Its cache is worth waiting for. */
static bool is_worth_it(const struct chooser_seat *s, const struct chooser_query *q,
                        const struct best *b, uint64_t now_ms)
{
    return score_of(s, q, now_ms) - warm_saving(s, q, now_ms) <=
           b->score + depth_of(s, q, b->seat, now_ms);
}

/* The first of its workers that takes it and is worth it, and whether that is its very first; NULL:
 * none is. */
static struct chooser_seat *find_warm(const struct chooser_model *m, const struct chooser_query *q,
                                      const struct best *b, uint64_t now_ms, bool *home)
{
    struct home homes[WARM_MAX];
    const size_t count = find_homes(m, q->affinity, homes);

    for (size_t i = 0; i < count; i++) {
        struct chooser_seat *s = m->seats[homes[i].at];
        *home = i == 0;
        if (exclusion_of(s, q, now_ms) == NOT_EXCLUDED && is_worth_it(s, q, b, now_ms))
            return s;
    }
    return NULL;
}

static struct chooser_seat *pick_warm(struct chooser_model *m, const struct chooser_query *q,
                                      const struct best *b, uint64_t now_ms)
{
    bool home = false;
    struct chooser_seat *warm = find_warm(m, q, b, now_ms, &home);

    *(warm && home ? &m->chooser->counts.warm : &m->chooser->counts.moved) += 1;
    return warm ? warm : b->seat;
}

/* ---- Panic ---- */

static bool is_less_bad(const struct chooser_seat *a, const struct chooser_seat *b)
{
    if (a->breaker.openings != b->breaker.openings)
        return a->breaker.openings < b->breaker.openings;
    return a->breaker.until_ms < b->breaker.until_ms;
}

/* Over half of a model's workers are out by breaker or health. */
static bool is_panic(const struct chooser_model *m, uint64_t now_ms)
{
    size_t out = 0;

    if (2 * m->out <= m->count) /* as of their last updates; it may be fewer by now */
        return false;
    for (size_t i = 0; i < m->count; i++)
        out += m->seats[i]->worker->ready && breaker_allows(&m->seats[i]->breaker, now_ms) ? 0 : 1;
    return 2 * out > m->count;
}

/* Then rather the least bad than none; only its breaker may speak against it. */
static struct chooser_seat *find_least_bad(const struct chooser_model *m,
                                           const struct chooser_query *q, uint64_t now_ms)
{
    struct chooser_seat *best = NULL;

    for (size_t i = 0; i < m->count; i++) {
        struct chooser_seat *s = m->seats[i];
        if (exclusion_of(s, q, now_ms) == EX_FAILING && (!best || is_less_bad(s, best)))
            best = s;
    }
    return best;
}

/* ---- The choice ---- */

struct chooser_seat *chooser_pick(struct chooser *c, const struct chooser_query *q, uint64_t now_ms)
{
    struct chooser_model *m = map_get(&c->models, q->model);
    struct best b = {0};

    if (!m || model_reserved(m, q->class)) {
        c->counts.none++;
        return NULL;
    }
    find_best(m, q, &b, now_ms);
    if (b.seat)
        return q->affinity ? pick_warm(m, q, &b, now_ms) : b.seat;
    if (is_panic(m, now_ms))
        b.seat = find_least_bad(m, q, now_ms);
    *(b.seat ? &c->counts.panic : &c->counts.none) += 1;
    return b.seat;
}

bool chooser_may_wait(struct chooser *c, const struct chooser_query *q, uint64_t now_ms)
{
    const struct chooser_model *m = map_get(&c->models, q->model);

    for (size_t i = 0; m && i < m->count; i++) {
        const enum exclusion e = exclusion_of(m->seats[i], q, now_ms);
        if (e == EX_FULL || e == EX_FAILING || e == NOT_EXCLUDED)
            return true;
    }
    return false;
}

static enum exclusion explain(const struct chooser_worker *w, const struct chooser_query *q,
                              uint64_t now_ms, struct chooser_excluded *why)
{
    const struct chooser_seat *s = chooser_seat_of(w, q->model);

    why->total++;
    if (!s) {
        *(w->ready ? &why->model : &why->not_ready) += 1;
        return EX_NOT_READY;
    }
    const enum exclusion e = exclusion_of(s, q, now_ms);
    note(e, w, q, why);
    return e;
}

void chooser_explain(struct chooser *c, const struct chooser_query *q, uint64_t now_ms,
                     struct chooser_excluded *why)
{
    const struct chooser_model *m = map_get(&c->models, q->model);

    *why = (struct chooser_excluded){.reserved = m && model_reserved(m, q->class)};
    LIST_FOREACH(it, &c->workers)
        (void)explain(CONTAINER(it, struct chooser_worker, link), q, now_ms, why);
}

bool chooser_eligible(const struct chooser_worker *w, const struct chooser_query *q,
                      uint64_t now_ms, struct chooser_excluded *why)
{
    const struct chooser_seat *s = chooser_seat_of(w, q->model);

    *why = (struct chooser_excluded){.reserved = s && model_reserved(s->model, q->class)};
    const enum exclusion e = explain(w, q, now_ms, why);
    if (why->reserved)
        return false;
    return e == NOT_EXCLUDED || (s && e == EX_FAILING && is_panic(s->model, now_ms));
}

/* ---- Ranks ---- */

struct rank {
    struct chooser_seat *seat;
    enum exclusion why;
    double score;
};

/* Equals come in any order, so that not all clients go to the same one. */
static bool goes_before(const struct rank *a, const struct rank *b, const struct dice *dice)
{
    if (a->why != b->why)
        return a->why == NOT_EXCLUDED || (a->why == EX_FAILING && b->why == EX_FULL);
    if (a->score < b->score || a->score > b->score)
        return a->score < b->score;
    return dice_below(dice, 2) == 0;
}

struct ranking {
    struct rank ranks[CHOOSER_RANK_MAX];
    size_t count, max;
};

static bool is_ranked(const struct ranking *r, const struct chooser_seat *s)
{
    for (size_t i = 0; i < r->count; i++)
        if (r->ranks[i].seat == s)
            return true;
    return false;
}

static void rank_insert(struct ranking *r, struct rank new, const struct dice *dice)
{
    size_t at = r->count;

    while (at > 0 && goes_before(&new, &r->ranks[at - 1], dice))
        at--;
    if (at >= r->max)
        return;
    if (r->count < r->max)
        r->count++;
    memmove(&r->ranks[at + 1], &r->ranks[at], (r->count - at - 1) * sizeof(new));
    r->ranks[at] = new;
}

static void rank_seat(struct ranking *r, struct chooser_seat *s, const struct chooser_query *q,
                      bool full_too, uint64_t now_ms)
{
    const enum exclusion why = exclusion_of(s, q, now_ms);

    if (why == NOT_EXCLUDED || why == EX_FAILING || (full_too && why == EX_FULL))
        rank_insert(r, (struct rank){s, why, score_of(s, q, now_ms)}, &s->model->chooser->dice);
}

/* The conversation's own worker goes before all others. */
static void rank_warm_first(struct ranking *r, const struct chooser_model *m,
                            const struct chooser_query *q, uint64_t now_ms)
{
    const struct best b = {.seat = r->ranks[0].seat, .score = r->ranks[0].score};
    bool home;
    struct chooser_seat *s = find_warm(m, q, &b, now_ms, &home);
    size_t at = 0;

    while (s && at < r->count && r->ranks[at].seat != s)
        at++;
    if (!s || at == 0)
        return;
    if (at == r->count && r->count < r->max)
        r->count++;
    at = at < r->count ? at : r->count - 1;
    memmove(&r->ranks[1], &r->ranks[0], at * sizeof(*r->ranks));
    r->ranks[0] = (struct rank){.seat = s};
}

enum { RANK_ALL = 64 }; /* up to so many seats all are looked at */

size_t chooser_rank(struct chooser *c, const struct chooser_query *q, bool full_too,
                    uint64_t now_ms, struct chooser_seat **out, size_t max)
{
    const struct chooser_model *m = map_get(&c->models, q->model);
    struct ranking r = {.max = max < CHOOSER_RANK_MAX ? max : CHOOSER_RANK_MAX};

    if (!m || model_reserved(m, q->class))
        return 0;
    const bool many = m->count > RANK_ALL && m->open > r.max;
    for (size_t i = 0; many && i < 2 * r.max; i++) {
        struct chooser_seat *s = index_draw(m, &c->dice);
        if (!is_ranked(&r, s))
            rank_seat(&r, s, q, full_too, now_ms);
    }
    for (size_t i = 0; (!many || r.count == 0) && i < m->count; i++)
        rank_seat(&r, m->seats[i], q, full_too, now_ms);
    if (q->affinity && r.count > 0)
        rank_warm_first(&r, m, q, now_ms);
    for (size_t i = 0; i < r.count; i++)
        out[i] = r.ranks[i].seat;
    return r.count;
}
