/* Webhooks (Standard Webhooks): who wants to know what, and what was told or is to be told. */
#ifndef LEDGER_BOOKS_HOOK_H
#define LEDGER_BOOKS_HOOK_H

#include "ledger/books/audit.h"

#define HOOK_EVENTS        "balance.low budget.reached key.revoked"
#define HOOK_SECRET_PREFIX "whsec_"
enum { HOOK_TRIES_MAX = 10 };

/* Shown as {id, account, url, events, state, created}; the secret only when it is made. body:
 * account, url (https://, by name; http:// only where the ledger allows it), events [..]. */
MUST_CHECK int hook_create(struct books *b, const struct actor *a, const json_t *body,
                           bool allow_http, struct buf *secret, json_t **out);
MUST_CHECK int hook_remove(struct books *b, const struct actor *a, const char *id, json_t **out);
MUST_CHECK int hooks_list(struct books *b, const char *account, const char *after, size_t limit,
                          json_t **out);

/* Queues one event for every hook of the account that wants it. `what` names the event among all of
 * the account's (a key's id and version, a day's budget): the same is told once, however often it
 * is found. data is sent as it is. *queued: how many. */
MUST_CHECK int hook_tell(struct books *b, const char *account, const char *type, const char *what,
                         const json_t *data, size_t *queued);

/* A delivery that is due. Texts are owned: hook_due_fini. */
struct hook_due {
    char id[40]; /* webhook-id: the same at every try */
    char hook[40];
    char *url, *payload;
    struct buf secret; /* the key's bytes; none: the row is damaged, and nothing can be signed */
    int64_t tries;
};
void hook_due_fini(struct hook_due *d);
/* The next one due now of a hook that is not among `busy` (ids, a space between; "": none is);
 * E_NOT_FOUND: none. Its next try is noted before it leaves, so that a crash repeats it later and
 * never floods. *out is empty on an error, and the caller's to give back when the transaction fails
 * behind it. */
MUST_CHECK int hook_take_due(struct books *b, const char *busy, struct hook_due *out);
/* status 200–299: done; 410: the hook is gone and is switched off; else tried again until
 * HOOK_TRIES_MAX. */
MUST_CHECK int hook_told(struct books *b, const struct hook_due *d, int64_t status);
/* {data: [{id, hook, type, created, due, tries, status, state}], has_more}, newest first. */
MUST_CHECK int hook_deliveries(struct books *b, const char *hook, size_t limit, json_t **out);

/* webhook-signature of Standard Webhooks: "v1,<base64 HMAC-SHA-256 of id.timestamp.payload>". */
void hook_sign(struct buf *out, struct span secret, const char *id, int64_t timestamp,
               struct span payload);

#endif
