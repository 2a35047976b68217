/* Cocoon for C programs: chat with a model whose worker was verified here, encrypted end to end.
 * Link with libcocoon.a -lcurl -ljansson -lcrypto -lpthread.
 *
 * Calls block. A handle belongs to one thread at a time; several handles are independent. Signals
 * are left alone, nothing is written to stdout; warnings go to stderr. */
#ifndef CLIENT_COCOON_H
#define CLIENT_COCOON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum cocoon_result {
    COCOON_OK = 0,
    COCOON_EVENT = 1,     /* cocoon_read: bytes of the answer */
    COCOON_INVALID = -1,  /* options or arguments */
    COCOON_REFUSED = -2,  /* the gateway, the worker or the verification said no: see the error */
    COCOON_INTERNAL = -3, /* the machine: memory, descriptors */
};

enum { COCOON_WHY_LEN = 300 };

struct cocoon;      /* a gateway, a policy, and the workers verified so far */
struct cocoon_chat; /* one request and its answer */

struct cocoon_options {
    const char *gateway;             /* https://host, http://host:port, unix:/path */
    const char *api_key;             /* for the gateway; NULL: none */
    const char *policy_file;         /* signed in policy_file.sig */
    const char *const *release_keys; /* 64 hex digits each */
    size_t release_key_count;
    const char *key_file;          /* this program's own secret; made when it is not there */
    const char *ca_file;           /* NULL: the system's CAs */
    const char *collateral_url;    /* certification service; NULL: workers bring their collateral */
    const char *root_crl_url;      /* the root CA's revocation list; NULL: Intel's */
    const char *collateral_cache;  /* folder for what was fetched; NULL: in memory only */
    const char *collateral_bundle; /* file with collateral; NULL: none */
    const char *save_receipts;     /* a folder for what proves answers; NULL: nothing is kept */
    bool insecure_dev; /* accept a policy for development: nothing is confidential then */
};

/* What is known of the worker that serves a model. */
struct cocoon_verdict {
    bool production;       /* false: development evidence, not confidential */
    char environment[16];  /* "production", "insecure-dev" */
    char measurement[65];  /* name of the policy's entry that its software matched */
    char mrtd[97];         /* hex */
    char tcb_status[48];   /* Intel's word for the platform's state */
    char model_digest[80]; /* of the weights */
    uint32_t gpus;         /* verified ones */
    uint64_t valid_until;  /* seconds since 1970 */
};

/* Opens a client; nothing is sent yet. On failure why says what is wrong, in a sentence. */
enum cocoon_result cocoon_open(struct cocoon **out, const struct cocoon_options *options,
                               char why[COCOON_WHY_LEN]);
/* Every chat must be closed. NULL is fine. */
void cocoon_close(struct cocoon *c);

/* Finds and verifies a worker for the model, as a chat would; no text is sent. */
enum cocoon_result cocoon_verify(struct cocoon *c, const char *model, struct cocoon_verdict *out,
                                 char why[COCOON_WHY_LEN]);

/* Starts POST /v1/chat/completions with this JSON body (OpenAI's, `stream` as you like). Returns
 * before anything is sent; cocoon_read does the rest. */
enum cocoon_result cocoon_chat(struct cocoon *c, const char *json, size_t len,
                               struct cocoon_chat **out, char why[COCOON_WHY_LEN]);
/* COCOON_EVENT: the next bytes of the answer (server-sent events, or all of the JSON body), which
 * live until the next call for this chat. COCOON_OK: the answer is complete and verified. Anything
 * else: it is not, whatever came before; cocoon_error says why. */
enum cocoon_result cocoon_read(struct cocoon_chat *chat, const char **bytes, size_t *len);
/* OpenAI's error object as JSON, after a failure; lives as long as the chat. */
const char *cocoon_error(struct cocoon_chat *chat);
/* The verdict on the worker that was asked. COCOON_INVALID: none was yet. */
enum cocoon_result cocoon_chat_verdict(const struct cocoon_chat *chat, struct cocoon_verdict *out);
/* Cancels it when it still runs. NULL is fine. */
void cocoon_chat_close(struct cocoon_chat *chat);

#ifdef __cplusplus
}
#endif

#endif
