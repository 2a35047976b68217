/* Events in the order of time: a request arrives, an engine makes a first or a last token, a second
 * is over. Slots freed by an event are given away behind it. */
#include "tests/sim/vpool.h"

#include <stdlib.h>
#include <time.h>

#include "base/map.h"

enum { WARM_PART = 10 };
static const uint64_t second_ns = 1000000000u;

/* ---- The heap: workers by when something next happens there ---- */

static uint64_t due(const struct vpool *p, uint32_t at)
{
    return p->workers[p->heap[at]].next_ns;
}

static void heap_set(struct vpool *p, uint32_t at, uint32_t worker)
{
    p->heap[at] = worker;
    p->workers[worker].heap = at;
}

static void heap_swap(struct vpool *p, uint32_t a, uint32_t b)
{
    const uint32_t worker = p->heap[a];

    heap_set(p, a, p->heap[b]);
    heap_set(p, b, worker);
}

static void heap_up(struct vpool *p, uint32_t at)
{
    while (at > 0 && due(p, at) < due(p, (at - 1) / 2)) {
        heap_swap(p, at, (at - 1) / 2);
        at = (at - 1) / 2;
    }
}

static void heap_down(struct vpool *p, uint32_t at)
{
    for (;;) {
        uint32_t least = at;
        for (uint32_t child = 2 * at + 1; child <= 2 * at + 2 && child < p->count; child++)
            if (due(p, child) < due(p, least))
                least = child;
        if (least == at)
            return;
        heap_swap(p, at, least);
        at = least;
    }
}

static void reschedule(struct vpool *p, struct vworker *w)
{
    w->next_ns = model_next(w->model);
    heap_up(p, w->heap);
    heap_down(p, w->heap);
}

/* ---- Figures ---- */

static bool measured(const struct vrequest *r)
{
    return (size_t)(r->arrival - r->pool->trace->arrivals) >= r->pool->trace->count / WARM_PART;
}

static void note_over(struct vrequest *r)
{
    struct vfigures *f = &r->pool->figures;
    const uint32_t account = r->arrival->account;

    f->served++;
    f->tokens += r->call.output;
    f->prompt += r->call.prompt;
    f->cached += r->call.cached;
    r->pool->workers[r->worker].tokens += r->call.output;
    f->account_tokens[account] += (double)r->call.output;
    samples_add(&f->first, r->first_ns - r->at_ns);
    samples_add(&f->over, r->pool->now_ns - r->at_ns);
    samples_add(&f->account_first[account], r->first_ns - r->at_ns);
}

static void note_conversation(struct vrequest *r)
{
    struct vpool *p = r->pool;
    const struct span key = span_of(&r->arrival->conversation, sizeof(r->arrival->conversation));
    const uintptr_t last = (uintptr_t)map_put(p->last, key, (void *)((uintptr_t)r->worker + 1));

    if (last == 0 || !measured(r))
        return;
    p->figures.turns++;
    p->figures.moves += last != (uintptr_t)r->worker + 1;
}

/* ---- Requests ---- */

static void over(struct vrequest *r)
{
    r->pool->open--;
    free(r);
}

static void on_tokens(void *arg, struct model_call *c, int64_t count, uint64_t at_ns)
{
    struct vrequest *r = CONTAINER(c, struct vrequest, call);
    struct vworker *w = arg;
    struct vpool *p = w->pool;

    (void)count;
    if (r->first_ns == 0) {
        r->first_ns = at_ns;
        if (p->policy->first)
            p->policy->first(p->self, r);
    }
    if (c->state != MODEL_OVER)
        return;
    w->in_flight--;
    p->freed = true;
    if (measured(r))
        note_over(r);
    if (p->policy->ended)
        p->policy->ended(p->self, r);
    over(r);
}

static void start(struct vpool *p, struct vrequest *r, uint32_t worker)
{
    struct vworker *w = &p->workers[worker];

    r->worker = worker;
    w->in_flight++;
    w->taken++;
    note_conversation(r);
    if (p->policy->started)
        p->policy->started(p->self, r);
    model_add(w->model, &r->call, p->now_ns);
    reschedule(p, w);
}

/* Of this thread, so that what else runs on the machine does not count. */
static uint64_t cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint32_t choose(struct vpool *p, struct vrequest *r)
{
    const uint64_t begun = cpu_ns();
    const uint32_t worker = p->policy->choose(p->self, r);

    p->figures.choice_ns += cpu_ns() - begun;
    p->figures.choices++;
    return worker;
}

static void refuse(struct vrequest *r)
{
    r->pool->figures.refused += measured(r);
    over(r);
}

static void enqueue(struct vpool *p, struct vrequest *r)
{
    if (p->policy->put && !p->policy->put(p->self, r)) {
        refuse(r);
        return;
    }
    p->waiting++;
    list_push(&p->queue, &r->link);
}

static struct vrequest *take(struct vpool *p, uint32_t *worker)
{
    if (p->policy->take)
        return p->policy->take(p->self, worker);
    struct vrequest *r = CONTAINER(p->queue.next, struct vrequest, link);
    *worker = choose(p, r);
    return *worker == VPOOL_NOBODY ? NULL : r;
}

static void drain_queue(struct vpool *p)
{
    p->freed = false;
    while (!list_empty(&p->queue)) {
        uint32_t worker;
        struct vrequest *r = take(p, &worker);
        if (!r)
            return;
        list_del(&r->link);
        p->waiting--;
        start(p, r, worker);
    }
}

