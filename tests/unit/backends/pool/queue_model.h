/* The order of queue.h told the plain way: at each turn all who wait are looked at. */
#ifndef TESTS_POOL_QUEUE_MODEL_H
#define TESTS_POOL_QUEUE_MODEL_H

#include "backends/pool/queue.h"

enum { MODEL_ACCOUNTS = 12, MODEL_ITEMS = 150, MODEL_TURN = 1 << 16 };

struct model_flow {
    unsigned weight;
    size_t waiting, running;
    uint64_t tag, passed_round;
    uint64_t busy_since; /* of equals who has waited longest without a pause goes first */
};

struct model_item {
    struct model_flow *flow; /* NULL: neither waits nor runs */
    bool waits;
    uint64_t deadline_ms, entered, round;
};

struct model {
    struct model_flow flows[CLASSES][MODEL_ACCOUNTS];
    struct model_item items[MODEL_ITEMS];
    uint64_t virtual_time, round, entered;
};

static inline uint64_t model_turn_end(const struct model_flow *f)
{
    return f->tag + MODEL_TURN / f->weight;
}

static inline bool model_before(const struct model_flow *a, const struct model_flow *b)
{
    const uint64_t runs_a = a->running * b->weight, runs_b = b->running * a->weight;
    const uint64_t end_a = model_turn_end(a), end_b = model_turn_end(b);

    if (runs_a != runs_b)
        return runs_a < runs_b;
    return end_a != end_b ? end_a < end_b : a->busy_since < b->busy_since;
}

/* Of those of this account who were not passed over in this round; NULL: none. */
static inline struct model_item *model_earliest(struct model *m, const struct model_flow *f)
{
    struct model_item *first = NULL;

    for (size_t i = 0; i < MODEL_ITEMS; i++) {
        struct model_item *it = &m->items[i];
        if (it->flow != f || !it->waits || it->round == m->round)
            continue;
        if (!first || it->deadline_ms < first->deadline_ms ||
            (it->deadline_ms == first->deadline_ms && it->entered < first->entered))
            first = it;
    }
    return first;
}

static inline struct model_item *model_best(struct model *m)
{
    for (size_t class = 0; class < CLASSES; class ++) {
        const struct model_flow *best = NULL;
        for (size_t i = 0; i < MODEL_ACCOUNTS; i++) {
            const struct model_flow *f = &m->flows[class][i];
            if (f->waiting > 0 && f->passed_round != m->round && (!best || model_before(f, best)))
                best = f;
        }
        if (best)
            return model_earliest(m, best);
    }
    return NULL;
}

/* An account all of whose calls were passed over has no turn before the next round. */
static inline void model_note_passed(struct model *m, struct model_flow *f)
{
    if (!model_earliest(m, f))
        f->passed_round = m->round;
}

static inline void model_pass(struct model *m, struct model_item *it)
{
    it->round = m->round;
    model_note_passed(m, it->flow);
}

static inline void model_catch_up(const struct model *m, struct model_flow *f)
{
    f->tag = f->tag > m->virtual_time ? f->tag : m->virtual_time;
}

static inline void model_enter(struct model *m, struct model_item *it, struct model_flow *f,
                               unsigned weight, uint64_t deadline_ms)
{
    *it = (struct model_item){
        .flow = f, .waits = true, .deadline_ms = deadline_ms, .entered = ++m->entered};
    f->weight = weight;
    if (f->waiting++ == 0) {
        model_catch_up(m, f);
        f->busy_since = m->entered;
    }
}

static inline void model_leave(struct model *m, struct model_item *it)
{
    struct model_flow *f = it->flow;

    it->flow = NULL;
    if (!it->waits)
        f->running--;
    else if (--f->waiting > 0)
        model_note_passed(m, f);
}

/* Of one who has not waited the weight counts from now on. */
static inline void model_start(struct model *m, struct model_item *it, struct model_flow *f,
                               unsigned weight)
{
    if (it->flow) {
        model_leave(m, it);
    } else {
        f->weight = weight;
        model_catch_up(m, f);
    }
    f->tag = model_turn_end(f);
    m->virtual_time = f->tag > m->virtual_time ? f->tag : m->virtual_time;
    f->running++;
    *it = (struct model_item){.flow = f};
}

#endif
