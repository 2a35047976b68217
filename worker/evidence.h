/* Makes attestation documents: nonce → GPU nonce → GPU evidence → report data → quote (wire.md §2),
 * in the offload pool, one quote at a time: the host's quoting service is serial. */
#ifndef WORKER_EVIDENCE_H
#define WORKER_EVIDENCE_H

#include "net/offload.h"
#include "worker/gpu.h"
#include "worker/quote.h"

enum { EVIDENCE_NONCE_LEN = 32, EVIDENCE_WAITING_MAX = 64 };

struct evidence_options {
    struct quote_source source;
    struct gpu_reader *gpus;     /* NULL: none; used by the pool's thread alone */
    const char *collateral_file; /* stapled as it is; read anew each time; "": none */
    const char *event_log_file;  /* the same */
};

struct evidence;
MUST_CHECK int evidence_new(struct evidence **out, struct loop *l, struct offload *o,
                            const struct evidence_options *options);
/* Nobody is told any more. After the offload pool was freed. */
void evidence_free(struct evidence *e);

/* The document, to be taken, or NULL: error E_TIMEOUT after QUOTE_WAIT_MS (the quote may still be
 * under way), or what the source said. In the loop, never from within evidence_ask. */
typedef void evidence_fn(void *arg, int error, struct buf *document);

struct evidence_ask;
/* keyset: its exact bytes, copied. E_BUSY when EVIDENCE_WAITING_MAX wait already. */
MUST_CHECK int evidence_ask(struct evidence *e, const uint8_t nonce[static EVIDENCE_NONCE_LEN],
                            struct span keyset, evidence_fn *done, void *arg,
                            struct evidence_ask **out);
/* Before `done`: it will not be called, and no quote is made that has not been begun. */
void evidence_forget(struct evidence_ask *ask);

/* "tdx", "insecure-dev", "none": the document's member tee, a hint alone. */
const char *evidence_tee(const struct quote_source *source);

#endif
