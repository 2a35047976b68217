/* What this worker is, beside its keys: how it proves itself, its configuration's and model's
 * digests, its GPUs. Found out at start, before a port opens. */
#ifndef WORKER_IDENTITY_H
#define WORKER_IDENTITY_H

#include <stdatomic.h>

#include "config/worker_config.h"
#include "net/offload.h"
#include "worker/digests.h"
#include "worker/evidence.h"

struct identity {
    struct quote_source source;
    struct gpu_reader *gpus;             /* NULL: none */
    char config_sha256[DIGEST_TEXT_LEN]; /* of nothing, where no file is named */
    char model_digest[MODEL_DIGEST_LEN]; /* the same */
    atomic_bool stop;                    /* set to give up identity_read */
};

/* Turns the loop while the model is read. A failure says in the log what stands against it;
 * E_CLOSED when stopped. */
MUST_CHECK int identity_read(struct identity *id, const struct worker_config *c, struct loop *l,
                             struct offload *o);
void identity_fini(struct identity *id);
/* "production", "insecure-dev" or "unattested": what this worker calls itself. Verifiers go by the
 * root of its evidence alone. */
const char *identity_env(const struct identity *id);

#endif
