/* The pool as the gateway sees it: workers that dialled in, which of them may take a call, and the
 * choice among them. */
#ifndef BACKENDS_POOL_POOL_H
#define BACKENDS_POOL_POOL_H

#include "attest/require.h"
#include "attest/verify.h"
#include "backends/pool/chooser.h"
#include "net/offload.h"
#include "net/redis.h"
#include "net/tunnel.h"
#include "ohttp/key_config.h"
#include "openai/request.h"
#include "receipt/usage_record.h"
#include "trust/collaterals.h"

struct pool;
struct pool_worker;

enum { POOL_MAX_MODELS = 64, POOL_NAME_LEN = 128, POOL_DAYS = 7, POOL_HOURS_LEN = 127 };

struct pool_options {
    const char *tunnel_chain, *tunnel_key; /* PEM files */
    const char *tunnel_public; /* host:port that workers are told with PUT /v1/gateways */
    struct tunnel_limits tunnel_limits;
    uint64_t attest_every_ms;
    struct collaterals_options collateral; /* that workers need not bring */
};

/* What workers are judged by. */
struct pool_trust {
    struct attest_policy *policy; /* NULL: none; the pool takes a reference of its own */
    bool accept_unattested;       /* workers that say they have no evidence */
};

/* loop and offload outlive the pool. E_INVALID: certificate or key unusable, or a bundle that is
 * none. */
MUST_CHECK int pool_new(struct pool **out, struct loop *l, struct offload *o,
                        const struct pool_options *options);
MUST_CHECK int pool_listen(struct pool *p, const struct net_addr *at);
/* The same over a socket that listens already; takes fd when it succeeds. */
MUST_CHECK int pool_listen_fd(struct pool *p, int fd);
/* The listening socket, to be given to another process too; borrowed. */
int pool_fd(const struct pool *p);
/* Held: workers that dial wait in the socket. */
void pool_hold(struct pool *p, bool held);
void pool_addr(const struct pool *p, struct net_addr *out);
/* Tells every worker to send nothing more here (POST /v1/drain), flushes acknowledgements. */
void pool_drain(struct pool *p);
/* True once no attempt is under way, and no record awaited, being judged or to be acknowledged;
 * acknowledgements are sent at once meanwhile. */
bool pool_settle(struct pool *p);
/* Closes every tunnel; dispatches end first. Turn the loop until pool_idle, then pool_free. The
 * pool's last jobs end in offload_stop at the latest. */
void pool_close(struct pool *p);
bool pool_idle(const struct pool *p);
void pool_free(struct pool *p);
/* From now on; every worker is judged anew, those that no longer pass are refused: they finish what
 * runs and take nothing new. */
void pool_set_trust(struct pool *p, const struct pool_trust *trust);
/* The floor to begin with, and who keeps it durably when fetched collateral has raised it. */
typedef void pool_floor_fn(void *arg, const struct attest_floor *floor);
void pool_set_floor(struct pool *p, const struct attest_floor *floor, pool_floor_fn *raised,
                    void *arg);
/* When the first of the collateral that ready workers were judged by ends; seconds since 1970, 0:
 * none was used. */
uint64_t pool_collateral_until(const struct pool *p);
/* Verdicts on workers' proofs so far, by enum attest_reason; ATTEST_OK: accepted. */
const uint64_t *pool_verdicts(const struct pool *p);
/* Called whenever a worker becomes able to take a call (a slot freed, a worker joined), or no
 * longer is (it leaves, asks for more): queued calls try again, and those that nobody can take any
 * more end. */
void pool_on_capacity(struct pool *p, void (*fn)(void *arg), void *arg);

/* A worker has become ready of which nothing is known first-hand. */
void pool_on_ready(struct pool *p, void (*fn)(void *arg, const char *iid, const char *wid),
                   void *arg);
/* What another instance has measured of that worker: taken as long as this one knows nothing of its
 * own. 0: unknown. */
void pool_hint(struct pool *p, const char *iid, double first_token_ms, double tokens_per_s);

/* ---- What is there ---- */

struct pool_model {
    char name[POOL_NAME_LEN + 1];
    int64_t context, max_output;
    unsigned endpoints; /* bit 1 << enum endpoint */
};

enum pool_state {
    POOL_CONNECTING,
    POOL_ATTESTING,
    POOL_DESCRIBING,
    POOL_READY,
    POOL_REFUSED,
    POOL_GONE
};
const char *pool_state_name(enum pool_state s);
extern const char *const pool_days[POOL_DAYS]; /* "mon" … "sun" */

