/* Which Idempotency-Keys have been used, kept in memory: hashes of credentials, key and body alone.
 */
#include "client/idempotency.h"

#include <stdlib.h>

#include "client/proxy.h"
#include "crypto/hash.h"

enum { HEADER_MAX = 255, LIFE_MS = 24 * 3600 * 1000, DONE_MAX = 65536 };

/* One key in use. */
struct once {
    struct list link; /* in `done` once it has ended */
    bool ended;
    uint64_t ended_ms; /* the loop's clock */
    uint8_t key[SHA256_LEN], body[SHA256_LEN];
};

static void forget(struct idempotency *t, struct once *o)
{
    list_del(&o->link);
    (void)!map_del(&t->runs, SPAN_OF(o->key));
    free(o);
}

/* Those of yesterday, and the oldest of too many. */
static void sweep(struct idempotency *t, uint64_t now_ms)
{
    while (!list_empty(&t->done)) {
        struct once *oldest = CONTAINER(t->done.next, struct once, link);
        if (now_ms - oldest->ended_ms < LIFE_MS && t->runs.len < DONE_MAX)
            return;
        forget(t, oldest);
    }
}

static int refuse(struct call *c, const struct api_error *e, const char *arg)
{
    return api_fault_set(&c->fault, e, NULL, arg);
}

static int refuse_again(struct call *c, const struct once *known, const struct once *now)
{
    if (!crypto_equal(SPAN_OF(known->body), SPAN_OF(now->body)))
        return refuse(c, &ERR_IDEMPOTENCY_REUSED, NULL);
    return refuse(c, known->ended ? &ERR_IDEMPOTENCY_NO_REPLAY : &ERR_IDEMPOTENCY_IN_PROGRESS,
                  NULL);
}

static void hash_call(struct call *c, struct span header, struct once *o)
{
    const struct span whose[] = {span_str(call_authorization(c)), SPAN("\n"), header};

    sha256_parts(o->key, whose, 3);
    sha256(o->body, buf_span(&c->body));
}

int idempotency_begin(struct call *c)
{
    struct idempotency *t = &c->proxy->idempotency;
    const struct span header = http_header(c->ex, "idempotency-key");
    struct once now = {0};

    if (!header.data)
        return 0;
    if (http_header_count(c->ex, "idempotency-key") > 1 || !span_visible(header, HEADER_MAX))
        return refuse(c, &ERR_INVALID_HEADER, "Idempotency-Key");
    hash_call(c, header, &now);
    sweep(t, loop_now(c->proxy->loop));
    const struct once *known = map_get(&t->runs, SPAN_OF(now.key));
    if (known)
        return refuse_again(c, known, &now);
    c->once = mem_zero(sizeof(now));
    *c->once = now;
    (void)!map_put(&t->runs, SPAN_OF(now.key), c->once);
    return 0;
}

void idempotency_end(struct call *c, bool ran)
{
    struct idempotency *t = &c->proxy->idempotency;
    struct once *o = c->once;

    c->once = NULL;
    if (!o)
        return;
    if (!ran) {
        forget(t, o);
        return;
    }
    if (!t->done.next)
        list_init(&t->done);
    o->ended = true;
    o->ended_ms = loop_now(c->proxy->loop);
    list_push(&t->done, &o->link);
}

void idempotency_fini(struct idempotency *t)
{
    struct span key;
    void *once;

    for (size_t at = 0; map_next(&t->runs, &at, &key, &once);)
        free(once);
    map_fini(&t->runs);
}
