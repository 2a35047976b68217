/* Keys that clients encrypt to: who holds them, and the evidence that was accepted for them, kept
 * after its worker has gone. */
#include <stdlib.h>

#include "backends/pool/pool_impl.h"
#include "base/clock.h"

enum { EVIDENCE_MAX = 4096, EVIDENCE_BYTES_MAX = 64 << 20, GRACE_S = 300 };

static void evidence_drop(struct pool *p, struct evidence *e)
{
    (void)map_del(&p->evidence, SPAN_OF(e->kfp));
    list_del(&e->link);
    p->evidence_bytes -= e->document.len;
    buf_fini(&e->document);
    free(e);
}

void evidence_fini(struct pool *p)
{
    LIST_FOREACH_SAFE(it, &p->evidence_order)
        evidence_drop(p, CONTAINER(it, struct evidence, link));
    map_fini(&p->evidence);
}

void pool_on_evidence(struct pool *p, pool_evidence_fn *fn, void *arg)
{
    p->evidence_fn = fn;
    p->evidence_arg = arg;
}

void pool_on_missing(struct pool *p, pool_look_fn *look, void *look_arg)
{
    p->look_fn = look;
    p->look_arg = look_arg;
}

static struct evidence *evidence_get(struct pool *p, const struct pool_worker *w)
{
    struct evidence *e = map_get(&p->evidence, SPAN_OF(w->key.kfp));

    if (e) {
        list_del(&e->link);
        p->evidence_bytes -= e->document.len;
        buf_clear(&e->document);
    } else {
        e = mem_zero(sizeof(*e));
        memcpy(e->kfp, w->key.kfp, KFP_LEN);
        map_put(&p->evidence, SPAN_OF(e->kfp), e);
    }
    list_push(&p->evidence_order, &e->link);
    return e;
}

/* Another worker names that key as its own: the first one's evidence stays. */
static bool is_taken(const struct pool *p, const struct pool_worker *w)
{
    const struct evidence *e = evidence_of(p, w->key.kfp);

    return e && memcmp(e->receipt_key, w->keyset.receipt_key, ED25519_KEY_LEN) != 0;
}

static void tell(const struct pool_worker *w, pool_evidence_fn *fn, void *arg)
{
    const struct pool_evidence e = {
        .iid = w->iid,
        .keyset_sha256 = w->keyset.digest,
        .document_sha256 = w->document_sha256,
        .keyset = buf_span(&w->keyset.bytes),
        .document = buf_span(&w->document),
    };

    fn(arg, &e);
}

/* It is its worker's present key. */
static bool is_in_force(const struct evidence *e)
{
    return e->holder && memcmp(e->kfp, e->holder->key.kfp, KFP_LEN) == 0;
}

/* The oldest go; what is in force stays, and there is no more of it than there are workers. */
static void make_room(struct pool *p)
{
    LIST_FOREACH_SAFE(it, &p->evidence_order) {
        struct evidence *e = CONTAINER(it, struct evidence, link);
        if (p->evidence.len <= EVIDENCE_MAX && p->evidence_bytes <= EVIDENCE_BYTES_MAX)
            return;
        if (!is_in_force(e))
            evidence_drop(p, e);
    }
}

void evidence_keep(struct pool *p, struct pool_worker *w)
{
    if (is_taken(p, w))
        return;
    struct evidence *e = evidence_get(p, w);

    memcpy(e->receipt_key, w->keyset.receipt_key, ED25519_KEY_LEN);
    memcpy(e->payout, w->keyset.payout, sizeof(e->payout));
    e->not_after_s = w->keyset.not_after;
    e->holder = w;
    buf_append(&e->document, buf_span(&w->document));
    p->evidence_bytes += e->document.len;
    make_room(p);
    if (p->evidence_fn)
        tell(w, p->evidence_fn, p->evidence_arg);
}

void pool_each_evidence(struct pool *p, pool_evidence_fn *fn, void *arg)
{
    LIST_FOREACH(it, &p->workers) {
        const struct pool_worker *w = CONTAINER(it, struct pool_worker, link);
        if (w->held_count > 0 && !is_taken(p, w))
            tell(w, fn, arg);
    }
}

void evidence_let_go(const struct pool_worker *w)
{
    LIST_FOREACH(it, &w->pool->evidence_order) {
        struct evidence *e = CONTAINER(it, struct evidence, link);
        if (e->holder == w)
            e->holder = NULL;
    }
}