/* A worker for display; borrowed, valid until the loop's next turn. */
struct pool_view {
    const char *iid, *wid, *worker_id, *payout, *version, *reason;
    const char (*hours)[POOL_HOURS_LEN + 1]; /* of Monday to Sunday, as its owner wrote them; NULL:
                                                not told */
    enum pool_state state;
    const char *attestation; /* attest_env_name, or the refusal's code */
    const struct pool_model *models;
    size_t model_count;
    int64_t running, waiting, max, ask, in_flight;
    double kv, tokens_per_s, first_token_ms;
    double standing; /* 1: nothing bad is known of its machine, down to 0 */
    enum breaker_state breaker;
    bool accepting, skewed;
    bool held_back; /* drained by the operator */
    uint64_t rtt_ms, connected_ms, failures, served;
    uint8_t keyset[SHA256_LEN];      /* the latest that was accepted */
    uint64_t valid_until_s;          /* of the verdict on it; 0: no end */
    const char *measurement;         /* name of the policy's entry; "": no quote */
    uint8_t ppid_sha256[SHA256_LEN]; /* of the machine, where there is a quote */
};
typedef void pool_view_fn(void *arg, const struct pool_view *v);
void pool_each(struct pool *p, pool_view_fn *fn, void *arg);

/* One model over all its workers. False when no connected worker serves it. */
struct pool_model_view {
    struct pool_model model; /* the largest context and output on offer, endpoints of all */
    size_t workers, ready;
    size_t attested, gpu; /* of workers: for production; with confidential-computing GPUs */
    int64_t lowest_ask;
    enum attest_env attestation; /* the best among the workers */
    uint64_t since_s;            /* when it was first seen by this process */
};
typedef void pool_model_fn(void *arg, const struct pool_model_view *v);
void pool_models_each(struct pool *p, pool_model_fn *fn, void *arg);
bool pool_model(struct pool *p, struct span name, struct pool_model_view *out);
/* Whether any worker takes new calls now; while none does, nothing is known of models that exist.
 */
bool pool_any_ready(const struct pool *p);
/* Served by any worker now or in the last ten minutes: tells 404 from 503. */
bool pool_model_known(const struct pool *p, struct span name);

/* ---- The choice (pool.md §2, §3) ---- */

enum { POOL_MAX_TRIED = CHOOSER_TRIED_MAX };

struct pool_query {
    struct span model;
    enum endpoint endpoint;
    int64_t input, output; /* tokens that are expected, a guess */
    int64_t coefficient;   /* 1/1000: the most that the call pays */
    enum service_class class;
    uint64_t affinity;                    /* tag of the conversation; 0: none */
    const struct attest_require *require; /* demanded of the evidence; NULL: nothing */
    bool end_to_end;   /* the path is sealed, so any endpoint does; never an unattested worker */
    uint64_t roomy_ms; /* only who has had room for so long without a break */
    struct pool_worker *tried[POOL_MAX_TRIED]; /* not these again */
    size_t tried_count;
};

struct pool_excluded {
    struct chooser_excluded by;
    const char *unmet; /* which part of the demands, of one that by.evidence counts */
};

/* How choices are made from now on. */
void pool_set_scheduling(struct pool *p, const struct chooser_options *o);
/* The best eligible worker, or NULL. Its slot is taken by dispatch_start, not here. */
struct pool_worker *pool_choose(struct pool *p, const struct pool_query *q);
/* After pool_choose gave none: whether somebody may have room later; and why there is none now. */
bool pool_may_wait(struct pool *p, const struct pool_query *q);
void pool_explain(struct pool *p, const struct pool_query *q, struct pool_excluded *why);
/* How choices were made so far; and one model over its workers, false: nobody serves it. */
const struct chooser_counts *pool_choices(const struct pool *p);
bool pool_model_load(struct pool *p, struct span model, struct chooser_model_view *out);
void pool_breakers(struct pool *p, struct span model, size_t out[static BREAKER_STATES]);
/* What it asks for now, 1/1000. */
int64_t pool_worker_ask(const struct pool_worker *w);
struct pool_worker *pool_worker_ref(struct pool_worker *w);
void pool_worker_unref(struct pool_worker *w);
const char *pool_worker_iid(const struct pool_worker *w);
const char *pool_worker_payout(const struct pool_worker *w); /* 0: or -1: and 64 hex */
/* 32 hex, one for all payouts of a machine (keyset_machine); "": not known yet. */
const char *pool_worker_machine(const struct pool_worker *w);
enum attest_env pool_worker_env(const struct pool_worker *w);
/* The model as this worker serves it; NULL when it no longer does. */
const struct pool_model *pool_worker_model(const struct pool_worker *w, struct span name);

