/* Parts of tools/proof.c. */
#ifndef TOOLS_PROOF_IMPL_H
#define TOOLS_PROOF_IMPL_H

#include "tools/proof.h"

/* Order of judging. */
enum proof_pass { PASS_KEYS, PASS_RECORDS, PASS_DOCUMENTS, PASS_BINDING, PASS_CONTENTS, PASSES };

struct proof_type {
    const char *title;
    const char *typ;    /* of a JWS; NULL: none */
    const char *member; /* of the JSON object, which tells it; with `value`, whose string it is */
    const char *value;
    void (*judge[PASSES])(struct proof *p, struct proof_item *it);
};

void proof_find(struct proof_item *it, bool good, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* What stands beside it, unsigned, names no other call than the signed one. */
bool proof_call_fits(const struct proof_item *it, const char *call);

/* proof_bill.c */
/* A detached signature's only line, by its form (attestation.md §6). */
bool proof_is_signature(struct span bytes);
void proof_operator_open(struct proof *p, struct proof_item *it);
void proof_signature_judge(struct proof *p, struct proof_item *it);
void proof_book_open(struct proof *p, struct proof_item *it);
void proof_bill_verify(struct proof *p, struct proof_item *it);
void proof_bill_bind(struct proof *p, struct proof_item *it);
void proof_tree_judge(struct proof *p, struct proof_item *it);

#endif
