/* One worker's tunnel: TLS → attestation → description → ready, then a look every second and a new
 * proof when due. */
#include <stdlib.h>

#include "backends/pool/pool_impl.h"
#include "backends/pool/standing.h"
#include "base/clock.h"
#include "base/encode.h"
#include "base/json.h"
#include "base/log.h"
#include "base/random.h"

enum {
    POLL_MS = 1000,
    ATTEST_MIN_MS = 1000, /* between proofs that only the worker's words ask for */
    SKEW_S = 60,
    BAN_MS = 300, /* from the word to the end of a banned worker's tunnel */
    DESCRIPTION_MAX = 64 * 1024,
    KNOWN_MAX = 1024,
    AGAIN_SPREAD_MS = 5000, /* in which all workers are asked anew after a change of trust */
    UNTIL_MARGIN_S = 60     /* verified again so long before a verdict ends */
};

static void link_describe(struct pool_worker *w);

/* ---- Refusal ---- */

/* What runs goes on to its end. */
static void refused(struct pool_worker *w, const struct link_answer *a)
{
    (void)a;
    if (w->tunnel && w->entry.in_flight > 0 && !w->banned)
        tunnel_goaway(w->tunnel);
    else if (w->tunnel)
        tunnel_close(w->tunnel);
}

/* Tells the worker why (a problem document with the verdict's code), then closes. detail: of our
 * own words; may be empty. */
static void link_refuse(struct pool_worker *w, const char *code, const char *detail)
{
    static const struct tunnel_field type[] = {
        {SPAN("content-type"), SPAN("application/problem+json")}};
    struct buf problem = {0};

    log_event(LOG_WARN, "worker_refused", "worker=%s reason=%s detail=\"%s\"",
              w->iid[0] ? w->iid : "-", code, detail);
    w->state = POOL_REFUSED;
    w->refusal = code;
    worker_changed(w);
    loop_timer_cancel(w->pool->loop, &w->poll_timer);
    loop_timer_cancel(w->pool->loop, &w->attest_timer);
    buf_printf(&problem,
               "{\"type\":\"about:blank\",\"title\":\"Refused\",\"status\":403,\"code\":\"%s\"",
               code);
    if (detail[0]) {
        buf_append_str(&problem, ",\"detail\":\"");
        buf_json_escape(&problem, span_str(detail));
        buf_append_str(&problem, "\"");
    }
    buf_append_str(&problem, "}");
    link_fetch(w, "POST", "/v1/refused", type, 1, &problem, 1024, refused);
    buf_fini(&problem);
}

static void close_banned(void *arg)
{
    struct pool_worker *w = arg;

    if (w->tunnel)
        tunnel_close(w->tunnel);
}

/* One that does not answer is not waited for. */
void link_ban(struct pool_worker *w)
{
    if (w->banned)
        return;
    w->banned = true;
    link_refuse(w, "banned", "");
    loop_timer_set(w->pool->loop, &w->attest_timer, BAN_MS, close_banned, w);
}

/* ---- Attestation ---- */

/* One look at a document: which platform it is of, where collateral is kept here; then the
 * verdict. */
struct proof_job {
    struct offload_job job;
    struct pool_worker *worker;
    struct buf document;
    uint8_t nonce[ATTEST_NONCE_LEN], spki[TLS_SPKI_LEN];
    struct pool_trust trust;
    unsigned trust_version;
    bool again; /* the document of an earlier proof */
    struct attest_platform platform;
    bool has_platform;
    struct shared_collateral *collateral; /* NULL: what the document brings */
    struct attest_floor floor;
    struct collateral_cache *checked;
    uint64_t now_s;
    int error;
    struct keyset keyset;
    struct attest_verdict verdict;
    uint8_t sha256[SHA256_LEN]; /* of the document */
};

static void proof_free(struct proof_job *j)
{
    attest_policy_unref(j->trust.policy);
    shared_collateral_unref(j->collateral);
    keyset_fini(&j->keyset);
    buf_fini(&j->document);
    pool_worker_unref(j->worker);
    free(j);
}

static void proof_work(struct offload_job *job)
{
    struct proof_job *j = CONTAINER(job, struct proof_job, job);
    const struct attest_input in = {
        .document = buf_span(&j->document),
        .nonce = j->nonce,
        .tls_spki = j->spki,
        .now_s = j->now_s,
        .policy = j->trust.policy,
        .floor = &j->floor,
        .collateral = j->collateral ? &j->collateral->parts : NULL,
        .cache = j->checked,
        .accept_unattested = j->trust.accept_unattested,
    };

    j->error = attest_verify(&in, &j->keyset, &j->verdict);
    sha256(j->sha256, buf_span(&j->document));
}

