/* An answer as Redis keeps it for the same request again: sealed under a key that only who has the
 * API key can make (money.md §3). Pure. */
#ifndef GATEWAY_KEPT_H
#define GATEWAY_KEPT_H

#include "base/buf.h"

enum { KEPT_KEY_LEN = 32 };

/* Which answer it is: borrowed texts, none with a NUL inside. It opens for the same alone. */
struct kept_place {
    const char *account, *name; /* whose, and the name of the Idempotency-Key's value */
    const char *body;           /* the hash of the request's body */
    const char *path, *require; /* where it was asked, and its Cocoon-Require; "": none */
    const char *call;           /* the one that ran */
};

struct kept_answer {
    bool stream;
    int attestation;   /* enum attest_env of the worker; -1: not known */
    int64_t cost_nano; /* what was charged */
    struct span bytes; /* the body, or the whole stream; borrowed */
};

/* HKDF-SHA256 of the API key's secret, for this account, name and call; wipe it. */
void kept_key(uint8_t out[static KEPT_KEY_LEN], struct span secret, const struct kept_place *p);
/* Appends nonce, ciphertext and tag (AES-256-GCM). E_CRYPTO. */
MUST_CHECK int kept_seal(const uint8_t key[static KEPT_KEY_LEN], const struct kept_place *p,
                         const struct kept_answer *a, struct buf *out);
/* a->bytes is inside of *plain (wipe it), which was empty. E_AUTH: another key or place, or other
 * bytes; E_INVALID: too short, or no answer of this form. */
MUST_CHECK int kept_open(const uint8_t key[static KEPT_KEY_LEN], const struct kept_place *p,
                         struct span sealed, struct kept_answer *a, struct buf *plain);
/* What stands inside of the seal; a->bytes is inside of plain. E_INVALID. */
MUST_CHECK int kept_read(struct span plain, struct kept_answer *a);

#endif
