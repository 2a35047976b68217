/* What files say of an answer, and what of it is proven: receipts and records by the key that an
 * attestation document vouches for, answers and requests by the hashes that receipts bind (wire.md
 * §12). Nothing is fetched. Pure. */
#ifndef TOOLS_PROOF_H
#define TOOLS_PROOF_H

#include "attest/verify.h"
#include "billing/price_book.h"
#include "receipt/bill.h"
#include "receipt/usage_record.h"

enum { PROOF_ITEMS_MAX = 512, PROOF_WHY_LEN = 320 };

struct proof_type;

/* A signed record that was verified: (U) or (C). */
struct proof_record {
    struct usage_record u;
    struct receipt_extra extra; /* of a receipt */
    bool is_receipt;
    const struct proof_item *by; /* the document whose keyset's key signed it */
};

struct proof_bill_key {
    uint8_t key[ED25519_KEY_LEN];
    uint64_t since_s; /* when it was made; 0: not told */
};

/* One file, or one member of a file that holds several. */
struct proof_item {
    char *name;
    struct buf bytes;
    const struct proof_type *type;
    bool good;
    char why[PROOF_WHY_LEN]; /* a sentence, good or not */

    struct keyset keyset; /* of a document or keyset that can be read */
    bool has_keyset;
    struct attest_verdict verdict; /* of a document */
    uint64_t judged_s;             /* as of when */
    struct proof_record *record;   /* of a verified receipt or usage record; NULL: none */
    struct collateral collateral;
    const struct proof_item *bound; /* of contents: the record that binds it */

    struct proof_bill_key *bill_keys; /* of an operator's document */
    size_t bill_key_count;
    bool signs;              /* of a signature: it is the operator's of a document here */
    struct price_book *book; /* of a price book; NULL: none */
    struct bill bill;        /* of a bill that an operator's key has signed */
    bool has_bill;
    bool usage_bound, price_checked; /* its usage record holds; its prices were looked up */
    const struct proof_item *of;     /* of a bill's proof: the bill; NULL: none */
    char *call;                      /* that stands beside it, unsigned; NULL: none */
};

/* {0} is none. policy is borrowed; at_s 0: documents are judged as of the requests that they vouch
 * for, or of now_s when there are none. */
struct proof {
    const struct attest_policy *policy;
    struct span operator_key; /* ED25519_KEY_LEN bytes: must have signed an operator's document;
                                 empty: any is believed. Borrowed */
    uint64_t at_s, now_s;
    struct collateral_cache *cache; /* borrowed; NULL: none */
    struct proof_item *items[PROOF_ITEMS_MAX];
    size_t count;
};

/* Tells what the bytes are and adds them; an answer of GET /v1/billing/receipts/{call} is added
 * member by member. E_TOO_LARGE: more than PROOF_ITEMS_MAX. */
MUST_CHECK int proof_add(struct proof *p, const char *name, struct span bytes);
/* Judges all of them. True: at least one receipt or record is proven, and nothing was found that is
 * wrong or belongs to none. */
bool proof_judge(struct proof *p);
void proof_fini(struct proof *p);
AUTO_FINI(struct proof, proof_fini)

const char *proof_title(const struct proof_item *it); /* "content receipt" */
/* Is there an item of contents that a record of this call binds as such: "answer", "request". */
bool proof_has_contents(const struct proof *p, const struct proof_record *r, const char *what);
/* The verified record of the same call and attempt of the other kind, or NULL. */
const struct proof_record *proof_partner(const struct proof *p, const struct proof_record *r);

#endif