/* The key in force is the first; those before it are still accepted for a while. */
static void link_hold(struct pool_worker *w)
{
    const size_t most = w->held_count < HELD_MAX ? w->held_count : HELD_MAX - 1;

    if (w->held_count == 0 || memcmp(w->held[0].config.kfp, w->key.kfp, KFP_LEN) != 0) {
        memmove(&w->held[1], &w->held[0], most * sizeof(*w->held));
        w->held_count = most + 1;
    }
    w->held[0] = (struct held_key){.config = w->key, .not_after_s = w->keyset.not_after};
    memcpy(w->held[0].keyset, w->keyset.digest, SHA256_LEN);
}

/* Takes the keyset of an accepted proof into force. */
static int link_adopt(struct pool_worker *w, struct proof_job *j)
{
    struct key_config key;
    AUTO(ed25519_free) struct ed25519 *receipt = NULL;

    TRY(key_config_parse(&key, j->keyset.hpke[0]));
    TRY(ed25519_from_public(&receipt, SPAN_OF(j->keyset.receipt_key)));
    if (!w->senders || memcmp(key.kfp, w->key.kfp, KFP_LEN) != 0) {
        struct senders *s = senders_new(w->pool->offload, &key);
        if (!s)
            return E_CRYPTO;
        senders_drop(w->senders);
        w->senders = s;
        chooser_forgive(&w->entry, loop_now(w->pool->loop));
    }
    w->key = key;
    ed25519_free(w->receipt);
    w->receipt = receipt;
    receipt = NULL;
    keyset_fini(&w->keyset);
    w->keyset = j->keyset;
    j->keyset = (struct keyset){0};
    w->verdict = j->verdict;
    buf_take(&w->document, &j->document);
    memcpy(w->document_nonce, j->nonce, ATTEST_NONCE_LEN);
    memcpy(w->document_sha256, j->sha256, SHA256_LEN);
    keyset_iid(&w->keyset, w->iid);
    keyset_wid(&w->keyset, w->verdict.ppid, w->wid);
    keyset_machine(&w->keyset, w->verdict.ppid, w->machine);
    link_hold(w);
    evidence_keep(w->pool, w);
    w->pool->changes++;
    return 0;
}

static void attest_again(void *arg)
{
    link_attest(arg);
}

/* Before the verdict ends, and every ten minutes. */
static void attest_later(struct pool_worker *w)
{
    const uint64_t soonest_s = 10, now_s = clock_wall_ms() / 1000;
    const uint64_t until = w->verdict.valid_until;
    uint64_t wait = w->pool->options.attest_every_ms;

    if (until > 0) {
        uint64_t left = until > now_s + UNTIL_MARGIN_S ? until - now_s - UNTIL_MARGIN_S : 0;
        left = left < soonest_s ? soonest_s : left;
        wait = left < wait / 1000 ? left * 1000 : wait;
    }
    loop_timer_set(w->pool->loop, &w->attest_timer, wait, attest_again, w);
}

/* Only what we fetched ourselves raises the floor. */
static void raise_floor(struct pool *p, const struct proof_job *j)
{
    if (j->error < 0 || !j->collateral || !j->collateral->fetched)
        return;
    if (attest_floor_raise(&p->floor, &j->verdict) && p->floor_fn)
        p->floor_fn(p->floor_arg, &p->floor);
}

static void proof_accept(struct pool_worker *w, struct proof_job *j)
{
    if (link_adopt(w, j) < 0) {
        link_refuse(w, "bad_keyset", "");
        return;
    }
    worker_decide(w);
    if (worker_is_banned(w)) {
        link_ban(w);
        return;
    }
    if (!j->again)
        attest_later(w);
    if (w->state != POOL_READY)
        link_describe(w);
    if (w->attest_again)
        link_attest(w);
}

/* What is trusted has changed meanwhile, or, of a second look, the worker's proof has. */
static bool is_stale(const struct pool_worker *w, const struct proof_job *j)
{
    return j->trust_version != w->pool->trust_version ||
           (j->again && memcmp(j->sha256, w->document_sha256, SHA256_LEN) != 0);
}

static void unproven(struct pool_worker *w, const struct proof_job *j)
{
    standing_note(w, STANDING_ATTESTATION_FAILURE);
    link_refuse(w, attest_reason_name(j->verdict.reason), j->verdict.detail);
}

