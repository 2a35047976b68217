/* The keys file (auth.md): the record of all API keys until the ledger keeps them. Hashes only,
 * mode 0600, replaced as a whole. Redis is projected from it. */
#ifndef AUTH_KEYS_FILE_H
#define AUTH_KEYS_FILE_H

#include "auth/keys.h"
#include "base/json.h"

struct keys_file;

/* Reads the file; one that is not there is an empty one. change: the file is locked against other
 * changes until it is freed (waits for them). On failure `why` says what and where, without a
 * value. E_IO; E_DENIED when others than the owner may read it; E_INVALID. */
MUST_CHECK int keys_file_open(struct keys_file **out, const char *path, bool change,
                              struct buf *why);
void keys_file_free(struct keys_file *f);
AUTO_FREE(struct keys_file, keys_file_free)
/* Writes the file through a new one beside it, synced before it takes the old one's place. Counts
 * the serial up. E_IO. */
MUST_CHECK int keys_file_save(struct keys_file *f);

/* What a new key may do. Lists are NULL-terminated; NULL allows everything. */
struct key_spec {
    const char *name, *account, *project; /* project may be "" */
    const char *class;                    /* interactive, batch, internal */
    const char *const *models, *const *endpoints, *const *ranges;
    uint64_t expires_s;      /* 0: never */
    int64_t max_output;      /* 0: the gateway's */
    int64_t weight;          /* of its account where calls wait; 0: KEY_WEIGHT */
    int64_t max_coefficient; /* the bid of its requests that name none, 1/1000; 0: 1000 */
    const char *require;     /* as Cocoon-Require; NULL or "": nothing */
    bool strict, end_to_end_only, receipts;
};

enum { KEYS_LIVE_SECRETS = 2, KEYS_NOTED_SECRETS = 16 };

/* Changes, in memory until saved. The key's text is appended to `text` and is nowhere else: wipe
 * it. `id` is the new key's. E_INVALID: the record would not be one (key_record_parse). */
MUST_CHECK int keys_file_create(struct keys_file *f, const struct key_spec *spec, struct buf *text,
                                char id[static 2 * KEY_ID_LEN + 1]);
/* A key by its id, or by its name when only one key has it: borrowed, with id, account, project,
 * name, version, state, created, expires, scopes, privacy, require, strict, receipts, limits,
 * class, secrets [{sha256, created, expires}], newest secret last. E_NOT_FOUND; E_EXISTS when
 * several have the name. */
MUST_CHECK int keys_file_find(const struct keys_file *f, const char *which, json_t **key);
/* E_EXISTS when it is revoked already. */
MUST_CHECK int keys_file_revoke(struct keys_file *f, json_t *key);
/* A new secret; the one before lives grace_s more, older ones end now: two are live at most.
 * E_DENIED for a revoked key. */
MUST_CHECK int keys_file_rotate(struct keys_file *f, json_t *key, uint64_t grace_s,
                                struct buf *text);
/* All keys, an array, oldest first: borrowed. */
const json_t *keys_file_list(const struct keys_file *f);
/* Live now: not revoked, not expired. */
bool key_entry_live(const json_t *key);

/* The records of one key as Redis stores them, one a secret, ended ones too (their expiry is in
 * them). */
typedef void key_projected_fn(void *arg, const char *lookup, struct span record);
void keys_file_project(json_t *key, key_projected_fn *fn, void *arg);
/* "<epoch>:<serial>": the value of `keys:epoch` when Redis holds all of the file as saved, and as
 * it was when read. */
enum { KEYS_MARKER_LEN = 64 };
void keys_file_marker(const struct keys_file *f, char out[static KEYS_MARKER_LEN]);
void keys_file_marker_before(const struct keys_file *f, char out[static KEYS_MARKER_LEN]);

#endif
