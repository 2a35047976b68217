/* Lanes by model. */
#include "gateway/lane.h"

#include <stdlib.h>
#include <string.h>

enum { LANES_KEPT = 1024 };

static void lane_free(struct lanes *l, struct lane *lane)
{
    (void)map_del(&l->by_model, span_str(lane->model));
    list_del(&lane->link);
    queue_free(lane->queue);
    free(lane->model);
    free(lane);
}

void lanes_init(struct lanes *l)
{
    *l = (struct lanes){0};
    list_init(&l->all);
}

struct lane *lane_of(struct lanes *l, struct span model)
{
    struct lane *lane = map_get(&l->by_model, model);

    if (lane)
        return lane;
    lane = mem_zero(sizeof(*lane));
    lane->model = mem_zero(model.len + 1);
    memcpy(lane->model, model.data, model.len);
    lane->queue = queue_new();
    list_push(&l->all, &lane->link);
    map_put(&l->by_model, model, lane);
    return lane;
}

void lanes_sweep(struct lanes *l)
{
    if (l->by_model.len < LANES_KEPT)
        return;
    LIST_FOREACH_SAFE(it, &l->all) {
        struct lane *lane = CONTAINER(it, struct lane, link);
        if (queue_length(lane->queue) + queue_running(lane->queue) == 0)
            lane_free(l, lane);
    }
}

size_t lanes_waiting(const struct lanes *l)
{
    size_t all = 0;

    LIST_FOREACH(it, &l->all)
        all += queue_length(CONTAINER(it, struct lane, link)->queue);
    return all;
}

void lanes_fini(struct lanes *l)
{
    LIST_FOREACH_SAFE(it, &l->all)
        lane_free(l, CONTAINER(it, struct lane, link));
    map_fini(&l->by_model);
}