static void proof_done(struct offload_job *job)
{
    struct proof_job *j = CONTAINER(job, struct proof_job, job);
    struct pool_worker *w = j->worker;
    bool gone = !w->tunnel || w->state == POOL_REFUSED;

    w->attesting = w->attesting && j->again;
    w->pool->proofs[j->verdict.reason]++;
    raise_floor(w->pool, j);
    collaterals_judged(j->collateral, &j->verdict);
    if (!gone && is_stale(w, j))
        link_attest(w);
    else if (!gone && j->error < 0)
        unproven(w, j);
    else if (!gone)
        proof_accept(w, j);
    proof_free(j);
}

/* A worker that leaves, or whose tunnel is lost, gives no proof: no verdict on it. */
static void no_proof(struct pool_worker *w)
{
    w->attesting = false;
    if (w->tunnel && tunnel_is_open(w->tunnel) && w->state != POOL_REFUSED)
        link_refuse(w, "no_attestation", "");
}

/* Too busy here: the worker's proof is asked for again. */
static void proof_submit(struct proof_job *j, void (*work)(struct offload_job *job),
                         void (*done)(struct offload_job *job))
{
    struct pool_worker *w = j->worker;

    j->job = (struct offload_job){.work = work, .done = done};
    if (offload_submit(w->pool->offload, &j->job) == 0)
        return;
    w->attesting = w->attesting && j->again;
    if (w->tunnel && w->state != POOL_REFUSED)
        loop_timer_set(w->pool->loop, &w->attest_timer, ATTEST_MIN_MS, attest_again, w);
    proof_free(j);
}

static void collateral_got(void *arg, struct shared_collateral *c)
{
    struct proof_job *j = arg;

    j->collateral = c;
    j->now_s = clock_wall_ms() / 1000;
    proof_submit(j, proof_work, proof_done);
}

static void platform_work(struct offload_job *job)
{
    struct proof_job *j = CONTAINER(job, struct proof_job, job);

    j->has_platform = attest_document_platform(buf_span(&j->document), j->trust.policy, j->now_s,
                                               &j->platform) == 0;
}

static void platform_done(struct offload_job *job)
{
    struct proof_job *j = CONTAINER(job, struct proof_job, job);
    struct collaterals *kept = j->worker->pool->collaterals;

    if (j->has_platform && kept)
        collaterals_get(kept, &j->platform, collateral_got, j);
    else
        collateral_got(j, NULL);
}

static void proof_begin(struct pool_worker *w, struct span document,
                        const uint8_t nonce[static ATTEST_NONCE_LEN], bool again)
{
    struct pool *p = w->pool;
    struct proof_job *j = mem_zero(sizeof(*j));

    j->worker = pool_worker_ref(w);
    j->again = again;
    buf_append(&j->document, document);
    memcpy(j->nonce, nonce, sizeof(j->nonce));
    tunnel_peer_spki(w->tunnel, j->spki);
    j->trust = p->trust;
    if (j->trust.policy)
        (void)attest_policy_ref(j->trust.policy);
    j->trust_version = p->trust_version;
    j->floor = p->floor;
    j->checked = p->checked;
    j->now_s = clock_wall_ms() / 1000;
    if (p->collaterals && j->trust.policy)
        proof_submit(j, platform_work, platform_done);
    else
        collateral_got(j, NULL);
}

static void attested(struct pool_worker *w, const struct link_answer *a)
{
    if (!w->tunnel || a->error < 0 || a->status != 200)
        no_proof(w);
    else
        proof_begin(w, a->body, w->nonce, false);
}

/* What it has shown at once, so that nobody stays who does not fit; and, not of all at a time, what
 * it shows for a fresh nonce. */
void link_judge_again(struct pool_worker *w)
{
    if (!w->tunnel || w->document.len == 0 || w->state == POOL_REFUSED)
        return;
    proof_begin(w, buf_span(&w->document), w->document_nonce, true);
    loop_timer_set(w->pool->loop, &w->attest_timer, random_below(AGAIN_SPREAD_MS), attest_again, w);
}

void link_attest(struct pool_worker *w)
{
    char path[32 + 2 * ATTEST_NONCE_LEN + 1] = "/v1/attestation?nonce=";

    w->attest_again = w->attesting;
    if (w->attesting || !w->tunnel || w->state == POOL_REFUSED)
        return;
    w->attesting = true;
    w->attested_ms = loop_now(w->pool->loop);
    random_bytes(w->nonce, sizeof(w->nonce));
    hex_encode(path + strlen(path), SPAN_OF(w->nonce));
    link_fetch(w, "GET", path, NULL, 0, NULL, ATTEST_MAX_DOCUMENT, attested);
}

