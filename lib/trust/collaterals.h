/* Collateral that whoever judges gets by himself (attestation.md §7): imported from a file, or
 * fetched by platform from the configured service and kept on disk. From the loop's thread only. */
#ifndef TRUST_COLLATERALS_H
#define TRUST_COLLATERALS_H

#include "attest/verify.h"
#include "net/loop.h"

struct collaterals;

/* Texts are copied; NULL or "": none. */
struct collaterals_options {
    const char *url;          /* certification service, without /tdx/…: asked by platform */
    const char *root_crl_url; /* the root CA's revocation list; none: Intel's */
    const char *cache;        /* folder for what was fetched; none: kept in memory alone */
    const char *bundle;       /* file: one collateral object, or {"bundle":[…]} of them */
};

/* Shared by those that verify with it; only the loop's thread counts. */
struct shared_collateral {
    unsigned refs;
    struct collateral parts;
    bool fetched; /* from the configured service: may raise the floor */
    bool refused; /* a verification found it wrong by itself: collaterals_judged */
    uint64_t issued_s, until_s;
    int64_t evaluation;
};
void shared_collateral_unref(struct shared_collateral *c);

/* *out NULL: neither fetched nor imported, workers bring theirs. E_IO, E_INVALID: the bundle cannot
 * be used. */
MUST_CHECK int collaterals_new(struct collaterals **out, struct loop *l,
                               const struct collaterals_options *o);
/* Ends what is being fetched: whoever waits gets what there is. Nothing is fetched any more. */
void collaterals_stop(struct collaterals *c);
void collaterals_free(struct collaterals *c);
/* fn is called once, now or when it was fetched: with a reference (NULL: there is none here). */
typedef void collateral_fn(void *arg, struct shared_collateral *c);
void collaterals_get(struct collaterals *c, const struct attest_platform *platform,
                     collateral_fn *fn, void *arg);
/* After a verification with it: what Intel has not signed, or what cannot be read, is not used
 * again, and replaced as soon as another comes. NULL is fine. */
void collaterals_judged(struct shared_collateral *c, const struct attest_verdict *v);

#endif
