/* API keys of the books (auth.md): hashes only; what gateways read of them follows from the key,
 * its project and its account. */
#ifndef LEDGER_BOOKS_KEY_H
#define LEDGER_BOOKS_KEY_H

#include "auth/keys.h"
#include "ledger/books/audit.h"
#include "ledger/books/record.h"

enum { KEY_ID_TEXT = 2 * KEY_ID_LEN + 1, KEY_LIVE_SECRETS = 2, KEY_NOTED_SECRETS = 16 };

/* Shown as {id, account, project, version, state, created, live_secrets, …settings}; no hash.
 * Settings: name, scopes {models, endpoints, ranges}, privacy, require, strict, receipts, class,
 * expires, limits {max_output, requests_per_minute, tokens_per_minute, streams}, budgets {day,
 * month, total}, max_coefficient. E_INVALID, E_NOT_FOUND, E_EXISTS, E_DENIED with books_why; E_IO.
 */

/* body: account (required), project, settings. The key's text is appended to `text` and is nowhere
 * else: wipe it. */
MUST_CHECK int key_create(struct books *b, const struct actor *a, const json_t *body,
                          struct buf *text, json_t **out);
MUST_CHECK int key_change(struct books *b, const struct actor *a, const char *id,
                          const json_t *body, json_t **out);
/* Never live again. E_EXISTS: it is revoked already. */
MUST_CHECK int key_revoke(struct books *b, const struct actor *a, const char *id, json_t **out);
/* A new secret; the newest before it lives grace_s (at most 90 days) more, older ones end now: two
 * are live at most. E_DENIED: the key is revoked or expired. */
MUST_CHECK int key_rotate(struct books *b, const struct actor *a, const char *id, uint64_t grace_s,
                          struct buf *text, json_t **out);
/* By id, or by name when only one key of the books has it. */
MUST_CHECK int key_find(struct books *b, const char *which, json_t **out);
MUST_CHECK int keys_list(struct books *b, const char *account, const char *after, size_t limit,
                         json_t **out);
MUST_CHECK int keys_each(struct books *b, const char *account, record_item_fn *fn, void *arg);

/* Calls fn for each secret with the record that gateways read (cgw/key/v1) under key:{lookup}. */
typedef void key_projected_fn(void *arg, const char *lookup, struct span record);
MUST_CHECK int key_project(struct books *b, const json_t *key, key_projected_fn *fn, void *arg);

#endif
