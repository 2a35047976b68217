/* The bill (B) of wire.md §12: what one call cost, signed by the gateway and tied to the worker's
 * usage record. */
#ifndef RECEIPT_BILL_H
#define RECEIPT_BILL_H

#include "base/buf.h"
#include "crypto/ed25519.h"
#include "crypto/hash.h"

#define BILL_TYP "cgw-bill+jwt"

enum { BILL_ACCOUNT_MAX = 64, BILL_WORKER_MAX = 67 };

struct bill {
    char call[33]; /* 32 lower-case hex */
    uint32_t attempt;
    char account[BILL_ACCOUNT_MAX + 1];
    char worker[BILL_WORKER_MAX + 1]; /* payout address: 0: or -1: and 64 hex */
    struct span model;                /* borrowed by makers, parsed bills own it in `storage` */
    int64_t price;                    /* version of the price book */
    uint8_t price_sha256[SHA256_LEN];
    int64_t coefficient;                /* 1/1000 */
    int64_t in, cached, out, reasoning; /* tokens charged for; total = in + out */
    int64_t amount, fee;                /* nano; fee ≤ amount: amount − fee is the worker's */
    uint64_t t_ms;                      /* wall clock; advisory */
    uint8_t usage[SHA256_LEN];          /* of the usage record's JWS */
    struct buf storage;
};

/* Appends the JWS. E_INVALID: the bill is one that verifying would refuse. Any thread. */
MUST_CHECK int bill_sign(const struct bill *b, const struct ed25519 *key, struct buf *jws);
/* Verifies, then parses strictly: unknown members ignored, missing ones or broken sums refuse the
 * bill. E_AUTH, E_INVALID. On success *out is owned: bill_fini. Any thread. */
MUST_CHECK int bill_verify(struct bill *out, const struct ed25519 *key, struct span jws);
void bill_fini(struct bill *b);
AUTO_FINI(struct bill, bill_fini)

#endif
