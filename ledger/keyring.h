/* Whose bills count: keys that the books know already, that the settings name, or that the operator
 * has vouched for (billing/bill_claim.h). What Redis says of others is no more than a reason to
 * wait. */
#ifndef LEDGER_KEYRING_H
#define LEDGER_KEYRING_H

#include "crypto/jws.h"
#include "ledger/ledger.h"

struct keyring;

/* The books and Redis are there, and outlive it but for the stop. E_IO, E_INVALID: keys of the
 * books that cannot be read. */
MUST_CHECK int keyring_new(struct keyring **out, struct ledger *l);
/* Asks nothing more. Then free Redis, turn the loop once, and free this. */
void keyring_stop(struct keyring *k);
void keyring_free(struct keyring *k);

/* Asks Redis which there are; whoever asks on the same connection afterwards is answered
 * afterwards. */
void keyring_look(struct keyring *k);
/* Those that count. */
const struct bill_keys *keyring_keys(const struct keyring *k);
/* Whether this bill must wait: its key is in Redis (or more are than can be told apart), but nobody
 * vouches for it yet, or nobody has looked since it came. Then kid says which; else it is "".
 * *since_ms: 0 at first, and kept for the next call about the same bill. */
bool keyring_waits(struct keyring *k, struct span bill, uint64_t *since_ms,
                   char kid[static JWS_KID_LEN + 1]);

#endif