/* ---- Description ---- */

/* Makes room for one more name: the one that was served the longest ago goes. */
static void forget_oldest(struct map *known)
{
    struct span name, oldest = {0};
    uint64_t oldest_ms = UINT64_MAX;
    void *value;
    size_t at = 0;

    while (map_next(known, &at, &name, &value)) {
        const struct known_model *k = value;
        if (k->last_ms < oldest_ms) {
            oldest_ms = k->last_ms;
            oldest = name;
        }
    }
    free(map_del(known, oldest));
}

static struct known_model *remember(struct map *known, struct span name)
{
    struct known_model *k = map_get(known, name);

    if (k)
        return k;
    if (known->len >= KNOWN_MAX)
        forget_oldest(known);
    k = mem_zero(sizeof(*k));
    k->first_s = clock_wall_ms() / 1000;
    map_put(known, name, k);
    return k;
}

static void remember_models(struct pool_worker *w)
{
    for (size_t i = 0; i < w->about.model_count; i++)
        remember(&w->pool->known, span_str(w->about.models[i].name))->last_ms = clock_mono_ms();
}

static void link_ready(struct pool_worker *w)
{
    w->state = POOL_READY;
    log_event(LOG_INFO, "worker_ready", "worker=%s models=%zu max=%lld attestation=%s", w->iid,
              w->about.model_count, (long long)w->about.max_requests,
              attest_env_name(w->verdict.env));
    gateways_tell(w);
    records_fetch(w);
    if (w->pool->ready_fn)
        w->pool->ready_fn(w->pool->ready_arg, w->iid, w->wid);
}

static void keep_etag(struct pool_worker *w, struct span etag)
{
    w->etag[0] = 0;
    if (etag.len > 0 && etag.len < sizeof(w->etag)) {
        memcpy(w->etag, etag.data, etag.len);
        w->etag[etag.len] = 0;
    }
}

static void poll_again(void *arg)
{
    link_describe(arg);
}

static void described(struct pool_worker *w, const struct link_answer *a)
{
    struct description about;

    w->polling = false;
    if (!w->tunnel || w->state == POOL_REFUSED)
        return;
    loop_timer_set(w->pool->loop, &w->poll_timer, POLL_MS, poll_again, w);
    if (a->error == 0 && a->status == 200) {
        if (description_parse(&about, a->body) < 0) {
            link_refuse(w, "bad_description", "");
            return;
        }
        w->about = about;
        if (!w->poll_soon)
            w->refused_coefficient = 0;
        keep_etag(w, tunnel_stream_field(a->stream, "etag"));
        if (w->state != POOL_READY)
            link_ready(w);
        worker_offers(w);
        worker_changed(w);
        link_capacity(w->pool);
    }
    if (w->state == POOL_READY && a->error == 0)
        remember_models(w);
    if (w->poll_soon)
        link_describe(w);
}

static void link_describe(struct pool_worker *w)
{
    struct tunnel_field match[] = {{SPAN("if-none-match"), span_str(w->etag)}};

    if (w->polling || !w->tunnel || w->state == POOL_REFUSED)
        return;
    if (w->state != POOL_READY)
        w->state = POOL_DESCRIBING;
    w->polling = true;
    w->poll_soon = false;
    link_fetch(w, "GET", "/v1/worker", match, w->etag[0] ? 1 : 0, NULL, DESCRIPTION_MAX, described);
}

/* What was asked before the refusal says nothing of it, nor would a "not modified". */
void link_refused_price(struct pool_worker *w, int64_t coefficient)
{
    if (coefficient > w->refused_coefficient)
        w->refused_coefficient = coefficient;
    worker_changed(w);
    w->poll_soon = w->polling;
    w->etag[0] = 0;
    link_describe(w);
}

/* ---- What every answer carries ---- */

static void observe_date(struct pool_worker *w, struct span date)
{
    time_t t;

    if (!date.data || clock_http_parse(date, &t) < 0)
        return;
    int64_t off = (int64_t)t - (int64_t)(clock_wall_ms() / 1000);
    bool skewed = off > SKEW_S || off < -SKEW_S;
    if (skewed != w->skewed)
        log_event(skewed ? LOG_WARN : LOG_INFO, "worker_clock", "worker=%s off_s=%lld", w->iid,
                  (long long)off);
    bool healed = w->skewed && !skewed;
    w->skewed = skewed;
    if (healed)
        link_capacity(w->pool);
}

