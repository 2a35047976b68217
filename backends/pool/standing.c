/* Counters by wid between two hand-overs. */
#include "backends/pool/standing.h"

#include <stdlib.h>

#include "backends/pool/pool_impl.h"

enum { ROWS_MAX = 100000, CREDIT = 50, MISMATCH_WEIGHT = 5, CANARY_WEIGHT = 20 };

struct row {
    uint64_t add[STANDING_EVENTS];
};

const char *standing_name(enum standing_event e)
{
    static const char *const names[STANDING_EVENTS] = {
        "completed",        "failed",      "refused",   "attestation_failures",
        "usage_mismatches", "canary_good", "canary_bad"};

    return names[e];
}

void standing_note(struct pool_worker *w, enum standing_event e)
{
    struct map *rows = &w->pool->standing;

    if (!w->wid[0])
        return;
    struct row *r = map_get(rows, span_str(w->wid));
    if (!r && rows->len < ROWS_MAX) {
        r = mem_zero(sizeof(*r));
        (void)map_put(rows, span_str(w->wid), r);
    }
    if (r)
        r->add[e]++;
}

void pool_standing_take(struct pool *p, pool_standing_fn *fn, void *arg)
{
    struct span wid;
    void *value;
    size_t at = 0;

    while (map_next(&p->standing, &at, &wid, &value)) {
        fn(arg, wid, ((struct row *)value)->add);
        free(value);
    }
    map_fini(&p->standing);
    p->standing = (struct map){0};
}

/* A few failures of a newcomer, or of anybody long ago, say little. */
double standing_value(const uint64_t total[static STANDING_EVENTS])
{
    const double good = (double)total[STANDING_COMPLETED] + (double)total[STANDING_CANARY_GOOD];
    const double bad = (double)total[STANDING_FAILED] +
                       MISMATCH_WEIGHT * (double)total[STANDING_USAGE_MISMATCH] +
                       CANARY_WEIGHT * (double)total[STANDING_CANARY_BAD];

    return (good + CREDIT) / (good + bad + CREDIT);
}

void pool_set_standing(struct pool *p, const char *wid, double standing)
{
    LIST_FOREACH(it, &p->workers) {
        struct pool_worker *w = CONTAINER(it, struct pool_worker, link);
        if (strcmp(w->wid, wid) == 0)
            w->entry.standing = standing;
    }
}
