/* Inside of the pool, shared by its files only. */
#ifndef BACKENDS_POOL_POOL_IMPL_H
#define BACKENDS_POOL_POOL_IMPL_H

#include "backends/pool/pool.h"
#include "base/map.h"
#include "net/listener.h"
#include "ohttp/ohttp.h"
#include "receipt/usage_record.h"

struct pool {
    struct loop *loop;
    struct offload *offload;
    struct pool_options options;
    struct tls_ctx *tls;
    uint8_t op[SHA256_LEN];
    struct net_listener *listener;
    struct list workers; /* struct pool_worker.link: tunnels that are not closed */
    struct chooser *chooser;
    uint64_t changes;    /* of what workers offer, and who may be asked, from 1 */
    struct map known;    /* model name → struct known_model */
    size_t live;         /* worker objects that still exist */
    uint64_t accepted;   /* tunnels so far */
    struct map running;  /* attempt_key → struct dispatch */
    struct map verdicts; /* attempt_key → struct verdict: how attempts ended, the latest ones */
    struct list verdict_order; /* oldest first */
    void (*capacity_fn)(void *arg);
    void *capacity_arg;
    struct map evidence;        /* kfp → struct evidence */
    struct list evidence_order; /* oldest first */
    size_t evidence_bytes;
    pool_evidence_fn *evidence_fn;
    void *evidence_arg;
    pool_look_fn *look_fn;
    void *look_arg;
    pool_record_fn *record_fn;
    void *record_arg;
    struct pool_trust trust;
    unsigned trust_version; /* what was judged before it changed is judged again */
    struct attest_floor floor;
    pool_floor_fn *floor_fn;
    void *floor_arg;
    struct map promisees;            /* account → struct promisee: has a slot kept (promises.c) */
    struct map drained, banned;      /* iids; subjects of bans (decisions.h) */
    uint64_t proofs[ATTEST_REASONS]; /* verdicts on them so far */
    struct map standing;             /* wid → counters since they were handed over */
    struct buf gateways;             /* what workers are told of live gateways */
    void (*ready_fn)(void *arg, const char *iid, const char *wid);
    void *ready_arg;
    struct collateral_cache *checked; /* collateral whose signatures were verified */
    struct collaterals *collaterals;
};

/* Calls on one tunnel at a time; what it allows beyond is for small requests. */
static inline int64_t pool_calls_max(const struct pool *p)
{
    return (int64_t)p->options.tunnel_limits.streams - TUNNEL_SMALL_STREAMS;
}

struct known_model {
    uint64_t first_s, last_ms;
    struct pool_model_view view; /* as of pool.changes */
    uint64_t changes;
};

/* What GET /v1/worker says (wire.md §1). */
struct description {
    char worker_id[65], version[65], reason[17];
    bool has_hours;
    char hours[POOL_DAYS][POOL_HOURS_LEN + 1];
    struct pool_model models[POOL_MAX_MODELS];
    size_t model_count;
    int64_t max_requests, ask;
    bool accepting;
};
/* E_INVALID when it is not that document. */
MUST_CHECK int description_parse(struct description *out, struct span body);

/* Cocoon-Load: running=3,waiting=0,max=16,kv=0.42 */
struct load {
    int64_t running, waiting, max;
    double kv;
};
MUST_CHECK int load_parse(struct load *out, struct span value);

/* Sender contexts made ahead of need for one key (libraries.md §8.3): take-once. */
struct senders;
/* NULL: nothing can be sealed to this key. */
struct senders *senders_new(struct offload *o, const struct key_config *key);
/* One made ahead, or made now. */
MUST_CHECK int senders_take(struct senders *s, struct ohttp_client **out);
/* The key is not used any more: frees what is left, once no job runs. */
void senders_drop(struct senders *s);

/* A key that a worker still accepts, and the newest keyset that names it. */
enum { HELD_MAX = 4 };
struct held_key {
    struct key_config config;
    uint8_t keyset[SHA256_LEN];
    uint64_t not_after_s;
};

