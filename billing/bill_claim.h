/* The operator's word that a key signs the bills of one of its gateways: without it, what Redis
 * says of keys counts for nothing (wire.md §12). Pure. */
#ifndef BILLING_BILL_CLAIM_H
#define BILLING_BILL_CLAIM_H

#include "base/buf.h"
#include "billing/layout.h"
#include "crypto/ed25519.h"

/* Of the text with its signature: a claim needs 260 bytes, and a few lines cost little to verify.
 */
enum { BILL_CLAIM_MAX = 512 };

struct bill_claim {
    uint8_t key[ED25519_KEY_LEN];       /* public */
    uint64_t since_s;                   /* when it was made */
    char instance[LAYOUT_NAME_MAX + 1]; /* whose it is */
};

/* Appends `<64 hex> <seconds> <instance>` LF and the detached signature of these bytes
 * ("cgw/bill-key/v1"). E_CRYPTO. */
MUST_CHECK int bill_claim_sign(const struct bill_claim *c, const struct ed25519 *operator_key,
                               struct buf *out);
/* Reads one that one of the operator's keys (32 bytes each) has signed. E_AUTH: none has;
 * E_INVALID: no such text, or a longer one, of which nothing is verified. */
MUST_CHECK int bill_claim_read(struct bill_claim *out, struct span text,
                               const struct span *operator_keys, size_t count);

#endif
