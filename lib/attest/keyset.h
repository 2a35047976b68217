/* A worker's keyset (wire.md §2): which keys it holds and what it serves. Exact bytes are hashed;
 * never re-serialised. */
#ifndef ATTEST_KEYSET_H
#define ATTEST_KEYSET_H

#include "base/buf.h"
#include "crypto/ed25519.h"
#include "crypto/hash.h"

enum { KEYSET_MAX_BYTES = 16 * 1024, KEYSET_MAX_HPKE = 4, KEYSET_MAX_MODELS = 64, IID_LEN = 32 };
enum { KEYSET_HPKE_LEN = 45 }; /* bytes of a key configuration (wire.md §2) */
enum { KEYSET_SKEW_S = 60 };   /* by which clocks may differ */
/* The year 9999: seconds beyond it are refused, so that sums with them cannot wrap. */
#define KEYSET_TIME_MAX UINT64_C(253402300799)

struct keyset {
    struct buf bytes; /* exactly as received or made */
    uint8_t digest[SHA256_LEN];
    char worker_id[65];
    char payout[68];                   /* "0:" or "-1:" and 64 lower-case hex */
    struct span hpke[KEYSET_MAX_HPKE]; /* decoded key configurations with distinct key ids, in
                                        * `storage`; their suites are checked by key_config_parse */
    size_t hpke_count;
    uint8_t tls_spki[SHA256_LEN];
    uint8_t receipt_key[ED25519_KEY_LEN];
    struct span models[KEYSET_MAX_MODELS];
    size_t model_count;
    struct span model_digest, config_sha256, engine; /* as below; as below; text */
    bool gpu_nvidia;
    uint32_t gpu_count;
    uint64_t not_before, not_after; /* seconds since 1970 */
    struct buf storage;
};

/* Strict parse by wire.md §2 (hex in lower case only); E_INVALID, E_TOO_LARGE. *out is owned on
 * success: keyset_fini. */
MUST_CHECK int keyset_parse(struct keyset *out, struct span bytes);
/* Appends the JSON of k's members (bytes, digest and storage are not read); what keyset_parse would
 * refuse is not checked. */
void keyset_write(const struct keyset *k, struct buf *out);
void keyset_fini(struct keyset *k);
AUTO_FINI(struct keyset, keyset_fini)
/* Identity of the running worker: hex of tls_spki[0:16], with NUL. */
void keyset_iid(const struct keyset *k, char out[static IID_LEN + 1]);
/* wid = SHA-256(PPID(16) ‖ payout)[0:16], hex with NUL; ppid NULL where there is no quote. */
void keyset_wid(const struct keyset *k, const uint8_t *ppid, char out[static 33]);
/* Which machine it is, whatever its payout: SHA-256(PPID(16))[0:16], hex with NUL; without a PPID
 * (all zero), the wid. */
void keyset_machine(const struct keyset *k, const uint8_t ppid[static 16], char out[static 33]);
/* A model's digest as text: "sha256:" or "verity:" and 64 hex (attestation.md §9). */
bool keyset_model_digest_good(struct span s);
bool keyset_config_good(struct span s); /* config_sha256: 64 lower-case hex */
/* not_before − 60 s ≤ now ≤ not_after + 60 s, now − not_before ≤ 70 min, not_after − now ≤ 24 h
 * (wire.md §8); else E_EXPIRED. */
MUST_CHECK int keyset_valid_at(const struct keyset *k, uint64_t now_s);
/* Until when its own times let it be used: the lesser of not_after and not_before + 70 min. */
uint64_t keyset_until(const struct keyset *k);

#endif
