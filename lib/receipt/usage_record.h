/* Usage record (U) and content receipt (C) of wire.md §12: made and signed by a worker, parsed and
 * verified by others. */
#ifndef RECEIPT_USAGE_RECORD_H
#define RECEIPT_USAGE_RECORD_H

#include "base/buf.h"
#include "crypto/ed25519.h"
#include "crypto/hash.h"

#define USAGE_TYP   "cgw-usage+jwt"
#define RECEIPT_TYP "cgw-receipt+jwt"

/* What a record may claim, in or out: far above any context, and sums with prices stay far from
 * overflow. */
#define USAGE_TOKENS_MAX INT64_C(1000000000000)

enum usage_outcome {
    USAGE_STOP,
    USAGE_LENGTH,
    USAGE_ERROR,
    USAGE_CLIENT_ABORT,
    USAGE_BINDING_MISMATCH,
    USAGE_REJECTED
};
const char *usage_outcome_name(enum usage_outcome o);

struct usage_record {
    char call[33]; /* 32 lower-case hex */
    uint32_t attempt;
    uint8_t op[SHA256_LEN]; /* SHA-256 of the operator CA's SPKI */
    uint8_t kfp[SHA256_LEN];
    uint8_t keyset[SHA256_LEN];
    struct span model; /* served name; borrowed by makers, parsed records own it in `storage` */
    int64_t in, cached, out, reasoning; /* tokens; total = in + out */
    char price[40];                     /* Cocoon-Price as received; visible ASCII */
    enum usage_outcome outcome;
    uint8_t req[SHA256_LEN];  /* of the encapsulated request */
    uint8_t resp[SHA256_LEN]; /* of the encapsulated response bytes sent */
    bool final;               /* the final OHTTP chunk was sent */
    uint64_t t0_ms, t1_ms;    /* wall clock */
    char env[16];             /* production | insecure-dev | unattested */
    struct buf storage;
};

/* What the content receipt adds (wire.md §12 (C)). */
struct receipt_extra {
    struct span rid;
    uint8_t req_body[SHA256_LEN], resp_body[SHA256_LEN];
    struct span model_digest, config_sha256; /* as in the keyset */
};

/* Append the JWS. E_INVALID: the record is one that verifying would refuse. */
MUST_CHECK int usage_record_sign(const struct usage_record *u, const struct ed25519 *key,
                                 struct buf *jws);
MUST_CHECK int receipt_sign(const struct usage_record *u, const struct receipt_extra *extra,
                            const struct ed25519 *key, struct buf *jws);
/* Verifies, then parses strictly: unknown members ignored, missing ones or broken sums (total,
 * cached, reasoning, negative) refuse the record. E_AUTH, E_INVALID. On success *out is owned:
 * usage_record_fini. */
MUST_CHECK int usage_record_verify(struct usage_record *out, const struct ed25519 *key,
                                   struct span jws);
/* The same for a content receipt: resp and final stay empty in *out, extra's texts live in out's
 * storage. */
MUST_CHECK int receipt_verify(struct usage_record *out, struct receipt_extra *extra,
                              const struct ed25519 *key, struct span jws);
/* What a record says of its signer, NOT verified: only to look for the keyset whose key it may be
 * signed with. E_INVALID. */
struct usage_hint {
    char kid[23];
    uint8_t keyset[SHA256_LEN];
};
MUST_CHECK int usage_record_hint(struct usage_hint *out, struct span jws);
void usage_record_fini(struct usage_record *u);
AUTO_FINI(struct usage_record, usage_record_fini)

#endif