void link_attest_soon(struct pool_worker *w)
{
    uint64_t now = loop_now(w->pool->loop), at = w->attested_ms + ATTEST_MIN_MS;

    if (now >= at)
        link_attest(w);
    else if (!loop_timer_is_set(&w->attest_timer) || w->attest_timer.due_ms > at)
        loop_timer_set(w->pool->loop, &w->attest_timer, at - now, attest_again, w);
}

static void observe_keyset(struct pool_worker *w, struct span hex)
{
    uint8_t digest[SHA256_LEN];

    if (w->state == POOL_READY && hex.data && hex_decode(digest, sizeof(digest), hex) == 0 &&
        memcmp(digest, w->keyset.digest, sizeof(digest)) != 0 && !w->attesting)
        link_attest_soon(w);
}

void link_observe(struct pool_worker *w, const struct tunnel_stream *s)
{
    struct span load = tunnel_stream_field(s, "cocoon-load");
    struct load l = w->load;

    observe_date(w, tunnel_stream_field(s, "date"));
    observe_keyset(w, tunnel_stream_field(s, "cocoon-keyset"));
    bool was_full = w->turned_away || (w->load.max > 0 && w->load.running >= w->load.max);
    w->turned_away = false;
    if (load.data && load_parse(&l, load) == 0) {
        w->load = l;
        const int64_t there = l.running + l.waiting, own = w->entry.in_flight;
        const int64_t before = w->entry.others;
        w->entry.others = there > own ? there - own : 0;
        promises_taken(w, w->entry.others - before);
        chooser_heard(&w->entry, loop_now(w->pool->loop));
    }
    worker_changed(w);
    if (was_full && (w->load.max == 0 || w->load.running < w->load.max))
        link_capacity(w->pool);
}

/* ---- The tunnel's own events ---- */

static void tunnel_opened(void *arg, struct tunnel *t)
{
    struct pool_worker *w = arg;
    uint8_t spki[TLS_SPKI_LEN];

    tunnel_peer_spki(t, spki);
    hex_encode(w->iid, span_of(spki, IID_LEN / 2));
    memcpy(&w->entry.id, spki, sizeof(w->entry.id));
    w->state = POOL_ATTESTING;
    link_attest(w);
}

static void tunnel_leaving(void *arg, struct tunnel *t)
{
    struct pool_worker *w = arg;

    (void)t;
    log_event(LOG_INFO, "worker_leaving", "worker=%s", w->iid);
    w->about.accepting = false;
    w->leaving = true;
    worker_changed(w);
}

static void tunnel_gone(void *arg, struct tunnel *t, int error)
{
    struct pool_worker *w = arg;
    const bool was_ready = w->state == POOL_READY;

    (void)t;
    if (was_ready)
        log_event(LOG_INFO, "worker_gone", "worker=%s why=%s", w->iid, error_name(error));
    w->state = POOL_GONE;
    w->tunnel = NULL;
    list_del(&w->link);
    chooser_leave(&w->entry);
    promises_taken(w, INT64_MAX);
    evidence_let_go(w);
    w->pool->changes++;
    loop_timer_cancel(w->pool->loop, &w->poll_timer);
    loop_timer_cancel(w->pool->loop, &w->attest_timer);
    loop_timer_cancel(w->pool->loop, &w->ack_timer);
    link_fetch_waiting(w); /* they end as unsent */
    if (was_ready)
        link_capacity(w->pool); /* who waits may do so in vain now */
    pool_worker_unref(w);
}

static const struct tunnel_events link_events = {
    .open = tunnel_opened,
    .goaway = tunnel_leaving,
    .closed = tunnel_gone,
};

void link_accept(struct pool *p, int fd, const struct net_addr *peer)
{
    struct pool_worker *w = mem_zero(sizeof(*w));

    (void)peer;
    w->pool = p;
    w->refs = 1;
    w->serial = ++p->accepted;
    list_init(&w->promises);
    list_init(&w->waiting);
    list_init(&w->recordless);
    list_init(&w->asked);
    w->connected_ms = clock_wall_ms();
    p->live++;
    if (tunnel_accept(&w->tunnel, p->loop, p->tls, fd, &p->options.tunnel_limits, &link_events, w) <
        0) {
        pool_worker_unref(w);
        return;
    }
    list_push(&p->workers, &w->link);
    w->entry.standing = 1;
    chooser_join(p->chooser, &w->entry, loop_now(p->loop));
}
