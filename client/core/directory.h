/* Which workers there are, and which of them this client has verified itself (wire.md §13.1–3):
 * lists and attestation documents come through the gateway, which is not believed. */
#ifndef CLIENT_CORE_DIRECTORY_H
#define CLIENT_CORE_DIRECTORY_H

#include "attest/require.h"
#include "client/core/client.h"
#include "client/core/conversations.h"
#include "client/core/foreign.h"

/* What this client has at one worker, whichever of its keys it was encrypted to and however often
 * these were verified meanwhile. Reference-counted. */
struct errands {
    unsigned refs;
    unsigned in_flight;         /* requests that are sent and not answered yet */
    uint8_t worker[SHA256_LEN]; /* its tls_spki */
};

/* A key that belongs to an accepted worker. Reference-counted, immutable. */
struct verified {
    unsigned refs;
    struct errands *errands;
    struct key_config config;
    struct hpke_public *public;
    struct keyset keyset;
    struct attest_verdict verdict;
    uint64_t until_s;                /* wall clock: verify again by then */
    struct buf document, collateral; /* what it was verified with, where receipts are saved; the
                                      * collateral only when it was not the document's own */
};
struct verified *verified_ref(struct verified *v);
void verified_unref(struct verified *v);

struct directory *directory_new(struct client *c);
/* Searches must be over. */
void directory_free(struct directory *d);
/* How many keys of workers are verified, and stay so beyond now_s. */
size_t directory_verified(const struct directory *d, uint64_t now_s);

enum { TRIED_MAX = 8 };

struct directory_ask {
    struct span model;             /* as the caller names it; 1 … MODEL_LEN visible bytes */
    struct attest_require require; /* narrows the policy */
    uint8_t tried[TRIED_MAX][KFP_LEN];
    size_t tried_count;    /* not these */
    struct next_keys next; /* these before the list's */
    bool sent_there; /* by the gateway, for this very request: it may keep a slot there. Else next
                        holds while its worker is not much busier with our requests than another */
    bool fresh;      /* the list must be fetched anew */
    bool bound;      /* to `worker` alone, whether it is listed or not */
    uint8_t worker[KFP_LEN];
};

struct search;
/* served: the model's name for body and fields. v is borrowed, NULL when there is none: then fault
 * says why. Called once, never from inside directory_find; the search is over. */
typedef void directory_fn(void *arg, struct verified *v, const char *served,
                          const struct api_fault *fault);
/* The verified key of the worker that the gateway ranks first, or of the one it is bound to. It
 * takes silence_ms at the most. */
struct search *directory_find(struct directory *d, const struct directory_ask *ask,
                              directory_fn *fn, void *arg);
void search_cancel(struct search *s);

/* The order that the gateway wants next (Cocoon-Next): for this conversation (a name), and for
 * those of the model of which nothing is known. Keys that are not known are verified in the
 * background. */
void directory_prefer(struct directory *d, struct span model, struct span conversation,
                      const struct next_keys *next);
/* What was said of the conversation last; NULL: nothing. Borrowed, until the next of the above. */
const struct next_keys *directory_next(const struct directory *d, struct span conversation);
/* The client's policy is another now: what the one before accepted or refused is forgotten. */
void directory_rejudge(struct directory *d);
/* The gateway does not know this key any more. */
void directory_forget(struct directory *d, const uint8_t kfp[static KFP_LEN]);

#endif
