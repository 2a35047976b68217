/* The pool: its listener, its workers, and what of them is shown. */
#include <stdlib.h>

#include "backends/pool/pool_impl.h"
#include "backends/pool/gateways.h"
#include "backends/pool/standing.h"
#include "base/clock.h"
#include "base/log.h"
#include "crypto/hash.h"

enum { KNOWN_MS = 600000, CHECKED_MAX = 64 };

const char *pool_state_name(enum pool_state s)
{
    static const char *const names[] = {"connecting", "attesting", "describing",
                                        "ready",      "refused",   "gone"};
    return names[s];
}

int pool_new(struct pool **out, struct loop *l, struct offload *o,
             const struct pool_options *options)
{
    struct pool *p = mem_zero(sizeof(*p));

    p->loop = l;
    p->offload = o;
    p->options = *options;
    list_init(&p->workers);
    list_init(&p->verdict_order);
    list_init(&p->evidence_order);
    int error = collaterals_new(&p->collaterals, l, &options->collateral);
    if (error == 0)
        error = tls_server_new(&p->tls, options->tunnel_chain, options->tunnel_key);
    if (error < 0) {
        collaterals_free(p->collaterals);
        free(p);
        return error;
    }
    p->checked = collateral_cache_new(CHECKED_MAX);
    p->chooser = choose_new();
    p->changes = 1;
    pool_set_gateways(p, &options->tunnel_public, options->tunnel_public[0] ? 1 : 0);
    tls_server_op(p->tls, p->op);
    *out = p;
    return 0;
}

static void on_accept(void *arg, int fd, const struct net_addr *peer)
{
    link_accept(arg, fd, peer);
}

int pool_listen(struct pool *p, const struct net_addr *at)
{
    return net_listen(&p->listener, p->loop, at, on_accept, p);
}

int pool_listen_fd(struct pool *p, int fd)
{
    return net_listen_fd(&p->listener, p->loop, fd, on_accept, p);
}

int pool_fd(const struct pool *p)
{
    return net_listener_fd(p->listener);
}

void pool_hold(struct pool *p, bool held)
{
    net_listener_hold(p->listener, held);
}

void pool_addr(const struct pool *p, struct net_addr *out)
{
    net_listener_addr(p->listener, out);
}

void pool_on_capacity(struct pool *p, void (*fn)(void *arg), void *arg)
{
    p->capacity_fn = fn;
    p->capacity_arg = arg;
}

void link_capacity(struct pool *p)
{
    if (p->capacity_fn)
        p->capacity_fn(p->capacity_arg);
}

static void drained(struct pool_worker *w, const struct link_answer *a)
{
    if (a->error < 0 || a->status != 204)
        log_event(LOG_WARN, "drain_unheard", "worker=%s", w->iid);
}

void pool_drain(struct pool *p)
{
    LIST_FOREACH_SAFE(it, &p->workers) {
        struct pool_worker *w = CONTAINER(it, struct pool_worker, link);
        acks_flush(w);
        if (w->state == POOL_READY)
            link_fetch(w, "POST", "/v1/drain", NULL, 0, NULL, 1024, drained);
    }
}

bool pool_settle(struct pool *p)
{
    bool told = true;

    if (p->running.len > 0)
        return false;
    LIST_FOREACH(it, &p->workers) {
        struct pool_worker *w = CONTAINER(it, struct pool_worker, link);
        acks_flush(w);
        told = told && w->acks_unheard == 0;
    }
    return told;
}

void pool_close(struct pool *p)
{
    net_listener_free(p->listener);
    p->listener = NULL;
    collaterals_stop(p->collaterals);
    LIST_FOREACH_SAFE(it, &p->workers) {
        struct pool_worker *w = CONTAINER(it, struct pool_worker, link);
        if (w->tunnel)
            tunnel_close(w->tunnel);
    }
}

bool pool_idle(const struct pool *p)
{
    return p->live == 0;
}

static void forget_standing(void *arg, struct span wid, const uint64_t add[STANDING_EVENTS])
{
    (void)arg, (void)wid, (void)add;
}

void pool_free(struct pool *p)
{
    struct span name;
    void *value;
    size_t at = 0;

    if (!p)
        return;
    CHECK(p->live == 0);
    net_listener_free(p->listener);
    while (map_next(&p->known, &at, &name, &value))
        free(value);
    map_fini(&p->known);
    map_fini(&p->running);
    map_fini(&p->promisees);
    map_fini(&p->drained);
    map_fini(&p->banned);
    pool_standing_take(p, forget_standing, NULL);
    buf_fini(&p->gateways);
    verdicts_fini(p);
    evidence_fini(p);
    chooser_free(p->chooser);
    collaterals_free(p->collaterals);
    collateral_cache_free(p->checked);
    attest_policy_unref(p->trust.policy);
    tls_ctx_free(p->tls);
    free(p);
}

