/* Which Idempotency-Keys have been used, kept in memory: hashes of credentials, key and body; and
 * as many of the last answers as there is room for. */
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
    uint8_t asked[SHA256_LEN]; /* where, and what of the worker */
    struct list kept;          /* in `kept` while its answer is here */
    bool whole;                /* the answer is, or was, all there */
    bool dropped;              /* there was no room for it */
    struct once_answer answer;
};

static void drop_answer(struct idempotency *t, struct once *o)
{
    t->bytes -= o->answer.bytes.len;
    buf_wipe(&o->answer.bytes);
    o->dropped = true;
    list_del(&o->kept);
}

void idempotency_init(struct idempotency *t)
{
    list_init(&t->done);
    list_init(&t->kept);
}

static void forget(struct idempotency *t, struct once *o)
{
    drop_answer(t, o);
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

static bool is_here(const struct once *known, const struct once *now)
{
    return known->ended && known->whole && !known->dropped &&
           crypto_equal(SPAN_OF(known->body), SPAN_OF(now->body)) &&
           crypto_equal(SPAN_OF(known->asked), SPAN_OF(now->asked));
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
    const struct span asked[] = {span_str(endpoint_path(c->endpoint)), SPAN("\n"),
                                 http_header(c->ex, "cocoon-require")};

    sha256_parts(o->key, whose, 3);
    sha256(o->body, buf_span(&c->body));
    sha256_parts(o->asked, asked, 3);
}

int idempotency_begin(struct call *c, const struct once_answer **again)
{
    struct idempotency *t = &c->proxy->idempotency;
    const struct span header = http_header(c->ex, "idempotency-key");
    struct once now = {0};

    *again = NULL;
    if (!header.data)
        return 0;
    if (http_header_count(c->ex, "idempotency-key") > 1 || !span_visible(header, HEADER_MAX))
        return refuse(c, &ERR_INVALID_HEADER, "Idempotency-Key");
    hash_call(c, header, &now);
    sweep(t, loop_now(c->proxy->loop));
    const struct once *known = map_get(&t->runs, SPAN_OF(now.key));
    if (known && is_here(known, &now)) {
        *again = &known->answer;
        return 0;
    }
    if (known)
        return refuse_again(c, known, &now);
    c->once = mem_zero(sizeof(now));
    *c->once = now;
    (void)!map_put(&t->runs, SPAN_OF(now.key), c->once);
    return 0;
}

/* The oldest answers go first. */
static bool make_room(struct idempotency *t, size_t more, size_t most)
{
    while (t->bytes + more > most && !list_empty(&t->kept))
        drop_answer(t, CONTAINER(t->kept.next, struct once, kept));
    return t->bytes + more <= most;
}

void idempotency_take(struct call *c, struct span bytes)
{
    struct idempotency *t = &c->proxy->idempotency;
    struct once *o = c->once;

    if (!o || o->dropped)
        return;
    if (!make_room(t, bytes.len, (size_t)c->proxy->config->replay_bytes)) {
        drop_answer(t, o);
        return;
    }
    buf_append(&o->answer.bytes, bytes);
    t->bytes += bytes.len;
}

void idempotency_whole(struct call *c)
{
    struct once *o = c->once;

    if (!o)
        return;
    const struct shown *shown = exchange_shown(c->exchange);
    const struct attest_verdict *v = exchange_verdict(c->exchange);
    o->whole = true;
    o->answer.stream = c->rq.stream;
    o->answer.cost = exchange_cost(c->exchange);
    o->answer.env = v ? (int)v->env : ATTEST_UNATTESTED;
    (void)!span_cstr(span_str(shown ? shown->call : ""), o->answer.call, sizeof(o->answer.call));
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
    if (!o->whole)
        drop_answer(t, o);
    else if (!o->dropped)
        list_push(&t->kept, &o->kept);
    o->ended = true;
    o->ended_ms = loop_now(c->proxy->loop);
    list_push(&t->done, &o->link);
}

void idempotency_fini(struct idempotency *t)
{
    struct span key;
    void *once;

    for (size_t at = 0; map_next(&t->runs, &at, &key, &once);) {
        buf_wipe(&((struct once *)once)->answer.bytes);
        free(once);
    }
    map_fini(&t->runs);
}
