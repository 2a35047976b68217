/* Holds an answer against what was sent and received (wire.md §13.6): content receipt, usage
 * record, and the counts the caller is shown. Pure. */
#ifndef CLIENT_CORE_EVIDENCE_H
#define CLIENT_CORE_EVIDENCE_H

#include "attest/keyset.h"
#include "openai/answer.h"
#include "receipt/usage_record.h"

/* What this side knows of one exchange. */
struct evidence {
    const struct keyset *keyset; /* of the verified worker */
    const char *env;             /* of the verdict: attest_env_name */
    struct span kfp;
    struct span model; /* served name */
    struct span rid;
    struct span call;              /* Cocoon-Call of the gateway's answer */
    struct span price;             /* Cocoon-Price of it; data NULL: it said none */
    uint8_t request[SHA256_LEN];   /* of the encapsulated request */
    uint8_t response[SHA256_LEN];  /* of the encapsulated response */
    uint8_t body[SHA256_LEN];      /* of the inner request's body */
    uint8_t content[SHA256_LEN];   /* of the inner response's content */
    uint64_t sent_ms, received_ms; /* wall clock: request out, answer's end */
    bool has_counts;               /* the answer shows counts */
    struct usage counts;
    int64_t max_tokens; /* declared: more cannot have been made */
};

/* NULL when all agrees, else what does not, as a sentence for the user. receipt and record are the
 * two JWS as received; a missing one is a finding. */
const char *evidence_judge(const struct evidence *e, struct span receipt, struct span record);

#endif