/* ---- End to end: the client has encrypted to one worker (wire.md §2, §6) ---- */

/* The eligible workers as the choice would take them, best first; full ones last, or left out.
 * Returns how many, at most max. */
size_t pool_rank(struct pool *p, const struct pool_query *q, bool full_too,
                 struct pool_worker **out, size_t max);
/* Nothing keeps w out; else the one condition is counted. */
bool pool_worker_eligible(const struct pool_worker *w, const struct pool_query *q,
                          struct pool_excluded *why);

/* Keeps one of w's slots for a call of this account, which is told to encrypt to w: half a second
 * at most, and eight of an account. Redeemed: there was such a promise, and its slot is free for
 * the one who asks now. */
void pool_promise(struct pool_worker *w, struct span account);
bool pool_redeem(struct pool_worker *w, struct span account);

enum pool_key_state {
    POOL_KEY_UNKNOWN, /* never seen here, or its time is over */
    POOL_KEY_AWAY,    /* good, but its worker is not here (any more) */
    POOL_KEY_HELD
};
/* HELD: *out is the worker, borrowed, whatever else keeps it out. A key outlives its keyset by five
 * minutes (wire.md §8). */
enum pool_key_state pool_key_find(struct pool *p, const uint8_t kfp[static KFP_LEN],
                                  struct pool_worker **out);
/* The first bytes of an encapsulated request name this key of w, and a suite that it offers. */
bool pool_key_fits(const struct pool_worker *w, const uint8_t kfp[static KFP_LEN],
                   struct span sealed);

/* What a client is told of the worker's present key. Borrowed, as with views. */
struct pool_key {
    const char *worker_id;
    struct span config;                     /* KEYSET_HPKE_LEN bytes */
    const uint8_t *kfp, *keyset, *document; /* SHA-256 of the last two */
    uint64_t not_after_s;
    double load; /* 0 … 1 */
};
void pool_worker_key(const struct pool_worker *w, struct pool_key *out);
/* The newest document that was accepted for a key, byte for byte as its worker gave it;
 * E_NOT_FOUND. Borrowed, as with views. */
MUST_CHECK int pool_document(struct pool *p, const uint8_t kfp[static KFP_LEN], struct span *out);
/* A keyset, and a document that was accepted with it; borrowed. */
struct pool_evidence {
    const char *iid;
    const uint8_t *keyset_sha256, *document_sha256;
    struct span keyset, document;
};
/* Called for each proof that is accepted: to be kept elsewhere, content-addressed. */
typedef void pool_evidence_fn(void *arg, const struct pool_evidence *e);
void pool_on_evidence(struct pool *p, pool_evidence_fn *fn, void *arg);
/* What is in force with each worker, for who may have lost it. */
void pool_each_evidence(struct pool *p, pool_evidence_fn *fn, void *arg);
/* Where to look for what another instance gave away so, or this one before it was started again:
 * fn gets the bytes, empty when they are not there, once and later; an error: it is not called. */
typedef void pool_kept_fn(void *arg, struct span bytes);
typedef int pool_look_fn(void *look_arg, const uint8_t sha256[static SHA256_LEN], pool_kept_fn *fn,
                         void *arg);
void pool_on_missing(struct pool *p, pool_look_fn *look, void *look_arg);

/* ---- Usage records and pay (wire.md §9) ---- */

/* A record that w has kept and that no attempt of this process waits for: another instance's, or of
 * before a restart; verified, of w's owner. True: it is taken over, and acknowledged later with
 * pool_acknowledge, or given again after the next connect. u and jws are borrowed. */
typedef bool pool_record_fn(void *arg, struct pool_worker *w, const struct usage_record *u,
                            struct span jws);
void pool_on_record(struct pool *p, pool_record_fn *fn, void *arg);
/* Ends the matter of a record for w: settled, late_settled, abandoned or refused (a constant), and
 * its share. */
void pool_acknowledge(struct pool_worker *w, struct span call, uint32_t attempt, const char *result,
                      int64_t pay_nano);

#endif
