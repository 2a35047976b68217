/* What gateway/route.c does with a call, done with a request of the simulation. */
#include "tests/sim/chooser_policy.h"

#include <stdio.h>
#include <stdlib.h>

#include "backends/pool/chooser.h"
#include "backends/pool/queue.h"
#include "base/random.h"
#include "tests/sim/rng.h"

enum { COEFFICIENT = 1000, ENDPOINT = 1, CONTEXT = 1 << 20, OUTPUT_MAX = 4096, TOTAL_MS = 600000 };
#define MODEL SPAN("sim")

struct self {
    struct vpool *pool;
    struct chooser *chooser;
    struct chooser_worker *workers; /* worker i of the pool */
    struct queue *queue;
    struct queue_options queue_options;
    double output; /* tokens that a request makes, as the chooser has seen */
    bool affinity, in_round;
};

/* A request's own; vrequest.policy. */
struct ask {
    struct vrequest *request;
    struct chooser_job job;
    struct chooser_query query;
    struct chooser_seat *seat;
    struct queue_item item;
    struct queue_claim claim;
    char account[16];
};

/* The shipped one when negative. */
static int affinity_percent = -1;

void chooser_policy_affinity(unsigned percent)
{
    affinity_percent = (int)percent;
}

static uint64_t now_ms(const struct self *s)
{
    return s->pool->now_ns / 1000000u;
}

static uint64_t below(void *arg, uint64_t limit)
{
    (void)arg;
    return random_below(limit);
}

/* ---- The pool ---- */

static void join(struct self *s, uint32_t i)
{
    const struct chooser_offer offer = {MODEL, ENDPOINT, CONTEXT};
    struct chooser_worker *w = &s->workers[i];

    w->id = rng_mix(i + 1);
    w->ready = w->accepting = true;
    w->ask = COEFFICIENT;
    w->max = s->pool->workers[i].max;
    w->standing = 1;
    chooser_join(s->chooser, w, 0);
    chooser_serve(w, &offer, 1, 0);
    (void)chooser_update(w, 0);
}

static struct self *make(struct vpool *p, bool affinity)
{
    const struct dice dice = {below, NULL};
    struct chooser_options options = chooser_defaults;
    struct self *s = mem_zero(sizeof(*s));

    if (affinity_percent >= 0)
        options.affinity_percent = (unsigned)affinity_percent;
    *s = (struct self){.pool = p, .affinity = affinity};
    s->queue_options = (struct queue_options){.longest_ms = p->queue_ns / 1000000u};
    s->chooser = chooser_new(&options, &dice);
    s->queue = queue_new();
    s->workers = mem_zero(p->count * sizeof(*s->workers));
    for (uint32_t i = 0; i < p->count; i++)
        join(s, i);
    return s;
}

static void *make_warm(struct vpool *p)
{
    return make(p, true);
}

static void *make_blind(struct vpool *p)
{
    return make(p, false);
}

static void free_self(void *self)
{
    struct self *s = self;

    for (uint32_t i = 0; i < s->pool->count; i++)
        chooser_leave(&s->workers[i]);
    chooser_free(s->chooser);
    queue_free(s->queue);
    free(s->workers);
    free(s);
}

/* What workers report. */
static void second(void *self)
{
    struct self *s = self;
    struct chooser_model_view view;

    for (uint32_t i = 0; i < s->pool->count; i++) {
        s->workers[i].kv = model_kv(s->pool->workers[i].model);
        (void)chooser_update(&s->workers[i], now_ms(s));
    }
    if (chooser_model(s->chooser, MODEL, now_ms(s), &view))
        s->output = view.output;
}

/* ---- A request ---- */

static struct ask *ask_of(const struct self *s, struct vrequest *r)
{
    struct ask *a = r->policy ? r->policy : mem_zero(sizeof(*a));

    if (r->policy)
        return a;
    r->policy = a;
    a->request = r;
    snprintf(a->account, sizeof(a->account), "%u", r->arrival->account);
    a->claim = (struct queue_claim){.class = CLASS_INTERACTIVE,
                                    .account = span_str(a->account),
                                    .deadline_ms = now_ms(s) + TOTAL_MS};
    a->query = (struct chooser_query){.model = MODEL,
                                      .endpoints = ENDPOINT,
                                      .coefficient = COEFFICIENT,
                                      .class = CLASS_INTERACTIVE,
                                      .input = r->call.prompt};
    if (s->affinity)
        a->query.affinity = rng_mix(r->arrival->conversation + 1) | 1;
    return a;
}

static uint32_t choose(void *self, struct vrequest *r)
{
    struct self *s = self;
    struct ask *a = ask_of(s, r);

    a->query.output = s->output > 0 && s->output < OUTPUT_MAX ? (int64_t)s->output : OUTPUT_MAX;
    a->seat = chooser_pick(s->chooser, &a->query, now_ms(s));
    return a->seat ? (uint32_t)(chooser_seat_worker(a->seat) - s->workers) : VPOOL_NOBODY;
}

static void started(void *self, struct vrequest *r)
{
    struct self *s = self;
    struct ask *a = r->policy;

    chooser_start(&a->job, a->seat, &a->query, now_ms(s));
    queue_start(s->queue, &a->item, &a->claim, now_ms(s));
}

static void ended(void *self, struct vrequest *r)
{
    struct self *s = self;
    struct ask *a = r->policy;
    const struct chooser_served served = {
        .first_token_ms = (double)(r->first_ns / 1000000u - a->job.started_ms),
        .input = r->call.prompt,
        .cached = r->call.cached,
        .output = r->call.output,
        .took_ms = now_ms(s) - a->job.started_ms,
    };

    chooser_freed(&a->job, now_ms(s));
    chooser_served(&a->job, &served, now_ms(s));
    chooser_finish(&a->job, now_ms(s));
    queue_done(&a->item, now_ms(s));
    free(a);
}

/* ---- The queue ---- */

static bool put(void *self, struct vrequest *r)
{
    struct self *s = self;
    struct ask *a = r->policy;

    if (queue_enter(s->queue, &a->item, &a->claim, &s->queue_options, now_ms(s)) == QUEUE_TAKEN)
        return true;
    free(a);
    return false;
}

static struct vrequest *take(void *self, uint32_t *worker)
{
    struct self *s = self;
    struct queue_item *it;

    if (!s->in_round)
        queue_round(s->queue);
    s->in_round = true;
    while ((it = queue_best(s->queue))) {
        struct ask *a = CONTAINER(it, struct ask, item);
        *worker = choose(s, a->request);
        if (*worker != VPOOL_NOBODY)
            return a->request;
        queue_pass(it);
    }
    s->in_round = false;
    return NULL;
}

static void leave(void *self, struct vrequest *r)
{
    struct ask *a = r->policy;

    (void)self;
    queue_leave(&a->item);
    free(a);
}

const struct vpolicy policy_chooser = {.name = "chooser",
                                       .make = make_warm,
                                       .free = free_self,
                                       .choose = choose,
                                       .started = started,
                                       .ended = ended,
                                       .second = second,
                                       .put = put,
                                       .take = take,
                                       .leave = leave};
const struct vpolicy policy_chooser_blind = {.name = "chooser without affinity",
                                             .make = make_blind,
                                             .free = free_self,
                                             .choose = choose,
                                             .started = started,
                                             .ended = ended,
                                             .second = second,
                                             .put = put,
                                             .take = take,
                                             .leave = leave};