struct pool_worker {
    struct list link; /* pool.workers while the tunnel lives */
    struct pool *pool;
    uint64_t serial; /* which tunnel this is, from 1: an address may come back */
    unsigned refs;
    struct tunnel *tunnel; /* NULL once closed */
    enum pool_state state;
    uint64_t connected_ms;
    char iid[IID_LEN + 1], wid[33], machine[33];

    /* Proof: the keyset in force and what it was proven with. */
    uint8_t nonce[ATTEST_NONCE_LEN];
    struct keyset keyset;
    struct buf document;
    uint8_t document_sha256[SHA256_LEN];
    uint8_t document_nonce[ATTEST_NONCE_LEN];
    struct attest_verdict verdict;
    const char *refusal; /* code; NULL: not refused */
    struct key_config key;
    struct held_key held[HELD_MAX]; /* newest first; the first is `key` */
    size_t held_count;
    struct senders *senders;
    struct ed25519 *receipt; /* the keyset's key; there since the first proof */
    bool attesting, attest_again;
    uint64_t attested_ms; /* when a proof was last asked for */
    struct loop_timer attest_timer, poll_timer;
    bool polling, poll_soon; /* asked; to be asked again as soon as that is answered */

    /* What it says of itself. */
    struct description about;
    char etag[80];
    struct load load;
    bool skewed;      /* its clock is more than 60 s off */
    bool leaving;     /* it said GOAWAY */
    bool held_back;   /* the operator wants it drained */
    bool banned;      /* refused, and what runs on it ends too */
    bool turned_away; /* it took nothing new when last asked: until its next report */
    /* The dearest call that it refused as too cheap, whatever it had said before; 0: none since it
     * was last asked. */
    int64_t refused_coefficient;

    struct chooser_worker entry; /* the choice's view of it, and what was learned first-hand */

    struct list promises;   /* struct promise.link, oldest first: slots kept (promises.c) */
    struct list waiting;    /* small requests that found no free stream */
    uint64_t next_reset_ms; /* streams are reset one by one: a burst looks like an attack */

    struct buf acks; /* JSON objects to acknowledge, comma-separated */
    size_t ack_count;
    unsigned acks_unheard; /* batches that were sent and not answered */
    struct loop_timer ack_timer;

    /* Attempts whose stream ended without a record (struct dispatch.link): not asked for yet, and
     * asked for by the GET /v1/usage that is under way. */
    struct list recordless, asked;
    bool fetching, fetch_again;
    unsigned fetch_pages;
    int64_t fetch_after; /* seq */
};

/* Takes an accepted connection; the worker's journey from TLS to ready is in link.c. */
void link_accept(struct pool *p, int fd, const struct net_addr *peer);
/* Tells it so and closes its tunnel, with all that runs. */
void link_ban(struct pool_worker *w);
/* PUT /v1/gateways to a worker that has just become eligible. */
void gateways_tell(struct pool_worker *w);
/* What the operator has decided about w, whose proof is accepted. */
bool worker_is_banned(const struct pool_worker *w);
void worker_decide(struct pool_worker *w);
/* Asks for a new proof now. */
void link_attest(struct pool_worker *w);
/* The same because of what the worker says (another keyset, a key it does not know): a header that
 * never agrees with the proof must not cost a proof an answer. */
void link_attest_soon(struct pool_worker *w);
/* The worker refused a call for its price: until its description has been read anew, calls of no
 * higher coefficient go elsewhere. */
void link_refused_price(struct pool_worker *w, int64_t coefficient);
/* Reads date, Cocoon-Keyset and Cocoon-Load of any answer. */
void link_observe(struct pool_worker *w, const struct tunnel_stream *s);
void link_capacity(struct pool *p);

/* Judges the document that w was accepted with by what is trusted now, and asks for a fresh one. */
void link_judge_again(struct pool_worker *w);