const struct evidence *evidence_of(const struct pool *p, const uint8_t kfp[static KFP_LEN])
{
    return map_get(&p->evidence, span_of(kfp, KFP_LEN));
}

int pool_document(struct pool *p, const uint8_t kfp[static KFP_LEN], struct span *out)
{
    const struct evidence *e = evidence_of(p, kfp);

    if (!e)
        return E_NOT_FOUND;
    *out = buf_span(&e->document);
    return 0;
}

static bool has_key(uint8_t keys[][ED25519_KEY_LEN], size_t count, const uint8_t *key)
{
    for (size_t i = 0; i < count; i++)
        if (memcmp(keys[i], key, ED25519_KEY_LEN) == 0)
            return true;
    return false;
}

size_t evidence_receipt_keys(const struct pool_worker *w,
                             uint8_t out[static RECEIPT_KEYS_MAX][ED25519_KEY_LEN])
{
    struct list *newest = &w->pool->evidence_order;
    size_t count = 1;

    memcpy(out[0], w->keyset.receipt_key, ED25519_KEY_LEN);
    for (struct list *it = newest->prev; it != newest && count < RECEIPT_KEYS_MAX; it = it->prev) {
        const struct evidence *e = CONTAINER(it, struct evidence, link);
        if (strcmp(e->payout, w->keyset.payout) == 0 && !has_key(out, count, e->receipt_key))
            memcpy(out[count++], e->receipt_key, ED25519_KEY_LEN);
    }
    return count;
}

/* ---- Who holds a key ---- */

static const struct held_key *held_find(const struct pool_worker *w,
                                        const uint8_t kfp[static KFP_LEN])
{
    for (size_t i = 0; i < w->held_count; i++)
        if (memcmp(w->held[i].config.kfp, kfp, KFP_LEN) == 0)
            return &w->held[i];
    return NULL;
}

const uint8_t *worker_keyset_of(const struct pool_worker *w, const uint8_t kfp[static KFP_LEN])
{
    const struct held_key *k = held_find(w, kfp);

    return k ? k->keyset : NULL;
}

static bool is_holder(const struct pool_worker *w, const struct evidence *e)
{
    return held_find(w, e->kfp) &&
           memcmp(w->keyset.receipt_key, e->receipt_key, ED25519_KEY_LEN) == 0;
}

enum pool_key_state pool_key_find(struct pool *p, const uint8_t kfp[static KFP_LEN],
                                  struct pool_worker **out)
{
    const uint64_t now_s = clock_wall_ms() / 1000;
    const struct evidence *e = evidence_of(p, kfp);

    if (!e || now_s > e->not_after_s + GRACE_S)
        return POOL_KEY_UNKNOWN;
    if (e->holder && is_holder(e->holder, e)) {
        *out = e->holder;
        return POOL_KEY_HELD;
    }
    LIST_FOREACH(it, &p->workers) { /* an older tunnel of the same worker */
        struct pool_worker *w = CONTAINER(it, struct pool_worker, link);
        if (is_holder(w, e)) {
            *out = w;
            return POOL_KEY_HELD;
        }
    }
    return POOL_KEY_AWAY;
}

bool pool_key_fits(const struct pool_worker *w, const uint8_t kfp[static KFP_LEN],
                   struct span sealed)
{
    const struct held_key *k = held_find(w, kfp);
    struct ohttp_hdr hdr;

    return k && ohttp_hdr_parse(&hdr, sealed) == 0 && hdr.key_id == k->config.key_id &&
           key_config_offers(&k->config, hdr.kem, hdr.kdf, hdr.aead);
}

static double load_of(const struct pool_worker *w)
{
    const int64_t running = w->entry.others + w->entry.in_flight;

    if (w->load.max <= 0)
        return 0;
    return running >= w->load.max ? 1 : (double)running / (double)w->load.max;
}

void pool_worker_key(const struct pool_worker *w, struct pool_key *out)
{
    *out = (struct pool_key){
        .worker_id = w->about.worker_id,
        .config = w->keyset.hpke[0],
        .kfp = w->key.kfp,
        .keyset = w->keyset.digest,
        .document = w->document_sha256,
        .not_after_s = w->keyset.not_after,
        .load = load_of(w),
    };
}
