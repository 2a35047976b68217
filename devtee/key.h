/* P-256 keys that follow from a seed, and signatures that follow from key and message: the same
 * seed makes the same certificates and quotes everywhere. For dev evidence alone. */
#ifndef DEVTEE_KEY_H
#define DEVTEE_KEY_H

#include "base/error.h"
#include "base/span.h"

enum { DEVTEE_SEED_LEN = 32, DEVTEE_XY_LEN = 64, DEVTEE_SIG_LEN = 64 };

struct devtee_key;

/* The key of this name under seed (DEVTEE_SEED_LEN bytes). */
struct devtee_key *devtee_key_new(const uint8_t *seed, const char *name);
void devtee_key_free(struct devtee_key *key);

const uint8_t *devtee_key_xy(const struct devtee_key *key); /* public point, x ‖ y */
/* ECDSA with SHA-256 as r ‖ s; the secret number comes from key and message. */
void devtee_key_sign(const struct devtee_key *key, struct span message,
                     uint8_t sig[static DEVTEE_SIG_LEN]);

#endif