/* ---- What others know ---- */

void pool_on_ready(struct pool *p, void (*fn)(void *arg, const char *iid, const char *wid),
                   void *arg)
{
    p->ready_fn = fn;
    p->ready_arg = arg;
}

void pool_hint(struct pool *p, const char *iid, double first_token_ms, double tokens_per_s)
{
    LIST_FOREACH(it, &p->workers) {
        struct pool_worker *w = CONTAINER(it, struct pool_worker, link);
        if (strcmp(w->iid, iid) != 0)
            continue;
        for (size_t i = 0; i < w->entry.seat_count; i++)
            chooser_hint(w->entry.seats[i], first_token_ms, tokens_per_s, loop_now(p->loop));
    }
}

/* ---- Trust ---- */

void pool_set_trust(struct pool *p, const struct pool_trust *trust)
{
    struct attest_policy *old = p->trust.policy;

    p->trust = *trust;
    if (trust->policy)
        p->trust.policy = attest_policy_ref(trust->policy);
    attest_policy_unref(old);
    p->trust_version++;
    LIST_FOREACH_SAFE(it, &p->workers)
        link_judge_again(CONTAINER(it, struct pool_worker, link));
}

void pool_set_floor(struct pool *p, const struct attest_floor *floor, pool_floor_fn *raised,
                    void *arg)
{
    p->floor = *floor;
    p->floor_fn = raised;
    p->floor_arg = arg;
}

const uint64_t *pool_verdicts(const struct pool *p)
{
    return p->proofs;
}

uint64_t pool_collateral_until(const struct pool *p)
{
    uint64_t first = 0;

    LIST_FOREACH(it, &p->workers) {
        const struct pool_worker *w = CONTAINER(it, struct pool_worker, link);
        const uint64_t until = w->verdict.collateral_until;
        if (w->state == POOL_READY && until > 0 && (first == 0 || until < first))
            first = until;
    }
    return first;
}

/* ---- Views ---- */

/* Of several models the fastest, and of breakers the worst. */
static void view_speed(const struct pool_worker *w, struct pool_view *v)
{
    struct chooser_seat_view s;

    for (size_t i = 0; i < w->entry.seat_count; i++) {
        chooser_seat_view(w->entry.seats[i], loop_now(w->pool->loop), &s);
        if (s.tokens_per_s > v->tokens_per_s) {
            v->tokens_per_s = s.tokens_per_s;
            v->first_token_ms = s.first_token_ms;
        }
        if (s.breaker != BREAKER_CLOSED && v->breaker != BREAKER_OPEN)
            v->breaker = s.breaker;
    }
}

static void view_of(const struct pool_worker *w, struct pool_view *v)
{
    *v = (struct pool_view){
        .iid = w->iid,
        .wid = w->wid,
        .worker_id = w->about.worker_id,
        .payout = w->keyset.payout,
        .version = w->about.version,
        .reason = w->about.reason,
        .hours = w->about.has_hours ? w->about.hours : NULL,
        .state = w->state,
        .attestation = w->refusal ? w->refusal : attest_env_name(w->verdict.env),
        .models = w->about.models,
        .model_count = w->about.model_count,
        .running = w->load.running,
        .waiting = w->load.waiting,
        .max = w->load.max,
        .ask = w->about.ask,
        .in_flight = w->entry.in_flight,
        .kv = w->load.kv,
        .standing = w->entry.standing,
        .accepting = w->about.accepting,
        .skewed = w->skewed,
        .held_back = w->held_back,
        .measurement = w->verdict.measurement,
        .valid_until_s = w->verdict.valid_until,
        .rtt_ms = w->tunnel ? tunnel_rtt_ms(w->tunnel) : 0,
        .connected_ms = w->connected_ms,
        .failures = w->entry.failures,
        .served = w->entry.served,
    };
    memcpy(v->keyset, w->keyset.digest, SHA256_LEN);
    view_speed(w, v);
    sha256(v->ppid_sha256, SPAN_OF(w->verdict.ppid));
}

