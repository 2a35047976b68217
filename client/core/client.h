/* cocoon-client's library as one object: the gateway it talks through, the policy it judges workers
 * by, and what it knows of them. Used from the loop's thread only. */
#ifndef CLIENT_CORE_CLIENT_H
#define CLIENT_CORE_CLIENT_H

#include "attest/verify.h"
#include "client/core/inner.h"
#include "net/http_whole.h"
#include "net/offload.h"
#include "openai/error.h"
#include "trust/collaterals.h"
#include "trust/state.h"

struct directory;
struct prices;

/* All texts are copied. */
struct client_options {
    const char *gateway;     /* http://, https:// or unix:/path; a trailing / or /v1 is cut */
    const char *ca_file;     /* CAs of an https gateway; NULL or "": the system's */
    const char *policy_file; /* its signature is in policy_file.sig */
    const char *const *release_keys; /* hex; one of them must have signed the policy */
    size_t release_key_count;
    const char *key_file; /* 32 random bytes as hex; made with mode 0600 when it is not there */
    bool insecure_dev;    /* a policy for development is accepted */
    uint64_t silence_ms, total_ms, ping_ms;
    const char *padding; /* "none", "pow2", "64" */
    int64_t default_output, template_allowance;
    struct collaterals_options collateral; /* that this client gets by itself */
    const char *save_receipts; /* a folder, for what proves answers; NULL or "": nothing is kept */
};

struct client {
    struct loop *loop;
    struct offload *offload;
    struct http_client *http;
    struct attest_policy *policy;
    struct trust_state state;        /* in <key_file>.trust */
    struct collaterals *collaterals; /* NULL: workers bring theirs */
    struct collateral_cache *cache;
    struct directory *directory;
    struct prices *prices;
    uint8_t key[CLIENT_KEY_LEN];
    bool insecure_dev;
    uint64_t silence_ms, total_ms, ping_ms;
    char padding[8];
    int64_t default_output, template_allowance;
    char *base;          /* "https://host:port": paths are appended */
    char *unix_socket;   /* NULL: none */
    char *ca_file;       /* NULL: the system's */
    char *save_receipts; /* NULL: nothing is kept */
};

/* E_… with a sentence in why. loop and offload are borrowed, and must outlive the client. */
MUST_CHECK int client_new(struct client **out, struct loop *l, struct offload *o,
                          const struct client_options *options, char why[static 300]);
/* Reads the policy that options names anew, and whatever decides whether it is taken (release keys,
 * insecure_dev): all or nothing, E_… with a sentence in why. Workers that were accepted before are
 * verified again before anything more is encrypted to them; what runs goes on. Blocks on the disk.
 */
MUST_CHECK int client_reload_policy(struct client *c, const struct client_options *options,
                                    char why[static 300]);
/* Every exchange must be over. The jobs of the offload pool must have been waited for
 * (offload_free) before. */
void client_free(struct client *c);

/* What is asked at a path, which begins with '/'. fields: "Name: value". */
struct client_ask {
    const char *path;
    const char *const *fields;
    size_t field_count;
    uint64_t total_ms; /* 0: no deadline */
};
/* POST with a body. */
MUST_CHECK int client_post(struct client *c, const struct client_ask *ask, struct buf *take_body,
                           const struct http_transfer_events *ev, void *arg,
                           struct http_transfer **out);
/* GET of an answer that is wanted whole; the owner has set max, done and arg of it. */
MUST_CHECK int client_get(struct client *c, const struct client_ask *ask, struct http_whole *whole);
/* What an application is told when the gateway could not be asked, or did not answer. */
void client_unreachable(struct api_fault *fault, int error);

/* ---- trust.c ---- */

/* Reads state_file, policy, signature and dev root; refuses a policy for development where that is
 * not accepted, and a sequence lower than the one noted in the file, where it notes a higher one.
 * *state is the caller's whatever is returned. */
MUST_CHECK int trust_load(struct attest_policy **out, struct trust_state *state,
                          const struct client_options *o, const char *state_file,
                          char why[static 300]);
/* Reads the file, or makes it. E_DENIED when others may read it. */
MUST_CHECK int local_key_load(uint8_t out[static CLIENT_KEY_LEN], const char *file,
                              char why[static 300]);

#endif
