/* Policies that are easy to say. */
#include "tests/sim/baselines.h"

#include <stdlib.h>

#include "base/random.h"
#include "tests/sim/forecast.h"

struct self {
    struct vpool *pool;
    uint32_t next;
};

static void *make(struct vpool *p)
{
    struct self *s = mem_zero(sizeof(*s));

    s->pool = p;
    return s;
}

static uint32_t first_over(const struct vpool *p, const struct vrequest *r, size_t blocks)
{
    uint32_t best = VPOOL_NOBODY;
    double least = 0;

    for (uint32_t i = 0; i < p->count; i++) {
        struct model *m = p->workers[i].model;
        if (model_peek(m, r->call.blocks, r->call.block_count) < blocks)
            continue;
        model_advance(m, p->now_ns);
        const double s = forecast_call(m, &r->call).over_s;
        if (best == VPOOL_NOBODY || s < least) {
            best = i;
            least = s;
        }
    }
    return best;
}

static uint32_t choose_oracle(void *self, struct vrequest *r)
{
    const struct self *s = self;

    return first_over(s->pool, r, 0);
}

static uint32_t choose_first_token(void *self, struct vrequest *r)
{
    const struct self *s = self;
    uint32_t best = VPOOL_NOBODY;
    double least = 0;

    for (uint32_t i = 0; i < s->pool->count; i++) {
        struct model *m = s->pool->workers[i].model;
        model_advance(m, s->pool->now_ns);
        const double first_s = forecast_call(m, &r->call).first_s;
        if (best == VPOOL_NOBODY || first_s < least) {
            best = i;
            least = first_s;
        }
    }
    return best;
}

static uint32_t choose_affinity(void *self, struct vrequest *r)
{
    const struct self *s = self;
    size_t most = 0;

    for (uint32_t i = 0; i < s->pool->count; i++) {
        const size_t n = model_peek(s->pool->workers[i].model, r->call.blocks, r->call.block_count);
        most = n > most ? n : most;
    }
    return first_over(s->pool, r, most);
}

static uint32_t choose_next(void *self, struct vrequest *r)
{
    struct self *s = self;

    (void)r;
    return s->next++ % s->pool->count;
}

static uint32_t choose_random(void *self, struct vrequest *r)
{
    const struct self *s = self;

    (void)r;
    return (uint32_t)random_below(s->pool->count);
}

const struct vpolicy policy_oracle = {
    .name = "oracle", .make = make, .free = free, .choose = choose_oracle};
const struct vpolicy policy_oracle_first = {
    .name = "oracle of first tokens", .make = make, .free = free, .choose = choose_first_token};
const struct vpolicy policy_perfect_affinity = {
    .name = "perfect affinity", .make = make, .free = free, .choose = choose_affinity};
const struct vpolicy policy_round_robin = {
    .name = "round robin", .make = make, .free = free, .choose = choose_next};
const struct vpolicy policy_random = {
    .name = "random", .make = make, .free = free, .choose = choose_random};
