/* A pool with fake workers in one loop, for the tests of this folder. */
#ifndef TESTS_POOL_RIG_H
#define TESTS_POOL_RIG_H

#include "fake_worker.h"

#include "backends/pool/dispatch.h"
#include "backends/pool/pool_impl.h"

enum { RIG_WORKERS = 4, WAIT_MS = 10000 };

struct rig {
    struct loop *loop;
    struct offload *offload;
    struct operator_dir dir;
    struct pool *pool;
    struct net_addr addr;
    struct fake_worker workers[RIG_WORKERS];
    size_t worker_count;
    unsigned capacity; /* how often the pool told of room */
    void (*on_capacity)(struct rig *r);
};

static inline void rig_capacity(void *arg)
{
    struct rig *r = arg;

    r->capacity++;
    if (r->on_capacity)
        r->on_capacity(r);
}

static inline struct rig *rig_with(uint64_t attest_every_ms, bool accept_unattested)
{
    struct rig *r = mem_zero(sizeof(*r));
    struct net_addr any;

    assert_int_equal(loop_new(&r->loop), 0);
    assert_int_equal(offload_new(&r->offload, r->loop, 2), 0);
    operator_new(&r->dir);
    const struct pool_options options = {
        .tunnel_limits = tunnel_gateway_limits,
        .tunnel_chain = r->dir.chain,
        .tunnel_key = r->dir.key,
        .tunnel_public = "gateway.test:7443",
        .attest_every_ms = attest_every_ms,
    };
    assert_int_equal(pool_new(&r->pool, r->loop, r->offload, &options), 0);
    const struct pool_trust trust = {.accept_unattested = accept_unattested};
    pool_set_trust(r->pool, &trust);
    pool_on_capacity(r->pool, rig_capacity, r);
    assert_int_equal(net_addr_parse(&any, "127.0.0.1:0"), 0);
    assert_int_equal(pool_listen(r->pool, &any), 0);
    pool_addr(r->pool, &r->addr);
    return r;
}

static inline struct rig *rig_new(uint64_t attest_every_ms)
{
    return rig_with(attest_every_ms, true);
}

/* Dials; what it does from then on is its script. */
static inline struct fake_worker *rig_dial(struct rig *r, const struct fake_script *script)
{
    struct fake_worker *f = &r->workers[r->worker_count++];

    assert_true(r->worker_count <= RIG_WORKERS);
    if (script)
        f->script = *script;
    fake_init(f, r->loop);
    fake_dial(f, &r->addr, r->dir.op);
    return f;
}

/* The pool's side of a fake worker; NULL before it is known, and once it is gone. */
static inline struct pool_worker *rig_worker(struct rig *r, const struct fake_worker *f)
{
    uint8_t spki[TLS_SPKI_LEN];
    char iid[IID_LEN + 1];

    tls_client_spki(f->tls, spki);
    hex_encode(iid, span_of(spki, IID_LEN / 2));
    LIST_FOREACH(it, &r->pool->workers) {
        struct pool_worker *w = CONTAINER(it, struct pool_worker, link);
        if (strcmp(w->iid, iid) == 0)
            return w;
    }
    return NULL;
}

static inline enum pool_state rig_state(struct rig *r, const struct fake_worker *f)
{
    const struct pool_worker *w = rig_worker(r, f);

    return w ? w->state : POOL_GONE;
}

/* Ready, with what follows readiness (gateways, usage) answered. */
static inline struct pool_worker *rig_ready(struct rig *r, struct fake_worker *f)
{
    unsigned asked = f->usage_asked;

    TURN_UNTIL(r->loop, rig_state(r, f) == POOL_READY && f->usage_asked > asked, WAIT_MS);
    turn_for(r->loop, 20);
    return rig_worker(r, f);
}

static inline struct pool_worker *rig_join(struct rig *r, const struct fake_script *script)
{
    return rig_ready(r, rig_dial(r, script));
}

static inline struct pool_query rig_query(void)
{
    return (struct pool_query){.model = SPAN(FAKE_MODEL),
                               .endpoint = EP_CHAT,
                               .class = CLASS_INTERACTIVE,
                               .output = 100,
                               .coefficient = 1000};
}

static inline struct pool_worker *rig_choose(struct rig *r)
{
    struct pool_query q = rig_query();

    return pool_choose(r->pool, &q);
}

/* Nobody takes it, for these reasons. */
static inline struct pool_excluded rig_excluded(struct rig *r, const struct pool_query *q)
{
    struct pool_excluded why;

    assert_null(pool_choose(r->pool, q));
    pool_explain(r->pool, q, &why);
    return why;
}

static inline bool rig_tunnels_closed(const struct rig *r)
{
    for (size_t i = 0; i < r->worker_count; i++)
        if (r->workers[i].tunnel)
            return false;
    return true;
}

/* Everything ends, whatever was in flight, and nothing is left. */
static inline void rig_free(struct rig *r)
{
    pool_close(r->pool);
    TURN_UNTIL(r->loop, pool_idle(r->pool), WAIT_MS);
    pool_free(r->pool);
    TURN_UNTIL(r->loop, rig_tunnels_closed(r), WAIT_MS);
    for (size_t i = 0; i < r->worker_count; i++)
        fake_fini(&r->workers[i]);
    offload_free(r->offload);
    loop_free(r->loop);
    operator_free(&r->dir);
    free(r);
}

#endif
