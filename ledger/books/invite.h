/* Invitation codes: what a new account starts with, so that developers are let in step by step. */
#ifndef LEDGER_BOOKS_INVITE_H
#define LEDGER_BOOKS_INVITE_H

#include "ledger/books/audit.h"

#define INVITE_PREFIX "cocoon-invite-"

/* Shown as {id, state, created, expires, uses, used, credit, account}: account holds the settings
 * that the new account gets. Codes are kept as hashes. */

/* body: uses (1 … 1,000,000; 1), expires (Unix seconds; 0: never), credit (nano), account
 * {settings}. The code is appended to `code` and is nowhere else. */
MUST_CHECK int invite_create(struct books *b, const struct actor *a, const json_t *body,
                             struct buf *code, json_t **out);
MUST_CHECK int invite_revoke(struct books *b, const struct actor *a, const char *id, json_t **out);
/* {data, has_more} behind an id. `account` is not looked at. E_IO. */
MUST_CHECK int invites_list(struct books *b, const char *account, const char *after, size_t limit,
                            json_t **out);
/* body: code, id (of the new account), name. Makes the account, with the invitation's settings and
 * credit. E_DENIED: no such code, or revoked, expired, used up; E_EXISTS, E_INVALID. *out: the
 * account. */
MUST_CHECK int invite_redeem(struct books *b, const struct actor *a, const json_t *body,
                             json_t **out);

#endif
