/* Workers that are only numbers, and a time that goes where a test wants it. */
#ifndef TESTS_POOL_VIRTUAL_H
#define TESTS_POOL_VIRTUAL_H

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <setjmp.h>
#include <cmocka.h>

#include "backends/pool/chooser.h"

enum { VIRTUAL_MAX = 10000, LONG_AGO_MS = 1000000, VIRTUAL_RUNS = 4000 };
#define VIRTUAL_MODEL SPAN("m")

struct virtual_pool {
    struct chooser *chooser;
    struct chooser_worker w[VIRTUAL_MAX];
    size_t count;
    uint64_t now_ms, seed;
    struct chooser_job jobs[VIRTUAL_RUNS];
    size_t job_count;
};

/* xorshift64*: the same numbers each time. */
static inline uint64_t virtual_below(void *arg, uint64_t below)
{
    uint64_t *x = arg;

    *x ^= *x >> 12;
    *x ^= *x << 25;
    *x ^= *x >> 27;
    return (*x * 0x2545f4914f6cdd1du >> 11) % below;
}

static inline struct virtual_pool *virtual_with(const struct chooser_options *o)
{
    struct virtual_pool *p = mem_zero(sizeof(*p));

    p->seed = 1;
    p->now_ms = LONG_AGO_MS;
    const struct dice dice = {virtual_below, &p->seed};
    p->chooser = chooser_new(o, &dice);
    return p;
}

static inline struct virtual_pool *virtual_new(void)
{
    return virtual_with(&chooser_defaults);
}

static inline struct chooser_worker *virtual_join(struct virtual_pool *p, int64_t max)
{
    const struct chooser_offer offer = {VIRTUAL_MODEL, 1, 8192};
    struct chooser_worker *w = &p->w[p->count];

    *w = (struct chooser_worker){.id = ++p->count * 0x9e3779b97f4a7c15u,
                                 .ready = true,
                                 .accepting = true,
                                 .ask = 1000,
                                 .max = max,
                                 .standing = 1};
    chooser_join(p->chooser, w, p->now_ms);
    chooser_serve(w, &offer, 1, p->now_ms);
    return w;
}

/* So many of them, that are no newcomers any more. */
static inline struct virtual_pool *virtual_crew(size_t count, int64_t max)
{
    struct virtual_pool *p = virtual_new();

    for (size_t i = 0; i < count; i++)
        virtual_join(p, max);
    p->now_ms += LONG_AGO_MS;
    for (size_t i = 0; i < count; i++)
        (void)chooser_update(&p->w[i], p->now_ms);
    return p;
}

static inline void virtual_free(struct virtual_pool *p)
{
    for (size_t i = 0; i < p->job_count; i++)
        chooser_finish(&p->jobs[i], p->now_ms);
    for (size_t i = 0; i < p->count; i++)
        chooser_leave(&p->w[i]);
    chooser_free(p->chooser);
    free(p);
}

static inline struct chooser_query virtual_query(void)
{
    return (struct chooser_query){.model = VIRTUAL_MODEL,
                                  .endpoints = 1,
                                  .coefficient = 1000,
                                  .class = CLASS_INTERACTIVE,
                                  .output = 100};
}

static inline struct chooser_seat *virtual_seat(const struct chooser_worker *w)
{
    return chooser_seat_of(w, VIRTUAL_MODEL);
}

static inline struct chooser_worker *virtual_pick(struct virtual_pool *p,
                                                  const struct chooser_query *q)
{
    struct chooser_seat *s = chooser_pick(p->chooser, q, p->now_ms);

    return s ? chooser_seat_worker(s) : NULL;
}

static inline struct chooser_job *virtual_start(struct virtual_pool *p, struct chooser_worker *w,
                                                const struct chooser_query *q)
{
    struct chooser_job *j = &p->jobs[p->job_count++];

    assert_true(p->job_count <= VIRTUAL_RUNS);
    chooser_start(j, virtual_seat(w), q, p->now_ms);
    return j;
}

/* A request of 100 tokens runs there alone at this speed. */
static inline void virtual_serve(struct virtual_pool *p, struct chooser_worker *w, double speed)
{
    const struct chooser_query q = virtual_query();
    const struct chooser_served r = {
        .first_token_ms = 10, .output = 100, .took_ms = (uint64_t)(101 * 1000 / speed)};
    struct chooser_job j;

    chooser_start(&j, virtual_seat(w), &q, p->now_ms);
    chooser_served(&j, &r, p->now_ms);
    chooser_finish(&j, p->now_ms);
}

static inline void virtual_fail(struct virtual_pool *p, struct chooser_worker *w)
{
    const struct chooser_query q = virtual_query();
    struct chooser_job j;

    chooser_start(&j, virtual_seat(w), &q, p->now_ms);
    chooser_failed(&j, p->now_ms);
    chooser_finish(&j, p->now_ms);
}

static inline struct chooser_seat_view virtual_view(struct virtual_pool *p,
                                                    const struct chooser_worker *w)
{
    struct chooser_seat_view v;

    chooser_seat_view(virtual_seat(w), p->now_ms, &v);
    return v;
}

#endif
