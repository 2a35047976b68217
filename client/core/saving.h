/* Keeps on disk what proves an answer later (cocoonctl receipts verify): the request's body and the
 * answer as the worker's receipt names them, receipt, record and attestation document. Only where
 * the user asked for it: these files hold what was said. */
#ifndef CLIENT_CORE_SAVING_H
#define CLIENT_CORE_SAVING_H

#include "client/core/directory.h"

/* Of one exchange; {0} is none. */
struct saving {
    struct buf body;   /* of the inner request */
    struct buf answer; /* content of the inner answer */
    bool lost;         /* it was too long to keep */
};

void saving_body(struct saving *s, struct span body); /* in place of an earlier attempt's */
void saving_answer(struct saving *s, struct span more);
void saving_fini(struct saving *s); /* wipes */

/* What stands beside them. All borrowed. */
struct saving_proof {
    const char *call;
    bool stream;
    struct span receipt, record;
    const struct verified *worker;
};
/* Writes save_receipts/<call>/ in the offload pool, readable for the user alone; takes what s
 * holds. What cannot be written is logged: the answer does not depend on it. */
void saving_write(struct client *c, struct saving *s, const struct saving_proof *proof);

#endif
