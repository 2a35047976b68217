/* A request after decryption: read, checked against what was said outside, and validated (wire.md
 * §5, §7). Pure: long ones are read in the offload pool. */
#ifndef WORKER_OPENED_H
#define WORKER_OPENED_H

#include "config/worker_config.h"
#include "crypto/hash.h"
#include "ohttp/bhttp.h"
#include "openai/answer.h"
#include "receipt/usage_record.h"
#include "worker/outer.h"

enum { RID_MAX = 64, SALT_MAX = 64 };

struct opened {
    struct bhttp_reader *reader; /* the fields point into it */
    struct buf body;             /* the JSON, as sent, until opened_forget_body */
    uint8_t body_sha256[SHA256_LEN];
    struct request request; /* points into body */

    struct span rid;
    struct span public_model;
    char cache_salt[SALT_MAX + 1];
    bool include_usage;
    bool strict; /* a member that would be dropped is refused */
    enum answer_padding padding;
    uint64_t ping_ms; /* 0: never */

    const struct worker_model *model;
    int64_t cap; /* completion tokens per choice */

    /* Why it is refused inside the channel; fault.error NULL: it is not. */
    struct api_fault fault;
    enum usage_outcome outcome; /* rejected or binding_mismatch */
    bool bad_date;              /* a problem document instead of the fault */
};

/* Reads what ohttp_server_open gave. `now_s` is the worker's clock; body_max bounds the content.
 * Never fails: a refusal is told in *out. */
void opened_read(struct opened *out, struct span plain, const struct outer *outer,
                 const struct worker_config *config, uint64_t now_s);
/* The engine has the body: what was read of it and its hash stay. */
void opened_forget_body(struct opened *o);
void opened_fini(struct opened *o); /* wipes */

/* True when the model serves that endpoint. */
bool model_serves(const struct worker_model *m, enum endpoint endpoint);

#endif
