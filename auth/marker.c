/* Names of the markers, and whether one is older than what was seen. */
#include "auth/marker.h"

#include <stdio.h>
#include <stdlib.h>

size_t marker_count(const struct redis *r)
{
    return redis_is_cluster(r) ? REDIS_SLOTS : 1;
}

void marker_key(const struct redis *r, size_t i, char out[static MARKER_KEY_LEN])
{
    char tag[REDIS_TAG_LEN];

    if (redis_is_cluster(r)) {
        redis_slot_tag(r, (uint16_t)i, tag);
        snprintf(out, MARKER_KEY_LEN, MARKER_FIRST ":{%s}", tag);
    } else {
        snprintf(out, MARKER_KEY_LEN, MARKER_FIRST);
    }
}

size_t marker_of(const struct redis *r, struct span key)
{
    return redis_is_cluster(r) ? redis_slot(key) : 0;
}

/* A keys file made anew has another epoch, and counts from the beginning. */
static void begin(struct markers *m, size_t count, struct span epoch)
{
    markers_fini(m);
    if (span_cstr(epoch, m->epoch, sizeof(m->epoch)) < 0)
        m->epoch[0] = 0;
    m->serials = mem_zero(count * sizeof(*m->serials));
    m->count = count;
}

int marker_judge(struct markers *m, size_t count, size_t i, struct span text)
{
    uint64_t serial = 0;

    if (!text.data)
        return E_UNAVAILABLE;
    const struct span epoch = span_split(&text, ':');
    if (span_u64(text, INT64_MAX, &serial) < 0)
        serial = 0; /* not one of ours: there, and no more */
    if (m->count != count || !span_is(epoch, m->epoch))
        begin(m, count, epoch);
    if (serial < m->serials[i])
        return E_UNAVAILABLE;
    m->serials[i] = serial;
    return 0;
}

void markers_fini(struct markers *m)
{
    free(m->serials);
    *m = (struct markers){0};
}
