/* Asks one worker a canary as a user would: end to end encrypted, through the gateway's public API,
 * with an API key of the operator's. */
#ifndef TOOLS_CANARY_CLIENT_H
#define TOOLS_CANARY_CLIENT_H

#include "ohttp/key_config.h"
#include "tools/canary_marks.h"

enum { CANARY_WHY_LEN = 300, CANARY_DIGEST_LEN = 80 };

struct canary_client;

/* E_… with a sentence in why: files that cannot be read, a policy that is refused. */
MUST_CHECK int canary_client_open(struct canary_client **out, const struct canaries_config *f,
                                  char why[static CANARY_WHY_LEN]);
void canary_client_close(struct canary_client *c);
AUTO_FREE(struct canary_client, canary_client_close)
/* The secret of key_file: CLIENT_KEY_LEN bytes that live as long as the client. */
struct span canary_client_key(const struct canary_client *c);

/* {0} before the first; canary_reply_fini wipes. */
struct canary_reply {
    bool answered; /* and verified: what is below is the worker's own word */
    struct buf text;
    struct usage used;              /* of its signed record */
    char wid[CANARY_WID_LEN + 1];   /* of its evidence, as it was verified here */
    char machine[33];               /* by keyset_machine */
    char digest[CANARY_DIGEST_LEN]; /* of the weights that it attests */
    struct api_fault fault;         /* why there is no answer */
    bool sealed;                    /* and what there was of one came from the worker */
};
void canary_reply_fini(struct canary_reply *r);
AUTO_FINI(struct canary_reply, canary_reply_fini)

/* Blocks, for timeout_s at the most. Each canary looks as if from a user that was never seen. */
void canary_client_ask(struct canary_client *c, const struct canary *canary,
                       const uint8_t kfp[static KFP_LEN], struct canary_reply *out);

#endif
