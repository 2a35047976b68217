/* A model's seats in arrays, and draws in proportion to their weights. */
#include <stdlib.h>
#include <string.h>

#include "backends/pool/chooser_impl.h"

enum { FIRST_CAP = 8 };

static size_t lowest_bit(size_t i)
{
    return i & -i;
}

static void tree_add(struct chooser_model *m, size_t at, int64_t change)
{
    for (size_t i = at + 1; i <= m->cap; i += lowest_bit(i))
        m->tree[i] += (uint64_t)change;
}

static uint64_t tree_total(const struct chooser_model *m)
{
    return m->cap ? m->tree[m->cap] : 0; /* cap is a power of two */
}

static void grow(struct chooser_model *m)
{
    m->cap = m->cap ? 2 * m->cap : FIRST_CAP;
    m->seats = mem_grow(m->seats, m->cap * sizeof(struct chooser_seat *));
    m->ids = mem_grow(m->ids, m->cap * sizeof(*m->ids));
    m->shares = mem_grow(m->shares, m->cap * sizeof(*m->shares));
    m->weights = mem_grow(m->weights, m->cap * sizeof(*m->weights));
    m->tree = mem_grow(m->tree, (m->cap + 1) * sizeof(*m->tree));
    memset(m->tree, 0, (m->cap + 1) * sizeof(*m->tree));
    for (size_t i = 0; i < m->count; i++)
        tree_add(m, i, m->weights[i]);
}

void index_weigh(struct chooser_model *m, size_t at, uint32_t weight)
{
    const uint32_t old = m->weights[at];

    if (weight == old)
        return;
    m->open += weight > 0 && old == 0 ? 1 : 0;
    m->open -= weight == 0 && old > 0 ? 1 : 0;
    m->weights[at] = weight;
    tree_add(m, at, (int64_t)weight - (int64_t)old);
}

void index_add(struct chooser_model *m, struct chooser_seat *s)
{
    if (m->count == m->cap)
        grow(m);
    s->at = m->count++;
    m->seats[s->at] = s;
    m->ids[s->at] = s->worker->id;
    m->shares[s->at] = 1;
    m->weights[s->at] = 0;
}

/* The last one takes its place. */
void index_remove(struct chooser_model *m, struct chooser_seat *s)
{
    const size_t at = s->at, last = m->count - 1;
    const uint32_t weight = m->weights[last];

    index_weigh(m, at, 0);
    if (at != last) {
        index_weigh(m, last, 0);
        m->seats[at] = m->seats[last];
        m->ids[at] = m->ids[last];
        m->shares[at] = m->shares[last];
        m->seats[at]->at = at;
        index_weigh(m, at, weight);
    }
    m->count--;
}

struct chooser_seat *index_draw(const struct chooser_model *m, const struct dice *dice)
{
    const uint64_t total = tree_total(m);
    size_t at = 0;

    if (total == 0)
        return NULL;
    uint64_t left = dice_below(dice, total);
    for (size_t step = m->cap / 2; step > 0; step /= 2)
        if (m->tree[at + step] <= left) {
            at += step;
            left -= m->tree[at];
        }
    return m->seats[at];
}

void index_free(struct chooser_model *m)
{
    free(m->seats);
    free(m->ids);
    free(m->shares);
    free(m->weights);
    free(m->tree);
}
