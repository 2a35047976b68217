/* Drains and bans, applied to workers that are here and to those that come. */
#include "backends/pool/decisions.h"

#include "backends/pool/pool_impl.h"
#include "base/encode.h"
#include "base/log.h"
#include "crypto/hash.h"

static void fill(struct map *m, const struct span *names, size_t count)
{
    map_fini(m);
    *m = (struct map){0};
    for (size_t i = 0; i < count; i++)
        (void)map_put(m, names[i], m); /* any value: the name is what counts */
}

static bool is_named(const struct map *banned, const char *kind, struct span name)
{
    char subject[160];

    snprintf(subject, sizeof(subject), "%s:%.*s", kind, SPAN_FMT(name));
    return map_get(banned, span_str(subject)) != NULL;
}

static bool has_machine(const struct pool_worker *w)
{
    return w->verdict.env != ATTEST_UNATTESTED;
}

bool worker_is_banned(const struct pool_worker *w)
{
    const struct map *banned = &w->pool->banned;
    char ppid[2 * SHA256_LEN + 1], mrtd[2 * ATTEST_MR_LEN + 1];
    uint8_t digest[SHA256_LEN];

    if (banned->len == 0)
        return false;
    if (is_named(banned, "wid", span_str(w->wid)))
        return true;
    if (!has_machine(w))
        return false;
    sha256(digest, SPAN_OF(w->verdict.ppid));
    hex_encode(ppid, SPAN_OF(digest));
    hex_encode(mrtd, SPAN_OF(w->verdict.mrtd));
    return is_named(banned, "ppid", span_str(ppid)) ||
           is_named(banned, "measurement", span_str(mrtd)) ||
           is_named(banned, "measurement", span_str(w->verdict.measurement));
}

void worker_decide(struct pool_worker *w)
{
    const bool held = map_get(&w->pool->drained, span_str(w->iid)) != NULL;

    if (held != w->held_back)
        log_event(LOG_INFO, held ? "worker_drained" : "worker_enabled", "worker=%s", w->iid);
    w->held_back = held;
    worker_changed(w);
}

void pool_set_decisions(struct pool *p, const struct pool_decisions *d)
{
    fill(&p->drained, d->drained, d->drained_count);
    fill(&p->banned, d->banned, d->banned_count);
    LIST_FOREACH_SAFE(it, &p->workers) {
        struct pool_worker *w = CONTAINER(it, struct pool_worker, link);
        if (w->state != POOL_READY && w->state != POOL_DESCRIBING)
            continue; /* judged when its proof is accepted */
        worker_decide(w);
        if (worker_is_banned(w))
            link_ban(w);
    }
    link_capacity(p);
}
