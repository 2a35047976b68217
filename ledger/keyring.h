/* Whose bills count: keys that the books know already, that the settings name, or that the operator
 * has vouched for (billing/bill_claim.h), and has not revoked since. A bill of another waits: it
 * may count later. */
#ifndef LEDGER_KEYRING_H
#define LEDGER_KEYRING_H

#include "crypto/jws.h"
#include "ledger/ledger.h"

struct keyring;

/* The books and Redis are there, and outlive it but for the stop. E_IO, E_INVALID, E_UNAVAILABLE:
 * keys of the books that cannot be read, or one of the settings that they do not take. */
MUST_CHECK int keyring_new(struct keyring **out, struct ledger *l);
/* Asks nothing more. Then free Redis, turn the loop once, and free this. */
void keyring_stop(struct keyring *k);
void keyring_free(struct keyring *k);

/* Asks Redis which there are; whoever asks on the same connection afterwards is answered
 * afterwards. */
void keyring_look(struct keyring *k);
/* Those that count. */
const struct bill_keys *keyring_keys(const struct keyring *k);
/* One was perhaps revoked, or counts again: they are read anew before their next use. */
void keyring_changed(struct keyring *k);
/* Reads them from the books, in a transaction of its own, where that is due: whoever takes bills
 * asks before. An error of the books: those of before stay, no bill may be taken by them, and the
 * next call tries again. */
MUST_CHECK int keyring_ready(struct keyring *k);

/* The key of a gateway's last bill that was not taken. {0}: the last one was. */
struct key_wait {
    char kid[JWS_KID_LEN + 1];
    bool looked; /* Redis was asked about it, and it does not count all the same */
};
/* Whether this bill, the next of a gateway, can be taken (one that names no key: to be refused);
 * must wait, for nobody vouches for its key yet; or is passed over. *w: as the last call about that
 * gateway has left it. */
enum bill_key_state keyring_state(struct keyring *k, struct span bill, struct key_wait *w);

#endif
