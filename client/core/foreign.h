/* What the gateway answers in clear, read with bounds: nothing of it is trusted, it only helps to
 * choose and to explain. Pure. */
#ifndef CLIENT_CORE_FOREIGN_H
#define CLIENT_CORE_FOREIGN_H

#include "ohttp/key_config.h"
#include "openai/answer.h"

enum { LISTED_MAX = 16, NEXT_MAX = 4, MODEL_LEN = 256, LIST_BYTES_MAX = 64 * 1024 };

/* GET /v1/confidential/workers (wire.md §2), best first. */
struct worker_list {
    char model[MODEL_LEN + 1]; /* the served name: visible ASCII */
    uint64_t ttl_s;            /* 1 … 3600 */
    uint8_t kfp[LISTED_MAX][KFP_LEN];
    size_t count;
};
/* Entries that are not readable and whatever is beyond LISTED_MAX are left out. E_INVALID. */
MUST_CHECK int worker_list_read(struct worker_list *out, struct span json);

/* Cocoon-Next: "<kfp>,<kfp>,…"; what is not readable is left out. Returns how many. */
size_t next_read(uint8_t out[static NEXT_MAX][KFP_LEN], struct span text);

/* GET /v1/billing/receipts/{call}: appends the usage record's JWS. E_NOT_FOUND, E_INVALID. */
MUST_CHECK int receipts_read(struct span json, struct buf *jws);

/* A refusal in clear, as a problem document or an error of the API, as one of our table's. Always
 * sets *fault, with our own text but for what the API's error says. model: which one was asked for,
 * as a problem does not say. */
void refusal_read(unsigned status, struct span body, const char *model, struct api_fault *fault);
/* True when its code is this one. */
bool refusal_is(struct span body, const char *code);

/* The counts that an answer shows its reader: of a usage event ("data: {…}\n\n") or of a whole
 * body. E_NOT_FOUND: it shows none; E_INVALID. */
MUST_CHECK int counts_read(struct span shown, struct usage *out);

#endif