/* What was accepted, after its worker has gone or moved on to other keys (wire.md §12): documents
 * by key, receipt keys by keyset. Bounded: the oldest goes, but none that is in force. */
struct evidence {
    struct list link;
    uint8_t kfp[KFP_LEN], receipt_key[ED25519_KEY_LEN];
    char payout[sizeof(((struct keyset *)0)->payout)];
    uint64_t not_after_s;
    struct buf document;
    struct pool_worker *holder; /* whose proof it is; NULL: it has gone */
};
/* Keys that the owner's workers sign records with, or signed with before they were started again:
 * w's own first. Returns how many. */
enum { RECEIPT_KEYS_MAX = 32 };
size_t evidence_receipt_keys(const struct pool_worker *w,
                             uint8_t out[static RECEIPT_KEYS_MAX][ED25519_KEY_LEN]);
void evidence_keep(struct pool *p, struct pool_worker *w);
/* Its tunnel is lost. */
void evidence_let_go(const struct pool_worker *w);
const struct evidence *evidence_of(const struct pool *p, const uint8_t kfp[static KFP_LEN]);
void evidence_fini(struct pool *p);
/* The keyset of a key that w holds; NULL: it does not. */
const uint8_t *worker_keyset_of(const struct pool_worker *w, const uint8_t kfp[static KFP_LEN]);

/* A small request on a worker's tunnel, its answer collected. */
struct link_answer {
    int error; /* 0, or E_CLOSED, E_TIMEOUT, E_TOO_LARGE */
    unsigned status;
    struct span body;
    struct tunnel_stream *stream; /* for headers; NULL on error */
};
typedef void link_answer_fn(struct pool_worker *w, const struct link_answer *a);
/* fn is called once, later, with w still referenced. body may be NULL (taken). */
void link_fetch(struct pool_worker *w, const char *method, const char *path,
                const struct tunnel_field *fields, size_t count, struct buf *body, size_t max,
                link_answer_fn *fn);

/* A stream of w's tunnel has ended: what waits for one tries again. */
void link_fetch_waiting(struct pool_worker *w);

/* So many requests of other gateways came: those that were promised a slot may be among them. */
void promises_taken(struct pool_worker *w, int64_t count);

struct chooser *choose_new(void);
/* After anything that decides whether it may be chosen: tells the choice. */
void worker_changed(struct pool_worker *w);
/* Its description was read: so does which models it offers. */
void worker_offers(struct pool_worker *w);

/* Acknowledges a usage record in the next batch, and remembers the verdict. result (a constant):
 * settled, late_settled, abandoned, refused; pay_nano: the worker's share. */
void acks_add(struct pool_worker *w, struct span call, uint32_t attempt, const char *result,
              int64_t pay_nano);
void acks_flush(struct pool_worker *w);

enum { ATTEMPT_KEY_LEN = 48 };
struct span attempt_key(char out[static ATTEMPT_KEY_LEN], struct span call, uint32_t attempt);
/* How an attempt ended, remembered for a record that comes later or twice. */
struct verdict {
    struct list link;
    char key[ATTEMPT_KEY_LEN];
    const char *result;
    uint64_t told; /* pool_worker.serial that it was acknowledged to; 0: nobody yet */
    uint64_t told_ms;
    int64_t pay_nano;
};
void verdict_note(struct pool *p, struct span call, uint32_t attempt, const char *result,
                  uint64_t told, int64_t pay_nano);
void verdicts_fini(struct pool *p);

/* Fetches what was not acknowledged: after each connect, and when a stream ended without its
 * record. */
void records_fetch(struct pool_worker *w);
/* An attempt in w->recordless, whose stream is over, is judged now: by the record found, or without
 * one (jws empty). */
struct dispatch;
void dispatch_judge(struct dispatch *d, struct span jws);
struct dispatch *dispatch_of(struct list *link);
/* Its stream on w is over and its record awaited. */
bool dispatch_is_recordless(const struct dispatch *d, const struct pool_worker *w);

#endif