void pool_each(struct pool *p, pool_view_fn *fn, void *arg)
{
    LIST_FOREACH(it, &p->workers) {
        struct pool_view v;
        view_of(CONTAINER(it, struct pool_worker, link), &v);
        fn(arg, &v);
    }
}

static bool takes_new(const struct pool_worker *w)
{
    return w->state == POOL_READY && w->about.accepting && !w->held_back && !w->skewed &&
           tunnel_is_open(w->tunnel);
}

static void model_merge(struct pool_model_view *out, const struct pool_worker *w,
                        const struct pool_model *m)
{
    if (out->workers++ == 0) {
        out->model = *m;
        out->lowest_ask = w->about.ask;
        out->attestation = w->verdict.env;
    }
    out->model.endpoints |= m->endpoints;
    if (m->context > out->model.context)
        out->model.context = m->context;
    if (m->max_output > out->model.max_output)
        out->model.max_output = m->max_output;
    if (w->about.ask < out->lowest_ask)
        out->lowest_ask = w->about.ask;
    if (w->verdict.env < out->attestation)
        out->attestation = w->verdict.env;
    out->ready += takes_new(w) ? 1 : 0;
    out->attested += w->verdict.env == ATTEST_PRODUCTION ? 1 : 0;
    out->gpu += w->keyset.gpu_nvidia ? 1 : 0;
}

static void model_look(struct pool *p, struct span name, struct pool_model_view *out)
{
    *out = (struct pool_model_view){0};
    LIST_FOREACH(it, &p->workers) {
        const struct pool_worker *w = CONTAINER(it, struct pool_worker, link);
        const struct pool_model *m = w->state == POOL_READY ? pool_worker_model(w, name) : NULL;
        if (m)
            model_merge(out, w, m);
    }
}

/* Every call asks for its model's: workers are looked at when something of them has changed. */
bool pool_model(struct pool *p, struct span name, struct pool_model_view *out)
{
    struct known_model *k = map_get(&p->known, name);

    if (!k) {
        model_look(p, name, out);
        return out->workers > 0;
    }
    if (k->changes != p->changes) {
        model_look(p, name, &k->view);
        k->view.since_s = k->first_s;
        k->changes = p->changes;
    }
    *out = k->view;
    return out->workers > 0;
}

void pool_models_each(struct pool *p, pool_model_fn *fn, void *arg)
{
    struct span name;
    void *value;
    size_t at = 0;

    while (map_next(&p->known, &at, &name, &value)) {
        struct pool_model_view v;
        if (pool_model(p, name, &v))
            fn(arg, &v);
    }
}

bool pool_any_ready(const struct pool *p)
{
    LIST_FOREACH(it, &p->workers) {
        if (takes_new(CONTAINER(it, struct pool_worker, link)))
            return true;
    }
    return false;
}

bool pool_model_known(const struct pool *p, struct span name)
{
    const struct known_model *k = map_get(&p->known, name);

    LIST_FOREACH(it, &p->workers) {
        const struct pool_worker *w = CONTAINER(it, struct pool_worker, link);
        if (w->state == POOL_READY && pool_worker_model(w, name))
            return true;
    }
    return k && clock_mono_ms() - k->last_ms < KNOWN_MS;
}

/* ---- One worker's life ---- */

const char *pool_worker_machine(const struct pool_worker *w)
{
    return w->machine;
}

const char *pool_worker_payout(const struct pool_worker *w)
{
    return w->keyset.payout;
}

void pool_on_record(struct pool *p, pool_record_fn *fn, void *arg)
{
    p->record_fn = fn;
    p->record_arg = arg;
}

struct pool_worker *pool_worker_ref(struct pool_worker *w)
{
    w->refs++;
    return w;
}

void pool_worker_unref(struct pool_worker *w)
{
    if (!w || --w->refs > 0)
        return;
    w->pool->live--;
    keyset_fini(&w->keyset);
    buf_fini(&w->document);
    buf_fini(&w->acks);
    senders_drop(w->senders);
    ed25519_free(w->receipt);
    free(w);
}

int64_t pool_worker_ask(const struct pool_worker *w)
{
    return w->about.ask;
}

const char *pool_worker_iid(const struct pool_worker *w)
{
    return w->iid;
}

enum attest_env pool_worker_env(const struct pool_worker *w)
{
    return w->verdict.env;
}

const struct pool_model *pool_worker_model(const struct pool_worker *w, struct span name)
{
    for (size_t i = 0; i < w->about.model_count; i++)
        if (span_is(name, w->about.models[i].name))
            return &w->about.models[i];
    return NULL;
}