/* In the order of arrival, so the first ones are the oldest. */
static void drop_late(struct vpool *p)
{
    while (!list_empty(&p->queue)) {
        struct vrequest *r = CONTAINER(p->queue.next, struct vrequest, link);
        if (r->at_ns + p->queue_ns > p->now_ns)
            return;
        if (p->policy->leave)
            p->policy->leave(p->self, r);
        list_del(&r->link);
        p->waiting--;
        refuse(r);
    }
}

static void arrive(struct vpool *p)
{
    const struct arrival *a = &p->trace->arrivals[p->arrived++];
    struct vrequest *r = mem_zero(sizeof(*r));

    *r = (struct vrequest){.arrival = a, .pool = p, .at_ns = a->at_ns, .worker = VPOOL_NOBODY};
    r->call = (struct model_call){.prompt = a->prompt,
                                  .output = a->output,
                                  .blocks = a->blocks,
                                  .block_count = a->block_count};
    p->open++;
    const uint32_t worker = choose(p, r);
    if (worker == VPOOL_NOBODY)
        enqueue(p, r);
    else
        start(p, r, worker);
}

/* ---- The run ---- */

static void pool_init(struct vpool *p, const struct vpool_options *o, const struct trace *t)
{
    *p = (struct vpool){.count = o->workers, .trace = t, .accounts = o->accounts};
    p->queue_ns = (uint64_t)(o->queue_s * 1e9);
    list_init(&p->queue);
    p->workers = mem_zero(o->workers * sizeof(*p->workers));
    p->heap = mem_zero(o->workers * sizeof(*p->heap));
    p->last = mem_zero(sizeof(*p->last));
    p->figures.account_first = mem_zero(o->accounts * sizeof(*p->figures.account_first));
    p->figures.account_tokens = mem_zero(o->accounts * sizeof(*p->figures.account_tokens));
    for (uint32_t i = 0; i < o->workers; i++) {
        struct vworker *w = &p->workers[i];
        struct model_spec spec = *o->spec;
        spec.speed = o->speeds[i % o->speed_count];
        *w = (struct vworker){.pool = p, .speed = spec.speed, .next_ns = UINT64_MAX};
        w->max = o->max ? o->max : spec.max_batch;
        w->model = model_new(&spec, false, on_tokens, w);
        heap_set(p, i, i);
    }
}

static void second(struct vpool *p)
{
    if (p->policy->second)
        p->policy->second(p->self);
    drop_late(p);
    p->freed = true; /* speeds and loads were looked at anew */
}

static void turn(struct vpool *p, uint64_t *tick_ns)
{
    const uint64_t arrival =
        p->arrived < p->trace->count ? p->trace->arrivals[p->arrived].at_ns : UINT64_MAX;
    struct vworker *w = &p->workers[p->heap[0]];

    if (*tick_ns <= arrival && *tick_ns <= w->next_ns) {
        p->now_ns = *tick_ns;
        *tick_ns += second_ns;
        second(p);
    } else if (arrival <= w->next_ns) {
        p->now_ns = arrival;
        arrive(p);
    } else {
        p->now_ns = w->next_ns;
        model_advance(w->model, p->now_ns);
        reschedule(p, w);
    }
    if (p->freed)
        drain_queue(p);
}

void vpool_run(struct vpool *p, const struct vpool_options *o, const struct trace *t,
               const struct vpolicy *policy)
{
    uint64_t tick_ns = second_ns;

    pool_init(p, o, t);
    p->policy = policy;
    p->self = policy->make ? policy->make(p) : NULL;
    while (p->arrived < t->count || p->open > 0)
        turn(p, &tick_ns);
    if (policy->free)
        policy->free(p->self);
    p->figures.s = (double)(p->now_ns - t->arrivals[t->count / WARM_PART].at_ns) / 1e9;
}

void vpool_fini(struct vpool *p)
{
    for (uint32_t i = 0; i < p->count; i++)
        model_free(p->workers[i].model);
    for (uint32_t i = 0; i < p->accounts; i++)
        samples_fini(&p->figures.account_first[i]);
    samples_fini(&p->figures.first);
    samples_fini(&p->figures.over);
    free(p->figures.account_first);
    free(p->figures.account_tokens);
    free(p->workers);
    free(p->heap);
    map_fini(p->last);
    free(p->last);
}

/* ---- Capacity ---- */

static void on_work(void *arg, struct model_call *c, int64_t count, uint64_t at_ns)
{
    size_t *done = arg;

    (void)count;
    (void)at_ns;
    *done += c->state == MODEL_OVER;
}

double vpool_capacity(const struct model_spec *spec, const struct trace *t)
{
    const size_t count = t->count < 20000 ? t->count : 20000, backlog = 2 * spec->max_batch;
    struct model_call *calls = mem_zero(count * sizeof(*calls));
    size_t done = 0, given = 0;
    uint64_t now_ns = 0;
    struct model *m = model_new(spec, false, on_work, &done);

    while (done < count) {
        for (; given < count && given - done < backlog; given++) {
            calls[given].prompt = t->arrivals[given].prompt;
            calls[given].output = t->arrivals[given].output;
            model_add(m, &calls[given], now_ns);
        }
        now_ns = model_next(m);
        model_advance(m, now_ns);
    }
    model_free(m);
    free(calls);
    return (double)count / ((double)now_ns / 1e9);
}
